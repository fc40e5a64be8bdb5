"""Quality by depth, and training curves."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from drawn import layer_rows, legend_of, texts, training_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba

from filterdb.figures import quality_by_depth, training_curves
from filterdb.figures.depths import RANDOM, running_median
from filterdb.figures.style import OTHER, PALETTE


def points(axes):
    return {each.get_label(): each for each in axes.collections if isinstance(each, PathCollection)}


def test_every_defined_layer_is_a_point():
    rows = layer_rows(20, model="a") + layer_rows(7, model="b")
    figure = quality_by_depth(rows)
    for axes, measure in zip(figure.axes, ("sparsity", "entropy_ratio"), strict=True):
        for name in "ab":
            expected = {
                (row["conv_depth_norm"], row[measure])
                for row in rows
                if row["model"] == name and row[measure] is not None
            }
            assert set(map(tuple, points(axes)[name].get_offsets())) == expected
    assert texts(figure).count("22 of 27 layers; undefined for the rest") == 2
    assert legend_of(figure) == ["a", "b", "running median", RANDOM]


def test_a_measure_that_is_nan_or_missing_is_undefined():
    rows = layer_rows(4)
    rows[0]["sparsity"] = float("nan")
    del rows[1]["sparsity"]
    assert "2 of 4 layers; undefined for the rest" in texts(quality_by_depth(rows))


def test_eight_families_and_the_others():
    rows = [row for index in range(11) for row in layer_rows(20 - index, model=f"net {index:02}")]
    figure = quality_by_depth(rows)
    assert legend_of(figure) == [*(f"net {i:02}" for i in range(8)), "3 others", "running median",
                                 RANDOM]  # fmt: skip
    found = points(figure.axes[0])
    for name, colour in zip(legend_of(figure)[:8], PALETTE, strict=True):
        assert tuple(found[name].get_facecolor()[0][:3]) == to_rgba(colour)[:3]
    assert tuple(found["3 others"].get_facecolor()[0][:3]) == to_rgba(OTHER)[:3]
    expected = sum(row["sparsity"] is not None for row in rows if row["model"] >= "net 08")
    assert len(found["3 others"].get_offsets()) == expected


def test_a_family_that_is_not_given():
    rows = layer_rows(3, task=None) + layer_rows(3, task="") + layer_rows(3, task="detection")
    assert legend_of(quality_by_depth(rows, by="task"))[:2] == ["detection", "not given"]


def test_the_line_of_random_filters():
    axes = quality_by_depth(layer_rows(9)).axes[1]
    assert [list(line.get_ydata()) for line in axes.lines if line.is_dashed()] == [[1, 1]]


def test_a_running_median_of_zero_is_told_and_not_drawn():
    rows = [row | {"sparsity": 0.4 * (i == 3)} for i, row in enumerate(layer_rows(20))]
    figure = quality_by_depth(rows)
    assert not figure.axes[0].lines
    assert "20 layers. The running median is 0 throughout" in texts(figure)
    assert legend_of(figure) == ["net", "running median", RANDOM]
    assert not any("throughout" in text for text in texts(quality_by_depth(layer_rows(20))))


def test_no_label_lies_under_the_points():
    assert not quality_by_depth(layer_rows(9)).axes[1].texts


def test_many_layers_are_one_image_in_a_vector_file():
    rows = [row | {"sparsity": 0.5} for row in layer_rows(2001)]
    assert points(quality_by_depth(rows).axes[0])["net"].get_rasterized()
    assert not points(quality_by_depth(rows[:100]).axes[0])["net"].get_rasterized()


def test_an_unknown_column():
    with pytest.raises(ValueError, match="column 'task'; there are: conv_depth_norm, entropy"):
        quality_by_depth(layer_rows(3), by="task")
    with pytest.raises(ValueError, match="there are: none"):
        quality_by_depth([])


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 5))
def test_the_running_median_against_python_s(count, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.random(count).round(1), rng.random(count)
    places, medians = running_median(x, y)
    window = max(7, count // 10)
    if count < window:
        assert len(places) == 0
        return
    pairs = sorted(zip(x, y, strict=True), key=lambda pair: pair[0])
    starts = [*range(0, count - window, (window + 1) // 2), count - window]
    expected = [
        (
            statistics.median(a for a, _ in pairs[start : start + window]),
            statistics.median(b for _, b in pairs[start : start + window]),
        )
        for start in starts
    ]
    np.testing.assert_allclose(np.column_stack([places, medians]), expected)


# Training curves --------------------------------------------------------------------------------


def line_of(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_a_run_is_the_mean_of_its_layers():
    rows = training_rows(2)
    figure = training_curves(rows)
    assert [axes.get_title("left") for axes in figure.axes] == [
        "sparsity",
        "H / T_H",
        "orthogonality",
    ]
    for axes, measure in zip(figure.axes, ("sparsity", "entropy_ratio", "orthogonality"),
                             strict=True):  # fmt: skip
        for run in ("run 0", "run 1"):
            line = line_of(axes, run)
            assert list(line.get_xdata()) == [0, 1, 5, 20]
            for epoch, mean in zip(line.get_xdata(), line.get_ydata(), strict=True):
                values = [
                    row[measure] for row in rows if (row["run"], row["epoch"]) == (run, epoch)
                ]
                assert mean == pytest.approx(np.mean([v for v in values if v is not None]))
    assert legend_of(figure) == ["run 0", "run 1"]


def test_a_single_run_shows_its_layers():
    figure = training_curves(training_rows(1))
    assert len(figure.axes[0].lines) == 4 + 1
    assert legend_of(figure) == ["run 0", "single layers"]
    assert len(training_curves(training_rows(2)).axes[0].lines) == 2


def test_d_to_the_last_epoch():
    shifts = {"run 0": {0: 0.4, 5: 0.01, 1: 0.1, 20: 0.0}}
    figure = training_curves(training_rows(1), shifts=shifts)
    axes = figure.axes[3]
    assert axes.get_title("left") == "D to the last epoch"
    assert axes.get_yscale() == "log"
    assert list(axes.lines[0].get_xdata()) == [0, 1, 5]
    assert list(axes.lines[0].get_ydata()) == [0.4, 0.1, 0.01]
    assert axes.lines[0].get_color() == line_of(figure.axes[0], "run 0").get_color()


def test_no_d_above_zero():
    figure = training_curves(training_rows(1), shifts={"run 0": {0: 0.0, 20: 0.0}})
    assert figure.axes[3].get_yscale() == "linear"


def test_epochs_may_be_text_and_what_is_none_is_said():
    rows = [row | {"epoch": str(row["epoch"])} for row in training_rows(1)]
    rows += layer_rows(2, run="run 0", epoch="last") + layer_rows(1, run="run 0", epoch=None)
    figure = training_curves(rows)
    assert list(line_of(figure.axes[0], "run 0").get_xdata()) == [0, 1, 5, 20]
    assert "3 of 19 layers have no number in epoch." in texts(figure)


def test_many_runs():
    figure = training_curves(training_rows(11))
    entries = legend_of(figure)
    assert len(entries) == 9
    assert entries[-1] == "3 others"
    grey = [line for line in figure.axes[0].lines if line.get_color() == OTHER]
    assert len(grey) == 3
    assert len(figure.axes[0].lines) == 11


def test_no_epoch_at_all():
    with pytest.raises(ValueError, match="column 'epoch'"):
        training_curves(layer_rows(3, run="a"))
    with pytest.raises(ValueError, match="has a number in the column 'epoch'"):
        training_curves(layer_rows(3, run="a", epoch="first"))
    with pytest.raises(ValueError, match="column 'run'"):
        training_curves(layer_rows(3, epoch=1))
