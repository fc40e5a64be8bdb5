"""The published threshold, the simulated table, and both against fresh simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from filterdb.stats.randomness import (
    QUANTILES,
    entropy_statistic,
    filters_to_decide,
    filters_to_tell_noise,
    load_table,
    quantile,
    threshold,
)
from filterdb.stats.variance import entropy_of

# METHODS 1.4: n, T_H, mean H, least H of 1,000, share of random layers below T_H.
PUBLISHED = [
    (4, 0.2357, 0.3988, 0.2097, 0.002),
    (8, 0.5092, 0.6637, 0.4913, 0.001),
    (16, 0.7221, 0.8153, 0.7087, 0.001),
    (32, 0.8457, 0.8864, 0.8343, 0.004),
    (64, 0.9056, 0.9205, 0.8974, 0.029),
    (128, 0.9321, 0.9376, 0.9238, 0.061),
    (256, 0.9433, 0.9459, 0.9399, 0.069),
    (512, 0.9480, 0.9501, 0.9465, 0.013),
    (1024, 0.9499, 0.9522, 0.9505, 0.0),
    (4096, 0.9511, 0.9537, 0.9532, 0.0),
    (16384, 0.9513, 0.9541, 0.9540, 0.0),
]
# Explained-variance ratios of 1,464,797,156 filters (METHODS 1.5).
RATIOS = (0.39815034, 0.18326029, 0.11703953, 0.09852558, 0.06576389, 0.05521558, 0.03007510,
          0.02823360, 0.02373609)  # fmt: skip


def simulate(
    n: int, taps: int, draws: int, ratios: tuple[float, ...] | None = None
) -> NDArray[np.float64]:
    """Variance entropy of layers of n Gaussian filters, by the definition."""
    rng = np.random.default_rng((n, taps))
    filters = rng.standard_normal((draws, n, taps))
    if ratios is not None:
        filters *= np.sqrt(ratios)
    filters -= filters.mean(axis=1, keepdims=True)
    variances = np.linalg.svd(filters, compute_uv=False) ** 2
    return np.array([entropy_of(row) for row in variances])


@pytest.mark.parametrize(("n", "expected", "mean", "least", "below"), PUBLISHED)
def test_published_thresholds_and_chance_shares(n, expected, mean, least, below):
    assert threshold(n, 9) == pytest.approx(expected, abs=5e-5)
    assert entropy_statistic("random", "mean", n, 9) == pytest.approx(mean, abs=2e-3)
    # One minimum of 1,000 draws scatters; ours is an average of eight.
    assert entropy_statistic("random", "least", n, 9) == pytest.approx(least, abs=1e-3 + 0.3 / n)
    if n <= 512:
        share = (simulate(n, 9, 1000 if n <= 128 else 300) < threshold(n, 9)).mean()
        assert share == pytest.approx(below, abs=0.005 + 3 * math.sqrt(below / 300))


def test_exact_constants_not_the_rounded_ones():
    assert threshold(2**40, 9) == pytest.approx(0.95129636, abs=1e-8)


@pytest.mark.parametrize("taps", [2, 9, 25, 300])
def test_up_to_two_filters_there_is_no_threshold(taps):
    assert threshold(1, taps) is None
    assert threshold(2, taps) is None
    assert threshold(1000, 1) is None
    assert quantile("random", 0.99, 2, taps) == 0


@pytest.mark.parametrize("taps", [2, 5, 9, 13, 17, 25, 32, 49, 60])
@pytest.mark.parametrize("n", [4, 9, 30, 100])
def test_the_table_is_a_fresh_simulation(n, taps):
    values = simulate(n, taps, 600)
    spread = values.std()
    assert entropy_statistic("random", "mean", n, taps) == pytest.approx(
        values.mean(), abs=0.003 + 0.15 * spread
    )
    for q in (0.05, 0.5, 0.95):
        assert quantile("random", q, n, taps) == pytest.approx(
            np.quantile(values, q), abs=0.003 + 0.35 * spread
        )


@pytest.mark.parametrize(("n", "taps"), [(20, 144), (60, 144), (12, 289), (400, 90)])
def test_between_and_beyond_the_tabulated_sizes(n, taps):
    values = simulate(n, taps, 60)
    assert entropy_statistic("random", "mean", n, taps) == pytest.approx(values.mean(), abs=4e-3)
    assert threshold(n, taps) < values.min() + 0.01


@pytest.mark.parametrize("n", [4, 12, 40, 200])
def test_trained_filters_have_the_published_spectrum(n):
    values = simulate(n, 9, 800, RATIOS)
    for q in (0.05, 0.5, 0.95):
        assert quantile("trained", q, n, 9) == pytest.approx(
            np.quantile(values, q), abs=0.003 + 0.25 * values.std()
        )


@pytest.mark.parametrize("taps", [2, 3, 7, 9, 11, 15, 25, 40, 49, 121, 225, 500])
def test_statistics_rise_with_n_towards_their_limit(taps):
    counts = sorted({int(2 ** (i / 3)) for i in range(5, 75)})
    for statistic in ("least", "q0.01", "q0.5", "mean"):
        values = [entropy_statistic("random", statistic, n, taps) for n in counts]
        assert np.diff(values).min() > -2e-3  # the simulation's own noise
        assert values[-1] == pytest.approx(math.log10(taps), abs=1e-3)
        assert max(values) <= math.log10(taps)
    thresholds = [threshold(n, taps) or 0 for n in counts if n > 2]
    assert np.diff(thresholds).min() > -2e-3


@pytest.mark.parametrize("population", ["random", "trained"])
def test_quantiles_are_in_order(population):
    for taps in (4, 9, 20, 49, 130):
        for n in (3, 6, 20, 100, 5000, 10**6):
            values = [quantile(population, q, n, taps) for q in QUANTILES]
            assert values == sorted(values)
            assert values[-1] <= math.log10(min(n - 1, taps))


def test_filters_needed():
    assert filters_to_tell_noise(0.02, 9) == 28
    assert quantile("trained", 0.99, 28, 9) < threshold(28, 9) - 0.02
    assert quantile("trained", 0.99, 27, 9) >= threshold(27, 9) - 0.02
    assert filters_to_tell_noise(0.9, 9) is None
    needed = filters_to_decide(0.45, 9)
    assert quantile("trained", 0.01, needed, 9) > 0.45 >= quantile("trained", 0.01, needed - 1, 9)
    assert filters_to_decide(0.9, 9) is None


def test_the_table_fits_a_package():
    table = load_table()
    assert table.taps[0] == 2
    assert {9, 25, 49} <= set(table.taps.tolist())
    assert sum(d.size for d in table.deficits.values()) < 20_000
    assert all((d > 0).all() for d in table.deficits.values())


def test_what_is_not_tabulated_is_refused():
    with pytest.raises(ValueError, match=r"q0\.3"):
        quantile("random", 0.3, 10, 9)
