"""Densities over two components, and the table of phenotypes: what is drawn is what is counted."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import ODD_NAMES, texts
from matplotlib.colors import LogNorm

from filterdb.figures.density import coefficient_density, phenotypes, rule_of_thumb
from filterdb.stats.phenotype import phenotype

REACH = 3.3


def plane(points, bins=512):
    edges = np.linspace(-REACH, REACH, bins + 1)
    return np.histogram2d(*np.asarray(points).T, bins=(edges, edges))[0].astype(np.int64)


def cloud(n, *, at=(0.0, 0.0), wide=0.5, seed=0):
    return np.random.default_rng(seed).normal(at, wide, (n, 2))


def examples():
    """Layers of all kinds but spikes."""
    two = np.vstack([cloud(2000, at=(-1.8, 0)), cloud(2000, at=(1.8, 0.3), seed=1)])
    tables = {
        "sun 0": plane(cloud(16_000)),
        "sun 1": plane(cloud(900, seed=2)),
        "sun 2": plane(cloud(700, seed=3)),
        "cost in $x$": plane(two),
        "none": plane(np.zeros((600, 2))),
        "few": plane(cloud(40)),
    }
    return [(name, counts, phenotype(counts)) for name, counts in tables.items()]


def test_the_histogram_itself_c0_to_the_right():
    counts = plane([(1.0, 0.5)] * 40 + [(-2.0, 0.5)] * 10 + [(0.0, -1.0)])
    before = counts.copy()
    figure = coefficient_density(counts, title="conv1", bandwidth=0)
    (image,) = figure.axes[0].images
    drawn = image.get_array()
    np.testing.assert_array_equal(np.ma.filled(drawn, 0), counts.T / 40)
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), counts.T == 0)
    np.testing.assert_array_equal(counts, before)
    assert tuple(image.get_extent()) == (-REACH, REACH, -REACH, REACH)
    assert image.origin == "lower"
    left, bottom, step = -REACH, -REACH, 2 * REACH / 512
    y, x = np.unravel_index(np.ma.argmax(drawn), drawn.shape)
    assert (left + x * step, bottom + y * step) == pytest.approx((1.0, 0.5), abs=step)


def test_colours_are_logarithmic_from_a_hundred_thousandth():
    figure = coefficient_density(plane(cloud(5000)))
    axes = figure.axes[0]
    norm = axes.images[0].norm
    assert isinstance(norm, LogNorm)
    assert (norm.vmin, norm.vmax) == (1e-5, 1)
    assert axes.images[0].get_array().max() == 1
    for dpi in (72, 230):
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        box = axes.get_window_extent()
        assert box.width == pytest.approx(box.height, rel=0.02)
    assert len(axes.child_axes) == 1, "a colour bar says how much"


def test_smoothing_keeps_the_filters_and_adds_none_far_away():
    points = cloud(2000)
    counts = plane(points)
    bandwidth = rule_of_thumb(counts, REACH)
    assert bandwidth == pytest.approx(0.5 * 0.5 * 2000 ** (-1 / 6), rel=0.05)
    figure = coefficient_density(counts)
    assert any(f"smoothed by {bandwidth:.2f}" in text for text in texts(figure))
    drawn = np.ma.filled(figure.axes[0].images[0].get_array(), 0).T
    places = (np.arange(512) + 0.5) * 2 * REACH / 512 - REACH
    variance = drawn.sum(axis=1) @ places**2 / drawn.sum()
    assert variance == pytest.approx(points[:, 0].var() + bandwidth**2, rel=0.03)
    lone = coefficient_density(plane([(0.5, -0.5)]), bandwidth=0.2).axes[0].images[0].get_array()
    y, x = np.nonzero(~np.ma.getmaskarray(lone))
    away = np.hypot(x - (3.8 / 6.6 * 512), y - (2.8 / 6.6 * 512)) * 6.6 / 512
    assert away.max() == pytest.approx(0.4, abs=0.02)


def test_axes_say_what_they_are():
    figure = coefficient_density(plane(cloud(1234)), title="a $ b", ratios=[0.4, 0.1834, 0.1])
    axes = figure.axes[0]
    assert axes.get_xlabel() == "c0 (40.0% of the variance)"
    assert axes.get_ylabel() == "c1 (18.3% of the variance)"
    assert any(text.startswith("1,234 filters") for text in texts(figure))
    assert any(r"a \$ b" in text for text in texts(figure))
    assert "1,234 filters" in figure.get_label()
    bare = coefficient_density(plane(cloud(10))).axes[0]
    assert (bare.get_xlabel(), bare.get_ylabel()) == ("c0", "c1")


@pytest.mark.parametrize("counts", [np.zeros((8, 8)), np.ones((8, 4)), np.ones(8)])
def test_there_must_be_something_to_draw(counts):
    with pytest.raises(ValueError, match="at least one filter"):
        coefficient_density(counts)


def test_phenotypes_stand_in_their_rows():
    layers = examples()
    figure = phenotypes(layers)
    grid = np.array(figure.axes).reshape(5, 3)
    kinds = [line[0].get_ylabel().split("\n")[0] for line in grid]
    assert kinds == ["sun", "spikes", "symbols", "point", "undecided"]
    titles = [[axes.get_title(loc="left") for axes in line if axes.images] for line in grid]
    assert titles == [["sun 0", "sun 1", "sun 2"], [], [r"cost in \$x\$"], ["none"], ["few"]]
    assert "none of these layers" in grid[1, 0].texts[0].get_text()
    reasons = [" ".join(line[0].get_xlabel().split()) for line in grid if line[0].images]
    assert reasons[0] == f"n = 16k {layers[0][2].reason}"
    assert reasons[-1] == f"n = 40 {layers[-1][2].reason}"
    assert "3 sun, 0 spikes, 1 symbols, 1 point, 1 undecided" in figure.get_label()


def test_a_panel_shows_where_the_filters_are():
    two = [one for one in examples() if one[2].name == "symbols"]
    axes = phenotypes(two).axes[2]
    (image,) = axes.images
    drawn = np.ma.filled(image.get_array(), 0)
    places = (np.arange(len(drawn)) + 0.5) * 2 * REACH / len(drawn) - REACH
    for side, at in ((-1, (-1.8, 0)), (1, (1.8, 0.3))):
        half = drawn * (np.sign(places) == side)
        y, x = np.unravel_index(half.argmax(), half.shape)
        assert (places[x], places[y]) == pytest.approx(at, abs=0.3)
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[1] > 3


def test_of_many_the_first_are_shown():
    suns = [one for one in examples() if one[2].name == "sun"]
    figure = phenotypes(suns, columns=2)
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["sun 0", "sun 1"]
    assert figure.axes[0].get_ylabel().endswith("2 of 3")
    with pytest.raises(ValueError, match="no layers"):
        phenotypes([])


@pytest.mark.parametrize("style", ["light", "dark"])
def test_nothing_is_outside_or_over_another(style):
    _, counts, found = examples()[0]
    figure = phenotypes([(name, counts, found) for name in ODD_NAMES], columns=6, style=style)
    figure.draw_without_rendering()
    boxes = [
        text.get_window_extent()
        for axes in figure.axes[:6]
        for text in (axes._left_title, axes.xaxis.label)
    ]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    large = coefficient_density(counts, title=ODD_NAMES[4], style=style)
    for one in (figure, large):
        box, (width, height) = one.get_tightbbox(), one.get_size_inches()
        assert min(box.x0, box.y0) > -0.02
        assert box.x1 < width + 0.02
        assert box.y1 < height + 0.02
    for text in large.axes[0].texts:
        assert text.get_window_extent().x1 <= large.bbox.x1
