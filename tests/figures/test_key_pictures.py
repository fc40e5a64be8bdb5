"""Pictures of keys: what is drawn is what was given, and no coverage is without its chance."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from drawn import (
    EVERY,
    code_of,
    counts_of,
    curve_of,
    examples_of,
    filters_of,
    keys_of,
    legend_of,
    texts,
)
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from filterdb.figures import (
    best_and_worst,
    code_axis,
    coverage_curve,
    key_agreement,
    key_mosaic,
    key_shares_by_depth,
    layer_bars,
)
from filterdb.figures.key_coverage import LEAST_LABEL, positions, spread
from filterdb.figures.key_shares import REST, percent
from filterdb.figures.key_tiles import grid_columns, name_of
from filterdb.figures.style import OTHER, PALETTE

NEW = ("key", "code", "cover", "best")


@pytest.mark.parametrize("name", [name for name in EVERY if name.startswith(NEW)])
def test_no_text_lies_on_another(name):
    figure = EVERY[name]("light")
    shown = [
        text
        for text in (*figure.axes[0].texts, *figure.axes[0].get_yticklabels())
        if text.get_text().strip()
    ]
    # Letters lie closer to one another than their boxes, which have room for every letter.
    boxes = [text.get_window_extent().padded(-1.2) for text in shown]
    for (a, first), (b, second) in combinations(zip(shown, boxes, strict=True), 2):
        assert not first.overlaps(second), (a.get_text(), b.get_text())


def images_of(figure):
    return [np.asarray(image.get_array()) for image in figure.axes[0].images]


# Mosaic -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [(2, 2), (1, 9), (3, 3), (11, 11)])
@pytest.mark.parametrize("count", [1, 4, 8, 17, 64])
def test_every_key_is_there_to_its_own_peak(count, kernel):
    keys = keys_of(count, kernel)
    figure = key_mosaic(keys)
    np.testing.assert_array_equal(images_of(figure), keys.filters)
    for image, key in zip(figure.axes[0].images, keys.filters, strict=True):
        assert -image.norm.vmin == image.norm.vmax == np.abs(key).max()
    written = texts(figure)
    assert [text for text in written if text in keys.texts] == list(keys.texts)
    if count >= 3:
        assert "σ 0.50 × 0.60" in written
        assert sum(text.startswith("σ") for text in written) == count - count // 3
    assert f"{kernel[0]}x{kernel[1]}" in figure.get_label()


def test_shares_and_what_is_no_key():
    shares = np.array([0.5, 0.2501, 0.0001, 0.2, 0.0498, 0.0])
    written = texts(key_mosaic(keys_of(3), shares, filters=12_345))
    assert written.index("50.0 %") < written.index("25.0 %") < written.index("<0.1 %")
    (text,) = (text for text in written if "None of them" in text)
    assert "share of the 12.3k filters that are its copies" in text
    nearest = " ".join(texts(key_mosaic(keys_of(3), shares[:3], filters=12_345)))
    assert "share of the 12.3k filters whose nearest key it is" in nearest
    assert "copies" not in nearest
    assert "20.0 % other, 5.0 % constant, 0 % nearly zero" in text
    assert not any("None of them" in text for text in texts(key_mosaic(keys_of(3), shares[:3])))
    assert not any("%" in text for text in texts(key_mosaic(keys_of(3))))


def test_more_keys_than_are_shown():
    figure = key_mosaic(keys_of(65))
    assert len(figure.axes[0].images) == 64
    assert any("the first 64 of 65" in text for text in texts(figure))


def test_shares_that_match_nothing():
    with pytest.raises(ValueError, match="3 keys with 4 shares"):
        key_mosaic(keys_of(3), np.ones(4))


@given(st.integers(1, 64))
def test_the_grid_holds_all_and_is_wide(count):
    columns = grid_columns(count)
    assert 1 <= columns <= 8
    rows = -(-count // columns)
    assert rows <= columns
    assert (rows - 1) * columns < count, "no row is empty"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("d/dx forward 12", "d/dx\nforward 12"),
        ("Gaussian", "Gaussian"),
        ("DoG off-centre 1", "DoG\noff-centre 1"),
        ("three words of more", "three words\nof more"),
        ("one two three four five six", "one two\nthree four …"),
        ("$x$ 1", r"\$x\$ 1"),
        ("7", "7"),
        ("unbreakable-as-it-is", "unbreakable-\nas-it-is"),
    ],
)
def test_names_in_two_lines(text, lines):
    assert name_of(text, 12) == lines


# Coverage ---------------------------------------------------------------------------------------


def line_at(axes, heights):
    """The line with these heights, in per cent."""
    found = [line for line in axes.lines if np.allclose(line.get_ydata(), heights, equal_nan=True)]
    assert len(found) == 1, heights
    return found[0]


def test_every_line_of_every_threshold():
    points = curve_of(1, 2, 4, 8, 16, 32)
    figure = coverage_curve(points[::-1])
    assert [axes.get_ylabel() for axes in figure.axes] == [
        f"% with R² ≥ {threshold}" for threshold in (0.7, 0.8, 0.9, 0.95)
    ]
    for place, axes in enumerate(figure.axes):
        assert len(axes.lines) == 2 + 2 * 4
        networks = line_at(axes, [100 * point.networks.shares[place] for point in points])
        layers = line_at(axes, [100 * point.layers[place] for point in points])
        assert networks.get_linewidth() > layers.get_linewidth()
        for name in points[0].controls:
            controls = [point.controls[name] for point in points]
            own = line_at(axes, [100 * each.by_own.shares[place] for each in controls])
            found = line_at(axes, [100 * each.by_found.shares[place] for each in controls])
            assert own.get_color() == found.get_color() != networks.get_color()
            assert own.get_linewidth() > found.get_linewidth()
        np.testing.assert_allclose(networks.get_xdata(), range(6))  # binary logarithms
        names = [text.get_text() for text in axes.texts if isinstance(text, Annotation)]
        assert {"networks", "their layers", "Gaussian noise", "same spectrum", "same covariance",
                "at initialisation"} <= set(names)  # fmt: skip
    assert [label.get_text() for label in figure.axes[3].get_xticklabels()] == [
        "1", "2", "4", "8", "16", "32",
    ]  # fmt: skip
    assert "40.0 % with R² of at least 0.95 (chance: 16.0 %)" in figure.get_label()
    assert any("n = 12.3k filters of held-out networks" in text for text in texts(figure))


def shaded(axes):
    (area,) = (each for each in axes.collections if isinstance(each, PolyCollection))
    return area.get_paths()


def test_what_is_shaded_is_between_the_networks_and_the_highest_control():
    points = curve_of(4, 8, 12)
    axes = coverage_curve(points).axes[0]
    (path,) = shaded(axes)
    corners = {(x, round(y, 9)) for x, y in path.vertices}
    for point in points:
        best = max(control.by_own.shares[0] for control in point.controls.values())
        assert (point.k, round(100 * best, 9)) in corners
        assert (point.k, round(100 * point.networks.shares[0], 9)) in corners


def test_nothing_is_shaded_where_chance_is_higher():
    points = [
        replace(point, networks=point.controls["gaussian"].by_found) for point in curve_of(4, 8)
    ]
    assert not shaded(coverage_curve(points).axes[0])


def test_no_coverage_without_chance():
    first, second = curve_of(4, 8)
    with pytest.raises(ValueError, match="coverage with 8 keys has no control"):
        coverage_curve([first, replace(second, controls={})])
    with pytest.raises(ValueError, match="no coverage to draw"):
        coverage_curve([])


def test_a_control_that_some_points_lack_has_a_gap():
    first, second, third = curve_of(2, 4, 6)
    rest = {name: value for name, value in second.controls.items() if name != "spectrum"}
    axes = coverage_curve([first, replace(second, controls=rest), third]).axes[0]
    own = [100 * point.controls["spectrum"].by_own.shares[0] for point in (first, third)]
    line_at(axes, [own[0], np.nan, own[1]])


def test_ticks_that_are_too_close_are_left_out():
    x, ticks = positions([1, 2, 3, 4, 30, 31, 32])
    np.testing.assert_allclose(x, np.log2([1, 2, 3, 4, 30, 31, 32]))
    assert ticks == [0, 1, 2, 3, 6]
    x, ticks = positions([4, 5, 6])
    assert (list(x), ticks) == ([4, 5, 6], [0, 1, 2])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_labels_are_apart_in_their_order(heights):
    heights = sorted(heights)
    moved = spread(heights, least=100 * LEAST_LABEL, low=0, high=100)
    assert len(moved) == len(heights)
    assert np.diff(moved).min(initial=np.inf) > 100 * LEAST_LABEL - 1e-9
    assert -1e-9 <= moved[0] <= moved[-1] <= 100 + 1e-9
    if np.diff(heights).min(initial=np.inf) > 100 * LEAST_LABEL:
        np.testing.assert_allclose(moved, heights)


# Shares -----------------------------------------------------------------------------------------


def bars_of(figure):
    """Label of the legend without its mean -> the bars of the class."""
    return {bars.get_label().rpartition("  ")[0]: bars for bars in figure.axes[0].containers}


def test_every_layer_weighs_the_same():
    depths = np.array([0.0, 0.05, 0.55, 1.0, np.nan, 0.3])
    counts = counts_of(6, 3)
    counts[0] *= 100
    counts[5] = 0
    figure = key_shares_by_depth(depths, counts, ["a", "b", "c"])
    found = bars_of(figure)
    assert list(found) == ["a", "b", "c", *REST]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for column, bars in enumerate(found.values()):
        expected = np.zeros(10)
        expected[[0, 5, 9]] = (shares[:2, column].mean(), shares[2, column], shares[3, column])
        heights = [bar.get_height() for bar in bars]
        np.testing.assert_allclose(heights, 100 * expected, atol=1e-12)
        mean = percent(shares[:4, column].mean())
        assert f"{list(found)[column]}  {mean}" in legend_of(figure)
    tops = [bar.get_y() + bar.get_height() for bar in found["nearly zero"]]
    np.testing.assert_allclose([tops[0], tops[5], tops[9]], 100)
    written = texts(figure)
    assert written.count("no layers") == 7
    (text,) = (text for text in written if "weighs" in text)
    assert text.startswith("4 layers, ")
    assert "2 layers without depth or filters left out" in text


def test_depths_may_be_none():
    figure = key_shares_by_depth(np.array([None, 0.5], object), counts_of(2, 1), ["a"])
    assert any(text.startswith("1 layer, ") for text in texts(figure))


def test_keys_without_a_colour_are_one_class_and_other_is_always_there():
    counts = np.ones((5, 15), int)
    counts[:, 3:7] = 9
    counts[:, 12:] = 0
    figure = key_shares_by_depth(np.linspace(0, 1, 5), counts, [f"k{i}" for i in range(12)])
    found = bars_of(figure)
    assert list(found) == ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "4 more keys", "other"]
    colours = [to_hex(bars[0].get_facecolor()) for bars in found.values()]
    assert colours[:8] == list(PALETTE)
    assert to_rgb(colours[9]) == to_rgb(OTHER)
    assert found["4 more keys"][0].get_height() == pytest.approx(400 / 44)
    assert "other  0 %" in legend_of(figure)


def test_layers_of_a_network_in_their_order():
    counts = counts_of(4, 2)
    counts[2] = 0
    figure = layer_bars(["d", "c", "b", "a"], counts, ["x", "y"], title="net")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list("dcba")
    assert figure.axes[0].yaxis_inverted(), "the first layer is on top"
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for column, bars in enumerate(bars_of(figure).values()):
        np.testing.assert_allclose([bar.get_width() for bar in bars], 100 * shares[:, column])
    assert {str(counts[0].sum()), "0"} <= set(texts(figure))


def test_counts_that_do_not_match():
    for depths, counts, names in (
        (np.zeros(2), counts_of(3, 4), [*"abcd"]),
        (np.zeros(3), counts_of(3, 4), [*"abc"]),
        (np.zeros(0), counts_of(0, 4), [*"abcd"]),
    ):
        with pytest.raises(ValueError, match="other, constant, nearly zero at the end"):
            key_shares_by_depth(depths, counts, names)
    with pytest.raises(ValueError, match="No layer has a depth"):
        key_shares_by_depth(np.array([np.nan]), counts_of(1, 1), ["a"])
    with pytest.raises(ValueError, match="No layer has filters"):
        layer_bars(["a"], np.zeros((1, 4)), ["key"])


@pytest.mark.parametrize(
    ("share", "label"),
    [(0, "0 %"), (1, "100 %"), (0.1234, "12.3 %"), (0.0004, "<0.1 %"), (0.9996, ">99.9 %"),
     (float("nan"), "–")],
)  # fmt: skip
def test_shares_in_words(share, label):
    assert percent(share) == label


# Code, examples, agreement ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 10, 50, 64])
def test_the_code_row_by_row(count):
    axis = code_of(count, (5, 5), kept=(0, count - 1))
    figure = code_axis(axis)
    axes = figure.axes[0]
    np.testing.assert_array_equal(images_of(figure), axis.decoded)
    bars = [bars[0] for bars in axes.containers]
    heights = np.array([abs(bar.get_height()) for bar in bars])
    np.testing.assert_allclose(heights / heights.max(), axis.counts / axis.counts.max())
    coloured = [i for i, bar in enumerate(bars) if to_hex(bar.get_facecolor()) == PALETTE[1]]
    assert coloured == sorted({0, count - 1})
    triangles = [line for line in axes.lines if isinstance(line, Line2D)]
    assert len(triangles) == len(coloured)
    for bar, image in zip(bars, axes.images, strict=True):
        left, _, bottom, top = image.get_extent()
        assert bar.get_x() == pytest.approx(left)
        assert bar.get_y() < min(bottom, top), "a bar stands above its filter"


def test_a_code_that_nobody_has():
    axis = replace(code_of(5), counts=np.zeros(5, int))
    assert all(bars[0].get_height() == 0 for bars in code_axis(axis).axes[0].containers)


def test_a_code_that_does_not_match():
    with pytest.raises(ValueError, match=r"5 filters .* \[5\] are kept"):
        code_axis(code_of(5, kept=(5,)))
    with pytest.raises(ValueError, match=r"counts of shape \(4,\)"):
        code_axis(replace(code_of(5), counts=np.zeros(4, int)))


def test_best_and_worst_from_the_first():
    examples = examples_of(12, 7, (7, 7))
    figure = best_and_worst(examples, filters=4321)
    expected = [*examples.best[:10], *examples.worst]
    np.testing.assert_array_equal(images_of(figure), np.array(expected, float))
    scores = [f"{r2:.3f}" for r2 in (*examples.best_r2[:10], *examples.worst_r2)]
    assert [text for text in texts(figure) if text in scores] == scores
    assert any("4,321 filters, 7x7" in text for text in texts(figure))


def test_examples_that_make_no_pairs():
    with pytest.raises(ValueError, match="make no pairs"):
        best_and_worst(examples_of(0, 0))
    with pytest.raises(ValueError, match=r"\(3, 2\) of the best"):
        best_and_worst(replace(examples_of(3, 2), best_r2=np.zeros(2, np.float32)))


def test_agreement_is_without_a_sign():
    cosines = np.array([[-0.9, 0.1], [0.2, 0.3], [0.0, -1.0]])
    figure = key_agreement(cosines, [*"abc"], [*"xy"], sets=("one", "two"))
    np.testing.assert_array_equal(images_of(figure)[0], np.abs(cosines))
    cells = {text.get_text(): text for text in figure.axes[0].texts}
    assert {"0.90", "0.10", "0.20", "0.30", "0.00", "1.00"} <= set(cells)
    bold = {name for name, text in cells.items() if text.get_fontweight() == "bold"}
    assert {"0.90", "0.30", "1.00"} == bold & {"0.90", "0.10", "0.20", "0.30", "0.00", "1.00"}
    assert any("one (rows) and two (columns)" in text for text in texts(figure))


def test_agreement_that_does_not_match():
    with pytest.raises(ValueError, match=r"\(3, 2\) are not those of 2 keys with 3"):
        key_agreement(np.zeros((3, 2)), [*"ab"], [*"abc"])


def test_the_input_is_not_changed():
    counts, keys = counts_of(4, 2), filters_of(4)
    before = counts.copy(), keys.copy()
    layer_bars([*"abcd"], counts, ["x", "y"])
    key_agreement(keys[:, 0], [*"abcd"], [*"xyz"])
    np.testing.assert_array_equal(counts, before[0])
    np.testing.assert_array_equal(keys, before[1])
