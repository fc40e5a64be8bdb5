"""Nulls against brute force, and both they and the intervals against simulated truths."""

from __future__ import annotations

import tracemalloc
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import entropy, kstest

from filterdb.stats.bootstrap import bootstrap_interval
from filterdb.stats.null import Units, permutation_null, random_labels
from filterdb.stats.shift import divergence, shift_matrix, smoothed

WIDTH = 0.1
WEIGHTS = np.array([0.7, 0.3])
BINS = 12


def shift(p, q, weights=WEIGHTS, width=WIDTH):
    """D as METHODS 1.3 defines it, of two histograms."""

    def probabilities(counts):
        density = counts / counts.sum() / width
        density[counts == 0] = np.finfo(np.float32).eps
        return density / density.sum()

    pairs = [(probabilities(a), probabilities(b)) for a, b in zip(p, q, strict=True)]
    return sum(
        w * (entropy(a, b) + entropy(b, a)) for w, (a, b) in zip(weights, pairs, strict=True)
    )


def brute_force(p_parts, q_parts, in_p, in_q):
    """The observed shift, and that of every relabelling."""
    own = [u for u in range(len(in_p)) if in_p[u] != in_q[u]]
    both = [u for u in range(len(in_p)) if in_p[u] and in_q[u]]
    n_p = sum(bool(in_p[u]) for u in own)
    observed = shift(p_parts[in_p].sum(axis=0), q_parts[in_q].sum(axis=0))
    drawn = []
    for chosen in combinations(own, n_p):
        for swaps in product((False, True), repeat=len(both)):
            p, q = np.zeros(p_parts.shape[1:]), np.zeros(p_parts.shape[1:])
            for u in own:
                part = p_parts[u] if in_p[u] else q_parts[u]
                if u in chosen:
                    p += part
                else:
                    q += part
            for u, swapped in zip(both, swaps, strict=True):
                p += q_parts[u] if swapped else p_parts[u]
                q += p_parts[u] if swapped else q_parts[u]
            drawn.append(shift(p, q))
    return observed, np.array(drawn)


def groups(only_p, only_q, both):
    """Flags of so many units in P alone, in Q alone, in both; and one in neither."""
    in_p = np.array([True] * only_p + [False] * only_q + [True] * both + [False])
    in_q = np.array([False] * only_p + [True] * only_q + [True] * both + [False])
    return in_p, in_q


def simulate(units, *, spread, rng, apart=0.0, filters=2_000):
    """Histograms of units with distributions of their own, shape ``(units, 2, BINS)``."""
    centre = 5.5 + apart + spread * rng.standard_normal((units, 2, 1))
    shares = np.exp(-0.5 * ((np.arange(BINS) - centre) / 2) ** 2)
    return rng.multinomial(filters, shares / shares.sum(axis=-1, keepdims=True))


SIZES = [(4, 4, 0), (2, 3, 0), (3, 6, 0), (0, 0, 5), (0, 0, 2), (3, 2, 2), (4, 0, 3), (1, 1, 4)]


