"""Box plot of shifts: which axis moves the filters, and by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import legible, plain, shown
from filterdb.figures.results import ShownShift
from filterdb.figures.shift import marks
from filterdb.figures.style import OTHER, PALETTE, Style, house
from filterdb.stats.shift import FEW_FILTERS
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

Array = NDArray[np.float64]

LEAST = 1e-6
"""Where a D of 0 is drawn, at most: a logarithm has no place for it."""
MOST_POINTS = 600  # a box: more say nothing more
SHIFT_AT, NULL_AT = -0.2, 0.22


def shift_boxes(shifts: Sequence[ShownShift], *, style: Style = "light") -> Figure:
    """D of all pairs of groups, a box an axis, beside the 95th percentile of their nulls.

    Parameters
    ----------
    shifts
        Results of ``Population.shift`` along different axes.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Logarithmic. A hollow point is a pair that is not distinguishable from its null.

    Raises
    ------
    ValueError
        There are no shifts.
    """
    if not shifts:
        msg = "There is no shift to draw."
        raise ValueError(msg)
    columns = [pairs(shift) for shift in shifts]
    positive = np.concatenate([np.concatenate(column[:2]) for column in columns])
    positive = positive[np.isfinite(positive) & (positive > 0)]
    floor = max(LEAST, float(positive.min()) / 3) if positive.size else LEAST
    with house(style) as look:
        figure = look.figure(1.5 + max(1.25 * len(shifts), 2.4), 4.2)
        axes = look.tidy(figure.add_subplot(), grid="y")
        axes.set_yscale("log")
        for place, (divergences, nulls, alike) in enumerate(columns):
            if divergences.size:
                draw_shift(axes, look, place=place, values=divergences, alike=alike, floor=floor)
            else:
                axes.annotate(
                    "no pairs",
                    (place, 0.5),
                    xycoords=("data", "axes fraction"),
                    ha="center",
                    color=look.muted,
                )
            draw_null(axes, place=place, values=nulls[np.isfinite(nulls)], floor=floor)
        axes.set_xticks(range(len(shifts)), [describe(shift) for shift in shifts])
        axes.set(xlim=(-0.6, len(shifts) - 0.4), ylabel="D between pairs of groups")
        top = float(positive.max()) * 2 if positive.size else 1.0
        axes.set_ylim(floor * 0.7, max(top, floor * 10))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
        explain(axes, look, columns)
        return look.finish(figure, alt=summary_of(shifts, columns))


def pairs(shift: ShownShift) -> tuple[Array, Array, NDArray[np.bool_]]:
    """D of each pair of groups, its null's 95th percentile, and whether they cannot be told apart.

    Those with a group of few filters cannot be told apart, however large D is.
    """
    upper = np.triu_indices(len(shift.groups), 1)
    divergences, nulls = np.asarray(shift.matrix)[upper], np.asarray(shift.null_p95)[upper]
    known = np.isfinite(divergences)
    few = np.array([group.filters < FEW_FILTERS for group in shift.groups], bool)
    small = (few | few[:, None])[upper][known]
    divergences, nulls = divergences[known], nulls[known]
    alike, without = marks(divergences, nulls, small)
    return divergences, nulls, alike | (without & small)


def draw_shift(
    axes: Axes,
    look: Look,
    *,
    place: int,
    values: Array,
    alike: NDArray[np.bool_],
    floor: float,
) -> None:
    """A box over its points; D = 0 is a triangle on the lower edge."""
    heights = np.maximum(values, floor)
    chosen = evenly(heights)
    x = place + SHIFT_AT + spread(chosen.size, 0.13)
    for zero, marker in ((False, "o"), (True, "v")):
        own = (values[chosen] == 0) == zero
        axes.scatter(
            x[own],
            heights[chosen][own],
            s=max(5.0, min(16.0, 1200 / values.size)),
            marker=marker,
            facecolors=[look.paper if hollow else PALETTE[0] for hollow in alike[chosen][own]],
            edgecolors=PALETTE[0],
            linewidths=0.7,
            zorder=2,
        )
    axes.boxplot(
        [heights],
        positions=[place + SHIFT_AT],
        widths=0.36,
        showfliers=False,
        manage_ticks=False,
        boxprops={"color": look.ink, "linewidth": 1.1},
        medianprops={"color": look.ink, "linewidth": 2.4, "solid_capstyle": "butt"},
        whiskerprops={"color": look.ink, "linewidth": 0.9},
        capprops={"color": look.ink, "linewidth": 0.9},
        zorder=3,
    )


def draw_null(axes: Axes, *, place: int, values: Array, floor: float) -> None:
    """The null of each pair as a dash, and their median as a broad one."""
    heights = np.maximum(values, floor)
    if not heights.size:
        return
    middle = place + NULL_AT
    axes.hlines(
        heights[evenly(heights)],
        middle - 0.07,
        middle + 0.07,
        color=OTHER,
        linewidth=0.6,
        alpha=max(0.15, min(0.8, 40 / heights.size)),
    )
    axes.hlines(np.median(heights), middle - 0.13, middle + 0.13, color=PALETTE[1], linewidth=2.4)


def evenly(values: Array) -> NDArray[np.intp]:
    """Indices by rising value; of more than ``MOST_POINTS``, ranks at equal distance."""
    order: NDArray[np.intp] = np.argsort(values, kind="stable")
    if len(order) > MOST_POINTS:
        order = order[np.linspace(0, len(order) - 1, MOST_POINTS).round().astype(int)]
    return order


def spread(count: int, width: float) -> Array:
    """Places beside one another, without chance: multiples of the golden ratio, modulo 1."""
    places = np.arange(count, dtype=np.float64) * 0.6180339887498949 % 1
    return np.asarray(width * (2 * places - 1), np.float64)


def describe(shift: ShownShift) -> str:
    """An axis and how much it rests on."""
    count = len(shift.groups)
    groups, pairs = counted(count, "group"), counted(count * (count - 1) // 2, "pair")
    return f"{plain(shift.by, most=22)}\n{groups}\n{pairs}"


def explain(
    axes: Axes, look: Look, columns: Sequence[tuple[Array, Array, NDArray[np.bool_]]]
) -> None:
    """A legend of what is drawn."""
    from matplotlib.lines import Line2D

    dot = {"linestyle": "", "marker": "o", "markersize": 4.5, "color": PALETTE[0]}
    handles = []
    if any(divergences.size for divergences, *_ in columns):
        handles.append(Line2D([], [], label="a pair of groups", **dot))  # type: ignore[arg-type]
    if any(alike.any() for *_, alike in columns):
        text = "not distinguishable from its null"
        handles.append(Line2D([], [], label=text, markerfacecolor=look.paper, **dot))  # type: ignore[arg-type]
    if any(np.isfinite(nulls).any() for _, nulls, _ in columns):
        text = "95 % of random splits: a pair, the median pair"
        handles.append(Line2D([], [], color=PALETTE[1], linewidth=2.2, label=text))
    if any((divergences == 0).any() for divergences, *_ in columns):
        text = "D = 0, which a logarithmic scale has no place for"
        handles.append(Line2D([], [], label=text, **dot | {"marker": "v"}))  # type: ignore[arg-type]
    if handles:
        axes.figure.legend(handles=handles, loc="outside lower left")


def summary_of(
    shifts: Sequence[ShownShift], columns: Sequence[tuple[Array, Array, NDArray[np.bool_]]]
) -> str:
    """The picture in a sentence, for who cannot see it."""
    medians = ", ".join(
        f"{legible(shift.by)} {shown(float(np.median(divergences)))}"
        for shift, (divergences, *_) in zip(shifts, columns, strict=True)
        if divergences.size
    )
    return f"Shift D between groups; median of the pairs by axis: {medians or 'none'}."
