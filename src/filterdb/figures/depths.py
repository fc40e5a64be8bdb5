"""Quality against depth: where in a network the layers go bad, and in which networks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import legible, plain
from filterdb.figures.style import MARKERS, OTHER, PALETTE, Style, house
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

Array = NDArray[np.float64]
Row = Mapping[str, Any]

MEASURES = {"sparsity": "sparsity", "entropy_ratio": "H / T_H"}
DEPTH = "conv_depth_norm"
NOT_GIVEN = "not given"
RANDOM = "random filters: 1 and above"
LEAST_NEIGHBOURS = 7
"""Layers in the window of the running median, at least; otherwise a tenth of them."""
FEW_LAYERS = 400  # up to which single points are looked at, and lie above the median
RASTER = 2000  # points from which on they are one image in an SVG or PDF


def quality_by_depth(rows: Sequence[Row], *, by: str = "model", style: Style = "light") -> Figure:
    """Sparsity and ``H / T_H`` of layers against their relative depth.

    Parameters
    ----------
    rows
        Layers with ``conv_depth_norm``, ``sparsity``, ``entropy_ratio`` (None where undefined)
        and the column ``by``: what ``Database.layers`` gives.
    by
        What the layers are coloured by: the eight most frequent values, the rest is "other".
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Two panels, each with a running median over the layers that are nearest in depth.

    Raises
    ------
    ValueError
        No layer has the column.
    """
    check_column(rows, by)
    families = families_of(rows, by)
    with house(style) as look:
        from matplotlib.collections import PathCollection

        figure = look.figure(7.4, 5.2)
        panels = figure.subplots(2, 1, sharex=True)
        for axes, (measure, name) in zip(panels, MEASURES.items(), strict=True):
            look.tidy(axes, grid="y")
            middle = draw_measure(axes, look, rows, measure=measure, by=by, families=families)
            axes.set_ylabel(name)
            defined = sum(is_defined(row, measure) for row in rows)
            title = f"{defined:,} of {len(rows):,} layers; undefined for the rest"
            if defined == len(rows):
                title = f"{defined:,} layers"
            if middle is not None and not middle.any():
                title += ". The running median is 0 throughout"
            axes.set_title(title, color=look.muted, fontsize=8)
        panels[0].set_ylim(-0.04, 1.04)
        # Named in the legend: a label at the line would lie under the points.
        panels[1].axhline(1, color=look.muted, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1,
                          label=RANDOM)  # fmt: skip
        panels[1].set_ylim(bottom=0)
        panels[1].set(xlim=(-0.03, 1.03), xlabel="relative depth (0: first layer, 1: last)")
        named: dict[str, Any] = {}
        for axes in panels:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
        legend = figure.legend(
            list(named.values()),
            list(named),
            loc="outside right upper",
            title=plain(by),
            alignment="left",
        )
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):  # points are seen better here than in the panels
                handle.set(sizes=[28.0], alpha=1)
        alt = (
            f"Sparsity and H / T_H of {counted(len(rows), 'layer')} against relative depth, by "
            f"{legible(by)}: {', '.join(map(legible, families))}."
        )
        return look.finish(figure, alt=alt)


def check_column(rows: Sequence[Row], name: str) -> None:
    """Make sure that some row has a column.

    Raises
    ------
    ValueError
        None has; the message names those that there are.
    """
    if not any(name in row for row in rows):
        there = ", ".join(sorted({key for row in rows for key in row})) or "none"
        msg = f"None of the {len(rows)} layers has the column {name!r}; there are: {there}."
        raise ValueError(msg)


def family(row: Row, by: str) -> str:
    """The value that a layer is coloured by."""
    value = row.get(by)
    return NOT_GIVEN if value is None or value == "" else str(value)


def is_defined(row: Row, measure: str) -> bool:
    """Whether a layer has a measure: neither None nor NaN."""
    value = row.get(measure)
    return value is not None and not math.isnan(value)


def families_of(rows: Sequence[Row], by: str) -> list[str]:
    """The values with a colour of their own: the most frequent, in order of their names."""
    frequent = Counter(family(row, by) for row in rows).most_common(len(PALETTE))
    return sorted(name for name, _ in frequent)


def draw_measure(
    axes: Axes,
    look: Look,
    rows: Sequence[Row],
    *,
    measure: str,
    by: str,
    families: list[str],
) -> Array | None:
    """Points of each family and the running median of all, which is given back.

    One that is 0 throughout would only cover the axis: it is not drawn. None for too few points.
    """
    known = [row for row in rows if is_defined(row, measure)]
    few = len(known) <= FEW_LAYERS
    size, strength = (18.0, 0.9) if few else (9.0, 0.6)
    styles = dict(zip(families, zip(PALETTE, MARKERS, strict=True), strict=False))
    others = len({family(row, by) for row in rows} - set(families))
    names = [*families, *([counted(others, "other")] if others else [])]
    for name in names:
        own = [
            row
            for row in known
            if (family(row, by) == name if name in styles else family(row, by) not in styles)
        ]
        colour, marker = styles.get(name, (OTHER, "o"))
        axes.scatter(
            [row[DEPTH] for row in own],
            [row[measure] for row in own],
            s=size if name in styles else size / 2,
            zorder=2 if name in styles else 1.5,
            color=colour,
            marker=marker,
            alpha=strength,
            linewidths=0,
            label=plain(name, most=28),
            rasterized=len(known) > RASTER,
        )
    x, y = running_median(
        np.array([row[DEPTH] for row in known], float),
        np.array([row[measure] for row in known], float),
    )
    if not y.any():
        return y if y.size else None
    if not few:  # the line has to stand out against the points
        axes.plot(x, y, color=look.paper, linewidth=3.6, zorder=4)
    axes.plot(x, y, color=look.ink, linewidth=1.8, zorder=0.9 if few else 5, label="running median")
    return y


def running_median(x: Array, y: Array) -> tuple[Array, Array]:
    """Median of ``y`` over windows of neighbours in ``x``.

    Parameters
    ----------
    x, y
        Points, shape ``(n,)``.

    Returns
    -------
    places, medians : ndarray of float64
        Median ``x`` and ``y`` of windows of a tenth of the points (at least 7), each half a
        window on from the last; empty for fewer points than a window has.
    """
    window = max(LEAST_NEIGHBOURS, len(x) // 10)
    if len(x) < window:
        return np.empty(0), np.empty(0)
    order = np.argsort(x, kind="stable")
    starts = np.unique(np.append(np.arange(0, len(x) - window, (window + 1) // 2), len(x) - window))
    windows = order[starts[:, None] + np.arange(window)]
    return np.median(x[windows], axis=1), np.median(y[windows], axis=1)
