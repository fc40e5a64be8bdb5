from __future__ import annotations

import copy
import io
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

import filterdb
from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeySet
from filterdb.keys.torch.depthwise import NOT_NAMED
from filterdb.keys.torch.initialised import InitialisedLayer
from filterdb.keys.torch.initialising import initialise
from filterdb.keys.torch.key_conv import KeyConv2d


def key_set(count: int = 5, kernel: tuple[int, int] = (3, 3), seed: int = 0) -> KeySet:
    return KeySet("random", np.random.default_rng(seed).standard_normal((count, *kernel)))


def depthwise(channels: int = 8, size: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, size, groups=channels, padding=size // 2, **options)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), depthwise(8), nn.Conv2d(8, 8, 1), nn.Sequential(depthwise(8, 5)),
        nn.BatchNorm2d(8), depthwise(8, stride=2, padding_mode="reflect"), nn.Conv2d(8, 4, 1),
    )  # fmt: skip


def plain_fit(filters: NDArray[np.float64], keys: KeySet) -> tuple[NDArray[np.float64], ...]:
    """Key, a, b and R² of each filter by least squares on every key, one after the other."""
    rows = []
    for filter_ in filters:
        fits = []
        for index, key in enumerate(keys.flat):
            design = np.stack([key, np.ones_like(key)], axis=1)
            (a, b), *_ = np.linalg.lstsq(design, filter_, rcond=None)
            left = filter_ - a * key - b
            fits.append((left @ left, index, a, b))
        left, index, a, b = min(fits)
        rows.append((index, a, b, 1 - left / np.square(filter_ - filter_.mean()).sum()))
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def filters_of(module: nn.Conv2d) -> NDArray[np.float64]:
    return module.weight.detach().double().numpy().reshape(module.out_channels, -1)


