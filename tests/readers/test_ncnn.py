"""The ncnn reader, against files that ncnn itself has run (``scripts/make_reader_files``)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged_files import read_damaged

import filterdb
from filterdb.errors import CorruptFileError, LimitError, NoConvolutionError, ReadError
from filterdb.readers.head import Head
from filterdb.readers.ncnn.network import main_file, matches, read
from filterdb.readers.ncnn.param import TYPES, read_binary, read_text
from filterdb.readers.ncnn.sizes import WITH_WEIGHTS, parts_of

FILES = Path(__file__).with_name("files") / "ncnn"
HEADER = "7767517\n{} 9\nInput x 0 1 x\n"


def write(folder: Path, *lines: str, numbers: np.ndarray | bytes = b"") -> Path:
    content = numbers if isinstance(numbers, bytes) else numbers.astype("<f4").tobytes()
    (folder / "a.bin").write_bytes(content)
    (folder / "a.param").write_text(HEADER.format(len(lines) + 1) + "\n".join(lines) + "\n")
    return folder / "a.param"


def tagged(count: int) -> np.ndarray:
    """A tag of zero, then so many numbers."""
    return np.concatenate([[0], np.arange(1, count + 1)]).astype("<f4")


CONV = "Convolution c 1 1 x y 0=2 1=3 6=18"


@pytest.mark.parametrize("name", ["layers.param", "layers.param.bin", "layers.bin"])
def test_weights_are_those_that_ncnn_computes_with(name: str) -> None:
    theirs = np.load(FILES / "layers.npz")
    model = filterdb.read(FILES / name)
    assert model.format == "ncnn"
    assert len(model.layers) == len(theirs.files)
    for ours, key in zip(model.layers, theirs.files, strict=True):
        assert ours.name == key or name.endswith(".param.bin")
        np.testing.assert_array_equal(ours.weights, theirs[key].astype(np.float32))


def test_kinds_dtypes_and_schemes() -> None:
    contents = read(Head.of(FILES / "layers.param"))
    found = {tensor.name: (tensor.dtype, tensor.scheme) for tensor in contents.tensors}
    assert found["single"] == ("float32", "")
    assert found["half"] == ("float16", "")
    assert found["table"] == ("uint8", "per-tensor, table of 256 values")
    assert found["int8"] == found["depth_int8"] == ("int8", "per-channel, symmetric")
    kinds = {layer.name: layer.kind for layer in filterdb.read(FILES / "layers.param").layers}
    assert kinds["depth"] == kinds["depth_int8"] == "depthwise"
    assert kinds["up"] == kinds["up_grouped"] == "transposed"
    assert [path.name for path in contents.companions] == ["layers.bin"]
    reasons = " ".join(item.reason for item in contents.skipped)
    assert "Convolution1D" in reasons
    assert "Convolution3D" in reasons
    assert "InnerProduct" in reasons


def test_every_layer_of_ncnn_has_a_known_size() -> None:
    assert set(WITH_WEIGHTS) <= set(TYPES)
    assert len(set(TYPES)) == len(TYPES)
    text = HEADER.format(1 + len(TYPES)) + "\n".join(f"{kind} a 1 1 x y" for kind in TYPES)
    assert all(isinstance(parts_of(layer), list) for layer in read_text(text))


def test_either_file_leads_to_the_pair(tmp_path: Path) -> None:
    path = write(tmp_path, CONV, numbers=tagged(18))
    other = path.with_suffix(".bin")
    assert main_file(Head.of(other)) == path
    assert main_file(Head.of(path)) is None
    assert read(Head.of(path)).companions == (other,)
    assert read(Head.of(other)).companions == (path,)
    other.rename(tmp_path / "b.bin")
    assert not matches(Head.of(tmp_path / "b.bin"))
    with pytest.raises(ReadError, match=r"Put the \.bin file"):
        read(Head.of(path))


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path = write(tmp_path / "in", CONV, numbers=tagged(18))
    shutil.move(tmp_path / "in" / "a.bin", tmp_path / "out" / "a.bin")
    (tmp_path / "in" / "a.bin").symlink_to(tmp_path / "out" / "a.bin")
    with pytest.raises(ReadError, match=r"Put the \.bin file"):
        read(Head.of(path))


def test_the_norm_that_follows(tmp_path: Path) -> None:
    norm = np.array([2, 3, 9, 9, 0.25, 1, 9, 9], "<f4")
    path = write(
        tmp_path, CONV, "Split s 1 1 y z", "BatchNorm n 1 1 z u 0=2",
        numbers=np.concatenate([tagged(18), norm]),
    )  # fmt: skip
    conv = read(Head.of(path)).tensors[0].conv
    assert conv is not None
    assert conv.norm is not None
    assert (conv.state, conv.norm.name) == ("raw", "n")
    np.testing.assert_allclose(conv.norm.scale(), [4, 3])
    path = write(
        tmp_path, CONV, "Scale n 1 1 y u 0=2 1=0",
        numbers=np.concatenate([tagged(18), np.array([5, 6])]),
    )  # fmt: skip
    conv = read(Head.of(path)).tensors[0].conv
    assert conv is not None
    assert conv.norm is not None
    np.testing.assert_array_equal(conv.norm.scale(), [5, 6])


def test_an_unknown_layer_ends_what_is_known(tmp_path: Path) -> None:
    path = write(
        tmp_path, CONV, "MyLayer m 1 1 y z 0=3", CONV.replace(" c ", " d ").replace("x y", "z u"),
        numbers=np.concatenate([tagged(18), np.zeros(7), tagged(18)]),
    )  # fmt: skip
    model = filterdb.read(path)
    assert [layer.name for layer in model.layers] == ["c"]
    (left,) = model.skipped
    assert left.name == "d"
    assert "MyLayer takes is not known" in left.reason


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Convolution c 1 1 x y 0=2 1=3 6=17", "do not fit"),
        ("Convolution c 1 1 x y 0=2 1=3 6=18 19=1", "no weights"),
        ("ConvolutionDepthWise c 1 1 x y 0=2 1=3 6=18 7=3", "do not fit"),
        ("InnerProduct c 1 1 x y 0=2 2=9 8=401", "blocks"),
    ],
)
def test_what_cannot_be_analysed_says_why(tmp_path: Path, line: str, words: str) -> None:
    count = int(line.split(" 6=")[-1].split()[0]) if " 6=" in line and " 19=" not in line else 0
    numbers = tagged(count) if count else np.zeros(0)
    tail = CONV.replace(" c ", " tail ")
    contents = read(Head.of(write(tmp_path, line, tail, numbers=np.append(numbers, tagged(18)))))
    reasons = " ".join(item.reason for item in contents.skipped)
    assert words in reasons


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7767517\n", "no sound beginning"),
        ("7767517\n5 5\nInput x 0 1 x\n", "announces 5 layers"),
        ("7767517\n1 1\nInput x 0\n", "is no layer"),
        ("7767517\n1 1\nInput x 0 9 x\n", "fewer blobs"),
        ("7767517\n1 1\nInput x 0 1 x nonsense\n", "no parameter"),
        ("7767517\n1 1\nInput x 0 1 x 0=nonsense\n", "no number"),
        ("7767517\n999999999 1\n", "announces"),
    ],
)
def test_a_damaged_graph(text: str, words: str) -> None:
    with pytest.raises(CorruptFileError, match=words):
        read_text(text)


def test_a_damaged_binary_graph() -> None:
    with pytest.raises(CorruptFileError, match="cut short"):
        read_binary((FILES / "layers.param.bin").read_bytes()[:-8])
    with pytest.raises(CorruptFileError, match="beginning"):
        read_binary(bytes(12))


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="cut short, or belongs to another"):
        read(Head.of(write(tmp_path, CONV, numbers=tagged(17))))
    with pytest.raises(ReadError, match="4 bytes more"):
        read(Head.of(write(tmp_path, CONV, numbers=tagged(19))))


def test_bounds(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError):
        read(Head.of(write(tmp_path, "Convolution c 1 1 x y 0=2147483647 1=9 6=2147483647")))
    blobs = " ".join(f"b{i}" for i in range(400_001))
    with pytest.raises(LimitError, match="values"):
        read(Head.of(write(tmp_path, f"Split s 1 400001 x {blobs}")))
    with pytest.raises(NoConvolutionError):
        filterdb.read(write(tmp_path, "ReLU r 1 1 x y"))


@pytest.mark.parametrize("name", ["layers.param", "layers.param.bin"])
def test_damage(tmp_path: Path, name: str) -> None:
    assert read_damaged(tmp_path, [FILES / name, FILES / "layers.bin"]) > 50
