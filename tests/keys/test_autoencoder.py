from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.keys.normal import normal_form
from filterdb.keys.torch.autoencoder import CANDIDATES, train_autoencoder

Array = NDArray[np.float32]


def planted(count: int, taps: int, *, n: int = 3000, noise: float = 0.1, seed: int = 0,
            signed: bool = False) -> tuple[Array, Array, NDArray[np.int64]]:  # fmt: skip
    """Random keys, filters ``a key + b`` with noise in normal form, and the key of each."""
    rng = np.random.default_rng(seed)
    keys = normal_form(rng.standard_normal((count, taps))).unit
    label = rng.integers(count, size=n)
    a = rng.standard_normal((n, 1))
    a = np.abs(a) + 0.01 if signed else a + np.copysign(0.01, a)
    error = noise * np.abs(a) * rng.standard_normal((n, taps)) / np.sqrt(taps)
    return keys, normal_form(a * keys[label] + rng.standard_normal((n, 1)) + error).unit, label


def best(keys: Array, decoded: NDArray[np.float64], *, signed: bool = False) -> Array:
    cosines = keys @ decoded.reshape(len(decoded), -1).T
    return (cosines if signed else np.abs(cosines)).max(axis=1)


@pytest.mark.parametrize(("kernel", "signed"), [((7, 7), False), ((7, 7), True), ((3, 3), False)])
def test_planted_keys_are_among_the_candidates(kernel: tuple[int, int], signed: bool) -> None:
    keys, unit, _ = planted(6, kernel[0] * kernel[1], signed=signed)
    trained = train_autoencoder(unit, kernel, signed=signed, restarts=1, steps=600)
    assert (best(keys, trained.decoded, signed=signed) > 0.95).all()
    assert trained.decoded.shape == (CANDIDATES, *kernel)
    flat = trained.decoded.reshape(CANDIDATES, -1)
    np.testing.assert_allclose(flat.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), 1)


def test_loss_and_counts_are_those_of_the_codes() -> None:
    keys, unit, label = planted(4, 9)
    trained = train_autoencoder(unit, (3, 3), restarts=2, steps=250)
    codes = trained.codes(unit)
    assert codes.dtype == np.float32
    assert 0 <= codes.min() < codes.max() <= 1
    nearest = np.abs(codes[:, None] - np.linspace(0, 1, CANDIDATES)).argmin(axis=1)
    np.testing.assert_array_equal(trained.counts, np.bincount(nearest, minlength=CANDIDATES))
    assert trained.counts.sum() == len(unit)
    assert trained.loss == min(trained.losses)
    assert len(trained.losses) == 2
    # Candidates are dense enough to stand for what is decoded of the codes themselves.
    cosine = np.einsum("ij,ij->i", unit, trained.decoded.reshape(CANDIDATES, -1)[nearest])
    assert 1 - np.square(cosine).mean() == pytest.approx(trained.loss, abs=0.02)
    assert all(codes[label == key].std() < 0.15 for key in range(len(keys)))


def test_the_sign_of_a_filter_does_not_change_its_code() -> None:
    _, unit, _ = planted(4, 9)
    trained = train_autoencoder(unit, (3, 3), restarts=1, steps=50)
    np.testing.assert_array_equal(trained.codes(unit), trained.codes(-unit))


def test_the_same_seed_gives_the_same_and_the_caller_notices_nothing() -> None:
    _, unit, _ = planted(3, 9, n=500)
    before = unit.copy()
    numbers, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.device("meta"):
            first = train_autoencoder(unit, (3, 3), restarts=2, steps=30)
    finally:
        torch.set_default_dtype(torch.float32)
    second = train_autoencoder(unit, (3, 3), restarts=2, steps=30)
    other = train_autoencoder(unit, (3, 3), seed=1, restarts=2, steps=30)
    np.testing.assert_array_equal(first.decoded, second.decoded)
    assert first.losses == second.losses
    assert first.losses[0] != first.losses[1]
    assert not np.allclose(first.decoded, other.decoded)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(unit, before)


def test_noise_is_not_explained() -> None:
    """A line through noise of 48 dimensions explains little of it."""
    unit = normal_form(np.random.default_rng(0).standard_normal((3000, 49))).unit
    assert train_autoencoder(unit, (7, 7), restarts=1, steps=300).loss > 0.85


@pytest.mark.parametrize(("n", "kernel"), [(1, (3, 3)), (2, (7, 7)), (40, (1, 2)), (30, (1, 5))])
@pytest.mark.parametrize("signed", [False, True])
def test_few_filters_and_small_kernels(n: int, kernel: tuple[int, int], signed: bool) -> None:
    unit = normal_form(np.random.default_rng(0).standard_normal((n, kernel[0] * kernel[1]))).unit
    trained = train_autoencoder(unit, kernel, signed=signed, candidates=5, restarts=1, steps=30)
    assert np.isfinite(trained.decoded).all()
    assert trained.counts.sum() == n


def read_only(unit: Array) -> Array:
    unit.setflags(write=False)
    return unit


@pytest.mark.parametrize("given", [read_only, np.asfortranarray, lambda unit: unit.astype(float)])
def test_any_array_will_do(given: Callable[[Array], Array]) -> None:
    _, unit, _ = planted(3, 9, n=300)
    plain = train_autoencoder(unit, (3, 3), restarts=1, steps=5)
    trained = train_autoencoder(given(unit.copy()), (3, 3), restarts=1, steps=5)
    np.testing.assert_array_equal(plain.decoded, trained.decoded)
    np.testing.assert_array_equal(plain.codes(unit), trained.codes(given(unit.copy())))


def test_what_cannot_be_learnt_from() -> None:
    with pytest.raises(KeySetError, match="no filters with a shape"):
        train_autoencoder(np.empty((0, 9), np.float32), (3, 3))
    with pytest.raises(ValueError, match="are not"):
        train_autoencoder(np.ones((4, 9), np.float32), (7, 7))
    with pytest.raises(ValueError, match="NaN"):
        train_autoencoder(np.full((4, 9), np.nan, np.float32), (3, 3))
