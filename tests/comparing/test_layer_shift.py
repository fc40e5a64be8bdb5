"""D between two layers and its null, against plain NumPy, and by how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.comparing import shift
from filterdb.comparing.shift import histograms, layer_shift
from filterdb.stats.basis import reference_basis
from filterdb.stats.summary import COARSE_BINS, summarise
from networks import random_layer, trained_layer


def layer(*shape: int, seed: int = 0) -> np.ndarray:
    weights: np.ndarray = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return weights


def coefficients(weights: np.ndarray) -> np.ndarray:
    basis = reference_basis((weights.shape[2], weights.shape[3]))
    filters = weights.reshape(-1, basis.mean.size).astype(np.float64)
    filters /= np.abs(filters).max(axis=1, keepdims=True)
    found: np.ndarray = (filters - basis.mean) @ basis.components.T
    return found


def plain_shift(a: np.ndarray, b: np.ndarray, kernel: tuple[int, int]) -> float:
    """D of two sets of coefficients, shape ``(n, k)`` each."""
    basis = reference_basis(kernel)
    edges = np.linspace(-basis.reach, basis.reach, 71)
    total = 0.0
    for i, ratio in enumerate(basis.explained_variance_ratio):
        densities = []
        for side in (a, b):
            density = np.histogram(side[:, i], edges, density=True)[0]
            density[density == 0] = np.finfo(np.float32).eps
            densities.append(density / density.sum())
        p, q = densities
        total += ratio * float((p * np.log(p / q) + q * np.log(q / p)).sum())
    return total


def test_against_plain_numpy() -> None:
    rng = np.random.default_rng(0)
    a = trained_layer(rng, 60, 30, 3, 3)
    b = a + np.float32(0.3 * a.std()) * random_layer(rng, 60, 30, 3, 3)  # alike, as pairs are
    found = layer_shift(a, b)
    assert found is not None
    assert found.null_p95 is not None
    before, after = coefficients(a), coefficients(b)
    assert found.value == pytest.approx(plain_shift(before, after, (3, 3)), rel=1e-9)
    drawn = []
    for _ in range(200):
        swap = rng.random((len(before), 1)) < 0.5
        one, other = np.where(swap, after, before), np.where(swap, before, after)
        drawn.append(plain_shift(one, other, (3, 3)))
    assert found.null_p95 == pytest.approx(np.quantile(drawn, 0.95), rel=0.1)


def test_another_distribution_is_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    found = layer_shift(trained_layer(rng, 60, 30, 3, 3), random_layer(rng, 60, 30, 3, 3))
    assert found is not None
    assert found.null_p95 is not None
    assert found.value > 2 * found.null_p95


def test_layers_of_two_shapes_are_dealt_anew() -> None:
    rng = np.random.default_rng(0)
    a, b = random_layer(rng, 30, 20, 3, 3), random_layer(rng, 20, 15, 3, 3)
    found = layer_shift(a, b)
    assert found is not None
    before, after = coefficients(a), coefficients(b)
    assert found.value == pytest.approx(plain_shift(before, after, (3, 3)), rel=1e-9)
    pool, drawn = np.concatenate([before, after]), []
    for _ in range(200):
        dealt = rng.permutation(pool)
        drawn.append(plain_shift(dealt[: len(before)], dealt[len(before) :], (3, 3)))
    assert found.null_p95 == pytest.approx(np.quantile(drawn, 0.95), rel=0.1)


def test_groups_of_neighbours_have_the_null_of_the_whole_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = layer(60, 50, 3, 3), layer(60, 50, 3, 3, seed=1)
    monkeypatch.setattr(shift, "MOST_PARTS", 10_000)
    each = layer_shift(a, b)
    monkeypatch.setattr(shift, "MOST_PARTS", 250)
    grouped = layer_shift(a, b)
    sample = layer_shift(a[:5], b[:5])
    assert each is not None
    assert grouped is not None
    assert sample is not None
    assert each.null_p95 is not None
    assert grouped.value == each.value
    assert grouped.null_p95 == pytest.approx(each.null_p95, rel=0.1)
    assert sample.null_p95 is not None
    assert sample.null_p95 > 5 * each.null_p95  # why it is not the null of a sample


@pytest.mark.parametrize("of_two_shapes", [False, True])
def test_chance_is_mistaken_for_a_change_no_more_often_than_promised(of_two_shapes: bool) -> None:
    """Two layers of one distribution, before and after alike by half: p <= 0.05 in 1 of 20."""
    beyond = 0
    for seed in range(120):
        a, noise = layer(8, 6, 3, 3, seed=2 * seed), layer(8, 6, 3, 3, seed=2 * seed + 1)
        b = noise[:6] if of_two_shapes else (a + noise) / np.float32(np.sqrt(2))
        found = layer_shift(a, b)
        assert found is not None
        assert found.null_p95 is not None
        beyond += found.value > found.null_p95
    assert beyond <= 13  # binomial(120, 0.05): more in 1 of 250 cases


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_handful_of_filters_is_never_beyond_chance(n: int) -> None:
    found = layer_shift(layer(n, 1, 3, 3), layer(n, 1, 3, 3, seed=1))
    assert found is not None
    assert (found.null_p95 is None) == (n == 1)
    assert found.null_p95 is None or found.value <= found.null_p95


def test_what_has_no_shift() -> None:
    assert layer_shift(layer(8, 8, 1, 1), layer(8, 8, 1, 1, seed=1)) is None
    assert layer_shift(layer(8, 8, 3, 3), layer(8, 8, 5, 5)) is None
    assert layer_shift(layer(2, 1, 12, 12), layer(2, 1, 12, 12, seed=1)) is None


@given(st.integers(1, 400), st.integers(1, 60), st.sampled_from([1, 7, 50, 8192]))
@settings(max_examples=60, deadline=None)
def test_histograms_add_up_to_the_summary(n: int, size: int, block: int) -> None:
    basis = reference_basis((3, 3))
    weights = layer(n, 1, 3, 3, seed=n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shift, "BLOCK", block)
        parts = histograms(weights.reshape(n, 9), basis, size=size)
    assert parts.shape == (-(-n // size), 9, COARSE_BINS)
    assert parts.sum(axis=2)[:, 0].tolist() == [min(size, n - s) for s in range(0, n, size)]
    np.testing.assert_array_equal(parts.sum(axis=0), summarise(weights, basis).all().coarse())


def test_large_kernels_have_fewer_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def watched(filters: np.ndarray, basis: object, *, size: int) -> np.ndarray:
        parts = histograms(filters, basis, size=size)  # type: ignore[arg-type]
        sizes.append(parts.size)
        return parts

    monkeypatch.setattr(shift, "histograms", watched)
    assert layer_shift(layer(60, 20, 11, 11), layer(60, 20, 11, 11, seed=1)) is not None
    assert max(sizes) <= shift.MOST_CELLS
