"""TFLite files against the arrays of TensorFlow itself (scripts/make_reader_files)."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

import filterdb
from filterdb.errors import CorruptFileError, LimitError, ReadError, UnsupportedFormatError
from filterdb.layer import Contents
from filterdb.readers import registry
from filterdb.readers.head import Head
from filterdb.readers.tflite import model_file
from filterdb.readers.tflite.flatbuffer import MAX_TABLES, Flatbuffer

FILES = Path(__file__).parent / "files" / "tflite"
SAME = {"float32": 1e-6, "outside": 1e-6}  # folded by the converter in float32
NAMES = sorted(path.stem for path in FILES.glob("*.tflite"))


def contents_of(path: Path) -> Contents:
    return registry.read_contents(Head.of(path))


def arrays(name: str) -> list[np.ndarray]:
    with np.load(FILES / f"{name}.npz") as held:
        return [held[key] for key in sorted(held.files) if key.isdigit()]


def test_there_are_files() -> None:
    assert len(NAMES) == 11


@pytest.mark.parametrize("name", [n for n in NAMES if n not in {"subgraphs", "signatures"}])
def test_values_and_order_are_tensorflows(name: str) -> None:
    expected = arrays(name)
    layers = filterdb.read(FILES / f"{name}.tflite").layers
    assert len(layers) == len(expected)
    for layer, array in zip(layers, expected, strict=True):
        assert layer.shape == array.shape
        np.testing.assert_allclose(layer.weights, array, rtol=0, atol=SAME.get(name, 0))


def test_every_kind_of_convolution_is_told() -> None:
    layers = filterdb.read(FILES / "float32.tflite").layers
    assert [(layer.kind, layer.groups) for layer in layers] == [
        ("conv", 1), ("depthwise", 4), ("conv", 1), ("grouped", 2), ("transposed", 1), ("conv", 1),
    ]  # fmt: skip
    assert [layer.stride for layer in layers[:2]] == [(2, 1), (1, 1)]
    assert layers[4].stride == (2, 2)
    assert [layer.conv_depth for layer in layers] == [0, 1, 2, 3, 4, 5]
    assert {layer.depth_source for layer in layers} == {"graph"}
    assert layers[0].name == "model/first/Conv2D"
    assert layers[1].name == "model/deep/depthwise"


@pytest.mark.parametrize(
    ("name", "dtype", "scheme"),
    [
        ("float32", "float32", ""),
        ("float16", "float16", ""),
        ("int8", "int8", "per-channel, symmetric"),
        ("uint8", "uint8", "per-tensor, affine"),
        ("int4", "int4", "per-channel, symmetric"),
    ],
)
def test_element_types_and_schemes(name: str, dtype: str, scheme: str) -> None:
    tensors = contents_of(FILES / f"{name}.tflite").tensors
    assert {(tensor.dtype, tensor.scheme) for tensor in tensors} == {(dtype, scheme)}


@pytest.mark.parametrize("name", ["float32", "float16", "int8", "outside"])
def test_folded_norms_are_told_by_the_names_of_their_biases(name: str) -> None:
    tensors = contents_of(FILES / f"{name}.tflite").tensors
    states = [tensor.conv.state for tensor in tensors if tensor.conv]
    assert states == ["folded", "folded", "no_norm", "no_norm", "no_norm", "no_norm"]
    assert tensors[0].conv is not None
    assert tensors[0].conv.evidence == "its bias is named 'model/bn1/FusedBatchNormV3'"


def test_a_norm_beside_another_use_is_no_norm_and_not_raw() -> None:
    (tensor,) = contents_of(FILES / "unfolded.tflite").tensors
    assert tensor.conv is not None
    assert tensor.conv.state == "unknown"
    assert tensor.conv.evidence == "a batch normalisation follows, and other nodes too"


def test_bodies_count_where_they_are_run() -> None:
    layers = filterdb.read(FILES / "subgraphs.tflite").layers
    first, branch, loop, last = arrays("subgraphs")
    for layer, array in zip(layers, (first, branch, loop, last), strict=True):
        np.testing.assert_array_equal(layer.weights, array)
    assert [layer.conv_depth for layer in layers] == [0, 1, 2, 3]


def test_a_weight_of_two_entries_counts_once() -> None:
    contents = contents_of(FILES / "signatures.tflite")
    held = {tensor.load().tobytes() for tensor in contents.tensors}
    assert held == {array.tobytes() for array in arrays("signatures")}
    assert len(contents.tensors) == 4
    assert [item.reason for item in contents.skipped] == [
        "shares the weights of layer 'Conv2D'", "shares the weights of layer 'Conv2D_1'",
    ]  # fmt: skip
    assert contents.notes == ("It holds 6 subgraphs; all are read.",)


def test_who_converted_it() -> None:
    assert contents_of(FILES / "float32.tflite").producer == "tensorflow 2.21.0"
    assert contents_of(FILES / "outside.tflite").producer == "MLIR (TFLite)"


def test_metadata_zipped_to_its_end_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes((FILES / "int8.tflite").read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    ours, theirs = (filterdb.read(p) for p in (path, FILES / "int8.tflite"))
    assert ours.format == "tflite"
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)


def test_reading_asks_for_no_weights_but_biases(tmp_path: Path) -> None:
    (tensor,) = contents_of(FILES / "uint8.tflite").tensors
    first, second = tensor.load(), tensor.load()
    assert first is not second
    np.testing.assert_array_equal(first, second)


def refuses(path: Path) -> bool:
    """Read a file whole; True where that ends in a foreseen error, and no other may come."""
    try:
        for tensor in model_file.read(Head.of(path)).tensors:
            assert tensor.load().shape == tensor.shape
    except ReadError:
        return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_told(tmp_path: Path, name: str) -> None:
    content = (FILES / f"{name}.tflite").read_bytes()
    source = random.Random(name)
    path = tmp_path / "a.tflite"
    refused = 0
    for _ in range(120):
        damaged = bytearray(content)
        if source.random() < 0.3:
            del damaged[source.randrange(8, len(damaged)) :]
        else:
            for _ in range(source.randrange(1, 4)):
                place = source.randrange(8, len(damaged)) & ~3
                damaged[place : place + 4] = source.choice(
                    [bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", source.randbytes(4)]
                )
        path.write_bytes(damaged)
        refused += refuses(path)
    assert refused > 10


def test_every_byte_of_a_small_file_flipped(tmp_path: Path) -> None:
    content = (FILES / "uint8.tflite").read_bytes()
    path = tmp_path / "a.tflite"
    for place in range(8, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        refuses(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x1c\0\0\0", b"\x1c\0\0\0TFL3", b"\xff\xff\xff\xffTFL3"]
)
def test_next_to_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tflite").write_bytes(content)
    with pytest.raises((CorruptFileError, UnsupportedFormatError, ReadError)):
        filterdb.read(tmp_path / "a.tflite")


def one_table_many_times(count: int) -> bytes:
    """A file whose list of subgraphs (field 2 of the root) is ``count`` times one empty table."""
    root = b"".join(
        [
            np.uint32(20).tobytes() + b"TFL3",  # where the root is
            np.array([10, 8, 0, 0, 4, 0], "<u2").tobytes(),  # at 8: only field 2, at 4
            np.int32(12).tobytes() + np.uint32(12).tobytes(),  # at 20: the root, its list at 36
            np.array([4, 4], "<u2").tobytes() + bytes(4),  # at 28
        ]
    )
    places = 40 + 4 * np.arange(count)
    table = 40 + 4 * count + 4
    empty = np.array([4, 4], "<u2").tobytes() + np.int32(4).tobytes()
    return root + np.uint32(count).tobytes() + (table - places).astype("<u4").tobytes() + empty


def test_a_small_file_cannot_unfold_to_a_large_one(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(one_table_many_times(MAX_TABLES + 10))
    with pytest.raises(LimitError, match="tables"):
        filterdb.read(tmp_path / "a.tflite")


def test_a_claimed_shape_beyond_reason(tmp_path: Path) -> None:
    content = (FILES / "uint8.tflite").read_bytes()
    shape, huge = (np.int32(s).tobytes() for s in ([3, 3, 3, 2], [2**20, 3, 2**20, 2]))
    assert content.count(shape) == 1
    (tmp_path / "a.tflite").write_bytes(content.replace(shape, huge))
    with pytest.raises(LimitError, match="out of proportion"):
        filterdb.read(tmp_path / "a.tflite")


def test_walking_the_same_bytes_again_is_counted() -> None:
    buffer = Flatbuffer(np.zeros(100, np.uint8))
    buffer.spend(2**20)
    with pytest.raises(LimitError, match="over and over"):
        buffer.spend(2**20)


def test_offsets_leave_no_file() -> None:
    buffer = Flatbuffer(np.full(64, 255, np.uint8))
    for call in (lambda: buffer.table(0), lambda: buffer.table(60), lambda: buffer.integer(62, 4)):
        with pytest.raises(CorruptFileError, match="outside its 64 bytes"):
            call()


EXACT = ["mlperftiny--ds-cnn-kws-float", "tflitemicro--person-detect-i8",
         "tinyengine--mcunet-vww-i8"]  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_exact_files_of_the_zoo(zoo: Path, name: str) -> None:
    layers = filterdb.read(zoo / "weights" / f"{name}.tflite").layers
    with np.load(zoo / "exact" / f"{name}.tflite.npz") as expected:
        assert len(layers) == len(expected.files)
        for layer, key in zip(layers, expected.files, strict=True):
            np.testing.assert_array_equal(layer.weights, expected[key])


LEAST_EPSILON = 1.001e-5
"""Keras raises the ONNX file's 1e-5 to this, the least that cuDNN takes."""


