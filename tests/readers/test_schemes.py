"""How quantised values stand for real ones: told by every reader, and kept in the catalogue."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import filterdb

CODES = np.random.default_rng(0).integers(-9, 9, size=(4, 3, 3, 3)).astype(np.int8)


def dequantised(path: Path, scale: list[float], zero: list[int] | None) -> Path:
    """A convolution whose weight is dequantised in the graph."""
    per_channel = len(scale) > 1
    shape = (-1,) if per_channel else ()
    constants = [
        numpy_helper.from_array(CODES, "q"),
        numpy_helper.from_array(np.array(scale, np.float32).reshape(shape), "s"),
    ]
    if zero is not None:
        constants.append(numpy_helper.from_array(np.array(zero, np.int8).reshape(shape), "z"))
    inputs = ["q", "s", "z"][: len(constants)]
    nodes = [
        helper.make_node("DequantizeLinear", inputs, ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants)), path)
    return path


@pytest.mark.parametrize(
    ("scale", "zero", "scheme"),
    [
        ([0.1], None, "per-tensor, symmetric"),
        ([0.1], [0], "per-tensor, symmetric"),
        ([0.1], [3], "per-tensor, affine"),
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0], "per-channel, symmetric"),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 0], "per-channel, affine"),
    ],
)
def test_onnx(tmp_path: Path, scale: list[float], zero: list[int] | None, scheme: str) -> None:
    (layer,) = filterdb.read(dequantised(tmp_path / "a.onnx", scale, zero)).layers
    assert (layer.dtype, layer.scheme) == ("int8", scheme)
    shape = (-1, 1, 1, 1)
    expected = (CODES - np.reshape(zero or [0], shape)) * np.reshape(scale, shape)
    np.testing.assert_allclose(layer.weights, expected, rtol=1e-6)


def test_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    real = torch.randn(4, 3, 3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tenth = torch.full((4,), 0.1)
        state = {
            "a.weight": torch.quantize_per_tensor(real, 0.1, 0, torch.qint8),
            "b.weight": torch.quantize_per_tensor(real, 0.1, 3, torch.quint8),
            "c.weight": torch.quantize_per_channel(real, tenth, torch.zeros(4), 0, torch.qint8),
            "d.weight": real,
        }
        torch.save(state, tmp_path / "a.pth")
    told = [(layer.dtype, layer.scheme) for layer in filterdb.read(tmp_path / "a.pth").layers]
    assert told == [
        ("qint8", "per-tensor, symmetric"),
        ("quint8", "per-tensor, affine"),
        ("qint8", "per-channel, affine"),  # as torch calls it, whatever its zero points are
        ("float32", ""),
    ]


def test_the_catalogue_keeps_type_scheme_and_zeros(tmp_path: Path) -> None:
    db = filterdb.open(tmp_path / "db")
    db.ingest(dequantised(tmp_path / "a.onnx", [0.1], [0]), jobs=1)
    (layer,) = db.layers()
    assert (layer["dtype"], layer["scheme"]) == ("int8", "per-tensor, symmetric")
    n_zero = int((CODES == 0).sum())
    empty = int((~CODES.reshape(12, 9).any(axis=1)).sum())
    told = tuple(layer[name] for name in ("n_zero", "n_zero_filters", "n_zero_channels"))
    assert told == (n_zero, empty, 0)
    assert n_zero > 0
    assert db.verify().findings == ()
