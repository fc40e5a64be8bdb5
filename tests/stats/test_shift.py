"""The shift against SciPy's entropy, its identities, and its bias in small samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from filterdb.stats.shift import EMPTY, divergence, shift_matrix, smoothed

# Explained-variance ratios of 1,464,797,156 filters (METHODS 1.5).
RATIOS = np.array([0.39815034, 0.18326029, 0.11703953, 0.09852558, 0.06576389, 0.05521558,
                   0.03007510, 0.02823360, 0.02373609])  # fmt: skip
BIAS = {100: 2.63, 300: 0.56, 1_000: 0.14, 3_000: 0.039}  # METHODS 1.5, point 5
COUNTS = arrays(np.int64, (2, 3, 8), elements=st.integers(0, 1000)).filter(
    lambda counts: counts.sum(axis=-1).all()
)
WEIGHTS = np.array([0.5, 0.3, 0.2])


def reference(p, q, weights, limits):
    """METHODS 1.3, step 3, as it stands, of coefficients of shape ``(n, k)``."""

    def probabilities(values):
        density = np.histogram(values, 70, limits, density=True)[0]
        density[density == 0] = np.finfo(np.float32).eps
        return density / density.sum()

    shift = 0.0
    for i, weight in enumerate(weights):
        a, b = probabilities(p[:, i]), probabilities(q[:, i])
        shift += weight * (entropy(a, b) + entropy(b, a))
    return shift


def histograms(values, limits):
    return np.array([np.histogram(column, 70, limits)[0] for column in values.T])


@pytest.mark.parametrize("limits", [(-3, 3), (-1.5, 4.25)])
@pytest.mark.parametrize("n", [1, 40, 5_000])
def test_against_the_definition(n, limits):
    rng = np.random.default_rng(n)
    groups = [rng.normal(shift, scale, (n + 3 * i, 9))
              for i, (shift, scale) in enumerate([(0, 1), (0.2, 0.7), (-0.1, 0.2)])]  # fmt: skip
    groups = [np.clip(values, *limits) for values in groups]
    counts = np.stack([histograms(values, limits) for values in groups])
    matrix = shift_matrix(counts, RATIOS, width=(limits[1] - limits[0]) / 70)
    expected = [[reference(p, q, RATIOS, limits) for q in groups] for p in groups]
    np.testing.assert_allclose(matrix, expected, rtol=1e-12, atol=1e-12)


def test_a_bin_is_not_smoothed_but_where_it_is_empty():
    # A density below eps is still not empty: one filter in so many.
    counts = np.array([2_000_000_000, 1, 0])
    found = smoothed(counts, width=0.1)
    density = counts / counts.sum() / 0.1
    density[2] = EMPTY
    assert density[1] < EMPTY
    np.testing.assert_allclose(found, density / density.sum(), rtol=1e-14)
    assert found[2] == pytest.approx(EMPTY * 0.1, rel=1e-6)


@given(COUNTS)
def test_identities(counts):
    p, q = smoothed(counts, width=0.25)
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
    assert divergence(p, p.copy(), WEIGHTS) == 0
    assert divergence(p, q, WEIGHTS) == divergence(q, p, WEIGHTS) >= 0
    assert (divergence(p, q, WEIGHTS) == 0) == bool((p == q).all())
    matrix = shift_matrix(counts, WEIGHTS, width=0.25)
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(float(divergence(p, q, WEIGHTS)))
    assert not matrix.diagonal().any()


@given(COUNTS, st.integers(2, 1_000_000))
def test_only_shares_matter(counts, factor):
    expected = smoothed(counts, width=0.1)
    np.testing.assert_allclose(smoothed(counts * factor, width=0.1), expected, rtol=1e-13)
    np.testing.assert_allclose(smoothed(counts / factor, width=0.1), expected, rtol=1e-13)


@given(COUNTS, st.permutations(range(8)))
def test_the_order_of_bins_does_not_matter(counts, order):
    found = shift_matrix(counts[..., order], WEIGHTS, width=0.1)
    np.testing.assert_allclose(found, shift_matrix(counts, WEIGHTS, width=0.1), rtol=1e-12)


def test_groups_without_filters_have_no_shift():
    counts = np.ones((3, 2, 4), np.int64)
    counts[1] = 0
    matrix = shift_matrix(counts, np.array([0.5, 0.5]), width=1.0)
    expected = [[0, np.nan, 0], [np.nan, np.nan, np.nan], [0, np.nan, 0]]
    np.testing.assert_array_equal(matrix, expected)
    assert shift_matrix(counts[:0], np.array([0.5, 0.5]), width=1.0).shape == (0, 0)


def test_counts_of_any_type_are_left_alone():
    counts = np.random.default_rng(0).poisson(3, (3, 2, 10))
    expected = shift_matrix(counts, WEIGHTS[:2], width=0.1)
    for dtype in (np.uint8, np.int32, np.float32, np.float64):
        given_counts = counts.astype(dtype)
        given_counts.flags.writeable = False
        found = shift_matrix(given_counts, WEIGHTS[:2], width=0.1)
        np.testing.assert_array_equal(found, expected)


def test_many_pairs_at_once():
    counts = np.random.default_rng(0).poisson(3, (5, 4, 2, 10))
    probabilities = smoothed(counts, width=0.1)
    found = divergence(probabilities, probabilities[0, 0], WEIGHTS[:2])
    assert found.shape == (5, 4)
    assert found[0, 0] == 0
    assert found[3, 2] == divergence(probabilities[3, 2], probabilities[0, 0], WEIGHTS[:2])


@pytest.mark.parametrize("n", BIAS)
def test_bias_of_small_samples(n):
    """Two samples of one distribution: Gaussian filters with the data set's ratios, scaled."""
    rng = np.random.default_rng(n)
    rotation = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    shifts = []
    for _ in range(20):
        filters = (rng.standard_normal((2 * n, 9)) * np.sqrt(RATIOS)) @ rotation.T
        filters /= np.abs(filters).max(axis=1, keepdims=True)
        values = filters @ rotation
        counts = np.stack([histograms(half, (-3, 3)) for half in np.split(values, 2)])
        shifts.append(shift_matrix(counts, RATIOS, width=6 / 70)[0, 1])
    assert np.mean(shifts) == pytest.approx(BIAS[n], rel=0.2)