def onnx_scales(path: Path) -> dict[str, np.ndarray]:
    """Name of each convolution's weight -> the scale of the norm that follows it."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    held = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    norms = {n.input[0]: n for n in graph.node if n.op_type == "BatchNormalization"}
    scales = {}
    for node in graph.node:
        if node.op_type == "Conv" and node.output[0] in norms:
            norm = norms[node.output[0]]
            gamma, _, _, variance = (held[name] for name in norm.input[1:])
            scales[node.input[1].removesuffix(".weight")] = gamma / np.sqrt(
                variance + LEAST_EPSILON
            )
    return scales


def test_ultraface_is_the_same_network_as_its_onnx_file(zoo: Path) -> None:
    """Raw filters times the scale of the norm that follows are the folded ones."""
    contents = contents_of(zoo / "weights" / "ultraface--rfb-320.tflite")
    original = filterdb.read(zoo / "weights" / "ultraface--rfb-320.onnx").layers
    scales = onnx_scales(zoo / "weights" / "ultraface--rfb-320.onnx")
    left = {layer.name: layer for layer in original}
    by_state: dict[str, int] = {}
    for tensor in contents.tensors:
        assert tensor.conv is not None
        state = tensor.conv.state
        by_state[state] = by_state.get(state, 0) + 1
        values = tensor.load()
        best, error = "", np.inf
        for name, layer in left.items():
            if layer.shape != tensor.shape or (name in scales) != (state != "no_norm"):
                continue
            expected = layer.weights.astype(np.float64)
            if state == "folded":
                expected = expected * scales[name][:, None, None, None]
            found = float(np.abs(expected - values).max())
            best, error = (name, found) if found < error else (best, error)
        assert error <= (1e-6 * np.abs(values).max() if state == "folded" else 0), tensor.name
        if tensor.conv.norm is not None:
            np.testing.assert_allclose(tensor.conv.norm.scale(), scales[best], rtol=1e-6)
        del left[best]
    assert left == {}
    assert by_state == {"folded": 34, "raw": 1, "no_norm": 17}


COUNTS = {  # file: layers and 3x3 filters of the manifest
    "fastestdet--custom-820682f": (70, 1104),
    "tflite-gles--hair-segmentation": (123, 1024),
    "tflite-gles--style-transfer-f16-384": (42, 11520),
    # 32 nodes use 9 weights: the manifest counts the nodes, and a weight counts once.
    "basic-pitch--nmp": (9, 33),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_the_zoo(zoo: Path, name: str) -> None:
    layers = filterdb.read(zoo / "weights" / f"{name}.tflite").layers
    threes = sum(layer.n_filters for layer in layers if layer.kernel == (3, 3))
    assert (len(layers), threes) == COUNTS[name]


def test_the_custom_transposed_convolution_of_mediapipe(zoo: Path) -> None:
    layers = filterdb.read(zoo / "weights" / "tflite-gles--hair-segmentation.tflite").layers
    transposed = [layer for layer in layers if layer.kind == "transposed"]
    assert [layer.shape for layer in transposed] == [
        (8, 8, 3, 3), (8, 8, 3, 3), (4, 4, 3, 3), (8, 32, 2, 2), (2, 8, 2, 2),
    ]  # fmt: skip
