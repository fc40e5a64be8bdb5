"""Shift matrix and box plot: every number, every mark, and what the legend says of them."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import Group, hatched, legend_of, pairs_at, shift_of, texts
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba

from filterdb.figures import shift_boxes, shift_matrix
from filterdb.figures.shift import ALIKE, MOST_VALUES, WITHOUT, round_ticks
from filterdb.figures.style import LOOKS, PALETTE


def heat_map(figure):
    """The matrix as drawn, NaN where it is blank."""
    return figure.axes[0].images[0].get_array().filled(np.nan)


def row_names(figure):
    return [label.get_text().split("\n")[0] for label in figure.axes[0].get_yticklabels()]


def test_the_matrix_is_sorted_by_its_row_means():
    shift = shift_of(5)
    figure = shift_matrix(shift)
    without_self = np.where(np.eye(5, dtype=bool), np.nan, shift.matrix)
    order = np.argsort(np.nanmean(without_self, axis=1))
    np.testing.assert_array_equal(heat_map(figure), without_self[np.ix_(order, order)])
    assert row_names(figure) == [f"group {index}" for index in order]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == row_names(figure)
    image = figure.axes[0].images[0]
    assert image.norm.vmin == 0
    assert image.norm.vmax == np.nanmax(without_self)
    middle = image.norm(image.norm.vmax / 4)
    assert middle == pytest.approx(0.5), "the colour goes with the square root"


def test_an_order_of_its_own_is_kept_unless_asked():
    shift = shift_of(5, ordered=True)
    given = [f"group {index}" for index in range(5)]
    assert row_names(shift_matrix(shift)) == given
    assert row_names(shift_matrix(shift, order="sorted")) != given
    assert row_names(shift_matrix(shift_of(5), order="given")) == given


def test_cells_and_labels_say_how_much_and_of_what():
    groups = (Group("faces", 1, 2, 5000), Group("maps", 12, 80, 1_234_567))
    shift = shift_of(
        2, by="visual_category", groups=groups, matrix=np.array([[0, 0.42], [0.42, 0]])
    )
    written = texts(shift_matrix(shift))
    assert written.count("0.42") == 2
    assert "faces\n1 model, 5,000 filters" in written
    assert "maps\n12 models, 1.23M filters" in written
    assert "Shift by visual_category" in written
    assert "3x3 filters, preset reference" in written
    assert not legend_of(shift_matrix(shift)), "no mark, no legend"


def test_pairs_within_their_null_are_marked():
    shift = shift_of(4, ordered=True, null_p95=pairs_at(4, (0, 2), (1, 3), value=9.0, others=0.01))
    figure = shift_matrix(shift)
    assert hatched(figure, ALIKE) == {(0, 2), (2, 0), (1, 3), (3, 1)}
    assert not hatched(figure, WITHOUT)
    assert sum(text.startswith(("≈0.", "≈1.")) for text in texts(figure)) == 4
    assert legend_of(figure) == ["≈ not distinguishable from random splits (2 pairs)"]
    assert "2 of 6 pairs are not distinguishable" in figure.get_label()


def test_a_d_as_large_as_its_null_is_not_distinguishable():
    shift = shift_of(3, matrix=pairs_at(3, value=0, others=0.5), null_p95=np.full((3, 3), 0.5))
    assert len(hatched(shift_matrix(shift), ALIKE)) == 6


def test_pairs_without_a_null_are_not_called_alike():
    null = pairs_at(3, (0, 1), value=np.nan, others=0.01)
    figure = shift_matrix(shift_of(3, ordered=True, null_p95=null))
    assert hatched(figure, WITHOUT) == {(0, 1), (1, 0)}
    assert not hatched(figure, ALIKE)
    assert sum(text.endswith(" ?") for text in texts(figure)) == 2
    assert legend_of(figure) == ["? cannot be judged: too few to split (1 pair)"]


def test_few_filters_are_marked_and_do_not_wash_out_the_rest():
    groups = tuple(Group(name, 2, 3, n) for name, n in (("a", 5000), ("b", 1000), ("few", 999)))
    matrix = np.array([[0, 0.1, 7], [0.1, 0, 8], [7, 8, 0]], float)
    figure = shift_matrix(shift_of(3, groups=groups, matrix=matrix))
    assert row_names(figure) == ["a", "b", "few †"]
    assert figure.axes[0].images[0].norm.vmax == 0.1
    assert hatched(figure, WITHOUT) == {(0, 2), (1, 2), (2, 0), (2, 1)}, "large, and yet no claim"
    assert legend_of(figure) == ["? cannot be judged: too few to split (2 pairs)",
                                 "† fewer than 1,000 filters: far from all by chance"]  # fmt: skip
    own = np.concatenate([each.get_facecolors() for each in points(shift_boxes([
        shift_of(3, groups=groups, matrix=matrix)]))])  # fmt: skip
    assert sum(tuple(face) == to_rgba(LOOKS["light"].paper) for face in own) == 2
    all_few = shift_of(3, groups=tuple(Group("x", 1, 1, 9) for _ in range(3)), matrix=matrix)
    assert shift_matrix(all_few).axes[0].images[0].norm.vmax == 8


@pytest.mark.parametrize("null", [0.05, 0.31])
def test_what_is_within_chance_is_pale(null):
    matrix = pairs_at(2, value=0, others=0.03 if null < 0.1 else 0.3)
    image = shift_matrix(shift_of(2, matrix=matrix, null_p95=np.full((2, 2), null))).axes[0].images
    assert image[0].norm(matrix[0, 1]) < 0.56
    above = shift_matrix(shift_of(2, matrix=matrix * 2)).axes[0].images[0]
    assert above.norm(2 * matrix[0, 1]) > 0.75


def test_a_pair_without_d():
    matrix = pairs_at(3, (0, 1), value=np.nan, others=0.5)
    figure = shift_matrix(shift_of(3, ordered=True, matrix=matrix))
    assert texts(figure).count("–") == 2
    assert np.isnan(heat_map(figure)[0, 1])
    assert not hatched(figure, ALIKE) | hatched(figure, WITHOUT)


def test_all_alike():
    figure = shift_matrix(shift_of(3, matrix=np.zeros((3, 3))))
    assert sum(text == "≈0" for text in texts(figure)) == 6


def test_numbers_are_read_on_their_colour():
    figure = shift_matrix(shift_of(3, matrix=pairs_at(3, (0, 1), value=0.001, others=1.0)))
    colours = {
        text.get_text(): text.get_color() for text in figure.axes[0].texts if "." in text.get_text()
    }
    assert colours["≈0.001"] == "#000000"
    assert colours["1.00"] == "#ffffff"


def test_one_group():
    figure = shift_matrix(shift_of(1))
    assert any("no pair to compare" in text for text in texts(figure))
    assert len(figure.axes) == 1, "no colour bar"
    assert not figure.axes[0].child_axes


@pytest.mark.parametrize("count", [2, MOST_VALUES, MOST_VALUES + 1, 40])
def test_values_give_way_to_room(count):
    figure = shift_matrix(shift_of(count, null_p95=np.full((count, count), 9.0)))
    values = [text for text in texts(figure) if text.startswith("≈") and "not" not in text]
    assert len(values) == (count * (count - 1) if count <= MOST_VALUES else 0)
    assert len(hatched(figure, ALIKE)) == count * (count - 1)
    assert len(figure.axes[0].get_yticklabels()) == count
    sizes = {label.get_fontsize() for label in figure.axes[0].get_yticklabels()}
    assert min(sizes) >= 4
    height = figure.axes[0].get_window_extent().height / count / figure.dpi * 72
    lines = 2 if count <= MOST_VALUES else 1
    assert max(sizes) * lines < height * 1.02, "labels of rows do not touch"


def test_hundreds_of_groups_stay_a_picture():
    figure = shift_matrix(shift_of(300))
    width, height = figure.get_size_inches()
    assert max(width, height) < 20
    assert len(figure.axes[0].get_yticklabels()) <= 130


@pytest.mark.parametrize(
    ("top", "ticks"),
    [(1.0, [0, 0.02, 0.1, 0.2, 0.5, 1.0]), (0.09, [0, 0.002, 0.01, 0.02, 0.05]), (19, None)],
)
def test_ticks_of_the_colour_bar_are_round(top, ticks):
    found = round_ticks(top)
    assert ticks is None or found == pytest.approx(ticks)
    assert 4 <= len(found) <= 8
    assert all(f"{tick:.0e}"[0] in "0125" for tick in found)
    assert 0.5 * top < max(found) <= top


@pytest.mark.parametrize("order", ["by size", "Sorted"])
def test_another_order(order):
    with pytest.raises(ValueError, match="'sorted' or 'given'"):
        shift_matrix(shift_of(2), order=order)


def test_no_group():
    empty = shift_of(1, groups=(), matrix=np.empty((0, 0)), null_p95=np.empty((0, 0)))
    with pytest.raises(ValueError, match="0 groups"):
        shift_matrix(empty)


# Box plot ---------------------------------------------------------------------------------------


def points(figure):
    return [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]


def test_a_box_has_every_pair_once():
    shifts = [shift_of(5, by="task"), shift_of(3, by="depth", seed=1)]
    figure = shift_boxes(shifts)
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    for place, shift in enumerate(shifts):
        upper = np.sort(shift.matrix[np.triu_indices(len(shift.groups), 1)])
        own = np.concatenate(
            [each.get_offsets() for each in points(figure) if len(each.get_offsets())]
        )
        own = own[np.abs(own[:, 0] - place) < 0.5]
        np.testing.assert_allclose(np.sort(own[:, 1]), upper)
        medians = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2.4]
        assert medians[place] == pytest.approx(np.median(upper))
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["task\n5 groups\n10 pairs", "depth\n3 groups\n3 pairs"]


def test_the_null_is_the_second_mark():
    shift = shift_of(3, null_p95=np.array([[0, 0.1, 0.2], [0, 0, 0.4], [0, 0, 0]]))
    lines = [
        each
        for each in shift_boxes([shift]).axes[0].collections
        if isinstance(each, LineCollection)
    ]
    single, median = ([segment[0][1] for segment in each.get_segments()] for each in lines)
    assert single == [0.1, 0.2, 0.4]
    assert median == [0.2]


def test_hollow_points_are_not_distinguishable():
    null = pairs_at(4, (0, 1), (2, 3), value=9.0, others=0.001)
    figure = shift_boxes([shift_of(4, null_p95=null)])
    faces = np.concatenate([each.get_facecolors() for each in points(figure)])
    paper, blue = (to_rgba(colour) for colour in (LOOKS["light"].paper, PALETTE[0]))
    assert sorted(map(tuple, faces)) == sorted([paper] * 2 + [blue] * 4)
    assert "not distinguishable from its null" in legend_of(figure)
    assert "not distinguishable from its null" not in legend_of(shift_boxes([shift_of(4)]))


def test_zero_has_a_mark_of_its_own():
    shift = shift_of(3, matrix=pairs_at(3, (0, 1), value=0.0, others=0.5))
    figure = shift_boxes([shift])
    zeros = points(figure)[1].get_offsets()
    assert len(zeros) == 1
    assert 0 < zeros[0][1] < 0.01
    assert figure.axes[0].get_ylim()[0] < zeros[0][1]
    assert "D = 0, which a logarithmic scale has no place for" in legend_of(figure)


def test_no_null_and_no_pair():
    figure = shift_boxes([shift_of(3, null_p95=np.full((3, 3), np.nan)), shift_of(1)])
    assert legend_of(figure) == ["a pair of groups"]
    assert "no pairs" in texts(figure)


def test_many_pairs_are_thinned_from_the_least_to_the_largest():
    shift = shift_of(60)
    figure = shift_boxes([shift])
    heights = points(figure)[0].get_offsets()[:, 1]
    upper = shift.matrix[np.triu_indices(60, 1)]
    assert len(heights) == 600
    assert (heights.min(), heights.max()) == (upper.min(), upper.max())


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="no shift"):
        shift_boxes([])
