"""TensorFlow's graphs and SavedModels, against what TensorFlow itself holds (scripts/...)."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_recognised import field, varint

import filterdb
from filterdb.errors import CorruptFileError, LimitError, NoConvolutionError, ReadError
from filterdb.layer import Contents
from filterdb.readers.head import Head
from filterdb.readers.registry import read_contents

FILES = Path(__file__).parent / "files" / "tensorflow"
SAVED = {"keras_saved": 6, "keras3_saved": 6, "module_saved": 2, "v1_saved": 3}


def expected(name: str) -> list[np.ndarray]:
    held = np.load(FILES / f"{name}.npz")
    return [held[key] for key in held.files if key.isdigit()]


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(FILES / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def contents(path: Path) -> Contents:
    return read_contents(Head.of(path))


def by_name(found: Contents) -> dict[str, object]:
    return {tensor.name: tensor for tensor in found.tensors}


def test_a_frozen_graph_holds_what_tensorflow_held() -> None:
    layers = filterdb.read(FILES / "frozen.pb").layers
    for layer, weights in zip(layers, expected("frozen"), strict=True):
        np.testing.assert_array_equal(layer.weights, weights, err_msg=layer.name)
    assert [layer.name for layer in layers] == [
        "first/weights", "second/depthwise_weights", "grouped/weights", "half/weights",
        "up/weights", "same/weights", "BatchNorm/folded",
    ]  # fmt: skip
    kinds = ["conv", "depthwise", "grouped", "conv", "transposed", "conv", "conv"]
    assert [layer.kind for layer in layers] == kinds
    assert [layer.groups for layer in layers] == [1, 4, 4, 1, 1, 1, 1]
    assert [layer.conv_depth for layer in layers] == list(range(7))
    assert {layer.depth_source for layer in layers} == {"graph"}
    assert layers[0].stride == (2, 1)
    assert layers[3].dilation == (2, 2)
    assert layers[5].dilation == (2, 2)  # by blocks
    assert layers[3].dtype == "float16"


def test_what_is_computed_is_skipped_with_the_reason() -> None:
    found = filterdb.read(FILES / "frozen.pb")
    reasons = {item.name: item.reason for item in found.skipped}
    assert "computed by Tile" in reasons["made/conv"]
    assert "not stored" in reasons["moving/conv"]
    assert "FakeQuant" in found.notes[0]


def test_norms_fused_and_written_out_and_folded() -> None:
    tensors = by_name(contents(FILES / "frozen.pb"))
    scales = np.load(FILES / "frozen.npz")
    states = {name: tensor.conv.state for name, tensor in tensors.items()}
    assert states["first/weights"] == states["grouped/weights"] == "raw"
    assert states["BatchNorm/folded"] == "folded"
    assert states["second/depthwise_weights"] == states["half/weights"] == "no_norm"
    for name, key in (("first/weights", "scale0"), ("grouped/weights", "scale2")):
        norm = tensors[name].conv.norm
        np.testing.assert_allclose(norm.scale(), scales[key], rtol=1e-5)
        assert norm.name in tensors[name].conv.evidence


def test_quantised_weights_are_those_that_tensorflow_computes() -> None:
    found = contents(FILES / "quantised.pb")
    schemes = [tensor.scheme for tensor in found.tensors]
    assert schemes[0] == "per-tensor, affine (MIN_COMBINED)"
    assert schemes[-1] == "per-channel, symmetric (SCALED)"
    assert [tensor.dtype for tensor in found.tensors] == ["uint8", "int8"] * 3 + ["int8"]
    for tensor, weights in zip(found.tensors, expected("quantised"), strict=True):
        if "MIN_FIRST" not in tensor.scheme:
            np.testing.assert_allclose(tensor.load(), weights, rtol=0, atol=3e-7)
            continue
        # The kernel moves all values by up to half a step, unlike the operator's documentation.
        moved = tensor.load() - weights
        step = np.diff(np.unique(weights)).min()
        assert np.ptp(moved) < 1e-6
        assert abs(moved.mean()) <= step / 2


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("given", ["", "saved_model.pb"])
def test_a_saved_model(tmp_path: Path, name: str, given: str) -> None:
    path = unpacked(name, tmp_path)
    found = contents(path / given)
    layers = filterdb.read(path / given).layers
    assert found.format == "saved-model"
    assert found.producer == "tensorflow 2.21.0"
    assert len(layers) == SAVED[name]
    for layer, weights in zip(layers, expected(name), strict=True):
        np.testing.assert_array_equal(layer.weights, weights, err_msg=layer.name)
    assert {layer.depth_source for layer in layers} == {"graph"}
    files = {"variables.index", "variables.data-00000-of-00001"}
    files |= {"saved_model.pb"} if not given else set()
    assert {path.name for path in found.companions} == files


@pytest.mark.parametrize("name", ["keras_saved", "keras3_saved"])
def test_a_keras_network_in_a_saved_model(tmp_path: Path, name: str) -> None:
    path = unpacked(name, tmp_path)
    layers = filterdb.read(path).layers
    kinds = ["conv", "depthwise", "depthwise", "conv", "conv", "transposed"]
    assert [layer.kind for layer in layers] == kinds
    assert [layer.stride for layer in layers][::5] == [(2, 2), (2, 2)]
    assert layers[4].dilation == (2, 2)
    convs = [tensor.conv for tensor in contents(path).tensors]
    assert [conv.state for conv in convs] == ["raw", *["no_norm"] * 5]
    scale = np.load(FILES / f"{name}.npz")["scale0"]
    np.testing.assert_allclose(convs[0].norm.scale(), scale, rtol=1e-6)


def test_functions_that_no_signature_calls(tmp_path: Path) -> None:
    found = filterdb.read(unpacked("module_saved", tmp_path))
    assert "No signature calls the network" in " ".join(found.notes)


def test_a_saved_model_whose_data_are_missing(tmp_path: Path) -> None:
    path = unpacked("keras_saved", tmp_path)
    (path / "variables" / "variables.data-00000-of-00001").unlink()
    with pytest.raises(ReadError, match=r"variables\.data-00000-of-00001, which is missing"):
        filterdb.read(path)


def test_variables_do_not_come_through_a_link(tmp_path: Path) -> None:
    path = unpacked("keras_saved", tmp_path)
    (path / "variables").rename(tmp_path / "elsewhere")
    (path / "variables").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReadError, match="link that leads out"):
        filterdb.read(path)


# By hand: what TensorFlow would not write


def attribute(name: str, value: bytes) -> bytes:
    return field(5, field(1, name.encode()) + field(2, value))


def node(name: str, op: str, *inputs: str, attributes: bytes = b"") -> bytes:
    listed = b"".join(field(3, text.encode()) for text in inputs)
    return field(1, field(1, name.encode()) + field(2, op.encode()) + listed + attributes)


def constant(name: str, shape: tuple[int, ...], values: bytes) -> bytes:
    extents = b"".join(field(2, field(1, size)) for size in shape)
    tensor = field(1, 1) + field(2, extents) + values
    return node(name, "Const", attributes=attribute("value", field(8, tensor)))


FLOATS = field(5, np.ones(36, "<f4").tobytes())
PLAIN = constant("w", (3, 3, 1, 4), FLOATS) + node("x", "Placeholder")


def written(path: Path, content: bytes) -> Path:
    (path / "a.pb").write_bytes(content)
    return path / "a.pb"


def test_a_weight_of_two_nodes_counts_once(tmp_path: Path) -> None:
    content = PLAIN + node("a", "Conv2D", "x", "w") + node("b", "Conv2D", "a", "w")
    found = filterdb.read(written(tmp_path, content))
    assert len(found.layers) == 1
    assert found.skipped[0].name == "b"
    assert found.skipped[0].reason == "shares the weights of layer 'w'"


def test_channels_that_nothing_tells(tmp_path: Path) -> None:
    (layer,) = filterdb.read(written(tmp_path, PLAIN + node("a", "Conv2D", "x", "w"))).layers
    assert layer.kind == "unknown"


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (node("x", "Placeholder"), NoConvolutionError, "no convolution weights"),
        (PLAIN + PLAIN, CorruptFileError, "same name"),
        (
            PLAIN + node("a", "Conv2D", "b", "w") + node("b", "Relu", "a"),
            CorruptFileError,
            "cycle",
        ),
        (
            constant("w", (3, 3, 2**20, 2**20), b"") + node("a", "Conv2D", "x", "w"),
            LimitError,
            "repeated constant",
        ),
        (constant("w", (3, 3, 1, 1), FLOATS) + node("a", "Conv2D", "x", "w"), ReadError, "36"),
        (
            constant("w", (3, 3, 1, 4), field(4, b"abc")) + node("a", "Conv2D", "x", "w"),
            CorruptFileError,
            "takes 144 bytes",
        ),
    ],
)
def test_graphs_that_cannot_be(
    tmp_path: Path, content: bytes, error: type[Exception], words: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(error, match=words):
        [layer.weights for layer in filterdb.read(path).layers]


def quint8(name: str, shape: tuple[int, ...], values: np.ndarray) -> bytes:
    extents = b"".join(field(2, field(1, size)) for size in shape)
    tensor = field(1, 12) + field(2, extents) + field(7, values.astype(np.uint8).tobytes())
    return node(name, "Const", attributes=attribute("value", field(8, tensor)))


def ends(*values: float) -> tuple[bytes, tuple[int, ...]]:
    shape = (len(values),) if len(values) > 1 else ()
    return field(5, np.array(values, "<f4").tobytes()), shape


@pytest.mark.parametrize(
    ("op", "between", "high"),
    [
        ("QuantizedConv2D", ["r", "r"], [3.0]),
        ("QuantizedConv2DWithBiasAndRelu", ["r", "r", "r"], [3.0]),
        ("QuantizedConv2DPerChannel", ["r", "r"], [3.0, 4.0]),
        ("QuantizedDepthwiseConv2DWithBias", ["r", "r", "r"], [3.0, 4.0]),
    ],
)
def test_operators_on_integers(
    tmp_path: Path, op: str, between: list[str], high: list[float]
) -> None:
    stored = np.arange(8) * 15  # below 128: a byte each
    held, extents = ends(*high)
    low, _ = ends(*[-1.0] * len(high))
    content = (
        quint8("q", (2, 2, 2, 1) if "Depth" in op else (2, 2, 1, 2), stored)
        + constant("low", extents, low)
        + constant("high", extents, held)
        + constant("r", (), field(5, b"\0\0\x80\x3f"))
        + node("x", "Placeholder")
        + node("c", op, "x", "q", *between, "low", "high")
    )
    (layer,) = filterdb.read(written(tmp_path, content)).layers
    top = np.array(high, np.float32).reshape(-1, 1, 1, 1)
    plain = stored.reshape(2, 2, 2).transpose(2, 0, 1)[:, None]
    np.testing.assert_allclose(layer.weights, plain * (top + 1) / 255 - 1, atol=1e-6)
    assert layer.dtype == "uint8"


def test_integers_of_any_length() -> None:
    from filterdb.readers.tensorflow.message import packed_integers

    values = [0, 1, 127, 128, 2**31, 2**63 - 1, -1, -(2**63)] * 200_000
    encoded = b"".join(varint(value % 2**64) for value in values[:8]) * 200_000
    np.testing.assert_array_equal(packed_integers(np.frombuffer(encoded, np.uint8)), values)
    for bad in (b"\x80", b"\xff" * 11 + b"\0", b"\0\x80"):
        with pytest.raises(CorruptFileError):
            packed_integers(np.frombuffer(bad, np.uint8))


def test_a_fused_operator_with_its_norm(tmp_path: Path) -> None:
    four = (field(5, np.array(values, "<f4").tobytes()) for values in
            ([1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 0, 0], [3, 3, 3, 3]))  # fmt: skip
    parts = b"".join(constant(name, (4,), held) for name, held in zip("gbmv", four, strict=True))
    fused = attribute("fused_ops", field(1, field(2, b"FusedBatchNorm") + field(2, b"Relu")))
    epsilon = attribute("epsilon", b"\x25" + np.float32(1).tobytes())
    content = PLAIN + parts + node("c", "_FusedConv2D", "x", "w", *"gbmv",
                                   attributes=fused + epsilon)  # fmt: skip
    (tensor,) = contents(written(tmp_path, content)).tensors
    assert tensor.conv.state == "raw"
    np.testing.assert_allclose(tensor.conv.norm.scale(), [0.5, 1, 1.5, 2])


def test_a_loop_of_the_first_generation_is_no_cycle(tmp_path: Path) -> None:
    content = (
        PLAIN + node("in", "Enter", "x") + node("m", "Merge", "in", "next")
        + node("a", "Conv2D", "m", "w") + node("next", "NextIteration", "a")
    )  # fmt: skip
    assert len(filterdb.read(written(tmp_path, content)).layers) == 1


def function(name: str, *nodes: bytes) -> bytes:
    body = b"".join(field(3, one[2:] if one[1] < 0x80 else one[3:]) for one in nodes)
    return field(1, field(1, field(1, name.encode())) + body)


def test_functions_that_call_one_another_without_end(tmp_path: Path) -> None:
    library = field(2, function("f", node("a", "g")) + function("g", node("a", "f")))
    with pytest.raises(CorruptFileError, match="calling itself"):
        filterdb.read(written(tmp_path, PLAIN + node("a", "f") + library))


def test_functions_that_double_at_every_level(tmp_path: Path) -> None:
    levels = [function(f"f{i}", node("a", f"f{i + 1}"), node("b", f"f{i + 1}")) for i in range(40)]
    content = PLAIN + node("a", "f0") + field(2, b"".join(levels) + function("f40"))
    with pytest.raises(LimitError, match="functions"):
        filterdb.read(written(tmp_path, content))


def test_a_long_chain_of_nodes(tmp_path: Path) -> None:
    chain = b"".join(node(f"n{i + 1}", "Relu", f"n{i}") for i in range(5000))
    content = PLAIN + node("n0", "Conv2D", "x", "w") + chain + node("z", "Conv2D", "n5000", "n5000")
    found = filterdb.read(written(tmp_path, content))
    assert [item.name for item in found.skipped] == ["z"]


@pytest.mark.parametrize("name", ["frozen.pb", "quantised.pb"])
def test_damage_is_an_error_or_a_result(tmp_path: Path, name: str) -> None:
    data = (FILES / name).read_bytes()
    source = random.Random(len(data))
    copies = [data[:cut] for cut in source.sample(range(len(data)), 60)]
    for _ in range(250):
        copy = bytearray(data)
        copy[source.randrange(len(data))] ^= source.randrange(1, 256)
        copies.append(bytes(copy))
    refused = 0
    for copy in copies:
        path = written(tmp_path, copy)
        try:
            for layer in filterdb.read(path).layers:
                assert layer.weights.shape == layer.shape
        except ReadError:
            refused += 1
    assert 0 < refused < len(copies)


# The zoo

ZOO = {
    "ist510--mobilenetv1-0.50-224-imagenet-u8.pb": (28, 2528, "folded"),
    "ml-kws--crnn-s.pb": (1, 0, "unknown"),
    "mlkws--cnn-s.pb": (2, 0, "raw"),
    "mlkws--ds-cnn-m.pb": (9, 688, "raw"),
    "mlkws--ds-cnn-s.pb": (9, 256, "raw"),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo(zoo: Path, name: str) -> None:
    found = contents(zoo / "weights" / name)
    layers = filterdb.read(zoo / "weights" / name).layers
    threes = sum(layer.n_filters for layer in layers if layer.kernel == (3, 3))
    assert (len(layers), threes, found.tensors[0].conv.state) == ZOO[name]
    held = zoo / "exact" / f"{name}.npz"
    if held.exists():
        arrays = np.load(held)
        for layer, key in zip(layers, arrays.files, strict=True):
            np.testing.assert_array_equal(layer.weights, arrays[key], err_msg=layer.name)
            assert (layer.kind == "depthwise") == key.endswith("__dw")
