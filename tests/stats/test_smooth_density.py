"""Smooth densities against SciPy's kernel density estimate of the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import gaussian_kde

from filterdb.stats.density import silverman_bandwidth, smooth_density

BINS, LOW, HIGH = 560, -3.1, 3.1
CENTRES = LOW + (np.arange(BINS) + 0.5) * (HIGH - LOW) / BINS


def histogram(values):
    return np.histogram(values, BINS, (LOW, HIGH))[0]


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(0.2, 0.5, 5000),
        np.random.default_rng(1).laplace(0, 0.3, 20000).clip(-3, 3),
        np.concatenate([np.random.default_rng(2).normal(m, 0.2, 700) for m in (-1, 1)]),
        np.random.default_rng(3).normal(0, 0.7, 40),
    ],
    ids=["normal", "laplace", "two hills", "few"],
)
def test_as_scipy(values):
    density = smooth_density(histogram(values), LOW, HIGH)
    expected = gaussian_kde(values, bw_method="silverman")(CENTRES)
    assert np.abs(density - expected).max() < 1.5e-3 * expected.max()


def test_silverman_s_rule_as_scipy():
    values = np.random.default_rng(0).normal(0, 0.5, 1000)
    expected = gaussian_kde(values, bw_method="silverman").factor * values.std(ddof=1)
    assert silverman_bandwidth(histogram(values), LOW, HIGH) == pytest.approx(expected, rel=1e-3)


def test_a_bandwidth_of_one_s_own():
    values = np.random.default_rng(0).normal(0, 0.5, 1000)
    density = smooth_density(histogram(values), LOW, HIGH, bandwidth=0.2)
    expected = gaussian_kde(values, bw_method=0.2 / values.std(ddof=1))(CENTRES)
    np.testing.assert_allclose(density, expected, atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.int64, st.integers(1, 80), elements=st.integers(0, 1000)),
    st.floats(0.01, 10),
)
def test_a_density_is_never_negative_and_at_most_one(counts, width):
    high = width * counts.size
    density = smooth_density(counts, 0.0, high)
    assert (density >= 0).all()
    mass = density.sum() * width
    assert mass <= 1 + 1e-9
    assert counts.any() or mass == 0


@given(st.integers(0, 10))
def test_within_the_range_nothing_is_lost(seed):
    counts = histogram(np.random.default_rng(seed).normal(0, 0.4, 300))
    density = smooth_density(counts, LOW, HIGH)
    assert density.sum() * (HIGH - LOW) / BINS == pytest.approx(1, abs=1e-6)


@given(st.integers(0, 10), st.integers(1, 10**6))
def test_only_the_bandwidth_knows_how_many_there_are(seed, times):
    counts = histogram(np.random.default_rng(seed).normal(0, 0.4, 300))
    once = smooth_density(counts, LOW, HIGH, bandwidth=0.1)
    np.testing.assert_allclose(
        smooth_density(counts * times, LOW, HIGH, bandwidth=0.1), once, rtol=1e-9
    )


def test_values_that_do_not_vary_stay_in_their_bin():
    counts = np.zeros(10, int)
    counts[3] = 7
    expected = np.zeros(10)
    expected[3] = 10
    np.testing.assert_allclose(smooth_density(counts, 0.0, 1.0), expected)
    one = np.eye(10, dtype=int)[3]
    np.testing.assert_allclose(smooth_density(one, 0.0, 1.0), expected)


def test_a_narrow_bandwidth_gives_the_histogram():
    counts = histogram(np.random.default_rng(0).normal(0, 1, 10**6))
    density = smooth_density(counts, LOW, HIGH, bandwidth=1e-6)
    np.testing.assert_allclose(density, counts / counts.sum() / (HIGH - LOW) * BINS, rtol=1e-12)


def test_a_bandwidth_beyond_the_range():
    density = smooth_density(np.ones(8), 0.0, 1.0, bandwidth=100.0)
    assert np.ptp(density) < 1e-3 * density.max()


def test_no_values():
    np.testing.assert_array_equal(smooth_density(np.zeros(5, int), 0.0, 1.0), np.zeros(5))
