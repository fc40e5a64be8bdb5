from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from test_recognised import CONTENT
from tiny_files import FILES

import filterdb
from filterdb.errors import CorruptFileError, ReadError, UnknownFormatError, UnsupportedFormatError
from filterdb.readers import registry
from filterdb.readers.head import Head
from filterdb.readers.recognise.recognised import RECOGNISED


@pytest.fixture(scope="module", params=FILES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    module, name, write = FILES[request.param]
    if find_spec(f"filterdb.readers.{module}") is None:
        pytest.skip(f"no reader {module}")
    path = tmp_path_factory.mktemp("tiny") / name
    write(path)
    return module, path


def test_every_format_finds_its_reader(tiny: tuple[str, Path]) -> None:
    module, path = tiny
    assert registry.identify(Head.of(path)) is registry.load_reader(module)


def test_no_two_readers_claim_a_file(tiny: tuple[str, Path]) -> None:
    module, path = tiny
    head = Head.of(path)
    assert [m for m in registry.READERS if registry.load_reader(m).matches(head)] == [module]


def test_the_suffix_does_not_matter(tiny: tuple[str, Path], tmp_path: Path) -> None:
    _, path = tiny
    disguised = tmp_path / "holiday.jpg"
    disguised.write_bytes(path.read_bytes())
    ours = filterdb.read(disguised).layers
    assert len(ours) == len(filterdb.read(path).layers) > 0


def test_what_readers_yield_keeps_the_contract(tiny: tuple[str, Path]) -> None:
    _, path = tiny
    contents = registry.read_contents(Head.of(path))
    names = [tensor.name for tensor in contents.tensors]
    assert len(set(names)) == len(names)
    for tensor in contents.tensors:
        values = tensor.load()
        assert values.shape == tensor.shape
        assert values.dtype.kind in "fiu"


def test_formats_are_named_and_told() -> None:
    formats = registry.readable()
    names = {known.name for known in formats}
    assert not names & {known.name for known in RECOGNISED}
    assert names >= {"pytorch", "safetensors", "onnx", "keras-hdf5", "keras", "npz"}
    assert names >= {"tflite", "tfjs"}
    assert names >= {"caffe", "ncnn", "openvino", "darknet", "pickle", "katago"}
    assert names >= {"saved-model", "tensorflow-pb", "tf-checkpoint", "tf-checkpoint-v1", "archive"}
    assert all(known.title and known.suffixes for known in formats)


@pytest.mark.parametrize("name", CONTENT)
def test_no_reader_claims_what_it_cannot_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / CONTENT[name][0]
    path.write_bytes(CONTENT[name][1])
    found = registry.identify(Head.of(path))
    assert isinstance(found, registry.Recognised)
    assert found.name == name


def test_unknown_content(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(np.random.default_rng(5).bytes(5000))
    with pytest.raises(UnknownFormatError, match="no known format") as caught:
        registry.read_contents(Head.of(tmp_path / "a.pth"))
    assert caught.value.file == str(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file, not a network. Download"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "an HTML page, not a network"),
        (b"\x1c\0\0\0ORTM" + bytes(90), "ORT format, which cannot be read yet. Give the .onnx"),
    ],
)
def test_recognised_content_says_what_it_is_and_what_to_do(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UnsupportedFormatError, match=words):
        registry.read_contents(Head.of(tmp_path / "a.pth"))


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormatError, match="filterdb ingest"):
        registry.read_contents(Head.of(tmp_path))
    with pytest.raises(ReadError, match="does not exist"):
        Head.of(tmp_path / "nothing.pth")


def test_a_zip_without_its_end(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.ones((8, 8, 3, 3)))
    cut = (tmp_path / "a.npz").read_bytes()[:2000]
    (tmp_path / "a.npz").write_bytes(cut)
    with pytest.raises(CorruptFileError, match="cut short"):
        registry.read_contents(Head.of(tmp_path / "a.npz"))


def test_the_whole_zoo_is_told_apart(zoo: Path) -> None:
    import csv

    readers = {
        "pytorch": {
            "pytorch.zip_checkpoint",
            "pytorch.stream_checkpoint",
            "pytorch.tar_checkpoint",
        },
        "onnx": {"onnx.graph_file"},
        "keras-hdf5": {"keras.hdf5"},
        "npz": {"npz"},
        "tensorflow-pb": {"tensorflow.frozen_graph"},
        "tf-checkpoint": {"tensorflow.checkpoint"},
        "tf-checkpoint-v1": {"tensorflow.checkpoint_v1"},
        "tflite": {"tflite.model_file"},
        "tfjs": {"tfjs.model_file"},
        "caffe": {"caffe.network"},
        "ncnn": {"ncnn.network"},
        "pickle": {"pickled_arrays"},
        "katago-txt-gz": {"katago"},
    }
    with (zoo / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 174
    for row in rows:
        found = registry.identify(Head.of(zoo / "weights" / row["file"]))
        if isinstance(found, registry.Recognised):
            assert found.name == row["format"], row["file"]
        else:
            assert found in [registry.load_reader(m) for m in readers[row["format"]]], row["file"]


def long_onnx(path: Path, name: str, array: np.ndarray) -> None:
    from onnx_models import make, save, stored

    conv = onnx.helper.make_node("Conv", ["x", name], ["y"])
    save(make([conv], stored(**{name: array})), path)


def long_safetensors(path: Path, name: str, array: np.ndarray) -> None:
    from safetensors.numpy import save_file

    save_file({name: array}, path)


def long_hdf5(path: Path, name: str, array: np.ndarray) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file[name] = array


def long_npz(path: Path, name: str, array: np.ndarray) -> None:
    np.savez(path, **{name: array})


@pytest.mark.parametrize("write", [long_onnx, long_safetensors, long_hdf5, long_npz])
def test_names_beyond_reason_are_skipped(tmp_path: Path, write) -> None:
    path = tmp_path / "a.npz"
    array = np.ones((2, 2, 3, 3), np.float32)
    write(path, "w" * 500, array)
    assert [t.name for t in registry.read_contents(Head.of(path)).tensors] == ["w" * 500]
    write(path, "w" * 501, array)
    contents = registry.read_contents(Head.of(path))
    assert contents.tensors == ()
    (skipped,) = contents.skipped
    assert skipped.name == "w" * 100 + "... (501 characters)"
    assert "name is" in skipped.reason
