from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import filterdb
from filterdb.errors import CorruptFileError, LimitError, ReadError

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    table = {}
    for part in range(2):
        name = f"model-0000{part + 1}-of-00002.safetensors"
        tensors = {f"layer{i}.weight": rng.normal(size=(4, 3, 3, 3)).astype("f4")
                   for i in (part, part + 10)}  # fmt: skip
        save_file(tensors, tmp_path / name)
        np.savez(tmp_path / f"{part}.npz", **tensors)
        table |= dict.fromkeys(tensors, name)
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": table}))
    return tmp_path


def test_the_parts_are_one_network(folder: Path) -> None:
    file = filterdb.read(folder / INDEX)
    assert file.format == "sharded"
    assert [layer.name for layer in file.layers] == ["layer0", "layer1", "layer10", "layer11"]
    expected = {**np.load(folder / "0.npz"), **np.load(folder / "1.npz")}
    for layer in file.layers:
        np.testing.assert_array_equal(layer.weights, expected[f"{layer.name}.weight"])
    assert [path.name for path in file.companions] == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    ]  # fmt: skip


def test_parts_of_pytorch(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "part1.bin")
    torch.save({"b.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "part2.bin")
    table = {"a.weight": "part1.bin", "b.weight": "part2.bin"}
    (tmp_path / "i.json").write_text(json.dumps({"weight_map": table}))
    assert len(filterdb.read(tmp_path / "i.json").layers) == 2


def test_a_part_that_is_missing_is_told(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()
    file = filterdb.read(folder / INDEX)
    assert len(file.layers) == 2
    assert file.skipped[0].name == "model-00002-of-00002.safetensors"
    assert file.skipped[0].reason == "the file is not there; tensors of the index in it: 2"
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(CorruptFileError, match="None of the 2 files"):
        filterdb.read(folder / INDEX)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "\0"]
)
def test_no_file_elsewhere(folder: Path, name: str) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CorruptFileError, match="names the file"):
        filterdb.read(folder / INDEX)


def test_no_link_out(folder: Path) -> None:
    inside = folder / "in"
    inside.mkdir()
    (folder / INDEX).rename(inside / INDEX)
    for part in folder.glob("*.safetensors"):
        (inside / part.name).symlink_to(part)
    with pytest.raises(CorruptFileError, match="link out of its folder"):
        filterdb.read(inside / INDEX)


def test_links_of_a_cache(folder: Path) -> None:
    """All of them links into one folder, under other names."""
    blobs, snapshot = folder / "blobs", folder / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for number, path in enumerate([*folder.glob("*.safetensors"), folder / INDEX]):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(Path("../blobs") / str(number))
    assert len(filterdb.read(snapshot / INDEX).layers) == 4


def test_an_index_does_not_name_itself(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": INDEX}}))
    with pytest.raises(CorruptFileError):
        filterdb.read(folder / INDEX)
    (folder / "b.json").write_text(json.dumps({"weight_map": {"a": INDEX}}))
    with pytest.raises(CorruptFileError, match="another format"):
        filterdb.read(folder / "b.json")


@pytest.mark.parametrize(
    "text",
    ['{"weight_map"', '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 3}}',
     '{"weight_map": null}', '{"weight_map": ' + "[" * 5000],
)  # fmt: skip
def test_damaged(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    with pytest.raises(CorruptFileError):
        filterdb.read(folder / INDEX)


def test_too_large(folder: Path) -> None:
    text = '{"weight_map": {' + " " * 6_000_001
    (folder / INDEX).write_text(text)
    with pytest.raises(LimitError):
        filterdb.read(folder / INDEX)


def test_flipped_bytes(folder: Path) -> None:
    whole = (folder / INDEX).read_bytes()
    rng = random.Random(5)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.randrange(8)
        (folder / INDEX).write_bytes(damaged)
        with suppress(ReadError):
            filterdb.read(folder / INDEX)
