"""Pictures of transfer experiments: every number where it belongs, and the hard cases."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from drawn import ODD_NAMES, legend_of, texts
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from test_house_style import check_that_nothing_is_cut_off

from filterdb.demo import results
from filterdb.errors import TransferError
from filterdb.figures.shift import ALIKE
from filterdb.figures.style import LOOKS
from filterdb.figures.transfer_curves import Line, Panel, accuracy_curves
from filterdb.figures.transfer_forest import MOST_ARMS, Row, accuracy_forest
from filterdb.figures.transfer_marks import WIDER, Measured, limits
from filterdb.figures.transfer_matrix import Cell, transfer_matrix
from filterdb.transfer.comparing import comparison, estimate_share
from filterdb.transfer.picture import about, images_of, picture_of
from filterdb.transfer.results import Coverage, Result, TableRow, read_result

NONE = Measured(None, None, None)
BACK = {"experiment": "any", "network": {"name": "convmixer", "width": 8}, "data": {"spec": "x/y"}}


def measured(mean, spread=0.01, n=3):
    """Accuracies around a mean."""
    values = mean + spread * np.linspace(-1, 1, n)
    found = estimate_share(values)
    return Measured(found.mean, found.low, found.high, tuple(values))


def panel(title="depthwise", *, lines=2, places=(1, 2, 4), references=1):
    return Panel(
        title,
        [
            Line(f"line {i}", {x: measured(0.5 - 0.02 * i * x) for x in places}, i, i % 2 == 1)
            for i in range(lines)
        ],
        {f"reference {i}": measured(0.6 - 0.05 * i) for i in range(references)},
    )


def cell(difference, half=0.02):
    return Cell(difference, difference - half, difference + half)


def matrix(count, names=None, **options):
    names = names or [f"set {i}" for i in range(count)]
    rng = np.random.default_rng(count)
    cells = [[cell(d) for d in row] for row in rng.normal(0, 0.03, (count, count))]
    return transfer_matrix(names, cells, own=[measured(0.7)] * count, **options)


def means_of(axes):
    """y of every drawn line of means, without references."""
    return [line.get_ydata() for line in axes.lines if line.get_marker() not in ("None", "")]


def result_of(experiment, arms, comparisons=()):
    """A result of arms: name -> labels and accuracies."""
    rows = tuple(
        TableRow(name, labels, estimate_share(values), dict(enumerate(values)))
        for name, (labels, values) in arms.items()
    )
    return Result(experiment, BACK, "b", rows, tuple(comparisons), (), Coverage(9, 9, ()))


@pytest.mark.parametrize("style", LOOKS)
@pytest.mark.parametrize(
    "draw",
    [
        lambda style: accuracy_curves([panel()], axis="n", style=style),
        lambda style: accuracy_curves(
            [panel(name, lines=6) for name in ODD_NAMES[:3]], axis="n", title="T", style=style
        ),
        lambda style: accuracy_curves([panel(p) for p in "abcd"], axis="n", title="T", style=style),
        lambda style: accuracy_curves(
            [Panel("", [Line(n, {1: measured(0.5)}, i) for i, n in enumerate(ODD_NAMES)],
                   {n: measured(0.5) for n in ODD_NAMES[:4]})],
            axis="keys", doubling=True, title="A few", about="of what", style=style,
        ),
        lambda style: matrix(1, style=style),
        lambda style: matrix(2, title="T", style=style),
        lambda style: matrix(6, ODD_NAMES, title="T", about="a", style=style),
        lambda style: matrix(12, references={"random": [cell(-0.1)] * 12}, style=style),
        lambda style: accuracy_forest([Row("one", measured(0.5))], style=style),
        lambda style: accuracy_forest(
            [Row(name, measured(0.5 + i / 50), i < 2) for i, name in enumerate(ODD_NAMES)]
            + [Row("none", NONE)],
            title="T", about="a", style=style,
        ),
    ],
)  # fmt: skip
def test_every_picture_fits_and_says_what_it_is(draw, style):
    figure = draw(style)
    assert isinstance(figure, Figure)
    assert len(figure.get_label()) > 20
    check_that_nothing_is_cut_off(figure)
    assert max(figure.get_size_inches()) < 20


# Curves -------------------------------------------------------------------------------------------


def test_means_intervals_and_seeds_are_drawn_in_per_cent():
    one = panel(lines=1, references=1)
    axes = accuracy_curves([one], axis="n").axes[0]
    points = one.lines[0].points
    assert means_of(axes)[0] == pytest.approx([100 * points[x].mean for x in (1, 2, 4)])
    ends = [s[:, 1] for c in axes.collections if isinstance(c, LineCollection)
            for s in c.get_segments()]  # fmt: skip
    np.testing.assert_allclose(
        ends, [[100 * points[x].low, 100 * points[x].high] for x in (1, 2, 4)]
    )
    dots = next(c for c in axes.collections if isinstance(c, PathCollection)).get_offsets()
    assert sorted(dots[:, 1]) == pytest.approx(
        sorted(100 * v for x in (1, 2, 4) for v in points[x].values)
    )
    reference = one.references["reference 0"]
    assert axes.lines[0].get_ydata() == pytest.approx([100 * reference.mean] * 2)
    band = next(patch for patch in axes.patches if isinstance(patch, Rectangle))
    low, high = band.get_y(), band.get_y() + band.get_height()
    assert (low, high) == pytest.approx((100 * reference.low, 100 * reference.high))


def test_lines_at_one_place_do_not_hide_one_another():
    axes = accuracy_curves([panel(lines=3)], axis="n").axes[0]
    x = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 3]
    assert len({round(float(place), 6) for place in x}) == 3
    assert np.mean(x) == pytest.approx(1)


def test_a_doubling_is_as_wide_everywhere():
    axes = accuracy_curves([panel("", lines=1, places=(1, 2, 4, 16))], axis="k", doubling=True)
    ticks = axes.axes[0].get_xticks()
    assert list(ticks) == [0, 1, 2, 4]
    labels = [label.get_text() for label in axes.axes[0].get_xticklabels()]
    assert labels == ["1", "2", "4", "16"]


def test_an_arm_without_a_run_is_a_gap_and_one_without_an_interval_has_no_whisker():
    points = {1: measured(0.5), 2: NONE, 4: replace(measured(0.6), low=None, high=None)}
    axes = accuracy_curves([Panel("", [Line("a", points, 0)])], axis="k").axes[0]
    np.testing.assert_allclose(means_of(axes)[0], [50, np.nan, 60])
    whiskers = [c for c in axes.collections if isinstance(c, LineCollection)]
    assert sum(len(c.get_segments()) for c in whiskers) == 1


def test_the_axis_keeps_to_what_was_measured_and_says_so():
    wide = Measured(0.5, 0.0, 1.0, (0.49, 0.51))
    low, high, beyond = limits([wide, measured(0.5)])
    assert beyond
    assert 40 < low < 49
    assert 51 < high < 60
    assert any(WIDER in text for text in texts(accuracy_curves(
        [Panel("", [Line("a", {1: wide}, 0)])], axis="k")))  # fmt: skip
    assert not limits([measured(0.5), measured(0.8)])[2]
    assert limits([measured(0.5, 0.0)])[1] - limits([measured(0.5, 0.0)])[0] > 3


@pytest.mark.parametrize(("mean", "end"), [(0.999, 100), (0.001, 0)])
def test_no_axis_goes_far_beyond_what_an_accuracy_can_be(mean, end):
    low, high, _ = limits([measured(mean, 0.001)])
    assert abs((high if end else low) - end) < 1


def test_panels_share_their_accuracy_axis_and_one_legend():
    figure = accuracy_curves([panel("a"), panel("b", lines=3)], axis="n")
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert legend_of(figure) == ["line 0", "line 1", "line 2", "reference 0"]


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no run was done"):
        accuracy_curves([Panel("", [Line("a", {1: NONE}, 0)])], axis="k")
    with pytest.raises(ValueError, match="no run was done"):
        accuracy_forest([Row("a", NONE)])


# Matrix -------------------------------------------------------------------------------------------


def squares(figure):
    """Place (row, column) -> the patch of a cell."""
    patches = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    return {(round(p.get_y() + 0.48, 2), round(p.get_x() + 0.48)): p for p in patches}


def test_cells_say_what_they_are_told_apart_by():
    cells = [[cell(9.0), cell(-0.05, 0.01)], [cell(0.03, 0.04), cell(9.0)]]
    figure = transfer_matrix(
        ["a", "b"], cells, own=[measured(0.7), measured(0.4)],
        references={"random": [cell(-0.1, 0.01), Cell(None, None, None)]},
    )  # fmt: skip
    written = texts(figure)
    assert {"-5.0", "-6.0 to -4.0", "+3.0", "-1.0 to +7.0", "-10.0", "70.0", "40.0"} <= {*written}
    assert written.count("own") == 2
    assert not any("900" in text for text in written), "a set in itself is what all is compared to"
    drawn = squares(figure)
    assert drawn[0, 1].get_hatch() is None
    assert drawn[1, 0].get_hatch() == ALIKE
    red, _, blue, _ = drawn[1, 0].get_facecolor()
    assert red > blue
    red, _, blue, _ = drawn[0, 1].get_facecolor()
    assert red < blue
    assert "–" in written


def test_the_colour_is_centred_at_zero_and_little_looks_like_little():
    figure = transfer_matrix(["a", "b"], [[cell(0), cell(0.001)], [cell(-0.002), cell(0)]],
                             own=[measured(0.7)] * 2)  # fmt: skip
    bar = figure.axes[0].child_axes[0]
    assert bar.get_ylim() == (-2, 2)


@pytest.mark.parametrize("cells", [[], [[cell(0)], [cell(0)]]])
def test_as_many_cells_as_sets(cells):
    with pytest.raises(ValueError, match="as many"):
        transfer_matrix(["a"][: len(cells)], cells, own=[])


# Forest -------------------------------------------------------------------------------------------


def test_references_go_on_as_lines_and_all_arms_are_named():
    rows = [Row("in full", measured(0.8), reference=True), Row("x", measured(0.6)), Row("y", NONE)]
    axes = accuracy_forest(rows).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["in full", "x", "y"]
    assert axes.lines[0].get_xdata() == pytest.approx([80, 80])
    assert "no run done" in texts(axes.figure)


def test_of_many_arms_the_first_are_drawn_and_the_rest_is_counted():
    rows = [Row(f"arm {i}", measured(0.5)) for i in range(MOST_ARMS + 5)]
    figure = accuracy_forest(rows)
    assert len(figure.axes[0].get_yticks()) == MOST_ARMS
    assert any(f"The first {MOST_ARMS} of {MOST_ARMS + 5} arms" in text for text in texts(figure))


# Which picture a result has -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["layers", "matrix", "keys"])
def test_results_that_ship_have_their_picture(name):
    with results() as folder:
        result = read_result(folder / f"{name}.json")
    figure = picture_of(result)
    check_that_nothing_is_cut_off(figure)
    written = " ".join(texts(figure))
    if name == "matrix":
        for one in result.comparisons:
            if "against own, pair by pair" in one.question:
                assert f"{100 * one.difference:+.1f}" in written
    else:
        drawn = [
            round(float(y), 6) for axes in figure.axes for line in means_of(axes) for y in line
        ]
        for row in result.table:
            if {"cut", "k"} & row.labels.keys():
                assert round(100 * row.accuracy.mean, 6) in drawn


def test_differences_to_own_are_turned_where_own_is_compared_with_them():
    arms = {
        f"{s} -> {t}": ({"source": s, "target": t}, [0.5, 0.6])
        for s, t in itertools.product(("a", "b", "random", "in full"), "ab")
    }
    found = comparison({0: 0.1, 1: 0.12}, arm="a -> a", control="random -> a", question="q")
    figure = picture_of(result_of("matrix", arms, [found]))
    assert "-11.0" in texts(figure)


def test_an_experiment_without_a_picture_of_its_own_has_the_forest():
    arms = {"in full": ({"filters": "in full"}, [0.8, 0.9]), "x": ({}, [0.5, 0.6]), "y": ({}, [])}
    axes = picture_of(result_of("novel", arms)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [*arms]
    assert axes.lines[0].get_xdata() == pytest.approx([85, 85])


def test_the_forest_has_references_by_their_labels_and_no_sources():
    references = ["in full", "own", "random", "spectrum of own"]
    arms = {
        f"arm {filters}": ({"filters": filters, "how": "depth"}, [0.5, 0.52 + 0.01 * place])
        for place, filters in enumerate(["spectrum of d", "d", *references])
    }
    arms["far in full"] = ({"filters": "in full", "source": "far"}, [0.99, 0.999])
    # What is compared with what says nothing about it.
    found = [comparison({0: 0.1}, arm="arm own", control=c, question="q") for c in ("arm d",) * 2]
    axes = picture_of(result_of("donors", arms, found)).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(names[:4]) == sorted(f"arm {name}" for name in references)
    assert names[4:] == ["arm spectrum of d", "arm d"]
    lines = [line for line in axes.lines if line.get_marker() == "None"]
    assert sorted(line.get_xdata()[0] for line in lines) == pytest.approx([52, 52.5, 53, 53.5])
    assert axes.get_xlim()[1] < 80


@pytest.mark.parametrize(
    ("channels", "told"), [(1, "16x16 grey"), (3, "16x16 colour"), (4, "16x16 of 4 channels")]
)
def test_what_images_are_is_told(channels, told):
    assert images_of(16, channels) == told


def test_about_has_the_data_and_what_images_are_unless_sets_differ():
    data = {"spec": "here/cifar10.parquet", "size": 32, "channels": 3}
    made = result_of("keys", {"a": ({}, [0.5])})
    assert "on cifar10.parquet (32x32 colour); 1 seed" in about(
        replace(made, settings={"data": data})
    )
    matrix = replace(made, experiment="matrix")
    for sets, expected in (
        ({"a": "digits", "b": {"spec": "x"}}, "; images 32x32 colour; 1 seed"),
        ({"a": "digits", "b": {"spec": "x", "size": 8}}, "; 1 seed"),
    ):
        told = about(replace(matrix, settings={"data": data, "matrix": {"sets": sets}}))
        assert told == expected


def test_keys_that_are_kept_are_drawn_along_their_number():
    arms = {
        f"{k} {kind}": ({"filters": kind, "k": k}, [0.5 + k / 50, 0.5])
        for kind in ("few random", "kept", "drawn") for k in (2, 4)
    }  # fmt: skip
    axes = picture_of(result_of("removal", arms)).axes[0]
    assert {"the keys kept", "as many keys drawn", "as many random filters"} <= {
        text.get_text() for text in axes.texts
    }
    assert means_of(axes)[0] == pytest.approx([52, 54])


def test_two_networks_of_one_name_keep_their_bases():
    arms = {
        "net B": ({"network": "net", "base": "B"}, [0.5, 0.6]),
        "net for regular filters, B": ({"network": "net", "base": "B"}, [0.8, 0.9]),
        "depthwise A1B": ({"network": "net", "part": "depthwise", "cut": 1, "kind": "AnB"}, [0.4]),
        "regular A1B": ({"network": "net", "part": "regular", "cut": 1, "kind": "AnB"}, [0.7]),
    }
    figure = picture_of(result_of("layers", arms))
    assert [axes.lines[0].get_ydata()[0] for axes in figure.axes] == pytest.approx([55, 85])


@pytest.mark.parametrize("experiment", ["layers", "matrix", "keys", "size", "novel"])
def test_a_result_without_a_run_is_told(experiment):
    with pytest.raises(TransferError, match="nothing to draw"):
        picture_of(result_of(experiment, {"a": ({}, [])}))


def test_a_result_of_foreign_labels_is_told():
    with pytest.raises(TransferError, match="no label 'target'"):
        picture_of(result_of("matrix", {"a": ({}, [0.5])}))
