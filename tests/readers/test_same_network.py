"""One network in several formats gives the same filters, to the precision of its dtype."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import filterdb
from filterdb.layer import ConvLayer


def folded_onnx(path: Path) -> list[np.ndarray]:
    """The weights of an ONNX file in layer order, the norm that follows multiplied in."""
    graph = onnx.load(str(path)).graph
    held = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    norms = {node.input[0]: node for node in graph.node if node.op_type == "BatchNormalization"}
    factors = {}
    for node in graph.node:
        if node.op_type == "Conv" and node.output[0] in norms:
            norm = norms[node.output[0]]
            epsilon = next(a.f for a in norm.attribute if a.name == "epsilon")
            gamma, variance = held[norm.input[1]], held[norm.input[4]]
            factors[node.input[1].removesuffix(".weight")] = gamma / np.sqrt(variance + epsilon)
    return [
        layer.weights * factors.get(layer.name, np.ones(len(layer.weights)))[:, None, None, None]
        for layer in filterdb.read(path).layers
    ]


def layers(path: Path) -> tuple[ConvLayer, ...]:
    return filterdb.read(path).layers


def test_ultraface_in_caffe_and_ncnn(zoo: Path) -> None:
    caffe = layers(zoo / "weights" / "ultraface--rfb-320.caffemodel")
    for suffix in ("param", "bin"):
        ncnn = layers(zoo / "weights" / f"ultraface--rfb-320.ncnn.{suffix}")
        assert len(caffe) == len(ncnn) == 52
        for ours, theirs in zip(caffe, ncnn, strict=True):
            facts = (ours.name, ours.kind, ours.groups, ours.stride, ours.dilation, ours.conv_depth)
            assert facts == (theirs.name, theirs.kind, theirs.groups, theirs.stride,
                             theirs.dilation, theirs.conv_depth)  # fmt: skip
            np.testing.assert_array_equal(ours.weights, theirs.weights)


@pytest.mark.parametrize("name", ["rfb-320", "slim-320"])
def test_ultraface_in_caffe_and_onnx(zoo: Path, name: str) -> None:
    caffe = layers(zoo / "weights" / f"ultraface--{name}.caffemodel")
    raw = folded_onnx(zoo / "weights" / f"ultraface--{name}.onnx")
    assert len(caffe) == len(raw)
    for ours, theirs in zip(caffe, raw, strict=True):
        np.testing.assert_allclose(ours.weights, theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("caffe", "torch"), [("det1", "pnet"), ("det2", "rnet")])
def test_mtcnn_in_caffe_and_torch(zoo: Path, caffe: str, torch: str) -> None:
    """Its authors trained it on images turned about their diagonal; the port to torch did not."""
    ours = layers(zoo / "weights" / f"mtcnn--{caffe}.caffemodel")
    theirs = layers(zoo / "weights" / f"facenet-pytorch--mtcnn-{torch}.pt")
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.weights.swapaxes(2, 3), b.weights)
