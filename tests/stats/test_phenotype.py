"""Phenotypes: synthetic layers of each kind, the measures against SciPy, and real layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from filterdb import read
from filterdb.stats.basis import reference_basis
from filterdb.stats.phenotype import (
    FEWEST,
    hot_share,
    measure,
    merged,
    noise_of,
    number_of_modes,
    phenotype,
    smoothed,
)
from filterdb.stats.summary import scale

BASIS = reference_basis((3, 3))
REACH = 3.3


def plane(points, bins=512, reach=REACH):
    edges = np.linspace(-reach, reach, bins + 1)
    return np.histogram2d(*np.asarray(points).T, bins=(edges, edges))[0].astype(np.int64)


def of_filters(filters, bins=512):
    return plane(BASIS.coefficients(scale(filters))[:, :2], bins)


def gaussian(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 9))


def few_filters(n, seed=0):
    """Copies of six filters, with a little noise, among random ones."""
    rng = np.random.default_rng(seed)
    filters = rng.standard_normal((n, 9))
    some = 2 * n // 3
    copies = rng.standard_normal((6, 9))[rng.integers(0, 6, some)]
    filters[:some] = copies + 0.05 * rng.standard_normal((some, 9))
    return filters


def two_signs(n, seed=0):
    """Blurs of either sign: nothing lies between them."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1, 1], (n, 1)) + 0.5 * rng.standard_normal((n, 9))


def mostly_zero(n, seed=0):
    filters = gaussian(n, seed)
    filters[: int(0.6 * n)] = 0
    return filters


KINDS = {"sun": gaussian, "spikes": few_filters, "symbols": two_signs, "point": mostly_zero}


@pytest.mark.parametrize("n", [500, 4000, 30_000])
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_told(name, n):
    for seed in range(3):
        found = phenotype(of_filters(KINDS[name](n, seed)))
        assert (found.name, found.n) == (name, n), found.reason


@pytest.mark.parametrize("name", KINDS)
def test_coarser_counts_say_the_same(name):
    filters = KINDS[name](2000)
    fine, coarse = (phenotype(of_filters(filters, bins)) for bins in (512, 128))
    assert fine == coarse


def test_too_few_are_undecided():
    found = phenotype(of_filters(gaussian(FEWEST - 1)))
    assert (found.name, found.n, found.measures) == ("undecided", FEWEST - 1, None)
    assert "499" in found.reason
    assert phenotype(np.zeros((128, 128), np.int64)).n == 0


