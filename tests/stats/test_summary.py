from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from filterdb.stats import summary as module
from filterdb.stats.basis import reference_basis
from filterdb.stats.quality import layer_quality
from filterdb.stats.summary import (
    COARSE_BINS,
    FINE_BINS,
    Summary,
    has_summary,
    scale,
    summarise,
)

BASIS = reference_basis((3, 3))


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def by_hand(filters, basis):
    """Scaled filters, and their histograms by NumPy."""
    peaks = np.abs(filters).max(axis=1)
    scaled = np.array([f / peak if peak else f for f, peak in zip(filters, peaks, strict=True)])
    coefficients = (scaled - basis.mean) @ basis.components.T
    edges = np.linspace(-basis.reach, basis.reach, FINE_BINS + 1)
    counts = [np.histogram(column, edges)[0] for column in coefficients.T]
    return scaled, np.array(counts)


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (7, 7)])
def test_a_summary_is_what_plain_numpy_finds(kernel):
    basis = reference_basis(kernel)
    weights = draw(40, 60, *kernel)
    found = summarise(weights, basis).all()
    filters = weights.reshape(2400, -1).astype(np.float64)
    scaled, counts = by_hand(filters, basis)
    assert found.n == 2400
    np.testing.assert_allclose(found.scaled.first, scaled.sum(axis=0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found.scaled.second, scaled.T @ scaled, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found.raw.first, filters.sum(axis=0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found.raw.second, filters.T @ filters, rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(found.counts, counts)
    assert found.peak == np.abs(weights).max()
    assert (found.counts.sum(axis=1) == 2400).all()


def test_sparse_filters_are_kept_apart_as_the_quality_measure_has_them():
    weights = draw(30, 30, 3, 3)
    weights[::3] *= 1e-3
    weights[1, :5] = 0
    found = summarise(weights, BASIS)
    quality = layer_quality(weights)
    assert found.clean.n == quality.n_clean
    assert found.sparse.n == 900 - found.clean.n
    whole = summarise(weights.reshape(1, 900, 3, 3), BASIS).all()
    np.testing.assert_array_equal(whole.counts, found.all().counts)


def test_zero_filters_stay_at_the_origin():
    found = summarise(np.zeros((5, 2, 3, 3), np.float32), BASIS)
    assert (found.clean.n, found.sparse.n) == (0, 10)
    place = BASIS.coefficients(np.zeros((1, 9)))[0]
    bins = ((place + BASIS.reach) / (2 * BASIS.reach) * FINE_BINS).astype(int)
    assert [row.argmax() for row in found.sparse.counts] == bins.tolist()
    assert found.sparse.scaled.first.tolist() == [0] * 9


FILTERS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 40), st.just(3), st.just(3)),
    elements=st.floats(-4, 4, width=32, allow_subnormal=False),
)  # fmt: skip


@given(FILTERS, FILTERS)
@settings(max_examples=60)
def test_merged_is_the_summary_of_the_union(a, b):
    # One filter with the largest weight in both, so that sparse means the same everywhere.
    top = np.full((1, 3, 3), 5, np.float32)
    a, b = np.concatenate([a, top]), np.concatenate([b, top])
    merged = summarise(a, BASIS), summarise(b, BASIS)
    union = summarise(np.concatenate([a, b]), BASIS)
    for part in ("clean", "sparse"):
        one, two, whole = (getattr(found, part) for found in (*merged, union))
        total = one + two
        assert total.n == whole.n
        np.testing.assert_array_equal(total.counts, whole.counts)
        np.testing.assert_array_equal(total.coarse(), whole.coarse())
        for kind in ("scaled", "raw"):
            left, right = getattr(total, kind), getattr(whole, kind)
            np.testing.assert_allclose(left.first, right.first, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(left.second, right.second, rtol=1e-12, atol=1e-12)
        assert total.peak == whole.peak


@given(FILTERS, st.floats(1e-3, 1e3))
@settings(max_examples=30)
def test_a_factor_changes_the_raw_moments_only(filters, factor):
    factor = 2.0 ** round(np.log2(factor))
    one, other = summarise(filters, BASIS).all(), summarise(filters * np.float32(factor), BASIS)
    np.testing.assert_array_equal(one.counts, other.all().counts)
    np.testing.assert_allclose(one.raw.first * factor, other.all().raw.first, rtol=1e-12)


def test_coarse_bins_are_merged_fine_ones():
    found = summarise(draw(20, 20, 3, 3), BASIS).all()
    assert found.coarse().shape == (9, COARSE_BINS)
    assert found.coarse()[2, 30] == found.counts[2, 240:248].sum()


def test_blocks_make_no_difference(monkeypatch):
    weights = draw(50, 50, 3, 3)
    whole = summarise(weights, BASIS).all()
    monkeypatch.setattr(module, "BLOCK", 64)
    blocked = summarise(weights, BASIS).all()
    np.testing.assert_array_equal(whole.counts, blocked.counts)
    np.testing.assert_allclose(whole.scaled.second, blocked.scaled.second, rtol=1e-12)


def test_what_does_not_fit_is_refused():
    weights = draw(2, 2, 3, 3)
    with pytest.raises(ValueError, match="does not fit"):
        summarise(weights, reference_basis((5, 5)))
    weights[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        summarise(weights, BASIS)
    with pytest.raises(ValueError, match="do not add up"):
        Summary.empty(BASIS) + Summary.empty(reference_basis((5, 5)))


def test_which_sizes_are_summarised():
    assert has_summary((3, 3))
    assert has_summary((11, 11))
    assert not has_summary((1, 1))
    assert not has_summary((31, 31))


def test_scaled_filters():
    filters = np.array([[0, 0, 0, 0], [2, -4, 1, 0]], np.float32)
    assert scale(filters).tolist() == [[0, 0, 0, 0], [0.5, -1, 0.25, 0]]
    assert scale(filters).dtype == np.float64


def test_float64_sums_do_not_saturate():
    # The 2021 notebook summed in float32: its mean is -2**24/N in all nine places (METHODS 1.6).
    weights = np.full((3_000, 1_000, 1, 2), 1, np.float32)
    weights[..., 1] = 0.25
    found = summarise(weights, reference_basis((1, 2))).all()
    assert found.scaled.mean.tolist() == [1, 0.25]
    assert found.scaled.first.tolist() == [3_000_000, 750_000]


def test_memory_does_not_grow_with_the_number_of_filters():
    peaks = []
    for n in (50_000, 400_000):
        weights = draw(n, 1, 3, 3)
        tracemalloc.start()
        summarise(weights, BASIS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2 < 8e6


@pytest.mark.parametrize("factor", [1e-41, 1e-30, 1e30])
def test_the_same_filters_are_sparse_as_for_the_quality_measure_at_any_scale(factor):
    weights = draw(9, 9, 3, 3)
    weights[:4] *= np.float32(0.01)
    weights = (weights * np.float64(factor)).astype(np.float32)
    assert summarise(weights, BASIS).clean.n == layer_quality(weights).n_clean
