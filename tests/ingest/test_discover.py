"""Files that are one network together are taken in once, however they are given."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from filterdb.ingest.discover import discover

FILES = Path(__file__).parent.parent / "readers" / "files"


def found(*paths: Path) -> tuple[list[tuple[str, bool]], dict[str, str]]:
    seen = discover(paths)
    candidates = [(item.path.name, item.readable) for item in seen.candidates]
    return candidates, {Path(item.path).name: item.reason for item in seen.ignored}


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    graph = next(
        path for path in (FILES / "ncnn").glob("*.param") if path.with_suffix(".bin").exists()
    )
    for suffix in (".param", ".bin"):
        shutil.copy(graph.with_suffix(suffix), tmp_path / f"net{suffix}")
    return tmp_path


def test_a_pair_is_one_network(pair: Path) -> None:
    candidates, ignored = found(pair)
    assert candidates == [("net.param", True)]
    assert ignored == {"net.bin": "part of net.param"}
    assert found(pair / "net.bin", pair / "net.param")[0] == [("net.param", True)]


def test_a_folder_is_one_network(tmp_path: Path) -> None:
    with tarfile.open(FILES / "tensorflow" / "keras_saved.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    whole = next(tmp_path.rglob("saved_model.pb")).parent
    shutil.copytree(whole, tmp_path / "models" / "saved")
    for given in (tmp_path / "models", tmp_path / "models" / "saved"):
        seen = discover([given])
        (one,) = seen.candidates
        assert (one.path.name, one.names[0], one.readable) == ("saved_model.pb", "saved", True)
        assert not seen.ignored


def test_a_checkpoint_may_be_given_by_its_prefix(tmp_path: Path) -> None:
    index = next((FILES / "tensorflow").rglob("*.index"))
    for path in index.parent.glob(f"{index.stem}.*"):
        shutil.copy(path, tmp_path)
    assert found(tmp_path / index.stem)[0] == [(index.name, True)]


def test_parts_belong_to_their_index(tmp_path: Path) -> None:
    table = {}
    for part in (1, 2):
        name = f"model-{part:05}-of-00002.safetensors"
        save_file({f"{part}.weight": np.ones((2, 3, 3, 3), "f4")}, tmp_path / name)
        table[f"{part}.weight"] = name
    assert len(found(tmp_path)[0]) == 2  # without an index they may be anything
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    candidates, ignored = found(tmp_path)
    assert candidates == [("model.safetensors.index.json", True)]
    assert set(ignored.values()) == {"part of model.safetensors.index.json"}


def test_a_folder_with_other_networks_is_walked(tmp_path: Path) -> None:
    with tarfile.open(FILES / "tensorflow" / "keras_saved.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    whole = next(tmp_path.rglob("saved_model.pb")).parent
    (whole / "more").mkdir()
    for place in (whole, whole / "more"):
        save_file({"a.weight": np.ones((2, 3, 3, 3), "f4")}, place / "other.safetensors")
    candidates, ignored = found(tmp_path)
    assert [name for name, readable in candidates if readable] == [
        "other.safetensors", "other.safetensors", "saved_model.pb"
    ]  # fmt: skip
    assert ignored["variables.index"] == "part of saved_model.pb"


def test_a_pickle_alone_makes_no_checkpoint_of_its_folder(tmp_path: Path) -> None:
    save_file({"a.weight": np.ones((2, 3, 3, 3), "f4")}, tmp_path / "net.safetensors")
    (tmp_path / "data.pkl").write_bytes(b"x")
    assert ("net.safetensors", True) in found(tmp_path)[0]


@pytest.mark.parametrize("text", ["car\ntruck\nbus\n", "cat\ndog\n", "crack\nhole\n"])
def test_a_list_of_labels_is_no_pickle(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    assert found(tmp_path)[0] == []