def test_what_no_rule_describes_is_undecided():
    """A ring has an empty centre, but no mode of its own."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 20_000), rng.normal(1.5, 0.4, 20_000)
    found = phenotype(plane(np.c_[radius * np.cos(angle), radius * np.sin(angle)]))
    assert found.name == "undecided", found.reason
    assert found.measures.zero_density < 0.5


@given(st.integers(0, 2**32 - 1), st.integers(FEWEST, 5000))
@settings(max_examples=25, deadline=None)
def test_gaussian_filters_are_suns(seed, n):
    """No hot spot nor second mode by chance, whatever the number of filters."""
    assert phenotype(of_filters(gaussian(n, seed))).name == "sun"


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(KINDS)))
@settings(max_examples=20, deadline=None)
def test_the_signs_of_components_and_their_order_carry_no_meaning(seed, name):
    counts = of_filters(KINDS[name](1000, seed))
    found = phenotype(counts).measures
    for same in (counts[::-1], counts[:, ::-1], counts.T):
        again = phenotype(same).measures
        assert again.modes == found.modes
        for field in ("spread", "near_zero", "hot", "zero_density", "negentropy"):
            expected = getattr(found, field)
            assert getattr(again, field) == pytest.approx(expected, rel=0.05, abs=0.01)


def test_zero_is_where_it_is_said_to_be():
    counts = plane(np.full((1000, 2), 1.0))
    assert phenotype(counts).name == "spikes"
    assert phenotype(counts, zero=(1.0, 1.0)).name == "point"


def test_smoothing_is_scipys():
    counts = of_filters(gaussian(3000), 128).astype(float)
    for sigma in (1.5, 4.0, 11.0):
        expected = ndimage.gaussian_filter(counts, sigma, mode="constant", truncate=12)
        np.testing.assert_allclose(smoothed(counts, 0.3, 0.3 * sigma), expected, atol=2e-4)


def test_the_noise_is_that_of_poisson_counts():
    rng = np.random.default_rng(0)
    drawn = [smoothed(rng.poisson(3.0, (64, 64)).astype(float), 1.0, 2.0) for _ in range(100)]
    inside = np.array(drawn)[:, 16:-16, 16:-16]
    assert inside.var() == pytest.approx(3.0 * noise_of(1.0, 2.0), rel=0.03)


def test_measures_of_known_shapes():
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((200_000, 2)) * (0.9, 0.4)
    found = measure(plane(cloud), reach=REACH, zero=(0, 0))
    assert found.spread == pytest.approx(0.6, rel=0.01)
    assert found.near_zero == pytest.approx((np.hypot(*cloud.T) <= 0.25).mean(), abs=0.01)
    assert found.negentropy == pytest.approx(0, abs=0.005)
    assert (found.modes, found.hot) == (1, 0)
    assert found.zero_density > 0.95
    angle, radius = rng.uniform(0, 2 * np.pi, 200_000), 1.8 * np.sqrt(rng.random(200_000))
    disc = measure(plane(np.c_[radius * np.cos(angle), radius * np.sin(angle)]),
                   reach=REACH, zero=(0, 0))  # fmt: skip
    assert disc.negentropy == pytest.approx(0.08, abs=0.01)
    assert disc.hot == 0


def test_hot_spots_have_their_share():
    rng = np.random.default_rng(0)
    cloud, spot = rng.standard_normal((9000, 2)) * 0.8, rng.normal(0.9, 0.02, (1000, 2))
    counts = merged(plane(np.vstack([cloud, spot])), REACH, 0.06)
    share = hot_share(counts, 2 * REACH / 128, 0.8)
    assert 0.09 < share < 0.16
    assert hot_share(merged(plane(cloud), REACH, 0.06), 2 * REACH / 128, 0.8) == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_modes_are_the_maxima_that_lie_apart(seed):
    """Hills far from one another: as many modes as SciPy has pieces above half of the least."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(9)[: rng.integers(1, 10)]
    heights = rng.uniform(1, 4, cells.size)
    y, x = np.mgrid[:60, :60]
    hills = sum(
        height * np.exp(-((y - 10 - 20 * (cell // 3)) ** 2 + (x - 10 - 20 * (cell % 3)) ** 2) / 18)
        for cell, height in zip(cells, heights, strict=True)
    )
    assert number_of_modes(hills, noise=1e-9) == ndimage.label(hills > heights.min() / 2)[1]
    assert number_of_modes(hills, noise=1e9) == 1


def test_a_shallow_second_mode_is_none():
    x = np.arange(40.0)
    for saddle, expected in ((0.7, 2), (0.8, 1)):
        ridge = np.interp(x, [0, 10, 20, 30, 39], [0, 1.2, saddle, 1.0, 0])
        hills = np.outer(np.exp(-((x - 20) ** 2) / 30), ridge)
        assert number_of_modes(hills, noise=1e-9) == expected


@pytest.mark.parametrize(
    ("shape", "step"), [((512, 512), 4), ((128, 128), 1), ((560, 560), 5), ((131, 131), 1)]
)
def test_merging_keeps_every_filter(shape, step):
    counts = np.random.default_rng(0).integers(0, 5, shape)
    few = merged(counts, REACH, 0.06)
    assert len(few) * step == len(counts)
    assert few.sum() == counts.sum()
    assert few[1, 2] == counts[step : 2 * step, 2 * step : 3 * step].sum()


@pytest.mark.parametrize("shape", [(64, 64), (512, 128), (512,)])
def test_counts_that_cannot_tell_are_refused(shape):
    with pytest.raises(ValueError, match="square counts"):
        phenotype(np.ones(shape, np.int64))


@pytest.mark.parametrize(
    ("file", "layer", "name"),
    [
        ("3dlut--xyz-classifier_unpaired.pth", "model.10", "sun"),
        ("akamaster--resnet44-cifar10.th", "layer3.6.conv2", "symbols"),
        ("hdr-expandnet--expandnet.pth", "local_net.1.0", "spikes"),
        ("titu1994--densenet-fast-40-12-cifar10.h5", "convolution2d_35_W", "spikes"),
    ],
)
def test_real_layers(zoo, file, layer, name):
    """And either half of each is called the same."""
    layers = [one for one in read(zoo / "weights" / file).layers if layer in one.name]
    filters = np.asarray(layers[0].weights, np.float64).reshape(-1, 9)
    mixed = filters[np.random.default_rng(0).permutation(len(filters))]
    for part in (filters, mixed[::2], mixed[1::2]):
        assert phenotype(of_filters(part)).name == name
