"""What lies between a stored weight and its convolution, against onnxruntime."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import computed, make, read, stored, weights

node = helper.make_node
Nodes = list[onnx.NodeProto]
Tensors = dict[str, np.ndarray]

RNG = np.random.default_rng(3)
HWIO = weights(3, 3, 2, 4)
OIHW = weights(4, 2, 3, 3)
INT8 = RNG.integers(-128, 128, (4, 2, 3, 3)).astype(np.int8)
UINT8 = RNG.integers(0, 256, (4, 2, 3, 3)).astype(np.uint8)
SCALES = np.array([0.1, 0.02, 0.3, 0.004], np.float32)
ZEROS = np.array([1, -2, 3, -4], np.int8)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


CHAINS: dict[str, tuple[Nodes, Tensors, str]] = {
    "identity": ([node("Identity", ["w"], ["v"])], {"w": OIHW}, "float32"),
    "transpose": ([node("Transpose", ["w"], ["v"], perm=[3, 2, 0, 1])], {"w": HWIO}, "float32"),
    "transpose without perm": ([node("Transpose", ["w"], ["v"])], {"w": HWIO}, "float32"),
    "cast from half": (
        [node("Cast", ["w"], ["v"], to=TensorProto.FLOAT)],
        {"w": OIHW.astype(np.float16)},
        "float16",
    ),
    "cast to half and back": (
        [
            node("Cast", ["w"], ["h"], to=TensorProto.FLOAT16),
            node("Cast", ["h"], ["v"], to=TensorProto.FLOAT),
        ],
        {"w": OIHW},
        "float32",
    ),
    "cast to bfloat16 and back": (
        [
            node("Cast", ["w"], ["h"], to=TensorProto.BFLOAT16),
            node("Cast", ["h"], ["v"], to=TensorProto.FLOAT),
        ],
        {"w": OIHW},
        "float32",
    ),
    "reshape": (
        [node("Reshape", ["w", "s"], ["v"])],
        {"w": weights(4, 18), "s": ints(0, 2, -1, 3)},
        "float32",
    ),
    "squeeze": (
        [node("Squeeze", ["w", "a"], ["v"])],
        {"w": OIHW[None, ..., None], "a": ints(0, -1)},
        "float32",
    ),
    "squeeze all": ([node("Squeeze", ["w"], ["v"])], {"w": OIHW[None, ..., None]}, "float32"),
    "unsqueeze": (
        [node("Unsqueeze", ["w", "a"], ["v"])],
        {"w": weights(4, 3), "a": ints(1, -1)},
        "float32",
    ),
    "dequantised as a whole": (
        [node("DequantizeLinear", ["w", "s", "z"], ["v"])],
        {"w": UINT8, "s": np.float32(0.05), "z": np.uint8(131)},
        "uint8",
    ),
    "dequantised without a zero point": (
        [node("DequantizeLinear", ["w", "s"], ["v"])],
        {"w": INT8, "s": np.float32(0.05)},
        "int8",
    ),
    "dequantised per channel": (
        [node("DequantizeLinear", ["w", "s", "z"], ["v"], axis=0)],
        {"w": INT8, "s": SCALES, "z": ZEROS},
        "int8",
    ),
    "dequantised per channel, then turned": (
        [
            node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=-1),
            node("Transpose", ["d"], ["v"], perm=[3, 2, 0, 1]),
        ],
        {"w": INT8.transpose(2, 3, 1, 0).copy(), "s": SCALES, "z": ZEROS},
        "int8",
    ),
    "quantised and back": (
        [
            node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=0),
            node("DequantizeLinear", ["q", "s", "z"], ["v"], axis=0),
        ],
        {"w": OIHW, "s": SCALES, "z": ZEROS},
        "float32",
    ),
    "quantised to uint8 by default": (
        [
            node("QuantizeLinear", ["w", "s"], ["q"]),
            node("DequantizeLinear", ["q", "s"], ["v"]),
        ],
        {"w": OIHW, "s": np.float32(0.01)},
        "float32",
    ),
    "scale through a cast": (
        [
            node("Cast", ["h"], ["s"], to=TensorProto.FLOAT),
            node("DequantizeLinear", ["w", "s"], ["v"], axis=0),
        ],
        {"w": INT8, "h": SCALES.astype(np.float16)},
        "int8",
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_followed_operators_do_what_onnxruntime_does(tmp_path: Path, case: str) -> None:
    nodes, tensors, dtype = CHAINS[case]
    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    model = make([*nodes, node("Conv", ["x", "v"], ["y"])], stored(**arrays))
    (tensor,) = read(model, tmp_path).tensors
    assert (tensor.name, tensor.dtype) == ("w", dtype)
    array = tensor.load()
    assert array.shape == tensor.shape
    expected = computed(model, "v")
    np.testing.assert_allclose(array, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("form", ["attribute", "input"])
def test_old_opsets_state_axes_as_attributes(tmp_path: Path, form: str) -> None:
    if form == "attribute":
        nodes, tensors = [node("Unsqueeze", ["w"], ["v"], axes=[2, 3])], {"w": weights(4, 3)}
    else:
        nodes = [node("Unsqueeze", ["w", "a"], ["v"])]
        tensors = {"w": weights(4, 3), "a": ints(2, 3)}
    model = make([*nodes, node("Conv", ["x", "v"], ["y"])], stored(**tensors), opset=11)
    assert read(model, tmp_path).tensors[0].shape == (4, 3, 1, 1)


@pytest.mark.parametrize(
    "held",
    [
        {"value": numpy_helper.from_array(OIHW)},
        {"value_floats": OIHW.ravel().tolist()},
        {"sparse_value": helper.make_sparse_tensor(
            numpy_helper.from_array(OIHW.ravel()),
            numpy_helper.from_array(np.arange(OIHW.size)),
            OIHW.shape,
        )},
    ],
    ids=lambda held: next(iter(held)),
)  # fmt: skip
def test_constant_nodes_hold_weights_too(tmp_path: Path, held: dict[str, Any]) -> None:
    nodes = [
        node("Constant", [], ["k"], **held),
        node("Reshape", ["k", "s"], ["v"]),
        node("Conv", ["x", "v"], ["y"]),
    ]
    (tensor,) = read(make(nodes, stored(s=ints(*OIHW.shape))), tmp_path).tensors
    assert tensor.name == "k"
    np.testing.assert_array_equal(tensor.load(), OIHW)


def test_shapes_may_be_constants_of_one_integer(tmp_path: Path) -> None:
    nodes = [
        node("Constant", [], ["a"], value_ints=[3]),
        node("Unsqueeze", ["w", "a"], ["v"]),
        node("Conv", ["x", "v"], ["y"]),
    ]
    (tensor,) = read(make(nodes, stored(w=weights(4, 2, 3))), tmp_path).tensors
    assert tensor.shape == (4, 2, 3, 1)


@pytest.mark.parametrize("per_channel", [True, False])
def test_qlinearconv_is_dequantised(tmp_path: Path, per_channel: bool) -> None:
    scale, zero = (SCALES, ZEROS) if per_channel else (SCALES[0], ZEROS[0])
    tensors = stored(
        xs=np.float32(1), xz=np.uint8(0), w=INT8, ws=np.asarray(scale), wz=np.asarray(zero)
    )
    inputs = ["x", "xs", "xz", "w", "ws", "wz", "xs", "xz"]
    model = make([node("QLinearConv", inputs, ["y"])], tensors)
    (tensor,) = read(model, tmp_path).tensors
    assert (tensor.name, tensor.dtype) == ("w", "int8")
    scale, zero = (np.reshape(a, (-1, 1, 1, 1)) for a in (scale, zero))
    expected = (INT8.astype(np.float32) - zero) * scale
    np.testing.assert_allclose(tensor.load(), expected, rtol=1e-6)


def test_convinteger_has_its_zero_point_taken_off(tmp_path: Path) -> None:
    tensors = stored(xz=np.uint8(0), w=UINT8, wz=np.uint8(100))
    model = make([node("ConvInteger", ["x", "w", "xz", "wz"], ["y"])], tensors)
    contents = read(model, tmp_path)
    np.testing.assert_array_equal(contents.tensors[0].load(), UINT8.astype(np.float32) - 100)
    assert any("without a scale" in note for note in contents.notes)


@pytest.mark.parametrize(
    ("nodes", "tensors", "reason"),
    [
        (
            [node("DequantizeLinear", ["w", "s"], ["v"], axis=0, block_size=2)],
            {"w": INT8, "s": weights(2, 2, 3, 3)},
            "quantised in blocks",
        ),
        (
            [node("DequantizeLinear", ["w", "x"], ["v"])],
            {"w": INT8},
            "'x' is an input of the graph",
        ),
        (
            [node("DequantizeLinear", ["w", "s"], ["v"])],
            {"w": INT8, "s": weights(5)},
            "does not fit its shape",
        ),
        ([node("Transpose", ["w"], ["v"], perm=[0, 1, 1, 2])], {"w": OIHW}, "does not fit"),
        (
            [node("Reshape", ["w", "s"], ["v"])],
            {"w": OIHW, "s": ints(10**6, 10**6, 1, 1)},
            "does not fit",
        ),
        ([node("Reshape", ["w", "x"], ["v"])], {"w": OIHW}, "'x' is an input of the graph"),
        ([node("Cast", ["w"], ["v"], to=TensorProto.STRING)], {"w": OIHW}, "Cast to"),
        ([node("Cast", ["w"], ["v"], to=TensorProto.FLOAT8E5M2)], {"w": OIHW}, "Cast to"),
        ([node("Transpose", [], ["v"])], {"w": OIHW}, "lacks its input"),
        (
            [node("Constant", [], ["v"], value_strings=["a"])],
            {},
            "no number",
        ),
        (
            [node("Identity", ["s"], ["v"])],
            {"s": np.array(["a", "b"])},
            "element type 8",
        ),
    ],
)
def test_what_cannot_be_followed_is_skipped_with_the_reason(
    tmp_path: Path, nodes: Nodes, tensors: Tensors, reason: str
) -> None:
    model = make([*nodes, node("Conv", ["x", "v"], ["y"], name="conv")], stored(**tensors))
    contents = read(model, tmp_path)
    assert contents.tensors == ()
    assert contents.skipped[0].name == "conv"
    assert reason in contents.skipped[0].reason


def test_long_chains_of_identities_are_followed(tmp_path: Path) -> None:
    names = ["w", *(f"v{i}" for i in range(10_000))]
    nodes = [node("Identity", [a], [b]) for a, b in pairwise(names)]
    model = make([*nodes, node("Conv", ["x", names[-1]], ["y"])], stored(w=OIHW))
    np.testing.assert_array_equal(read(model, tmp_path).tensors[0].load(), OIHW)


@pytest.mark.parametrize("kind", ["steps", "scales"])
def test_long_chains_of_work_are_not(tmp_path: Path, kind: str) -> None:
    names = ["s", *(f"v{i}" for i in range(1000))]
    pairs = pairwise(names)
    if kind == "steps":
        nodes = [node("Cast", [a], [b], to=TensorProto.FLOAT) for a, b in pairs]
    else:  # each scale is dequantised with the scale before it
        nodes = [node("DequantizeLinear", ["w", a], [b]) for a, b in pairs]
    tensors = stored(w=np.ones((1, 1, 1, 1), np.int8), s=np.ones((1, 1, 1, 1), np.float32))
    model = make([*nodes, node("Conv", ["x", names[-1]], ["y"])], tensors)
    contents = read(model, tmp_path)
    assert contents.tensors == ()
    assert "more than 64 operators" in contents.skipped[0].reason


@pytest.mark.parametrize("same", [True, False])
def test_one_tensor_with_two_scales_is_two_layers(tmp_path: Path, same: bool) -> None:
    scales = [0.5, 0.5] if same else [0.5, 2.0]
    model = make(
        [
            node("DequantizeLinear", ["q", "s"], ["a"]),
            node("DequantizeLinear", ["q", "s" if same else "t"], ["b"]),
            node("Conv", ["x", "a"], ["c"]),
            node("Conv", ["c", "b"], ["y"], name="second"),
        ],
        stored(
            q=np.arange(9, dtype=np.int8).reshape(1, 1, 3, 3),
            s=np.float32(scales[0]),
            t=np.float32(scales[1]),
        ),
    )
    contents = read(model, tmp_path)
    assert len({tensor.name for tensor in contents.tensors}) == (1 if same else 2)
    for tensor, name in zip(contents.tensors, "ab", strict=False):
        np.testing.assert_array_equal(tensor.load(), computed(model, name))
    assert [item.reason for item in contents.skipped] == (
        ["shares the weights of layer 'q'"] if same else []
    )


def test_the_same_permutation_twice_is_one_layer(tmp_path: Path) -> None:
    turns = [node("Transpose", ["w"], [name], perm=[1, 0, 2, 3]) for name in "ab"]
    convs = [node("Conv", ["x", "a"], ["c"]), node("Conv", ["c", "b"], ["y"])]
    contents = read(make([*turns, *convs], stored(w=weights(2, 2, 3, 3))), tmp_path)
    assert len(contents.tensors) == len(contents.skipped) == 1
