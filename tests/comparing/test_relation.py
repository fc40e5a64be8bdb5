"""What two layers are to each other; torch makes the pairs, and is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights

from filterdb.comparing.change import compare_weights
from filterdb.comparing.relation import Relation, levels, relate, to_bfloat16, to_float16


def layer(*shape: int, seed: int = 0) -> np.ndarray:
    weights: np.ndarray = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return weights


def relation(a: np.ndarray, b: np.ndarray, *dtypes: str) -> Relation:
    change, products, _ = compare_weights(a, b)
    return relate(a, b, change, products, (dtypes or ("float32", "float32")))  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e4, 1e6])
def test_rounding_is_torchs(scale: float) -> None:
    weights = layer(1000, 1, 3, 3) * np.float32(scale)
    tensor = torch.from_numpy(weights)
    np.testing.assert_array_equal(to_float16(weights), tensor.half().float().numpy())
    np.testing.assert_array_equal(to_bfloat16(weights), tensor.bfloat16().float().numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounded(dtype: str) -> None:
    a = layer(16, 8, 3, 3)
    b = torch.from_numpy(a).to(getattr(torch, dtype)).float().numpy()
    there, back = relation(a, b, "float32", dtype), relation(b, a, dtype, "float32")
    assert there.name == back.name == "rounded"
    assert dtype in there.note
    assert dtype in back.note


def test_rounded_in_an_unknown_way() -> None:
    a = layer(16, 8, 3, 3)
    assert relation(a, a * np.float32(1 + 1e-6)).name == "rounded"


def test_a_small_change_is_a_change() -> None:
    a = layer(16, 8, 3, 3)
    assert relation(a, a + np.float32(1e-3) * layer(16, 8, 3, 3, seed=1)).name == "changed"


def test_folded_batchnorm() -> None:
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(16)
    torch.nn.init.normal_(norm.weight)  # some factors are negative
    norm.running_var = torch.rand(16) + 0.1
    a = layer(16, 8, 3, 3)
    folded, _ = fuse_conv_bn_weights(
        torch.from_numpy(a), None, norm.running_mean, norm.running_var, norm.eps, norm.weight,
        norm.bias,
    )  # fmt: skip
    found = relation(a, folded.detach().numpy())
    assert found.name == "scaled by channel"
    factors = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
    assert f"{factors.min():.3g} to {factors.max():.3g}" in found.note


def test_a_channel_whose_norm_is_zero_is_folded_too() -> None:
    a = layer(4, 8, 3, 3)
    factors = np.array([1, 2, 0, -0.5], np.float32)[:, None, None, None]
    assert relation(a, a * factors).name == "scaled by channel"
    assert relation(a * factors, a).name == "changed"  # nothing makes weights of zeros


def test_one_factor() -> None:
    a = layer(16, 8, 3, 3)
    found = relation(a, a * np.float32(-2.5))
    assert found.name == "scaled"
    assert "-2.5" in found.note


def test_one_weight_a_channel_has_no_direction() -> None:
    a, b = layer(16, 1, 1, 1), layer(16, 1, 1, 1, seed=1)
    assert relation(a, b).name == "changed"
    assert relation(a, 3 * a).name == "scaled"


def test_pruned() -> None:
    from torch.nn.utils import prune

    conv = torch.nn.Conv2d(8, 16, 3)
    a = conv.weight.detach().numpy().copy()
    prune.l1_unstructured(conv, "weight", 0.5)
    found = relation(a, conv.weight.detach().numpy())
    assert found.name == "pruned"
    assert "50.0%" in found.note


def test_a_pruned_channel_is_pruned_not_folded() -> None:
    a = layer(16, 8, 3, 3)
    b = a.copy()
    b[3] = 0
    assert relation(a, b).name == "pruned"


def test_pruned_and_trained_on_is_changed() -> None:
    a = layer(16, 8, 3, 3)
    b = np.where(np.abs(a) < 0.5, 0, 1.1 * a + 0.05 * layer(16, 8, 3, 3, seed=1))
    assert relation(a, b.astype(np.float32)).name == "changed"


@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised(per_channel: bool) -> None:
    tensor = torch.from_numpy(layer(32, 64, 3, 3))
    if per_channel:
        scales = tensor.abs().amax(dim=(1, 2, 3)) / 127
        zero = torch.zeros(32, dtype=torch.int32)
        quantised = torch.fake_quantize_per_channel_affine(tensor, scales, zero, 0, -127, 127)
    else:
        scale = float(tensor.abs().max() / 127)
        quantised = torch.fake_quantize_per_tensor_affine(tensor, scale, 0, -127, 127)
    b = quantised.numpy()
    there, back = relation(tensor.numpy(), b), relation(b, tensor.numpy())
    assert there.name == back.name == "quantised"
    per_row = [np.unique(row[row != 0]).size for row in b.reshape(32, -1)]
    expected = max(per_row) if per_channel else np.unique(b[b != 0]).size
    assert f"second holds {'at most ' if per_channel else ''}{expected}" in there.note
    assert "first holds" in back.note


def test_quantised_by_its_type() -> None:
    a = layer(4, 2, 3, 3)  # too few weights for values to repeat
    b = np.round(a * 100).astype(np.float32) / 100
    assert relation(a, b).name == "changed"
    found = relation(a, b, "float32", "int8")
    assert found.name == "quantised"
    assert "int8" in found.note


def test_other_weights_on_a_grid_are_no_quantisation() -> None:
    a, b = layer(32, 64, 3, 3), np.round(30 * layer(32, 64, 3, 3, seed=1)) / 30
    assert relation(a, b.astype(np.float32)).name == "changed"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (np.zeros((4, 4, 3, 3)), None),
        (np.ones((4, 4, 3, 3)), "1"),
        (np.arange(144).reshape(4, 4, 3, 3), None),
        (np.arange(144).reshape(4, 4, 3, 3) % 5, "4"),
    ],
)
def test_levels(weights: np.ndarray, expected: str | None) -> None:
    assert levels(weights.astype(np.float32)) == expected


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (lambda w: w.swapaxes(2, 3), "height and width"),
        (lambda w: w[:, :, ::-1, ::-1], "180 degrees"),
        (lambda w: w[..., ::-1], "left to right"),
        (lambda w: w[:, :, ::-1], "top to bottom"),
        (lambda w: w[:, ::-1], "RGB and BGR"),
    ],
)
def test_rearranged(turn, words: str) -> None:  # type: ignore[no-untyped-def]
    a = layer(16, 3, 3, 3)
    found = relation(a, np.ascontiguousarray(turn(a)))
    assert found.name == "rearranged"
    assert words in found.note
