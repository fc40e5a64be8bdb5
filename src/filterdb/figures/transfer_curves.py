"""Accuracy along an axis of an experiment (layers, keys, size), beside its references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from filterdb.figures.lettering import legible, plain
from filterdb.figures.style import MARKERS, OTHER, PALETTE, Style, house
from filterdb.figures.transfer_marks import (
    WIDER,
    Measured,
    limits,
    means,
    name_ends,
    seeds,
    whiskers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

ONE_PLACE = 2.0
"""Units of the axis around a single place."""
STRIP = 0.075
"""Of a reference beside others, to the right of the lines, in widths of the axes."""
DODGE = 0.018
"""Between lines at the same place, in widths of the axes."""
MOST_COLUMNS = 3
LONGEST = 30
"""Letters of a name."""
MARGIN = 0.6
"""Left of the axes, in inches."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
PANEL, ALONE = (2.75, 2.9), (4.6, 3.4)
"""Width and height of one of several panels, and of one alone, in inches."""


@dataclass(frozen=True, slots=True)
class Line:
    """Arms along an axis.

    Attributes
    ----------
    name
        What the line is called.
    points
        Place on the axis -> accuracy there.
    colour
        Number in the palette; lines of one colour belong together.
    dashed
        Told apart from its fellow of the same colour.
    """

    name: str
    points: Mapping[float, Measured]
    colour: int
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines beside references that have no place on the axis."""

    title: str
    lines: Sequence[Line]
    references: Mapping[str, Measured] = field(default_factory=dict)


def accuracy_curves(
    panels: Sequence[Panel],
    *,
    axis: str,
    title: str = "",
    about: str = "",
    doubling: bool = False,
    ticks: Mapping[float, str] | None = None,
    style: Style = "light",
) -> Figure:
    """Accuracy along an axis, a panel a part, as in figure 2 of Yosinski et al. 2014.

    Parameters
    ----------
    panels
        At least one, each with a line or a reference.
    axis
        What runs along it.
    title, about
        Above the picture: what it shows, and of what.
    doubling
        A doubling is as wide everywhere: places are above 0.
    ticks
        Place -> label; by default the places themselves.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Means with 95 % intervals as whiskers, single seeds as faint dots; references as
        horizontal lines in bands of their interval. Lines are moved apart a little, so that
        whiskers do not hide one another.

    Raises
    ------
    ValueError
        There is nothing to draw.
    """
    everything = [
        one
        for panel in panels
        for one in (
            *panel.references.values(),
            *(m for ln in panel.lines for m in ln.points.values()),
        )
    ]
    if not any(one.mean is not None for one in everything):
        msg = "There is no accuracy to draw: no run was done."
        raise ValueError(msg)
    low, high, beyond = limits(everything)
    columns = len(panels) if len(panels) <= MOST_COLUMNS else 2
    rows = -(-len(panels) // columns)
    width, height = PANEL if len(panels) > 1 else ALONE
    with house(style) as look:
        figure = look.figure(0.8 + width * columns, 1.2 + height * rows)
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes in list(grid.flat)[len(panels) :]:
            axes.remove()
        for axes, panel in zip(grid.flat, panels, strict=False):
            look.tidy(axes, grid="y")
            axes.set_ylim(low, high)
            draw_panel(axes, look, panel, ticks=ticks, doubling=doubling)
            axes.set_xlabel(axis)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        for axes in grid[:, 0]:
            axes.set_ylabel("accuracy in %")
        lines = [about] if about else []
        bands = " and bands" if any(len(p.references) == 1 for p in panels) else ""
        lines.append(f"Faint dots: single seeds; whiskers{bands}: 95 % intervals")
        lines += [WIDER] if beyond else []
        if any(panel.title for panel in panels):
            explain(figure, look, panels)
            lines.append(" ")  # room for the panels' own titles
            for axes, panel in zip(grid.flat, panels, strict=False):
                name_panel(axes, panel)
        least = look.head(grid[0, 0], title, "\n".join(lines))
        across, down = figure.get_size_inches()
        figure.set_size_inches(max(across, MARGIN + least), down)
        return look.finish(figure, alt=summary_of(panels, axis))


def draw_panel(
    axes: Axes, look: Look, panel: Panel, *, ticks: Mapping[float, str] | None, doubling: bool
) -> None:
    """References, then lines over them."""
    places = sorted({place for line in panel.lines for place in line.points})
    x = dict(zip(places, np.log2(places) if doubling else places, strict=True))
    first, last = (x[places[0]], x[places[-1]]) if places else (0.0, 1.0)
    span = (last - first) or ONE_PLACE
    strip = STRIP * span * (len(panel.references) + 0.5) if len(panel.references) > 1 else 0.0
    right = last + (0.1 if last > first else 0.5) * span + strip
    axes.set_xlim(first - (0.1 if last > first else 0.5) * span, right)
    ends = []
    for place, (name, one) in enumerate(panel.references.items()):
        colour, dashes = reference_look(look, place)
        if strip:
            at = [right - strip + STRIP * span * (place + 0.75)]
            seeds(axes, at, [one], colour=colour)
            whiskers(axes, at, [one], color=colour, linewidth=1.6, zorder=3)
            axes.plot(at, means([one]), color=colour, marker="D", markersize=4, zorder=4)
        elif one.low is not None and one.high is not None:
            axes.axhspan(100 * one.low, 100 * one.high, color=colour, alpha=0.16, linewidth=0)
        if one.mean is not None:
            axes.axhline(100 * one.mean, color=colour, linewidth=1.0, linestyle=dashes, zorder=1.5)
            ends.append((plain(name, most=LONGEST), right, 100 * one.mean, colour))
    if strip:
        axes.axvspan(right - strip, right, color=look.grid, alpha=0.35, linewidth=0)
    for rank, line in enumerate(panel.lines):
        shift = DODGE * span * 1.2 * (rank - (len(panel.lines) - 1) / 2)
        known = sorted(line.points)
        at, found = [x[place] + shift for place in known], [line.points[place] for place in known]
        colour = PALETTE[line.colour % len(PALETTE)]
        seeds(axes, at, found, colour=colour)
        whiskers(axes, at, found, color=colour, linewidth=1.1, alpha=0.6, zorder=3)
        axes.plot(at, means(found), zorder=4, **line_look(look, line))
        if found and found[-1].mean is not None:
            ends.append((plain(line.name, most=LONGEST), at[-1], 100 * found[-1].mean, colour))
    axes.set_xticks([x[place] for place in places],
                    [(ticks or {}).get(place, f"{place:g}") for place in places])  # fmt: skip
    axes.set_xticks([], minor=True)
    if not panel.title:
        name_ends(axes, look, ends, bold=[plain(line.name, most=LONGEST) for line in panel.lines])


def line_look(look: Look, line: Line) -> dict[str, Any]:
    """Of a line of means and its markers."""
    colour = PALETTE[line.colour % len(PALETTE)]
    return {
        "color": colour,
        "linewidth": 1.2 if line.dashed else 1.9,
        "linestyle": (0, (3.5, 2)) if line.dashed else "-",
        "marker": MARKERS[line.colour % len(MARKERS)],
        "markersize": 4.5,
        "markerfacecolor": look.paper if line.dashed else colour,
    }


def reference_look(look: Look, place: int) -> tuple[str, Any]:
    """Colour and dashes of a reference: the first is solid."""
    return (look.muted, OTHER, OTHER, look.muted)[place % 4], DASHES[place % len(DASHES)]


def name_panel(axes: Axes, panel: Panel) -> None:
    """The title of one of several panels, below the head of the whole."""
    axes.annotate(plain(panel.title), (0, 1), xycoords="axes fraction", xytext=(0, 3),
                  textcoords="offset points", fontsize=9, fontweight="bold")  # fmt: skip


def explain(figure: Figure, look: Look, panels: Sequence[Panel]) -> None:
    """A legend of the lines of all panels, in their order."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {}
    for panel in panels:
        for line in panel.lines:
            label = plain(line.name, most=LONGEST)
            handles.setdefault(label, Line2D([], [], label=label, **line_look(look, line)))
    for panel in panels:
        for place, name in enumerate(panel.references):
            colour, _ = reference_look(look, place)
            label = plain(name, most=LONGEST)
            handles.setdefault(label, Patch(color=colour, alpha=0.35, linewidth=0, label=label))
    columns = MOST_COLUMNS if len(panels) > 1 else 2
    figure.legend(handles=list(handles.values()), loc="outside lower left", ncols=columns)


def summary_of(panels: Sequence[Panel], axis: str) -> str:
    """The picture in a sentence, for who cannot see it."""
    told = []
    for panel in panels:
        ends = [
            f"{legible(line.name)} from {percent(line.points[min(line.points)])} to "
            f"{percent(line.points[max(line.points)])}"
            for line in panel.lines
            if line.points
        ]
        ends += [f"{legible(name)} {percent(one)}" for name, one in panel.references.items()]
        told.append(
            f"{legible(panel.title)}: {', '.join(ends)}" if panel.title else ", ".join(ends)
        )
    return f"Accuracy against {legible(axis)}. {'; '.join(told)}."


def percent(one: Measured) -> str:
    """A mean with one decimal place."""
    return "none" if one.mean is None else f"{one.mean:.1%}"
