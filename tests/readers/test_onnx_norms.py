"""Norms of ONNX graphs: followed, written out, folded, and what does not tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import make, read, stored, weights

from filterdb.layer import Convolution

NORM = {
    "gamma": weights(4, seed=1), "beta": weights(4, seed=2), "mean": weights(4, seed=3),
    "var": np.abs(weights(4, seed=4)) + 0.1,
}  # fmt: skip


def conv(bias: str = "", *, name: str = "w", to: str = "c") -> onnx.NodeProto:
    return helper.make_node("Conv", ["x", name, *([bias] if bias else [])], [to])


def batch_norm(given: str = "c", to: str = "y", **more: float) -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", [given, *NORM], [to], **more)


def stated(folder: Path, nodes: list[onnx.NodeProto], **arrays: np.ndarray) -> Convolution:
    held = {"w": weights(4, 3, 3, 3)} | arrays
    (tensor, *_) = read(make(nodes, stored(**held)), folder).tensors
    assert tensor.conv is not None
    return tensor.conv


def scale_of(found: Convolution) -> np.ndarray:
    assert found.state == "raw"
    assert found.norm is not None
    return found.norm.scale()


def test_a_norm_that_follows_with_its_epsilon(tmp_path: Path) -> None:
    found = stated(tmp_path, [conv(), batch_norm(epsilon=0.5)], **NORM)
    np.testing.assert_allclose(scale_of(found), NORM["gamma"] / np.sqrt(NORM["var"] + 0.5))
    assert found.evidence == "followed by batch normalisation 'gamma'"
    usual = stated(tmp_path, [conv(), batch_norm()], **NORM)
    np.testing.assert_allclose(scale_of(usual), NORM["gamma"] / np.sqrt(NORM["var"] + 1e-5))


@pytest.mark.parametrize("op", ["Identity", "Dropout"])
def test_what_changes_nothing_may_stand_between(op: str, tmp_path: Path) -> None:
    between = helper.make_node(op, ["c"], ["d"])
    assert stated(tmp_path, [conv(), between, batch_norm("d")], **NORM).state == "raw"


def test_an_activation_between_ends_it(tmp_path: Path) -> None:
    between = helper.make_node("Relu", ["c"], ["d"])
    assert stated(tmp_path, [conv(), between, batch_norm("d")], **NORM).state == "no_norm"


def test_a_second_use_of_the_output_makes_it_unknown(tmp_path: Path) -> None:
    also = helper.make_node("Relu", ["c"], ["z"])
    assert stated(tmp_path, [conv(), batch_norm(), also], **NORM).state == "unknown"


def test_a_norm_written_out_as_factor_and_shift(tmp_path: Path) -> None:
    nodes = [
        conv(), helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Add", ["m", "t"], ["a"]), helper.make_node("Relu", ["a"], ["y"]),
    ]  # fmt: skip
    factor = weights(1, 4, 1, 1)
    found = stated(tmp_path, nodes, s=factor, t=weights(4, 1, 1))
    np.testing.assert_allclose(scale_of(found), factor.reshape(-1))
    along_the_width = stated(tmp_path, nodes, s=weights(4), t=weights(4))
    assert along_the_width.norm is None


def test_parameters_that_are_computed_give_no_scale(tmp_path: Path) -> None:
    made = helper.make_node("Relu", ["x"], ["gamma"])
    arrays = {name: array for name, array in NORM.items() if name != "gamma"}
    assert stated(tmp_path, [made, conv(), batch_norm()], **arrays).norm is None


def test_numbers_among_names_of_modules_are_the_exporters_mark(tmp_path: Path) -> None:
    nodes = [
        conv("onnx::Conv_8", name="onnx::Conv_7"),
        helper.make_node("Conv", ["c", "head.weight", "head.bias"], ["y"]),
    ]
    arrays = {
        "onnx::Conv_7": weights(4, 3, 3, 3), "onnx::Conv_8": weights(4),
        "head.weight": weights(2, 4, 1, 1), "head.bias": weights(2),
    }  # fmt: skip
    first, head = read(make(nodes, stored(**arrays)), tmp_path).tensors
    assert first.conv is not None
    assert head.conv is not None
    assert first.conv.state == "folded"
    assert "'onnx::Conv_7'" in first.conv.evidence
    assert head.conv.state == "no_norm"


def test_numbers_alone_tell_nothing(tmp_path: Path) -> None:
    found = stated(tmp_path, [conv("8", name="7", to="y")], **{"7": weights(4, 3, 3, 3),
                                                              "8": weights(4)})  # fmt: skip
    assert found.state == "unknown"


def test_names_of_fused_norms(tmp_path: Path) -> None:
    names = {"conv_W_fused_bn": weights(4, 3, 3, 3), "conv_b_fused_bn": weights(4)}
    found = stated(tmp_path, [conv("conv_b_fused_bn", name="conv_W_fused_bn", to="y")], **names)
    assert found.state == "folded"


def test_without_a_bias_nothing_was_folded(tmp_path: Path) -> None:
    assert stated(tmp_path, [conv(to="y")]).state == "no_norm"
    assert stated(tmp_path, [conv("b", to="y")], b=weights(4)).state == "unknown"


def test_integer_convolutions_are_not_judged_by_what_rescales_them(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConvInteger", ["x", "w"], ["c"]),
        helper.make_node("Cast", ["c"], ["f"], to=1),
        helper.make_node("Mul", ["f", "s"], ["m"]), helper.make_node("Add", ["m", "t"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]  # fmt: skip
    arrays = {"w": weights(4, 3, 3, 3).astype(np.int8), "s": weights(4, 1, 1)}
    assert stated(tmp_path, nodes, **arrays, t=weights(4, 1, 1)).state == "unknown"
