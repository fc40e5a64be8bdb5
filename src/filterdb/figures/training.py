"""Training curves: what the filters did while a network learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.depths import Row, check_column, families_of, family, is_defined
from filterdb.figures.lettering import legible, plain
from filterdb.figures.style import MARKERS, OTHER, PALETTE, Style, house
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

Array = NDArray[np.float64]

MEASURES = {"sparsity": "sparsity", "entropy_ratio": "H / T_H", "orthogonality": "orthogonality"}
MOST_LAYERS = 60  # thin lines of single layers, drawn for one run


def training_curves(
    rows: Sequence[Row],
    *,
    x: str = "epoch",
    by: str = "run",
    shifts: Mapping[str, Mapping[float, float]] | None = None,
    style: Style = "light",
) -> Figure:
    """Quality measures of layers over training, the mean of the layers as a line a run.

    Parameters
    ----------
    rows
        Layers with the columns ``x`` and ``by``, ``name``, ``sparsity``, ``entropy_ratio`` and
        ``orthogonality`` (None where undefined).
    x
        Column of the training's progress; a layer where it is no number is left out.
    by
        Column that tells runs apart.
    shifts
        Run to the D between the filters at each ``x`` and those at the last; a fourth panel.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Every layer counts alike, however many filters it has. With a single run, thin lines
        are its layers.

    Raises
    ------
    ValueError
        No layer has the column ``x`` or ``by``, or none has a number in ``x``.
    """
    check_column(rows, x)
    check_column(rows, by)
    placed = [dict(row) | {x: number(row.get(x))} for row in rows]
    placed = [row for row in placed if np.isfinite(row[x])]
    if not placed:
        msg = f"None of the {len(rows)} layers has a number in the column {x!r}."
        raise ValueError(msg)
    runs = families_of(placed, by)
    styles = dict(zip(runs, zip(PALETTE, MARKERS, strict=True), strict=False))
    every = list(dict.fromkeys(family(row, by) for row in placed))
    others = [run for run in every if run not in styles]
    with house(style) as look:
        count = len(MEASURES) + bool(shifts)
        figure = look.figure(2.6 * count + 0.4, 3.3)
        panels = figure.subplots(1, count, squeeze=False, sharex=True)[0]
        for axes, (measure, name) in zip(panels, MEASURES.items(), strict=False):
            look.tidy(axes, grid="y").set_title(name)
            if len(every) == 1:
                draw_layers(axes, look, placed, x=x, measure=measure)
            for run in [*others, *runs]:
                own = [row for row in placed if family(row, by) == run]
                places, means = mean_curve(own, x=x, measure=measure)
                draw_run(axes, places, means, styles.get(run), name=run)
        panels[0].set_ylim(-0.005, max(0.1, panels[0].get_ylim()[1]))
        if shifts:
            draw_shifts(look.tidy(panels[-1], grid="y"), shifts, styles, x=x)
        for axes in panels:
            axes.set_xlabel(plain(x))
        explain(figure, panels[0], others=len(others), single=len(every) == 1)
        left_out = len(rows) - len(placed)
        if left_out:
            text = f"{left_out:,} of {len(rows):,} layers have no number in {plain(x)}."
            figure.suptitle(text, fontsize=8, fontweight="normal", color=look.muted)
        alt = (
            f"Mean sparsity, H / T_H and orthogonality of layers by {legible(x)}, "
            f"{counted(len(every), 'run')}."
        )
        return look.finish(figure, alt=alt)


def number(value: Any) -> float:
    """A column's value as a number; NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def mean_curve(rows: Sequence[Row], *, x: str, measure: str) -> tuple[Array, Array]:
    """Mean over the layers that have the measure, at each place."""
    known = [row for row in rows if is_defined(row, measure)]
    places, which = np.unique([row[x] for row in known], return_inverse=True)
    sums = np.bincount(which, weights=[row[measure] for row in known], minlength=len(places))
    return np.asarray(places, float), sums / np.maximum(np.bincount(which), 1)


def draw_run(
    axes: Axes, places: Array, values: Array, look: tuple[str, str] | None, *, name: str
) -> None:
    """A run's line; one without a colour of its own is grey."""
    colour, marker = look or (OTHER, "")
    axes.plot(
        places,
        values,
        color=colour,
        marker=marker,
        markersize=4,
        markevery=max(1, len(places) // 12),
        linewidth=1.6 if look else 0.8,
        alpha=1.0 if look else 0.6,
        zorder=3 if look else 2,
        label=plain(name, most=28) if look else "",
    )


def draw_layers(axes: Axes, look: Look, rows: Sequence[Row], *, x: str, measure: str) -> None:
    """Thin lines of single layers, behind the mean."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    step = -(-len(names) // MOST_LAYERS)
    for name in names[::step]:
        own = [row for row in rows if row["name"] == name]
        axes.plot(
            *mean_curve(own, x=x, measure=measure),
            color=look.muted,
            linewidth=0.6,
            alpha=0.5,
            zorder=1,
        )


def draw_shifts(
    axes: Axes,
    shifts: Mapping[str, Mapping[float, float]],
    styles: Mapping[str, tuple[str, str]],
    *,
    x: str,
) -> None:
    """D to the last place of each run, where it is above 0: the scale is logarithmic."""
    axes.set_title(f"D to the last {plain(x)}")
    for run, curve in shifts.items():
        places = np.array(sorted(place for place in curve if curve[place] > 0), float)
        values = np.array([curve[place] for place in places])
        draw_run(axes, places, values, styles.get(str(run)), name=run)
    if any(value > 0 for curve in shifts.values() for value in curve.values()):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda *_: "")


def explain(figure: Figure, axes: Axes, *, others: int, single: bool) -> None:
    """A legend of the runs, and of what is grey."""
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    if others:
        handles.append(Line2D([], [], color=OTHER, linewidth=0.8))
        labels.append(counted(others, "other"))
    if single:
        handles.append(Line2D([], [], color=OTHER, linewidth=0.8))
        labels.append("single layers")
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)))
