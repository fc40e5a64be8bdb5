"""The Caffe reader, against what OpenCV and the zoo's independent reader made of the same files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from damaged_files import read_damaged

import filterdb
from filterdb.errors import CorruptFileError, LimitError, NoConvolutionError, ReadError
from filterdb.layer import Contents
from filterdb.readers.caffe.blob import Message, read_blob
from filterdb.readers.caffe.network import out_channels, read
from filterdb.readers.head import Head
from filterdb.readers.layout import transposed_to_out_first
from filterdb.readers.registry import identify

FILES = Path(__file__).with_name("files") / "caffe"


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field: a number, or bytes of any meaning."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def blob(values: np.ndarray, *shape: int) -> bytes:
    dims = b"".join(varint(extent) for extent in shape)
    return field(7, field(1, dims)) + field(5, values.astype("<f4").tobytes())


def layer(name: str, kind: str, reads: str, writes: str, *blobs: bytes, more: bytes = b"") -> bytes:
    content = field(1, name.encode()) + field(2, kind.encode())
    content += field(3, reads.encode()) + field(4, writes.encode()) + more
    return field(100, content + b"".join(field(7, item) for item in blobs))


def contents(path: Path, *parts: bytes) -> Contents:
    path.write_bytes(field(1, b"net") + b"".join(parts))
    return read(Head.of(path))


WEIGHT = np.arange(36.0).reshape(2, 2, 3, 3)
CONV = blob(WEIGHT, 2, 2, 3, 3)
BIAS = blob(np.ones(2), 2)


@pytest.mark.parametrize("name", ["layers", "numbers", "older"])
def test_weights_are_those_that_opencv_reads(name: str) -> None:
    theirs = np.load(FILES / f"{name}.npz")
    model = filterdb.read(FILES / f"{name}.caffemodel")
    assert model.format == model.producer == "caffe"
    convolutions = [key for key in theirs.files if theirs[key].ndim == 4]
    assert {layer.name for layer in model.layers} == set(convolutions)
    for ours in model.layers:
        expected = theirs[ours.name]
        if ours.kind == "transposed":
            expected = transposed_to_out_first(expected, ours.groups or 1)
        np.testing.assert_array_equal(ours.weights, expected)


def test_kinds_strides_and_depth() -> None:
    layers = filterdb.read(FILES / "layers.caffemodel").layers
    found = [(x.name, x.kind, x.groups, x.stride, x.conv_depth) for x in layers]
    assert found == [
        ("first", "conv", 1, (2, 2), 0),
        ("depth", "depthwise", 4, (1, 1), 1),
        ("side", "grouped", 2, (1, 1), 1),
        ("up", "transposed", 1, (2, 2), 2),
        ("up_grouped", "transposed", 2, (2, 2), 2),
        ("last", "conv", 1, (1, 1), 3),
    ]
    assert all(layer.depth_source == "graph" for layer in layers)


def test_the_norm_that_follows_and_its_factors() -> None:
    theirs = np.load(FILES / "layers.npz")
    tensors = {t.name: t for t in read(Head.of(FILES / "layers.caffemodel")).tensors}
    first = tensors["first"].conv
    assert first is not None
    assert first.norm is not None
    assert (first.state, first.norm.name) == ("raw", "norm and norm_scale")
    variance = theirs["norm/1"].astype(float) / theirs["norm/2"][0]
    expected = theirs["norm_scale/0"] / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(first.norm.scale(), expected, rtol=1e-7)
    assert all(t.conv and t.conv.state == "no_norm" for n, t in tensors.items() if n != "first")


def test_dtypes() -> None:
    assert [x.dtype for x in filterdb.read(FILES / "numbers.caffemodel").layers] == [
        "float32", "float16",
    ]  # fmt: skip


def test_a_bias_and_no_norm_anywhere_is_not_guessed(tmp_path: Path) -> None:
    (tensor,) = contents(tmp_path / "a", layer("c", "Convolution", "x", "y", CONV, BIAS)).tensors
    assert tensor.conv is not None
    assert tensor.conv.state == "unknown"
    (tensor,) = contents(tmp_path / "a", layer("c", "Convolution", "x", "y", CONV)).tensors
    assert tensor.conv is not None
    assert tensor.conv.state == "no_norm"
    loss = layer("l", "SoftmaxWithLoss", "y", "z")
    (tensor,) = contents(
        tmp_path / "a", layer("c", "Convolution", "x", "y", CONV, BIAS), loss
    ).tensors
    assert tensor.conv is not None
    assert tensor.conv.state == "no_norm"
    assert "SoftmaxWithLoss" in tensor.conv.evidence


def test_a_norm_of_only_some_uses_is_not_guessed(tmp_path: Path) -> None:
    norm = layer("n", "BatchNorm", "y", "z", BIAS, BIAS, blob(np.ones(1), 1))
    other = layer("r", "ReLU", "y", "w")
    found = contents(tmp_path / "a", layer("c", "Convolution", "x", "y", CONV), norm, other)
    assert found.tensors[0].conv is not None
    assert found.tensors[0].conv.state == "unknown"


def test_a_forks_norm_is_raw_without_factors(tmp_path: Path) -> None:
    found = contents(
        tmp_path / "a", layer("c", "Convolution", "x", "y", CONV),
        layer("n", "BN", "y", "y", BIAS, BIAS),
    )  # fmt: skip
    conv = found.tensors[0].conv
    assert conv is not None
    assert (conv.state, conv.norm) == ("raw", None)


def test_a_factor_of_zero_is_a_norm_of_no_images(tmp_path: Path) -> None:
    norm = layer("n", "BatchNorm", "y", "y", BIAS, BIAS, blob(np.zeros(1), 1))
    found = contents(tmp_path / "a", layer("c", "Convolution", "x", "y", CONV), norm)
    conv = found.tensors[0].conv
    assert conv is not None
    assert conv.norm is not None
    np.testing.assert_allclose(conv.norm.scale(), 1 / np.sqrt(1e-5))


def test_doubles_and_numbers_that_are_not_packed(tmp_path: Path) -> None:
    shape = field(7, field(1, b"\x02\x02\x03\x03"))
    double = shape + field(8, WEIGHT.astype("<f8").tobytes())
    loose = shape + b"".join(b"\x2d" + struct.pack("<f", v) for v in WEIGHT.ravel())
    found = contents(
        tmp_path / "a", layer("d", "Convolution", "x", "y", double),
        layer("l", "Convolution", "y", "z", loose),
    )  # fmt: skip
    assert [t.dtype for t in found.tensors] == ["float64", "float32"]
    for tensor in found.tensors:
        np.testing.assert_array_equal(tensor.load(), WEIGHT)


def test_the_oldest_layers(tmp_path: Path) -> None:
    dims = b"".join(field(i + 1, extent) for i, extent in enumerate(WEIGHT.shape))
    inner = field(1, b"c") + field(2, b"conv") + field(50, dims + blob(WEIGHT, 2, 2, 3, 3))
    old = field(2, field(1, inner) + field(2, b"x") + field(3, b"y"))
    (tensor,) = contents(tmp_path / "a", old).tensors
    assert tensor.name == "c"
    np.testing.assert_array_equal(tensor.load(), WEIGHT)


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    shared = field(6, field(1, b"w"))
    found = contents(
        tmp_path / "a",
        layer("a", "Convolution", "x", "y", CONV, more=shared),
        layer("b", "Convolution", "y", "z", CONV, more=shared),
        layer("a", "Convolution", "z", "u", CONV),
        layer("bare", "Convolution", "u", "v"),
        layer("odd", "BinaryConvolution", "u", "v", CONV),
        layer("three", "Convolution", "u", "v", blob(WEIGHT, 2, 2, 3, 3, 1)),
        layer("groups", "Convolution", "u", "v", CONV, more=field(106, field(5, 3))),
        layer("fc", "InnerProduct", "u", "v", blob(WEIGHT, 4, 9), BIAS),
        layer("slope", "PReLU", "u", "v", BIAS),
    )
    assert [t.name for t in found.tensors] == ["a", "a#2"]
    reasons = {item.name: item.reason for item in found.skipped}
    assert list(reasons) == ["b", "bare", "odd", "three", "groups", "fc"]
    assert "layer 'a'" in reasons["b"]
    assert "without weights" in reasons["bare"]
    assert "5-D" in reasons["three"]
    assert "3 groups" in reasons["groups"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (layer("c", "Convolution", "x", "y", blob(WEIGHT, 2, 2, 3, 4)), "holds 36 numbers"),
        (layer("c", "Convolution", "x", "y", CONV)[:-30], "cut short"),
        (layer("c", "Convolution", "x", "y", field(10, 9) + field(12, bytes(8))), "unknown type 9"),
        (field(100, b"\x07\x07"), "damaged"),
    ],
)
def test_contradictions(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(CorruptFileError, match=words):
        contents(tmp_path / "a", content)


def test_bombs(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="layers"):
        contents(tmp_path / "a", field(100, b"") * 100_001)
    with pytest.raises(LimitError, match="fields"):
        contents(tmp_path / "a", field(100, field(7, b"") * 100_000))
    huge = field(7, field(1, varint(2**62) * 8))
    with pytest.raises(CorruptFileError):
        contents(tmp_path / "a", layer("c", "Convolution", "x", "y", huge))
    with pytest.raises(LimitError, match="fields"):
        read_blob(Message(memoryview(field(1, 0) * 100), 0, 200, [50]))


def test_the_text_form_and_a_network_without_convolution(tmp_path: Path) -> None:
    text = 'name: "n"\nlayer {\n  name: "c"\n  type: "Convolution"\n  top: "y"\n}\n'
    (tmp_path / "a.prototxt").write_text(text)
    with pytest.raises(ReadError, match=r"Give the \.caffemodel"):
        filterdb.read(tmp_path / "a.prototxt")
    (tmp_path / "b").write_bytes(layer("r", "ReLU", "x", "y"))
    with pytest.raises(NoConvolutionError):
        filterdb.read(tmp_path / "b")


def test_no_weight_has_no_channels() -> None:
    from filterdb.readers.caffe.layers import Layer

    assert out_channels(Layer()) == 0


@pytest.mark.parametrize("name", ["layers", "older"])
def test_damage(tmp_path: Path, name: str) -> None:
    assert read_damaged(tmp_path, [FILES / f"{name}.caffemodel"]) > 50


def test_the_zoo(zoo: Path) -> None:
    exact = np.load(zoo / "exact" / "simplenet--slim310k-mnist.caffemodel.npz")
    model = filterdb.read(zoo / "weights" / "simplenet--slim310k-mnist.caffemodel")
    assert len(model.layers) == len(exact.files)
    for ours, key in zip(model.layers, exact.files, strict=True):
        np.testing.assert_array_equal(ours.weights, exact[key])
    for path in (zoo / "weights").glob("*.caffemodel"):
        assert identify(Head.of(path)) is not None
        assert all(layer.depth_source == "graph" for layer in filterdb.read(path).layers)