@contextmanager
def quiet() -> Iterator[None]:
    """TorchScript and the older exporter are deprecated, and say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def row(rows: list[InitialisedLayer], name: str) -> InitialisedLayer:
    return next(layer for layer in rows if layer.name == name)


def test_the_fit_is_that_of_least_squares_on_every_key() -> None:
    model, keys = network(), key_set()
    before = {name: filters_of(model.get_submodule(name)) for name in ("1", "5")}
    rows = initialise(model, keys)
    assert [layer.name for layer in rows] == ["1", "3.0", "5"]
    for name, filters in before.items():
        index, a, b, r2 = plain_fit(filters, keys)
        expected = a[:, None] * keys.flat[index.astype(int)] + b[:, None]
        np.testing.assert_allclose(filters_of(model.get_submodule(name)), expected, atol=1e-6)
        done = row(rows, name)
        np.testing.assert_array_equal(done.keys, index)
        np.testing.assert_array_equal(done.counts, np.bincount(index.astype(int), minlength=5))
        assert done.r2 == pytest.approx(r2.mean(), abs=1e-5)
        assert (done.frozen, done.offsets, done.constant, done.reason) == (True, 0, 0, None)
        assert type(model.get_submodule(name)) is nn.Conv2d
    assert row(rows, "3.0").reason == "its kernels are 5x5, the keys 3x3"
    assert model[3][0].weight.requires_grad


def test_each_key_labels_itself() -> None:
    keys = key_set(6)
    conv = depthwise(6)
    rng = np.random.default_rng(1)
    strength, offset = rng.normal(0, 2, 6), 0.3
    weights = strength[:, None] * keys.flat + offset
    conv.weight.data = torch.from_numpy(weights.reshape(6, 1, 3, 3)).float()
    (done,) = initialise(conv, keys, bias="per-channel")
    np.testing.assert_array_equal(done.keys, np.arange(6))
    assert done.r2 == pytest.approx(1)
    np.testing.assert_allclose(conv.key_offset.detach(), np.full(6, offset), atol=1e-6)
    np.testing.assert_allclose(filters_of(conv), strength[:, None] * keys.flat, atol=1e-6)


def test_rotated_keys_fit_where_rotations_are_the_same() -> None:
    keys = key_set(2)
    conv = depthwise(16)
    turned = [np.rot90(flip, turn) for key in keys.filters
              for flip in (key, key.T) for turn in range(4)]  # fmt: skip
    conv.weight.data = torch.from_numpy(np.stack(turned)[:, None].copy()).float()
    before = filters_of(conv)
    (done,) = initialise(copy.deepcopy(conv), keys)
    assert done.r2 is not None
    assert done.r2 < 0.9
    (done,) = initialise(conv, keys, equivalence=Equivalence(rotations=True))
    assert done.r2 == pytest.approx(1)
    np.testing.assert_array_equal(done.keys, np.repeat([0, 1], 8))
    np.testing.assert_allclose(filters_of(conv), before, atol=1e-6)


@pytest.mark.parametrize("options", [
    {"padding": 1}, {"padding": "same"}, {"padding": 2, "dilation": 2, "bias": False},
    {"stride": 2, "padding": 1, "padding_mode": "circular"},
])  # fmt: skip
def test_forward_is_a_convolution_with_weight_plus_offset(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3, groups=4, **options)
    initialise(conv, key_set(), bias="per-channel")
    assert type(conv) is KeyConv2d
    image = torch.randn(2, 4, 9, 9)
    plain = nn.Conv2d(4, 8, 3, groups=4, **options)
    plain.weight.data = conv.weight.detach() + conv.key_offset.detach()[:, None, None, None]
    plain.bias = conv.bias
    torch.testing.assert_close(conv(image), plain(image), rtol=0, atol=0)


def test_keys_and_offsets_give_the_same_network_as_the_whole_fit() -> None:
    model = network().eval()
    other = copy.deepcopy(model)
    initialise(model, key_set())
    initialise(other, key_set(), bias="per-channel")
    image = torch.randn(1, 3, 20, 20)
    torch.testing.assert_close(model(image), other(image))
    torch.testing.assert_close(
        functional.conv2d(image[:, :1].expand(-1, 8, -1, -1), model[1].weight, groups=8),
        functional.conv2d(image[:, :1].expand(-1, 8, -1, -1), other[1].kernel, groups=8),
    )


def test_training_moves_the_offset_and_not_the_key() -> None:
    model = network()
    rows = initialise(model, key_set(), bias="per-channel")
    assert row(rows, "1").offsets == 8
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {"1.key_offset", "5.key_offset", "1.bias"} <= names
    assert not {"1.weight", "5.weight"} & names
    before = copy.deepcopy(model.state_dict())
    step = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(4, 3, 20, 20)).square().sum().backward()
    step.step()
    after = model.state_dict()
    assert torch.equal(after["1.weight"], before["1.weight"])
    assert not torch.equal(after["1.key_offset"], before["1.key_offset"])


def test_not_frozen_leaves_what_learns_as_it_is() -> None:
    model = network()
    model[5].weight.requires_grad_(False)
    rows = initialise(model, key_set(), freeze=False)
    assert model[1].weight.requires_grad
    assert not model[5].weight.requires_grad
    assert [row(rows, name).frozen for name in ("1", "5")] == [False, True]


def test_the_module_is_the_same_object_with_its_hooks_and_settings() -> None:
    model = network().eval()
    conv, weight = model[1], model[1].weight
    calls = []
    conv.register_forward_hook(lambda *_: calls.append(1))
    conv.note = "mine"
    initialise(model, key_set(), bias="per-channel")
    assert model[1] is conv
    assert conv.weight is weight
    assert (conv.note, conv.training) == ("mine", False)
    model(torch.zeros(1, 3, 20, 20))
    assert calls == [1]


def test_twice_is_the_same_and_back_again() -> None:
    model = network()
    initialise(model, key_set(), bias="per-channel")
    once = copy.deepcopy(model.state_dict())
    offset = model[1].key_offset
    initialise(model, key_set(), bias="per-channel")
    assert model[1].key_offset is offset
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, once[name])
    initialise(model, key_set())
    assert type(model[1]) is nn.Conv2d
    assert "1.key_offset" not in model.state_dict()
    kernel = once["1.weight"] + once["1.key_offset"][:, None, None, None]
    torch.testing.assert_close(model[1].weight, kernel)


def converted() -> nn.Sequential:
    model = network().eval()
    initialise(model, key_set(), bias="per-channel")
    with torch.no_grad():
        model[1].key_offset.add_(0.1)  # as if it had learnt
    return model


def pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))


def reloaded(model: nn.Module) -> nn.Module:
    fresh = network().eval()
    initialise(fresh, key_set(3, seed=9), bias="per-channel")
    fresh.load_state_dict(model.state_dict())
    return fresh


def scripted(model: nn.Module) -> nn.Module:
    with quiet():
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(model), buffer)
        buffer.seek(0)
        return torch.jit.load(buffer)


def traced(model: nn.Module) -> nn.Module:
    with quiet():
        return torch.jit.trace(model, torch.zeros(1, 3, 20, 20))


def exported(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (torch.zeros(1, 3, 20, 20),)).module()


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled, reloaded, scripted, traced, exported])
def test_copies_compute_the_same(copied: Callable[[nn.Module], nn.Module]) -> None:
    model = converted()
    image = torch.randn(1, 3, 20, 20)
    torch.testing.assert_close(copied(model)(image), model(image))


def test_filterdb_reads_it_as_the_layers_that_it_has() -> None:
    plain = filterdb.read(network())
    for source in (converted(), converted().state_dict()):
        layers = filterdb.read(source).layers
        assert [(layer.name, layer.shape) for layer in layers] == [
            (layer.name, layer.shape) for layer in plain.layers
        ]


@pytest.mark.parametrize("dynamo", [False, True])
def test_onnx_computes_the_same(dynamo: bool) -> None:
    if dynamo:
        pytest.importorskip("onnxscript")
    model, image = converted(), torch.randn(1, 3, 20, 20)
    buffer = io.BytesIO()
    with quiet():
        torch.onnx.export(model, (image,), buffer, dynamo=dynamo, input_names=["image"])
    kinds = Counter(node.op_type for node in onnx.load_from_string(buffer.getvalue()).graph.node)
    assert not kinds["Add"]  # weight and offset are one by now
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    np.testing.assert_allclose(result, model(image).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("bias", [None, "per-channel"])
def test_element_types_stay(dtype: torch.dtype, bias: str | None) -> None:
    conv, single = depthwise(dtype=dtype), depthwise()
    single.weight.data = conv.weight.detach().float()
    initialise(conv, key_set(), bias=bias)
    initialise(single, key_set(), bias=bias)
    assert {parameter.dtype for parameter in conv.parameters()} == {dtype}
    torch.testing.assert_close(conv.weight, single.weight.to(dtype))
    assert conv(torch.zeros(1, 8, 5, 5, dtype=dtype)).dtype == dtype


def test_half_and_channels_last_go_along() -> None:
    conv = depthwise().to(memory_format=torch.channels_last)
    strides = conv.weight.stride()
    initialise(conv, key_set(), bias="per-channel")
    assert conv.weight.stride() == strides
    assert conv.half().key_offset.dtype == torch.float16


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("assign", ["fit", {"": [0] * 8}])
def test_filters_without_a_shape_are_kept(dtype: torch.dtype, assign: object) -> None:
    conv = depthwise(8, dtype=dtype)
    with torch.no_grad():
        conv.weight[0] = 0.3
        conv.weight[1] = 0
        conv.weight[2] = 9e-5 * torch.rand(1, 3, 3)
    before = conv.weight.detach().clone()
    other = copy.deepcopy(conv)
    (done,) = initialise(conv, key_set(), assign=assign)
    assert (done.constant, done.other) == (3, 0)
    np.testing.assert_array_equal(done.keys[:3], [-1, -1, -1])
    assert done.counts.sum() == 5
    assert torch.equal(conv.weight[:3], before[:3])
    assert not torch.isclose(conv.weight[3:], before[3:]).all()
    initialise(other, key_set(), assign=assign, bias="per-channel")
    kept = before[:3].double()
    atol = 1e-3 * float(torch.finfo(dtype).eps)
    torch.testing.assert_close(
        other.key_offset[:3].double(), kept.mean(dim=(1, 2, 3)), rtol=1e-3, atol=atol
    )
    torch.testing.assert_close(other.kernel[:3].double(), kept, rtol=1e-3, atol=atol)
    assert not other.weight[:2].any()
    if assign == "fit":
        index, *_, r2 = plain_fit(before[3:].double().numpy().reshape(5, -1), key_set())
        np.testing.assert_array_equal(done.keys[3:], index)
        assert done.r2 == pytest.approx(r2.mean(), abs=1e-5)


DOT = np.pad([[[1.0]]], ((0, 0), (1, 1), (1, 1)))
SIGNED = KeySet("dot", DOT, equivalence=Equivalence(signed=True))


def test_filters_that_no_signed_key_is_like_are_kept() -> None:
    conv = depthwise(3)
    with torch.no_grad():
        conv.weight[1:, 0, 1, 1] = torch.tensor([-5.0, 5.0])
        conv.weight[0, 0, 1, 1] = -7
    before = conv.weight.detach().clone()
    (done,) = initialise(conv, SIGNED)
    np.testing.assert_array_equal(done.keys, [-1, -1, 0])
    assert (done.constant, done.other, done.counts.tolist()) == (0, 2, [1])
    assert done.r2 == pytest.approx(plain_fit(before[2:].double().numpy().reshape(1, -1),
                                              SIGNED)[3][0] / 3, abs=1e-5)  # fmt: skip
    assert torch.equal(conv.weight[:2], before[:2])
    with torch.no_grad():
        conv.weight[:, 0, 1, 1] = -9
    with pytest.raises(KeySetError, match="no key is like any of its filters"):
        initialise(conv, SIGNED)


def test_samples_follow_the_shares_and_the_seed() -> None:
    shares = [6, 0, 3, 0, 1]
    convs = [depthwise(4000) for _ in range(3)]
    norm = np.sqrt(np.square(filters_of(convs[0]) - filters_of(convs[0]).mean(1, keepdims=True))
                   .sum(1).mean())  # fmt: skip
    rows = [initialise(conv, key_set(), assign="sample", shares=shares, seed=seed)[0]
            for conv, seed in zip(convs, (0, 0, 1), strict=True)]  # fmt: skip
    np.testing.assert_allclose(rows[0].counts / 4000, np.array(shares) / 10, atol=0.03)
    assert rows[0].counts[1] == rows[0].counts[3] == 0
    np.testing.assert_array_equal(rows[0].keys, rows[1].keys)
    assert (rows[0].keys != rows[2].keys).any()
    assert rows[0].r2 is None
    expected = norm * key_set().flat[rows[0].keys]
    np.testing.assert_allclose(filters_of(convs[0]), expected, atol=1e-6)


def test_samples_of_an_empty_layer_are_as_strong_as_torch_makes_them() -> None:
    torch.manual_seed(0)
    fresh, empty = depthwise(20_000), depthwise(20_000)
    nn.init.zeros_(empty.weight)
    initialise(empty, key_set(), assign="sample", bias="per-channel")
    assert not empty.key_offset.any()
    fresh = filters_of(fresh)
    usual = np.sqrt(np.square(fresh - fresh.mean(1, keepdims=True)).sum(1).mean())
    np.testing.assert_allclose(np.linalg.norm(filters_of(empty), axis=1), usual, rtol=0.01)


def test_a_mapping_says_which_key() -> None:
    model, keys = network(), key_set()
    before = filters_of(model[5])
    chosen = np.array([4, 3, 2, 1, 0, 0, 0, 2])
    rows = initialise(model, keys, assign={"5": chosen})
    assert row(rows, "1").reason == NOT_NAMED
    np.testing.assert_array_equal(row(rows, "5").keys, chosen)
    key = keys.flat[chosen]
    a = (before * key).sum(1, keepdims=True)
    expected = a * key + before.mean(1, keepdims=True)
    np.testing.assert_allclose(filters_of(model[5]), expected, atol=1e-6)
    cosines = a[:, 0] / np.linalg.norm(before - before.mean(1, keepdims=True), axis=1)
    assert row(rows, "5").r2 == pytest.approx(np.square(cosines).mean(), abs=1e-5)


def test_shared_modules_and_weights_are_one_layer() -> None:
    conv, twin = depthwise(), depthwise()
    twin.weight = conv.weight
    model = nn.ModuleDict({"a": conv, "b": nn.Sequential(conv), "c": twin})
    rows = initialise(model, key_set(), bias="per-channel")
    assert [(layer.name, layer.also) for layer in rows] == [("a", ("b.0", "c"))]
    assert type(twin) is KeyConv2d
    assert twin.key_offset is conv.key_offset
    assert torch.equal(twin.kernel, conv.kernel)


class Special(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.pad(input, (1, 1, 1, 1)))


def normed() -> nn.Module:
    with quiet():
        return nn.utils.weight_norm(depthwise())


def tied_to_a_dense_layer() -> nn.Module:
    model = nn.Sequential(depthwise(), nn.Conv2d(1, 8, 3))
    model[1].weight = model[0].weight
    return model


def made_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return depthwise()


def not_finite() -> nn.Module:
    conv = depthwise()
    conv.weight.data[3, 0, 1, 1] = float("nan")
    return conv


def filled(conv: nn.Conv2d, size: float, *, even: bool = False) -> nn.Conv2d:
    """Weights of one size, of both signs unless ``even``."""
    signs = torch.ones(8) if even else torch.sign(torch.linspace(-1, 1.1, 8))
    weights = signs[:, None, None, None] * (torch.ones(9) if even else CHEQUERS).reshape(1, 1, 3, 3)
    conv.weight.data = (size * weights.double()).to(conv.weight.dtype)
    return conv


CHEQUERS = torch.tensor([1.0, -1, 1, -1, -1, 1, 1, 1, -1])


def beyond_float32() -> nn.Module:
    conv = depthwise(dtype=torch.float64)
    conv.weight.data[3, 0, 1, 1] = 1e40
    return conv


def beyond_half() -> nn.Module:
    return filled(depthwise(dtype=torch.float16), 60000)


def in_shared_memory() -> nn.Module:
    conv = depthwise()
    conv.weight = nn.Parameter(torch.randn(1, 1, 3, 3).expand(8, 1, 3, 3))
    return conv


def windows() -> nn.Module:
    conv = depthwise()
    conv.weight = nn.Parameter(torch.randn(30).as_strided((8, 1, 3, 3), (2, 1, 3, 1)))
    return conv


def quantised() -> nn.Module:
    with quiet():
        return torch.ao.nn.quantized.Conv2d(8, 8, 3, groups=8)


LEFT_ALONE = {
    "parametrised": (lambda: parametrizations.weight_norm(depthwise()), "computed from other"),
    "spectral": (lambda: parametrizations.spectral_norm(depthwise()), "computed from other"),
    "weight norm": (normed, "computed from other"),
    "pruned": (lambda: prune.l1_unstructured(depthwise(), "weight", 0.5), "computed from other"),
    "meta": (lambda: depthwise(device="meta"), "no values"),
    "lazy": (lambda: nn.LazyConv2d(8, 3, groups=8), "lazy"),
    "transposed": (lambda: nn.ConvTranspose2d(8, 8, 3, groups=8), "a ConvTranspose2d"),
    "one dimension": (lambda: nn.Conv1d(8, 8, 3, groups=8), "a Conv1d"),
    "complex": (lambda: depthwise(dtype=torch.complex64), "complex64 is not a float"),
    "inference": (made_in_inference_mode, "inference mode"),
    "not finite": (not_finite, "NaN, infinite or beyond float32"),
    "beyond float32": (beyond_float32, "NaN, infinite or beyond float32"),
    "fit beyond float16": (beyond_half, "a x \\+ b is beyond float16"),
    "fit beyond float32": (lambda: filled(depthwise(), 3e38), "a x \\+ b is beyond float32"),
    "shared memory": (in_shared_memory, "share memory"),
    "windows of one line": (windows, "share memory"),
    "constant": (lambda: filled(depthwise(), 0.5, even=True), "no shape"),
    "nearly zero": (lambda: filled(depthwise(), 9e-5), "no shape"),
    "quantised": (quantised, "a quantised module"),
    "one tap": (lambda: depthwise(size=1), "of one tap"),
    "tied": (tied_to_a_dense_layer, "a Conv2d, which is not depthwise"),
    "another size": (lambda: depthwise(size=7), "7x7, the keys 3x3"),
    "own forward": (lambda: Special(8, 8, 3, groups=8), "a Special, whose own forward"),
}


def held(module: nn.Module) -> dict[str, int]:
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: id(value) for name, value in named}


@pytest.mark.parametrize("kind", LEFT_ALONE)
def test_what_cannot_take_keys_is_left_alone_with_a_reason(kind: str) -> None:
    make, reason = LEFT_ALONE[kind]
    odd = make()
    state = held(odd)
    rows = initialise(nn.ModuleList([depthwise(), odd]), key_set(), bias="per-channel")
    assert rows[0].reason is None
    assert re.search(reason, str(rows[1].reason))
    assert (len(rows[1].keys), rows[1].r2, rows[1].offsets) == (0, None, 0)
    assert held(odd) == state
    with pytest.raises(KeySetError, match=f"nothing was changed.*{reason}"):
        initialise(odd, key_set(), bias="per-channel")


def test_a_subclass_takes_keys_without_offsets() -> None:
    conv = Special(8, 8, 3, groups=8)
    (done,) = initialise(conv, key_set())
    assert done.reason is None
    assert type(conv) is Special


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "bias": ({"bias": "per-layer"}, "bias='per-layer'"),
    "assign": ({"assign": "best"}, "assign='best'"),
    "name": ({"assign": {"7": [0] * 8}}, "no depthwise layer '7'"),
    "left alone": ({"assign": {"3.0": [0] * 8}}, "'3.0'.*5x5"),
    "length": ({"assign": {"1": [0] * 8, "5": [0] * 7}}, "'5' 8 whole numbers from 0 to 4"),
    "range": ({"assign": {"1": [5] * 8}}, "'1' 8 whole numbers"),
    "negative": ({"assign": {"1": [-1] * 8}}, "'1' 8 whole numbers"),
    "fractions": ({"assign": {"1": [0.5] * 8}}, "'1' 8 whole numbers"),
    "shares alone": ({"shares": [1] * 5}, "only assign='sample'"),
    "shares length": ({"assign": "sample", "shares": [1, 2]}, "5 numbers"),
    "shares negative": ({"assign": "sample", "shares": [1, 1, 1, 1, -1]}, "none negative"),
    "ragged": ({"assign": {"1": [[1, 2], [3]]}}, "'1' 8 whole numbers"),
    "indices of text": ({"assign": {"1": ["a"] * 8}}, "'1' 8 whole numbers"),
    "assign array": ({"assign": np.zeros(8, int)}, "'fit', 'sample' or a mapping"),
    "bias array": ({"bias": np.zeros(2)}, "None or 'per-channel'"),
    "equivalence": ({"equivalence": {"signed": True}}, r"no filterdb\.keys\.Equivalence"),
    "shares of text": ({"assign": "sample", "shares": ["a"] * 5}, "5 numbers"),
    "shares ragged": ({"assign": "sample", "shares": [[1], [1, 2], 3, 4, 5]}, "5 numbers"),
    "seed negative": ({"assign": "sample", "seed": -1}, "seed=-1 is no whole number"),
    "seed of text": ({"assign": "sample", "seed": "x"}, "seed='x' is no whole number"),
    "seed none": ({"assign": "sample", "seed": None}, "seed=None is no whole number"),
    "shares zero": ({"assign": "sample", "shares": [0] * 5}, "not all zero"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_changes_nothing(what: str) -> None:
    options, message = WRONG[what]
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(KeySetError, match=message):
        initialise(model, key_set(), **options)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_no_depthwise_layer_says_what_there_is() -> None:
    with pytest.raises(KeySetError, match=r"no depthwise layers.*2 x Conv2d, 1 x Conv1d"):
        initialise(nn.ModuleList([nn.Conv2d(3, 8, 3), nn.Conv1d(3, 3, 3), nn.Conv2d(8, 8, 3)]),
                   key_set())  # fmt: skip
    with pytest.raises(KeySetError, match="none at all"):
        initialise(nn.Linear(2, 2), key_set())
    for made, reason in ((scripted, "scripted"), (traced, "scripted"), (exported, "exported")):
        with pytest.raises(KeySetError, match=f"change .* before it is {reason}"):
            initialise(made(network().eval()), key_set())
    with pytest.raises(KeySetError, match=r"no torch\.nn\.Module"):
        initialise({"weight": 1}, key_set())  # type: ignore[arg-type]


def test_keys_of_another_size_say_which_sizes_there_are() -> None:
    with pytest.raises(KeySetError, match="2 x its kernels are 3x3, the keys 7x7; 1 x its kernels"):
        initialise(network(), key_set(kernel=(7, 7)))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("assign", ["fit", "sample"])
def test_the_callers_torch_is_left_as_it_was(mode: Callable[[], object], assign: str) -> None:
    model, numbers = network(), torch.get_rng_state()
    threads = torch.get_num_threads()
    with mode():
        initialise(model, key_set(), bias="per-channel", assign=assign)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert torch.get_num_threads() == threads
    model(torch.randn(1, 3, 20, 20)).sum().backward()
    assert model[1].key_offset.grad is not None


def test_a_key_convolution_of_its_own() -> None:
    conv = KeyConv2d(4, 4, 3, groups=4, dtype=torch.float64)
    assert conv.key_offset.shape == (4,)
    assert conv.key_offset.dtype == torch.float64
    image = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(conv(image), functional.conv2d(image, conv.weight, conv.bias,
                                                              groups=4))  # fmt: skip


def test_offsets_are_read_as_part_of_the_weights(tmp_path: Path) -> None:
    """From a checkpoint of any kind, a live module and the ONNX export alike."""
    model, image = converted(), torch.randn(1, 3, 20, 20)
    state = model.state_dict()
    torch.save(state, tmp_path / "state.pth")
    torch.save({"epoch": 3, "model": {f"module.{k}": v for k, v in state.items()}},
               tmp_path / "checkpoint.pth")  # fmt: skip
    torch.save(model, tmp_path / "whole.pt")
    save_file(state, tmp_path / "net.safetensors")
    np.savez(tmp_path / "net.npz", **{name: value.numpy() for name, value in state.items()})
    with quiet():
        torch.jit.save(torch.jit.script(model), tmp_path / "script.pt")
        torch.jit.save(torch.jit.trace(model, image), tmp_path / "trace.pt")
        torch.onnx.export(model, (image,), tmp_path / "net.onnx", dynamo=False)
    exported = {layer.name: layer for layer in filterdb.read(tmp_path / "net.onnx").layers}
    kernels = [model[place].kernel.detach().numpy() for place in (1, 5)]
    found = [layer.weights for layer in exported.values() if layer.shape == kernels[0].shape]
    for kernel, weights in zip(kernels, found, strict=True):
        np.testing.assert_allclose(weights, kernel, atol=1e-6)
    files = [path for path in tmp_path.iterdir() if path.suffix != ".onnx"]
    assert len(files) == 7
    for source in (*files, model, state, model[1]):
        network = filterdb.read(source)
        layers = {layer.name: layer for layer in network.layers}
        names = ("1", "5") if len(layers) > 1 else tuple(layers)
        for name, kernel in zip(names, kernels, strict=False):
            np.testing.assert_allclose(layers[name].weights, kernel, atol=1e-6)
        assert not any("key_offset" in item.name for item in network.skipped)
        assert any("ey offsets added" in note for note in network.notes)


def test_pruned_keys_are_read_with_their_offsets() -> None:
    model = converted()
    prune.l1_unstructured(model[1], "weight", 0.5)
    (weights,) = (layer.weights for layer in filterdb.read(model.state_dict()).layers
                  if layer.name == "1")  # fmt: skip
    model(torch.zeros(1, 3, 20, 20))
    np.testing.assert_allclose(weights, model[1].kernel.detach().numpy(), atol=1e-6)


def test_what_fits_no_weight_is_no_offset_of_it() -> None:
    state = {"a.weight": np.ones((4, 1, 3, 3), np.float32), "a.key_offset": np.ones(3, np.float32)}
    (layer,) = filterdb.read(state).layers
    assert (layer.weights == 1).all()


@pytest.mark.parametrize("freeze", [True, False])
def test_gradients_from_before_are_dropped(freeze: bool) -> None:
    model = network()
    initialise(model, key_set(), bias="per-channel", freeze=False)
    step = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 3, 20, 20)).square().sum().backward()
    initialise(model, key_set(), bias="per-channel", freeze=freeze)
    before = copy.deepcopy(model.state_dict())
    step.step()
    for name in ("1.weight", "5.weight", "1.key_offset", "5.key_offset"):
        assert torch.equal(model.state_dict()[name], before[name])
    assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])


def test_offsets_learn_even_if_those_that_were_there_did_not() -> None:
    model = converted()
    model.requires_grad_(requires_grad=False)
    rows = initialise(model, key_set(), bias="per-channel")
    assert row(rows, "1").offsets == 8
    assert model[1].key_offset.requires_grad


def test_what_is_printed_says_what_learns() -> None:
    model = network()
    initialise(model, key_set(), bias="per-channel")
    shown = repr(model[1])
    assert shown.startswith("KeyConv2d(8, 8, kernel_size=(3, 3)")
    assert shown.endswith("keys='random', frozen=keys, learnt=offsets)")
    assert repr(pickled(model)[1]) == repr(copy.deepcopy(model)[1]) == shown
    assert repr(KeyConv2d(2, 2, 3)).endswith("learnt=keys+offsets)")
    initialise(model, key_set())
    assert "key" not in repr(model[1])


def test_keys_of_an_array_say_how_to_make_a_set() -> None:
    with pytest.raises(KeySetError, match=r"filterdb\.keys\.KeySet\("):
        initialise(network(), key_set().filters)  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [key_set(8, (7, 7)), key_set(3), key_set(4, (5, 5), seed=2)])
@pytest.mark.parametrize("start", [None, nn.init.normal_, nn.init.kaiming_normal_])
def test_a_fit_of_noise_has_a_note(keys: KeySet, start: Callable[..., object] | None) -> None:
    torch.manual_seed(0)
    for channels in (4, 32, 500):
        conv = depthwise(channels, keys.kernel[0])
        if start is not None:
            start(conv.weight)
        for _ in range(2):
            (done,) = initialise(copy.deepcopy(conv), keys)
            assert "assign='sample'" in str(done.note)
        (drawn,) = initialise(copy.deepcopy(conv), keys, assign="sample")
        assert drawn.note is None


def test_a_fit_of_copies_has_none() -> None:
    keys, rng = key_set(4, (5, 5)), np.random.default_rng(0)
    conv = depthwise(32, 5)
    copies = keys.filters[rng.integers(0, 4, 32)] + 0.2 * rng.standard_normal((32, 5, 5))
    conv.weight.data = torch.from_numpy(copies[:, None]).float()
    (done,) = initialise(conv, keys)
    assert done.note is None
