"""Checkpoints whose depthwise filters become affine copies of keys, and all else stays."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from time import time

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn

import filterdb
from filterdb.errors import (
    CorruptFileError,
    ExportError,
    KeySetError,
    ReadError,
    UnsupportedFormatError,
)
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeySet
from filterdb.keys.replacing.replacing import replace
from filterdb.keys.sets.set_file import save_keys

RNG = np.random.default_rng(7)
KEYS = KeySet("four", RNG.normal(size=(4, 3, 3)))
CHANNELS = 12


def by_hand(weights: np.ndarray, keys: KeySet = KEYS, *, min_r2: float = 0.0) -> np.ndarray:
    """The least-squares fit of each filter by each key with an offset; the best is taken."""
    result = weights.astype(np.float64).reshape(len(weights), -1)
    for row in result:
        if np.ptp(row) < 1e-5 * abs(row).max() or abs(row).max() <= 1e-4:
            continue
        fits = []
        for key in keys.flat:
            design = np.stack([key, np.ones_like(key)], axis=1)
            fits.append(design @ np.linalg.lstsq(design, row, rcond=None)[0])
        best = min(fits, key=lambda fit: np.linalg.norm(fit - row))
        if 1 - np.sum((best - row) ** 2) / np.sum((row - row.mean()) ** 2) >= min_r2:
            row[:] = best
    return result.reshape(weights.shape)


def network(seed: int = 0, kernel: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3),
        nn.BatchNorm2d(CHANNELS),
        nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=1, groups=CHANNELS),
        nn.BatchNorm2d(CHANNELS),
        nn.Conv2d(CHANNELS, 16, 1),
        nn.Conv2d(16, 16, 3, groups=16),
    ).eval()


def state(seed: int = 0, kernel: int = 3) -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in network(seed, kernel).state_dict().items()}


DEPTHWISE = ("2.weight", "5.weight")


def saved(folder: Path, arrays: dict[str, np.ndarray], how: str) -> Path:
    path = folder / f"net.{how.removesuffix('-deflated')}"
    if how == "safetensors":
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        save_file(tensors, path, metadata={"format": "pt", "note": "keep me"})
    else:
        (np.savez_compressed if how.endswith("deflated") else np.savez)(path, **arrays)
    return path


def numpy_state(seed: int = 0) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in state(seed).items()}


def loaded(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return dict(archive)
    return {name: value.numpy() for name, value in load_file(path).items()}


@pytest.mark.parametrize("how", ["safetensors", "npz", "npz-deflated"])
def test_each_filter_becomes_its_best_fit_and_all_else_stays(tmp_path: Path, how: str) -> None:
    source = saved(tmp_path, numpy_state(), how)
    before = source.read_bytes()
    out = tmp_path / f"out{source.suffix}"
    result = replace(source, KEYS, out)
    old, new = loaded(source), loaded(out)
    assert source.read_bytes() == before
    assert list(new) == list(old)
    for name in old:
        expected = by_hand(old[name]) if name in DEPTHWISE else old[name]
        assert new[name].dtype == old[name].dtype
        if name in DEPTHWISE:
            np.testing.assert_allclose(new[name], expected, atol=1e-6)
        else:
            assert new[name].tobytes() == expected.tobytes()

    assert [layer.name for layer in result.layers] == ["2", "5"]
    assert [(left.name, left.kind) for left in result.left] == [("0", "conv"), ("4", "conv")]
    for layer, name in zip(result.layers, DEPTHWISE, strict=True):
        w, fit = old[name].astype(float), by_hand(old[name])
        residual = np.linalg.norm(w - fit) / np.linalg.norm(w)
        assert layer.residual == pytest.approx(residual, rel=1e-5)
        error = ((w - fit) ** 2).sum(axis=(1, 2, 3))
        spread = ((w - w.mean(axis=(2, 3), keepdims=True)) ** 2).sum(axis=(1, 2, 3))
        assert layer.mean_r2 == pytest.approx(np.mean(1 - error / spread), rel=1e-4)
        assert layer.worst_r2 == pytest.approx(np.min(1 - error / spread), rel=1e-4)
        assert (layer.filters, layer.replaced) == (len(w), len(w))
    assert result.replaced == result.filters == CHANNELS + 16
    assert result.storage.raw == result.filters * 9 * 4
    assert json.loads(json.dumps(result.to_dict()))["layers"][0]["name"] == "2"


def test_safetensors_stay_as_they_are_byte_for_byte(tmp_path: Path) -> None:
    source, out = saved(tmp_path, numpy_state(), "safetensors"), tmp_path / "out.safetensors"
    replace(source, KEYS, out)
    old, new = (np.frombuffer(path.read_bytes(), np.uint8) for path in (source, out))
    length = int(old[:8].view("<u8")[0])
    spans = json.loads(old[8 : 8 + length].tobytes())
    may_change = np.zeros(len(old), bool)
    for name in DEPTHWISE:
        begin, end = spans[name]["data_offsets"]
        may_change[8 + length + begin : 8 + length + end] = True
    assert len(new) == len(old)
    assert not (old != new)[~may_change].any()
    assert (old != new)[may_change].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keep_their_type_rounded_to_the_nearest(tmp_path: Path, dtype) -> None:
    tensors = {name: value.to(dtype) for name, value in state().items()}
    source, out = tmp_path / "net.safetensors", tmp_path / "out.safetensors"
    save_file(tensors, source)
    replace(source, KEYS, out)
    new = load_file(out)
    for name, old in tensors.items():
        assert new[name].dtype == dtype
        if name not in DEPTHWISE:
            assert torch.equal(new[name], old)
            continue
        exact = torch.from_numpy(by_hand(old.double().numpy()))
        # Within half a unit in the last place, but for the float32 of the fit.
        half = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float64: 0}[dtype]
        error = (new[name].double() - exact).abs()
        assert bool((error <= half * exact.abs() + 1e-6).all())


def test_layouts_of_arrays_are_kept(tmp_path: Path) -> None:
    arrays = numpy_state()
    arrays["2.weight"] = np.asfortranarray(arrays["2.weight"])
    arrays["5.weight"] = arrays["5.weight"].astype(">f8")
    source, out = saved(tmp_path, arrays, "npz"), tmp_path / "out.npz"
    replace(source, KEYS, out)
    new = loaded(out)
    assert new["5.weight"].dtype == np.dtype(">f8")
    for name in DEPTHWISE:
        np.testing.assert_allclose(new[name], by_hand(arrays[name]), atol=1e-6)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out) as copy:
        for name in old.namelist():
            head = 128 if name.removesuffix(".npy") in DEPTHWISE else None
            assert old.read(name)[:head] == copy.read(name)[:head]


class Boom:
    """Unpickled, it would run."""

    def __reduce__(self):
        return (exec, ("raise AssertionError('unpickled')",))


def test_members_of_all_sorts_are_copied_and_nothing_is_unpickled(tmp_path: Path) -> None:
    source, out = tmp_path / "net.npz", tmp_path / "out.npz"
    np.savez(source, **numpy_state(), boom=np.array([Boom()], object))
    with zipfile.ZipFile(source, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a comment"
        archive.writestr("notes/readme.npy.txt", "read me " * 100)
    replace(source, KEYS, out)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out) as new:
        assert new.comment == old.comment
        assert new.testzip() is None
        for before, after in zip(old.infolist(), new.infolist(), strict=True):
            fields = ("filename", "date_time", "compress_type", "file_size", "external_attr")
            assert [getattr(before, f) for f in fields] == [getattr(after, f) for f in fields]
            if before.filename.removesuffix(".npy") not in DEPTHWISE:
                assert old.read(before) == new.read(after)


@pytest.mark.parametrize("how", ["safetensors", "npz"])
def test_wrappers_prefixes_and_bare_names_are_found(tmp_path: Path, how: str) -> None:
    arrays = {f"module._orig_mod.{name}": value for name, value in numpy_state().items()}
    source = saved(tmp_path, arrays, how)
    out = tmp_path / f"out{source.suffix}"
    assert len(replace(source, KEYS, out).layers) == 2
    new = loaded(out)
    for name in DEPTHWISE:
        full = f"module._orig_mod.{name}"
        np.testing.assert_allclose(new[full], by_hand(arrays[full]), atol=1e-6)


def test_a_network_of_keys_comes_back(tmp_path: Path) -> None:
    arrays = numpy_state()
    for name in DEPTHWISE:
        n = len(arrays[name])
        a, b = RNG.normal(size=(2, n, 1, 1))
        exact = a * KEYS.filters[RNG.integers(0, 4, n)] + b
        arrays[name] = exact[:, None].astype(np.float32)
    source, out = saved(tmp_path, arrays, "npz"), tmp_path / "out.npz"
    result = replace(source, KEYS, out)
    new = loaded(out)
    for name in DEPTHWISE:
        np.testing.assert_allclose(new[name], arrays[name], atol=1e-6)
    assert all(layer.residual < 1e-6 and layer.worst_r2 > 1 - 1e-6 for layer in result.layers)


def test_the_total_is_that_of_all_filters_together(tmp_path: Path) -> None:
    arrays = numpy_state()
    arrays[DEPTHWISE[0]] *= 1e-3  # a layer that hardly counts in the residual
    source, out = saved(tmp_path, arrays, "npz"), tmp_path / "out.npz"
    result = replace(source, KEYS, out, min_r2=0.2)
    new = loaded(out)
    old, written = (
        np.concatenate([one[layer.name + ".weight"].reshape(-1, 9) for layer in result.layers])
        for one in (arrays, new)
    )
    r2 = np.square(np.corrcoef(old, KEYS.flat)[: len(old), len(old) :]).max(axis=1)
    assert result.mean_r2 == pytest.approx(r2.mean(), abs=1e-5)
    assert result.worst_r2 == pytest.approx(r2.min(), abs=1e-5)
    residual = np.linalg.norm(old - written) / np.linalg.norm(old)
    assert result.residual == pytest.approx(residual, abs=1e-6)
    plain = np.mean([layer.residual for layer in result.layers])
    assert abs(plain - residual) > 1e-3
    assert result.to_dict()["total"]["residual"] == result.residual


@pytest.mark.parametrize("suffix", [".pth", ".onnx", ".npz", ".bin", ""])
def test_a_copy_with_the_suffix_of_another_format_is_refused(tmp_path: Path, suffix: str) -> None:
    source = saved(tmp_path, numpy_state(), "safetensors")
    with pytest.raises(ExportError, match=r"is safetensors.*end in \.safetensors"):
        replace(source, KEYS, tmp_path / f"out{suffix}")
    assert list(tmp_path.iterdir()) == [source]


def test_to_replace_twice_changes_nothing_more(tmp_path: Path) -> None:
    source = saved(tmp_path, numpy_state(), "safetensors")
    once, twice = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
    replace(source, KEYS, once)
    again = replace(once, KEYS, twice)
    first, second = loaded(once), loaded(twice)
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, atol=1e-6)
    assert all(layer.residual < 1e-6 for layer in again.layers)


def test_constant_zero_and_ill_fitted_filters_are_kept_bit_for_bit(tmp_path: Path) -> None:
    arrays = numpy_state()
    weights = arrays["2.weight"]
    weights[0], weights[1], weights[2] = 0.3, 0, 1e-5 * weights[2]
    source, out = saved(tmp_path, arrays, "npz"), tmp_path / "out.npz"
    layer = replace(source, KEYS, out, min_r2=0.4).layers[0]
    new = loaded(out)["2.weight"]
    expected = by_hand(weights, min_r2=0.4)
    kept = (expected == weights).all(axis=(1, 2, 3))
    assert new[kept].tobytes() == weights[kept].tobytes()
    np.testing.assert_allclose(new, expected, atol=1e-6)
    assert (layer.constant, layer.zero, layer.other) == (1, 2, kept.sum() - 3)
    assert layer.filters == layer.replaced + layer.other + layer.constant + layer.zero
    assert layer.replaced > 0
    assert layer.other > 0


def test_the_moves_of_the_equivalence_are_fitted(tmp_path: Path) -> None:
    arrays = numpy_state()
    turned = [np.rot90(KEYS.filters[i % 4], k=i) for i in range(CHANNELS)]
    arrays["2.weight"] = np.stack(turned)[:, None].astype(np.float32)
    source = saved(tmp_path, arrays, "npz")
    plain = replace(source, KEYS, tmp_path / "plain.npz")
    turning = replace(source, KEYS, tmp_path / "turn.npz", equivalence=Equivalence(rotations=True))
    assert turning.layers[0].residual < 1e-6 < 0.1 < plain.layers[0].residual
    np.testing.assert_allclose(
        loaded(tmp_path / "turn.npz")["2.weight"], arrays["2.weight"], atol=1e-6
    )


def test_layers_that_cannot_be_replaced_have_a_reason(tmp_path: Path) -> None:
    arrays = numpy_state()
    arrays["6.weight"] = RNG.normal(size=(16, 1, 5, 5)).astype(np.float32)
    arrays["7.weight"] = RNG.integers(-9, 9, (16, 1, 3, 3)).astype(np.int8)
    arrays["8.weight"] = RNG.normal(size=(16, 1, 3, 3)).astype(np.float32)
    arrays["8.weight"][3, 0, 1, 1] = np.nan
    arrays["9.weight"] = 60000 * np.sign(RNG.normal(size=(16, 1, 3, 3))).astype(np.float16)
    arrays["10.weight_v"] = RNG.normal(size=(16, 1, 3, 3)).astype(np.float32)
    arrays["10.weight_g"] = np.ones((16, 1, 1, 1), np.float32)
    arrays["11.weight"] = np.ones((4, 16, 1, 1), np.float32)
    source, out = saved(tmp_path, arrays, "npz"), tmp_path / "out.npz"
    result = replace(source, KEYS, out)
    reasons = {left.name: left.reason for left in result.left if left.kind == "depthwise"}
    assert list(reasons) == ["6", "7", "8", "9", "10"]
    for name, word in zip(reasons, ("5x5", "int8", "NaN", "float16", "parts"), strict=True):
        assert word in reasons[name]
    new = loaded(out)
    for name in set(arrays) - set(DEPTHWISE):
        assert new[name].tobytes() == arrays[name].tobytes()


def onnx_network(path: Path, *, how: str = "raw") -> onnx.ModelProto:
    """Two depthwise layers, whose weights lie as asked for."""

    def weight(name: str, values: np.ndarray) -> TensorProto:
        if how == "typed":
            return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.ravel())
        return numpy_helper.from_array(values, name)

    rng = np.random.default_rng(3)
    first = rng.normal(size=(4, 1, 3, 3)).astype(np.float32)
    second = rng.normal(size=(8, 1, 3, 3)).astype(np.float32)
    nodes, stored = [], [weight("b.weight", second)]
    if how == "constant":
        nodes.append(helper.make_node("Constant", [], ["a.weight"], value=weight("", first)))
    elif how == "transposed":
        stored.append(weight("a.stored", np.ascontiguousarray(first.transpose(0, 1, 3, 2))))
        nodes.append(helper.make_node("Transpose", ["a.stored"], ["a.weight"], perm=[0, 1, 3, 2]))
    else:
        stored.append(weight("a.weight", first))
    used = "a.weight"
    if how == "identity":
        nodes.append(helper.make_node("Identity", ["a.weight"], ["a.copy"]))
        used = "a.copy"
    nodes += [
        helper.make_node("Conv", ["x", used], ["y"], group=4),
        helper.make_node("Conv", ["y", "b.weight"], ["z"], group=4),
    ]
    if how == "shared":
        nodes.append(helper.make_node("ReduceSum", ["a.weight"], ["s"], keepdims=0))
        nodes.append(helper.make_node("Add", ["z", "s"], ["out"]))
    else:
        nodes.append(helper.make_node("Relu", ["z"], ["out"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net", [value("x", TensorProto.FLOAT, [1, 4, 9, 9])],
        [value("out", TensorProto.FLOAT, [1, 8, 5, 5])], stored,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return model


def run(model: onnx.ModelProto | Path, *feeds: np.ndarray) -> list[np.ndarray]:
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return session.run(None, dict(zip(names, feeds, strict=True)))


def tensors_of(model: onnx.ModelProto) -> dict[str, TensorProto]:
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = node.attribute[0].t
    return found


def set_by_hand(model: onnx.ModelProto, names: set[str], keys: KeySet = KEYS) -> None:
    for name, tensor in tensors_of(model).items():
        if name in names:
            exact = by_hand(numpy_helper.to_array(tensor), keys)
            values = numpy_helper.from_array(exact.astype(np.float32), tensor.name)
            tensor.CopyFrom(values)


@pytest.mark.parametrize("how", ["raw", "typed", "constant"])
def test_onnx_computes_what_it_does_with_weights_set_by_hand(tmp_path: Path, how: str) -> None:
    source, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    model = onnx_network(source, how=how)
    result = replace(source, KEYS, out)
    assert [layer.name for layer in result.layers] == ["a", "b"]
    assert not result.left
    x = np.random.default_rng(0).normal(size=(1, 4, 9, 9)).astype(np.float32)
    before = run(source, x)[0]
    set_by_hand(model, {"a.weight", "b.weight"})
    np.testing.assert_allclose(run(out, x)[0], run(model, x)[0], atol=1e-4)
    assert np.abs(run(out, x)[0] - before).max() > 0.1
    # Everything but the values is the same, byte for byte.
    copy = onnx.load(out)
    for name, tensor in tensors_of(copy).items():
        tensor.CopyFrom(tensors_of(onnx.load(source))[name])
    assert copy.SerializeToString() == onnx.load(source).SerializeToString()
    assert out.stat().st_size == source.stat().st_size


@pytest.mark.parametrize(
    ("how", "word"),
    [("transposed", "Transpose"), ("identity", "Identity"), ("shared", "ReduceSum")],
)
def test_onnx_weights_with_another_use_are_left_alone(tmp_path, how: str, word: str) -> None:
    source, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    model = onnx_network(source, how=how)
    result = replace(source, KEYS, out)
    assert [layer.name for layer in result.layers] == ["b"]
    [left] = result.left
    assert left.kind == "depthwise"
    assert word in left.reason
    set_by_hand(model, {"b.weight"})
    x = np.random.default_rng(0).normal(size=(1, 4, 9, 9)).astype(np.float32)
    np.testing.assert_allclose(run(out, x)[0], run(model, x)[0], atol=1e-4)


@pytest.mark.parametrize("raw", [True, False])
def test_onnx_half_precision(tmp_path: Path, raw: bool) -> None:
    """Raw values are written over; those in a field of integers, one by one, are not."""
    source, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    model = onnx_network(source)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(np.float16)
        content = values.tobytes() if raw or tensor.name == "b.weight" else values.ravel()
        tensor.CopyFrom(
            helper.make_tensor(
                tensor.name, TensorProto.FLOAT16, values.shape, content,
                raw=isinstance(content, bytes),
            )
        )  # fmt: skip
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, source)
    result = replace(source, KEYS, out)
    assert [layer.name for layer in result.layers] == (["a", "b"] if raw else ["b"])
    assert all("one piece" in left.reason for left in result.left)
    old, new = tensors_of(model), tensors_of(onnx.load(out))
    for layer in result.layers:
        before, after = (numpy_helper.to_array(t[f"{layer.name}.weight"]) for t in (old, new))
        np.testing.assert_allclose(after, by_hand(before), rtol=2.0**-11, atol=1e-6)


def test_onnx_convolutions_may_share_a_weight(tmp_path: Path) -> None:
    source, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    model = onnx_network(source)
    model.graph.node[1].input[1] = "a.weight"
    del model.graph.initializer[0]
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(model, source)
    assert len(replace(source, KEYS, out).layers) == 1
    set_by_hand(model, {"a.weight"})
    x = np.random.default_rng(0).normal(size=(1, 4, 9, 9)).astype(np.float32)
    np.testing.assert_allclose(run(out, x)[0], run(model, x)[0], atol=1e-4)


@pytest.mark.parametrize("same", [True, False])
def test_onnx_weights_that_stand_twice_are_left_alone(tmp_path: Path, same: bool) -> None:
    source, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    model = onnx_network(source)
    again = next(t for t in model.graph.initializer if t.name == "a.weight")
    values = numpy_helper.to_array(again)
    model.graph.initializer.append(
        numpy_helper.from_array(values if same else values + 1, "a.weight")
    )
    onnx.save(model, source)
    result = replace(source, KEYS, out)
    assert [layer.name for layer in result.layers] == ["b"]
    assert [left.reason for left in result.left] == (
        ["'a.weight' stands more than once in the file"] if same else []
    )  # else the reader has skipped it already
    copies = [t for t in onnx.load(out).graph.initializer if t.name == "a.weight"]
    assert copies == [t for t in model.graph.initializer if t.name == "a.weight"]


def test_filters_that_no_signed_key_is_like_are_kept(tmp_path: Path) -> None:
    keys = KeySet("dot", np.pad([[[1.0]]], ((0, 0), (1, 1), (1, 1))),
                  equivalence=Equivalence(signed=True))  # fmt: skip
    arrays = numpy_state()
    arrays["2.weight"][:4, 0, 1, 1] = -9
    arrays["2.weight"][4:, 0, 1, 1] = 9
    before = arrays["2.weight"].copy()
    source, out = saved(tmp_path, arrays, "npz"), tmp_path / "out.npz"
    layer = replace(source, keys, out).layers[0]
    new = loaded(out)["2.weight"]
    assert new[:4].tobytes() == before[:4].tobytes()
    assert (layer.other, layer.replaced) == (4, CHANNELS - 4)
    np.testing.assert_allclose(new[4:], by_hand(before[4:], keys), atol=1e-5)


def test_offsets_beside_weights_are_left_alone(tmp_path: Path) -> None:
    arrays = {**numpy_state(), "2.key_offset": np.full(CHANNELS, 0.1, np.float32)}
    source, out = saved(tmp_path, arrays, "npz"), tmp_path / "out.npz"
    result = replace(source, KEYS, out)
    assert [layer.name for layer in result.layers] == ["5"]
    assert "key offsets" in next(left.reason for left in result.left if left.name == "2")


def test_onnx_external_data_are_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = onnx_network(path)
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    with pytest.raises(UnsupportedFormatError, match="one file") as caught:
        replace(path, KEYS, tmp_path / "out.onnx")
    assert str(path) in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"net.onnx", "net.data"}


def test_torch_computes_what_it_does_with_weights_set_by_hand(tmp_path: Path) -> None:
    model = network()
    source, out = tmp_path / "net.safetensors", tmp_path / "out.safetensors"
    save_file(state(), source)
    replace(source, KEYS, out)
    x = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        for index in (2, 5):
            weight = model[index].weight
            weight.copy_(torch.from_numpy(by_hand(weight.numpy())))
        expected = model(x)
        other = network(1)
        other.load_state_dict(load_file(out))
        assert torch.allclose(other(x), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("message", "kernel", "arrays"),
    [
        ("no depthwise layer.*conv", 3, {"a.weight": RNG.normal(size=(8, 3, 3, 3))}),
        ("are 5x5.*3x3 .2.*--resize padding.*--resize analytic", 5, numpy_state()),
        ("can be replaced.*int8", 3, {"a.weight": np.ones((8, 3, 3, 3)),
                                      "b.weight": np.ones((8, 1, 3, 3), np.int8),
 "c.weight": np.ones((4, 8, 1, 1))}),
    ],
)  # fmt: skip
def test_nothing_to_replace_is_an_error_that_says_what_there_is(
    tmp_path: Path, message: str, kernel: int, arrays: dict[str, np.ndarray]
) -> None:
    source = saved(tmp_path, arrays, "npz")
    keys = KeySet("some", RNG.normal(size=(3, kernel, kernel)))
    with pytest.raises(KeySetError, match=message) as caught:
        replace(source, keys, tmp_path / "out.npz")
    assert str(source) in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_other_formats_are_refused_with_the_mend(tmp_path: Path) -> None:
    source = tmp_path / "net.pt"
    torch.save(state(), source)
    with pytest.raises(UnsupportedFormatError, match=r"safetensors.*initialise") as caught:
        replace(source, KEYS, tmp_path / "out.pt")
    assert str(source) in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_the_copy_goes_nowhere_else(tmp_path: Path) -> None:
    source = saved(tmp_path, numpy_state(), "safetensors")
    before = source.read_bytes()
    link, twin = tmp_path / "link.safetensors", tmp_path / "twin.safetensors"
    link.symlink_to(source)
    twin.hardlink_to(source)
    for itself in (source, link, twin):
        with pytest.raises(ExportError, match="itself"):
            replace(source, KEYS, itself, force=True)
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"mine")
    with pytest.raises(ExportError, match=r"is there\. Name another"):
        replace(source, KEYS, there)
    assert there.read_bytes() == b"mine"
    with pytest.raises(ExportError, match="regular"):
        replace(source, KEYS, tmp_path, force=True)
    with pytest.raises(ExportError, match="folder"):
        replace(source, KEYS, tmp_path / "none" / "out.safetensors")
    with pytest.raises(ExportError, match=r"end in \.safetensors"):
        replace(source, KEYS, tmp_path / "out.onnx")
    filterdb.open(tmp_path / "db").ingest([source])
    with pytest.raises(ExportError, match="database"):
        replace(source, KEYS, tmp_path / "db" / "out.safetensors")
    assert source.read_bytes() == before
    assert replace(source, KEYS, there, force=True).out == there
    assert len(filterdb.read(there).layers) == 4
    assert not list(tmp_path.glob(".filterdb-*"))


def test_a_full_disk_is_told_of_the_copy_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    source = saved(tmp_path, numpy_state(), "safetensors")
    keys = save_keys(KEYS, tmp_path / "keys.safetensors")
    out = tmp_path / "out.safetensors"
    before = set(tmp_path.iterdir())
    code = (
        "import resource, runpy, sys;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({source.stat().st_size - 8},) * 2);"
        "runpy.run_module('filterdb', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", code, "keys", "replace", source, out, "--set", keys]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert f"{out} cannot be written: File too large" in " ".join(done.stderr.split())
    assert str(source) not in done.stderr
    assert set(tmp_path.iterdir()) == before


def test_what_a_killed_copy_left_is_removed_after_a_day(tmp_path: Path) -> None:
    source = saved(tmp_path, numpy_state(), "safetensors")
    day = 24 * 60 * 60
    ages = {
        f".filterdb-replace-{'a' * 16}.tmp": day + 60,
        f".filterdb-replace-{'b' * 16}.tmp": day - 60,  # somebody may be writing it
        f".filterdb-{'c' * 16}.tmp": 2 * day,
        ".filterdb-replace-mine.tmp": 2 * day,
    }
    for name, age in ages.items():
        (tmp_path / name).write_bytes(b"draft")
        os.utime(tmp_path / name, times=(time() - age,) * 2)
    replace(source, KEYS, tmp_path / "out.safetensors")
    left = {path.name for path in tmp_path.iterdir()} - {source.name, "out.safetensors"}
    assert left == set(ages) - {f".filterdb-replace-{'a' * 16}.tmp"}


def test_a_killed_copy_is_one_that_would_be_removed(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    source = saved(tmp_path, numpy_state(), "safetensors")
    keys = save_keys(KEYS, tmp_path / "keys.safetensors")
    out = tmp_path / "out.safetensors"
    # The process dies at once when its copy reaches this size, as it would of kill -9.
    code = (
        "import resource, runpy, signal;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL);"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({source.stat().st_size - 8},) * 2);"
        "runpy.run_module('filterdb', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", code, "keys", "replace", source, out, "--set", keys]
    assert subprocess.run(command, capture_output=True, check=False).returncode < 0
    (draft,) = tmp_path.glob(".filterdb-*")
    os.utime(draft, times=(0, 0))
    replace(source, KEYS, out)
    assert not draft.exists()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range(tmp_path: Path, share: float) -> None:
    with pytest.raises(KeySetError, match="min_r2"):
        replace(tmp_path / "none", KEYS, tmp_path / "out", min_r2=share)


@pytest.mark.parametrize("how", ["safetensors", "npz", "npz-deflated", "onnx"])
def test_damaged_input_leaves_no_output(tmp_path: Path, how: str) -> None:
    if how == "onnx":
        source = tmp_path / "net.onnx"
        onnx_network(source)
    else:
        source = saved(tmp_path, numpy_state(), how)
    whole = source.read_bytes()
    rng = np.random.default_rng(0)
    out = tmp_path / f"out{source.suffix}"
    refused = 0
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            damaged = damaged[: int(rng.integers(0, len(whole)))]
        else:
            for place in rng.integers(0, len(whole), 4):
                damaged[place] ^= 1 << int(rng.integers(0, 8))
        source.write_bytes(damaged)
        try:
            replace(source, KEYS, out, force=True)
        except (ReadError, KeySetError):
            refused += 1
            assert not out.exists()
        out.unlink(missing_ok=True)
        assert list(tmp_path.iterdir()) == [source]
    assert refused >= 30


def test_a_member_damaged_in_a_layer_that_stays(tmp_path: Path) -> None:
    source = saved(tmp_path, numpy_state(), "npz")
    content = bytearray(source.read_bytes())
    place = content.index(numpy_state()["0.bias"].tobytes())
    content[place] ^= 1
    source.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"0\.bias") as caught:
        replace(source, KEYS, tmp_path / "out.npz")
    assert str(source) in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def real(zoo: Path, kind: str) -> list[Path]:
    """Depthwise networks of the collection, the smallest first."""
    with (zoo / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file)
                if row["has_depthwise"] == "yes" and row["format"] == kind]  # fmt: skip
    found = {path.name: path for path in zoo.rglob(f"*.{kind}")}
    rows.sort(key=lambda row: int(row["bytes"]))
    return [found[row["file"]] for row in rows if row["file"] in found]


@pytest.mark.parametrize("index", [0, 3, 5])
def test_real_onnx_networks(zoo: Path, tmp_path: Path, index: int) -> None:
    source = real(zoo, "onnx")[index]
    out = tmp_path / "out.onnx"
    result = replace(source, KEYS, out)
    replaced = {layer.name for layer in result.layers}
    old, new = filterdb.read(source), filterdb.read(out)
    assert len(replaced) + len(result.left) == len(old.layers)
    for before, after in zip(old.layers, new.layers, strict=True):
        assert before.name == after.name
        if before.name in replaced:
            expected = by_hand(before.weights)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(after.weights, expected, atol=2e-6 * scale)
        else:
            assert before.weights.tobytes() == after.weights.tobytes()

    model = onnx.load(source)
    names = {name for name in tensors_of(model) if name.removesuffix(".weight") in replaced}
    assert len(names) == len(replaced)
    set_by_hand(model, names)
    shapes = [
        [d.dim_value for d in given.type.tensor_type.shape.dim]
        for given in model.graph.input
        if given.name not in tensors_of(model)
    ]
    shapes = [[shape[0] or 2, shape[1], *(n or 64 for n in shape[2:])] for shape in shapes]
    feeds = [np.random.default_rng(0).random(shape).astype(np.float32) for shape in shapes]
    for found, expected in zip(run(out, *feeds), run(model, *feeds), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))