@pytest.mark.parametrize("divisor", [1, 7], ids=["whole", "fractions"])
@pytest.mark.parametrize("sizes", SIZES)
def test_all_relabellings_against_brute_force(sizes, divisor):
    rng = np.random.default_rng(sizes)
    in_p, in_q = groups(*sizes)
    p_parts = rng.poisson(0.6, (in_p.size, 2, BINS)) / divisor  # most relabellings empty some bin
    q_parts = rng.poisson(0.8, (in_p.size, 2, BINS)) / divisor
    observed, drawn = brute_force(p_parts, q_parts, in_p, in_q)
    null = permutation_null(p_parts, q_parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert null.exact
    assert null.permutations == len(drawn)
    assert null.p_value == pytest.approx(np.mean(drawn >= observed * (1 - 1e-9)), abs=1e-12)
    expected = np.quantile(drawn, 0.95, method="inverted_cdf")
    assert null.p95 == pytest.approx(expected, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("sizes", [(8, 7, 0), (0, 0, 12), (5, 4, 6)])
def test_random_relabellings_tend_to_all(sizes):
    rng = np.random.default_rng(sizes)
    in_p, in_q = groups(*sizes)
    parts = simulate(in_p.size, spread=1, rng=rng)
    others = simulate(in_p.size, spread=1, apart=0.6, rng=rng)
    test = {"width": WIDTH, "in_p": in_p, "in_q": in_q}
    all_of_them = permutation_null(parts, others, WEIGHTS, permutations=10_000, **test)
    some = permutation_null(parts, others, WEIGHTS, permutations=3_000, **test)
    assert all_of_them.exact
    assert not some.exact
    assert some.permutations == 3_000
    assert some.p_value == pytest.approx(all_of_them.p_value, abs=0.03)
    assert some.p95 == pytest.approx(all_of_them.p95, rel=0.1)


@pytest.mark.parametrize("sizes", [(8, 70, 0), (30, 5, 9), (0, 12, 6), (7, 0, 6), (0, 0, 20)])
def test_relabelling_keeps_the_numbers_of_units(sizes):
    in_p, in_q = groups(*sizes)
    parts = np.ones((in_p.size, 1, 2))
    units = Units.of(parts, parts, in_p=in_p, in_q=in_q)
    (labels,) = random_labels(units, 500, seed=0)
    own, other, kept, swapped = labels
    assert [piece.shape for piece in labels] == [(500, n) for n in (*sizes, sizes[2])]
    assert (own.sum(axis=1) + other.sum(axis=1) == sizes[0]).all()
    assert (kept ^ swapped).all()
    # Each unit is as likely to be in P as any other.
    drawn = np.concatenate([own, other], axis=1)
    np.testing.assert_allclose(drawn.mean(axis=0), sizes[0] / max(1, drawn.shape[1]), atol=0.1)
    np.testing.assert_allclose(swapped.mean(axis=0), 0.5, atol=0.1)


@pytest.mark.parametrize("permutations", [19, 30, 200])
def test_p95_and_p_say_the_same(permutations):
    rng = np.random.default_rng(permutations)
    weights, verdicts = np.array([1.0, 0.0]), set()
    for sizes in [(3, 3, 0), (4, 4, 0), (9, 12, 0), (0, 0, 10), (4, 5, 3)] * 8:
        in_p, in_q = groups(*sizes)
        p_parts = simulate(in_p.size, spread=0.5, rng=rng)
        q_parts = simulate(in_p.size, spread=0.5, apart=rng.choice([0, 0.4, 0.8]), rng=rng)
        test = {"width": WIDTH, "in_p": in_p, "in_q": in_q, "permutations": permutations}
        null = permutation_null(p_parts, q_parts, weights, **test)
        sides = np.stack([p_parts[in_p].sum(axis=0), q_parts[in_q].sum(axis=0)])
        observed = shift_matrix(sides, weights, width=WIDTH)[0, 1]
        assert (observed > null.p95) == (null.p_value <= 0.05)
        verdicts.add(null.p_value <= 0.05)
    assert verdicts == {False, True}


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ((1, 5, 0), "a group of one model cannot be permuted"),
        ((0, 0, 1), "a group of one model cannot be permuted"),
        ((5, 0, 1), "a group of one model cannot be permuted"),
        ((0, 3, 0), "a group of no model cannot be permuted"),
    ],
)
def test_where_there_is_no_null(sizes, reason):
    in_p, in_q = groups(*sizes)
    parts = np.ones((in_p.size, 2, BINS))
    null = permutation_null(parts, parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert (null.p95, null.p_value, null.permutations, null.exact) == (None, None, 0, False)
    assert null.reason == reason
    interval = bootstrap_interval(parts, parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert (interval.low, interval.high, interval.replicates) == (None, None, 0)
    assert interval.reason == "a group of fewer than 3 models is not resampled"


def test_groups_without_filters():
    in_p, in_q = groups(3, 3, 0)
    parts = np.zeros((in_p.size, 2, BINS))
    parts[:3] = 1
    null = permutation_null(parts, parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    interval = bootstrap_interval(parts, parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert null.p95 is interval.low is None
    assert null.reason == interval.reason == "a group without filters has no shift"


def test_units_without_filters_do_no_harm():
    in_p, in_q = groups(3, 3, 0)
    parts = np.ones((in_p.size, 2, BINS))
    parts[[0, 1, 3, 4]] = 0  # two of three units on each side: some relabellings are one-sided
    null = permutation_null(parts, parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert null.p_value == 1
    assert null.permutations < 20
    interval = bootstrap_interval(parts, parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert (interval.low, interval.high) == (0, 0)
    assert interval.replicates < 200


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ((2, 2, 0), "with 2 and 2 layers the smallest possible p value is 0.33"),
        ((3, 3, 0), "with 3 and 3 layers the smallest possible p value is 0.1"),
        ((2, 3, 0), "with 2 and 3 layers the smallest possible p value is 0.1"),
        ((0, 0, 4), "with 4 and 4 layers the smallest possible p value is 0.12"),
        ((3, 4, 0), None),
        ((4, 4, 0), None),
        ((0, 0, 6), None),
        ((50, 60, 70), None),
    ],
)
def test_where_no_shift_is_significant(sizes, reason):
    in_p, in_q = groups(*sizes)
    rng = np.random.default_rng(0)
    p_parts, q_parts = (simulate(in_p.size, spread=0.1, apart=a, rng=rng) for a in (0, 3))
    null = permutation_null(
        p_parts, q_parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q, unit="layer"
    )
    assert null.reason == reason
    assert (null.p_value > 0.05) == (reason is not None)  # the groups are far apart
    if reason is not None:
        assert null.p_value == pytest.approx(float(reason.rsplit(" ", 1)[1]), abs=0.006)


@pytest.mark.parametrize("sizes", [(20, 30, 0), (0, 0, 40), (10, 15, 12)])
def test_the_form_of_the_arrays_does_not_matter(sizes):
    in_p, in_q = groups(*sizes)
    rng = np.random.default_rng(sizes)
    table = simulate(2 * in_p.size, spread=1, rng=rng).reshape(in_p.size, 2, 2, BINS)
    flags = {"in_p": in_p, "in_q": in_q}
    for function in (permutation_null, bootstrap_interval):
        expected = function(table[:, 0], table[:, 1], WEIGHTS, width=WIDTH, **flags)
        for dtype in (np.int32, np.float32, np.float64):
            form = table.astype(dtype)
            form.flags.writeable = False
            assert function(form[:, 0], form[:, 1], WEIGHTS, width=WIDTH, **flags) == expected
        # Units in neither group are not looked at, nor is the part for the other group.
        form = np.insert(table.astype(float), np.arange(in_p.size), np.nan, axis=0)
        form[1::2, 0][~in_p] = np.nan
        form[1::2, 1][~in_q] = np.nan
        spread = {
            name: np.insert(flag, np.arange(flag.size), False) for name, flag in flags.items()
        }
        assert function(form[:, 0], form[:, 1], WEIGHTS, width=WIDTH, **spread) == expected


def test_more_filters_than_float32_counts():
    rng = np.random.default_rng(0)
    in_p, in_q = groups(4, 5, 0)
    parts = rng.poisson(0.6, (in_p.size, 2, BINS)) * (1 << 24)
    parts += rng.integers(0, 2, parts.shape) * (parts == 0)  # one filter beside 16 million
    observed, drawn = brute_force(parts, parts, in_p, in_q)
    null = permutation_null(parts, parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert null.p_value == np.mean(drawn >= observed * (1 - 1e-9))
    assert null.p95 == pytest.approx(np.quantile(drawn, 0.95, method="inverted_cdf"), rel=1e-9)


def test_many_units_come_in_blocks():
    units = 30_000
    parts = np.random.default_rng(0).integers(0, 2, (units, 1, 2)).astype(np.float32) + 1
    in_p = np.arange(units) < units // 3
    test = {"width": WIDTH, "in_p": in_p, "in_q": ~in_p}
    null = permutation_null(parts, parts, np.ones(1), **test)
    assert null.permutations == 200
    # Two bins: D is about the square of a difference of shares, which is normal, over p (1 - p).
    shares = parts.sum(axis=(0, 1)) / parts.sum()
    n_p, n_q = in_p.sum(), units - in_p.sum()
    sizes = parts.sum(axis=(1, 2))
    influence = (parts[:, 0, 0] - shares[0] * sizes) / sizes.mean()
    variance = influence.var() * (1 / n_p + 1 / n_q)
    assert null.p95 == pytest.approx(variance * 3.84 / shares.prod(), rel=0.35)
    assert bootstrap_interval(parts, parts, np.ones(1), **test).replicates == 200


def test_equal_seeds_give_equal_results():
    in_p, in_q = groups(12, 12, 12)
    rng = np.random.default_rng(0)
    parts, others = simulate(37, spread=1, rng=rng), simulate(37, spread=1, rng=rng)
    for function in (permutation_null, bootstrap_interval):
        test = {"width": WIDTH, "in_p": in_p, "in_q": in_q}
        first = function(parts, others, WEIGHTS, seed=1, **test)
        assert function(parts, others, WEIGHTS, seed=1, **test) == first
        assert function(parts, others, WEIGHTS, seed=2, **test) != first


@pytest.mark.parametrize("sizes", [(12, 9, 0), (0, 0, 12), (5, 6, 6)])
def test_p_values_are_uniform_under_the_null(sizes):
    rng = np.random.default_rng(sizes)
    in_p, in_q = groups(*sizes)
    p_values = []
    for run in range(1_000):
        own = simulate(in_p.size, spread=1, rng=rng)
        # What a unit gives to both groups is alike, and that is what pairing is for.
        p_parts = own + simulate(in_p.size, spread=0.3, rng=rng)
        q_parts = own + simulate(in_p.size, spread=0.3, rng=rng)
        null = permutation_null(
            p_parts, q_parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q, permutations=99, seed=run
        )
        p_values.append(null.p_value)
    assert 0.03 < np.mean(np.array(p_values) <= 0.05) < 0.07
    assert kstest(np.array(p_values) - 0.005, "uniform").pvalue > 0.001  # steps of 0.01


@pytest.mark.parametrize("sizes", [(20, 20, 0), (0, 0, 20), (8, 8, 12)])
def test_groups_apart_are_told_apart(sizes):
    rng = np.random.default_rng(sizes)
    in_p, in_q = groups(*sizes)
    p_parts = simulate(in_p.size, spread=0.3, rng=rng)
    q_parts = simulate(in_p.size, spread=0.3, apart=1.5, rng=rng)
    null = permutation_null(p_parts, q_parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert null.p_value == pytest.approx(1 / 201)


def test_pairs_are_kept_together():
    """Units that give the same to both groups: no shift, however much they differ."""
    in_p, in_q = groups(0, 0, 15)
    parts = simulate(in_p.size, spread=3, rng=np.random.default_rng(0))
    test = {"width": WIDTH, "in_p": in_p, "in_q": in_q}
    null = permutation_null(parts, parts, WEIGHTS, **test)
    assert null.p_value == 1
    assert null.p95 == pytest.approx(0, abs=1e-11)
    interval = bootstrap_interval(parts, parts, WEIGHTS, **test)
    assert (interval.low, interval.high) == pytest.approx((0, 0), abs=1e-9)


def population_shift(apart, spread):
    """D between the populations that :func:`simulate` samples."""
    rng = np.random.default_rng(0)
    sides = [simulate(100_000, spread=spread, apart=a, rng=rng).sum(axis=0) for a in (0, apart)]
    return float(divergence(*smoothed(np.stack(sides), width=WIDTH), WEIGHTS))


@pytest.mark.parametrize("sizes", [(20, 30, 0), (0, 0, 20), (12, 12, 12)])
@pytest.mark.parametrize("apart", [0.0, 0.8])
def test_intervals_cover_the_truth(sizes, apart):
    rng = np.random.default_rng(sizes)
    in_p, in_q = groups(*sizes)
    truth = population_shift(apart, 1.0) if apart else 0.0
    covered, above, observed = 0, 0, []
    for run in range(100):
        p_parts = simulate(in_p.size, spread=1, rng=rng)
        q_parts = simulate(in_p.size, spread=1, apart=apart, rng=rng)
        interval = bootstrap_interval(
            p_parts, q_parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q, seed=run
        )
        assert interval.low <= interval.high
        covered += interval.low <= truth <= interval.high
        above += interval.high < truth
        observed.append(shift(p_parts[in_p].sum(axis=0), q_parts[in_q].sum(axis=0)))
    assert covered >= 87
    assert above <= 10
    assert np.mean(observed) > truth + 0.01  # what the interval makes good


def test_the_interval_against_plain_resampling():
    rng = np.random.default_rng(0)
    in_p, in_q = groups(6, 0, 7)
    p_parts = simulate(in_p.size, spread=0.5, rng=rng)
    q_parts = simulate(in_p.size, spread=0.5, apart=1, rng=rng)
    strata = [np.arange(6), np.arange(6, 13)]
    drawn = []
    for _ in range(4_000):
        p, q = np.zeros((2, BINS)), np.zeros((2, BINS))
        for stratum in strata:
            chosen = rng.choice(stratum, stratum.size - 1)
            scale = stratum.size / (stratum.size - 1)
            p += p_parts[chosen].sum(axis=0) * scale
            q += q_parts[chosen[in_q[chosen]]].sum(axis=0) * scale
        drawn.append(float(divergence(*smoothed(np.stack([p, q]), width=WIDTH), WEIGHTS)))
    observed = shift(p_parts[in_p].sum(axis=0), q_parts[in_q].sum(axis=0))
    expected = np.quantile(drawn, [0.025, 0.975]) - 2 * (np.mean(drawn) - observed)
    found = bootstrap_interval(
        p_parts, q_parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q, replicates=4_000
    )
    assert found.replicates == 4_000
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=0.05)
    assert found.reason == "an interval from 7 models is a rough one"


@pytest.mark.parametrize("sizes", [(1, 2, 1), (2, 2, 0), (2, 9, 0)])
def test_too_few_to_resample(sizes):
    in_p, in_q = groups(*sizes)
    parts = np.ones((in_p.size, 2, BINS))
    found = bootstrap_interval(parts, parts, WEIGHTS, width=WIDTH, in_p=in_p, in_q=in_q)
    assert found.low is None
    assert found.reason == "a group of fewer than 3 models is not resampled"


def test_memory_does_not_grow_with_the_draws():
    in_p, in_q = groups(6, 6, 0)
    parts = np.random.default_rng(0).integers(0, 9, (in_p.size, 9, 70)).astype(np.float32)
    peaks = []
    for draws in (3_000, 12_000):
        tracemalloc.start()
        test = {"width": WIDTH, "in_p": in_p, "in_q": in_q}
        permutation_null(parts, parts, np.full(9, 1 / 9), permutations=draws, **test)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_bad_input():
    in_p, in_q = groups(3, 3, 0)
    parts = np.ones((in_p.size, 2, BINS))
    test = {"width": WIDTH, "in_p": in_p, "in_q": in_q}
    with pytest.raises(ValueError, match="at least one permutation"):
        permutation_null(parts, parts, WEIGHTS, permutations=0, **test)
    with pytest.raises(ValueError, match="at least one replicate"):
        bootstrap_interval(parts, parts, WEIGHTS, replicates=0, **test)
    with pytest.raises(ValueError, match="of one shape"):
        permutation_null(parts, parts[:, :1], WEIGHTS, **test)
    with pytest.raises(ValueError, match="A flag a unit"):
        permutation_null(parts[:4], parts[:4], WEIGHTS, **test)
