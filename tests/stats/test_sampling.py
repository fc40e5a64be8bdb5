from __future__ import annotations

import numpy as np
import pytest

from filterdb.stats.sampling import effective_number, sampling_null
from filterdb.stats.shift import divergence, smoothed

WEIGHTS = np.full(9, 1 / 9)
WIDTH = 0.09


def sample(n, seed):
    """Histograms of n filters with independent Gaussian coefficients."""
    rng = np.random.default_rng(seed)
    edges = np.linspace(-3, 3, 71)
    return np.array([np.histogram(rng.normal(0, 0.7, n), edges)[0] for _ in range(9)])


@pytest.mark.parametrize(("n_p", "n_q"), [(200, 200), (200, 20_000), (3_000, 10_000)])
def test_two_samples_of_one_distribution_lie_below_it_in_95_of_100_cases(n_p, n_q):
    above = []
    for seed in range(60):
        p, q = sample(n_p, 2 * seed), sample(n_q, 2 * seed + 1)
        null = sampling_null(p, q, WEIGHTS, width=WIDTH, n_p=n_p, n_q=n_q, seed=seed)
        shift = divergence(smoothed(p, width=WIDTH), smoothed(q, width=WIDTH), WEIGHTS)
        above.append(shift > null.p95)
        assert (null.p_value <= 0.05) == above[-1] or abs(shift - null.p95) < 1e-3
    assert np.mean(above) <= 0.15  # three more than 9 of 60 would be by chance


def test_a_true_shift_lies_above_it():
    p, q = sample(5_000, 0), np.roll(sample(5_000, 1), 4, axis=1)
    null = sampling_null(p, q, WEIGHTS, width=WIDTH, n_p=5_000, n_q=5_000)
    shift = divergence(smoothed(p, width=WIDTH), smoothed(q, width=WIDTH), WEIGHTS)
    assert shift > 3 * null.p95
    assert null.p_value == pytest.approx(1 / 101)


def test_more_filters_have_less_chance():
    counts = sample(10_000, 0)
    found = [sampling_null(counts, counts, WEIGHTS, width=WIDTH, n_p=n, n_q=n).p95
             for n in (100, 1_000, 10_000, 1_000_000)]  # fmt: skip
    assert found == sorted(found, reverse=True)
    assert found[-1] < 1e-3 < found[0]


def test_no_filters_no_null():
    counts = sample(100, 0)
    null = sampling_null(counts, counts * 0, WEIGHTS, width=WIDTH, n_p=100, n_q=0)
    assert null.p95 is None
    assert null.reason


def test_layers_that_count_once_say_as_much_as_their_smallest():
    assert effective_number(np.array([50, 50])) == 100
    assert effective_number(np.array([10, 1_000_000])) == pytest.approx(40, rel=1e-3)
    assert effective_number(np.array([], int)) == 0
