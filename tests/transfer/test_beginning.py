"""Filters that a network begins with: what is drawn, of which strength, and from where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import filterdb
from filterdb.errors import TransferError
from filterdb.keys import load
from filterdb.transfer.beginning import begin
from filterdb.transfer.donors import donor
from filterdb.transfer.networks.building import build
from filterdb.transfer.parts import part_of
from filterdb.transfer.run import Budget, Data, Run, Start

DONOR = Path(filterdb.__file__).parent / "demo" / "zoo" / "mobilenet-shapes.safetensors"
TINY = {"width": 16, "depth": 3}
BASE = Run("convmixer", Data("digits", 8, 1), Budget(1), TINY)


def begun(*starts: Start, seed: int = 0, **arguments: int) -> object:
    run = replace(BASE, starts=starts, seed=seed, arguments=TINY | arguments)
    model = build("convmixer", classes=5, channels=1, size=8, seed=seed, **run.arguments)
    begin(model, run, lambda _: None)
    return model


def filters(model: object) -> np.ndarray:
    """All depthwise filters, ``(n, k)``."""
    layers = [slot.weight.detach().numpy() for slot in part_of(model, "depthwise")]
    return np.concatenate([layer.reshape(len(layer), -1) for layer in layers])


def shapes(values: np.ndarray) -> np.ndarray:
    """The different filters among them, each of norm 1, in an order of their own."""
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.unique(np.round(unit, 4), axis=0)


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_so_many_random_filters_and_no_more(k: int) -> None:
    found = filters(begun(Start("depthwise", filters=f"random:{k}")))
    assert len(shapes(found)) == k
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-6)


def test_few_random_filters_are_the_first_of_more() -> None:
    two, four = (shapes(filters(begun(Start("depthwise", filters=f"random:{k}")))) for k in (2, 4))
    for one in two:
        assert (np.abs(four - one).max(axis=1) < 1e-3).any()


def test_random_filters_are_used_as_keys_are() -> None:
    """Same places, same strength: only what the filters look like differs."""
    random, keys = (
        filters(begun(Start("depthwise", filters=told), kernel=7))
        for told in ("random:4", "keys:published8:4")
    )
    np.testing.assert_allclose(
        np.linalg.norm(random, axis=1), np.linalg.norm(keys, axis=1), rtol=1e-5
    )
    # Two filters are copies of one random filter where they are copies of one key.
    same = [(values @ values.T) / np.outer(*2 * [np.linalg.norm(values, axis=1)]) > 0.999
            for values in (random, keys)]  # fmt: skip
    assert np.array_equal(*same)


def test_another_seed_draws_other_random_filters() -> None:
    start = Start("depthwise", filters="random:4")
    first, same, other = (shapes(filters(begun(start, seed=seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert np.abs(first @ other.T).max() < 0.999


def test_random_filters_of_one_pixel_are_refused() -> None:
    with pytest.raises(TransferError, match="1x1"):
        begun(Start("pointwise", filters="random:4"))


def test_keys_of_some_numbers() -> None:
    keys = load("found3x3").filters.reshape(-1, 9)
    found = shapes(filters(begun(Start("depthwise", filters="keys:found3x3:[2,5]"))))
    assert len(found) == 2
    assert np.sort(np.abs(found @ keys.T).argmax(axis=1)).tolist() == [1, 4]
    for wrong in ("[0,1]", "[3,9]"):
        with pytest.raises(TransferError, match="has 8 keys"):
            begun(Start("depthwise", filters=f"keys:found3x3:{wrong}"))


def test_a_donors_spectra_with_random_phases() -> None:
    plain, scrambled = (
        filters(begun(Start("depthwise", filters=f"{kind}:{DONOR}")))
        for kind in ("donor", "donor-spectrum")
    )
    theirs = np.concatenate([layer.reshape(-1, 9) for layer in donor(str(DONOR), (3, 3)).layers])
    assert {own.tobytes() for own in plain} <= {own.tobytes() for own in theirs}
    assert not {own.tobytes() for own in scrambled} & {own.tobytes() for own in theirs}
    for mine, other in zip(scrambled, plain, strict=True):
        np.testing.assert_allclose(
            *(np.abs(np.fft.fft2(one.reshape(3, 3))) for one in (mine, other)), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("told", [f"donor:{DONOR}", "keys:found3x3:2"])
def test_other_filters_than_planned_are_refused(told: str) -> None:
    found = load("found3x3").id if "keys" in told else donor(str(DONOR), (3, 3)).content
    begun(Start("depthwise", filters=told, content=found))
    with pytest.raises(TransferError, match=r"other filters .* than when the run was planned"):
        begun(Start("depthwise", filters=told, content="0" * 16))


class Fixed(nn.Module):
    """Takes images of 12 pixels alone, and uses its layers otherwise than it names them."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = (nn.Conv2d(2, 2, 3, padding=1, groups=2) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[-2:] == (12, 12)
        return self.last(self.first(x.expand(-1, 2, -1, -1))).mean((2, 3))


def test_the_order_of_layers_is_found_with_images_of_the_data() -> None:
    source, model = Fixed(), Fixed()
    start = Start("depthwise", first=1, source="there")
    run = Run("own:net", Data("digits", 12, 1), Budget(1), starts=(start,))
    before = model.last.weight.detach().clone()
    (given,) = begin(model, run, {"there": source}.__getitem__)
    assert [slot.name for slot in given.slots] == ["first"]
    assert torch.equal(model.first.weight, source.first.weight)
    assert torch.equal(model.last.weight, before)
    drawn = replace(run, starts=(replace(start, first=None, how="depth"),))
    begin(model, drawn, {"there": source}.__getitem__)
    theirs = {tuple(one.ravel().tolist()) for one in source.last.weight.detach()}
    assert {tuple(one.ravel().tolist()) for one in model.last.weight.detach()} == theirs
