"""How much so many keys explain, and how much of that chance does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.key_shares import percent
from filterdb.figures.lettering import compact, plain
from filterdb.figures.results import ShownPoint
from filterdb.figures.style import PALETTE, Style, house
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

Array = NDArray[np.float64]

R2 = (0.7, 0.8, 0.9, 0.95)
NAMES = {
    "gaussian": "Gaussian noise",
    "spectrum": "same spectrum",
    "covariance": "same covariance",
    "shuffled": "shuffled taps",
    "initialisation": "at initialisation",
}
WIDE = 8  # times as many keys at the end as at the beginning, for a logarithmic axis
MARGIN = 0.6  # left of the axes, in inches
LEAST_TICK = 0.055  # between two ticks, in widths of a panel
LEAST_LABEL = 0.076  # between two labels, in heights of a panel
TOPS = (25, 50, 100)  # per cent that an axis may end at


def coverage_curve(
    points: Sequence[ShownPoint],
    *,
    thresholds: Sequence[float] = R2,
    about: str = "held-out networks",
    style: Style = "light",
) -> Figure:
    """Share of filters that so many keys explain, against the chance lines, a panel an R².

    Parameters
    ----------
    points
        Results for different numbers of keys, each with its controls.
    thresholds
        R² that the shares of the points belong to, in their order.
    about
        What the filters are of.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Bold: filters of the networks. Dashed: share of layers whose median filter is explained.
        A line a control: its kernels by keys found on the control, which is chance proper;
        dotted, its kernels by the networks' keys. What the networks have above the highest
        chance line is shaded.

    Raises
    ------
    ValueError
        There are no points, or one has no controls: no coverage is drawn without chance.
    """
    bare = [point.k for point in points if not point.controls]
    if not points or bare or not thresholds:
        msg = "There is no coverage to draw."
        if bare:
            msg = (
                f"The coverage with {counted(bare[0], 'key')} has no control beside it, and is "
                "not drawn without its chance line."
            )
        raise ValueError(msg)
    points = sorted(points, key=lambda point: point.k)
    columns = min(2, len(thresholds))
    rows = -(-len(thresholds) // columns)
    top = top_of(points, len(thresholds))
    with house(style) as look:
        figure = look.figure(1.0 + 3.3 * columns, 0.9 + 2.35 * rows)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for place, threshold in enumerate(thresholds):
            axes = look.tidy(panels[place], grid="y")
            draw_panel(axes, look, points, place=place, top=top)
            axes.set_ylabel(f"% with R² ≥ {threshold:g}")
            axes.tick_params(labelbottom=place + columns >= len(thresholds), labelleft=True)
            if place + columns >= len(thresholds):
                axes.set_xlabel("keys")
        for axes in panels[len(thresholds) :]:
            axes.remove()
        number = compact(points[-1].networks.filters)
        text = (
            f"n = {number} filters of {plain(about)}; dashed: layers by their median filter\n"
            "Thin: chance, each control by as many keys of its own; shaded: above all chance\n"
            "Dotted: each control by the keys of the networks"
        )
        least = look.head(panels[0], "Filters that keys explain, and chance", text)
        width, height = figure.get_size_inches()
        figure.set_size_inches(max(width, MARGIN + least), height)
        return look.finish(figure, alt=summary_of(points, thresholds))


def top_of(points: Sequence[ShownPoint], count: int) -> int:
    """Per cent at which the axes end, the same for all of ``count`` panels."""
    highest = max(
        100 * share
        for point in points
        for shares in (point.networks.shares, point.layers,
                       *(control.by_own.shares for control in point.controls.values()))
        for share in shares[:count]
    )  # fmt: skip
    return next(top for top in TOPS if highest <= top)


def draw_panel(
    axes: Axes, look: Look, points: Sequence[ShownPoint], *, place: int, top: int
) -> None:
    """The lines of one threshold, each named at its end."""
    x, ticks = positions([point.k for point in points])
    own, found = chance_lines(points, place)
    networks = 100 * np.array([point.networks.shares[place] for point in points], np.float64)
    layers = 100 * np.array([point.layers[place] for point in points], np.float64)
    highest = highest_of(own)
    axes.fill_between(
        x, highest, networks, where=networks > highest, interpolate=True,
        color=PALETTE[0], alpha=0.18, linewidth=0,
    )  # fmt: skip
    ends = {}
    for (name, line), colour in zip(own.items(), (*PALETTE[1:], look.muted), strict=False):
        axes.plot(
            x, found[name], color=colour, linewidth=0.9, linestyle=(0, (1, 1.6)), marker=".",
            markersize=2,
        )  # fmt: skip
        axes.plot(x, line, color=colour, linewidth=1.3, marker="o", markersize=2.5)
        ends[NAMES.get(name, plain(name, most=18))] = (line, colour)
    blue = PALETTE[0]
    axes.plot(
        x, layers, color=blue, linewidth=1.1, linestyle=(0, (4, 2)), marker="o", markersize=3,
        markerfacecolor=look.paper, markeredgewidth=0.8,
    )  # fmt: skip
    axes.plot(x, networks, color=blue, linewidth=2.2, marker="o", markersize=4, zorder=3)
    ends |= {"networks": (networks, blue), "their layers": (layers, blue)}
    axes.set_xticks(x[ticks], [f"{points[tick].k:,}" for tick in ticks])
    margin = 0.04 * ((x[-1] - x[0]) or 1.0)
    axes.set(
        xlim=(x[0] - margin, x[-1] + margin),
        ylim=(-0.03 * top, 1.03 * top),
        yticks=np.linspace(0, top, 5 if top == max(TOPS) else 6),
    )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    name_ends(axes, look, x[-1], ends, top=top)


def chance_lines(
    points: Sequence[ShownPoint], place: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Per cent of each control, by its own keys and by the networks'; NaN where there is none."""
    names = list(dict.fromkeys(name for point in points for name in point.controls))
    own = {name: np.full(len(points), np.nan) for name in names}
    found = {name: np.full(len(points), np.nan) for name in names}
    for index, point in enumerate(points):
        for name, control in point.controls.items():
            own[name][index] = 100 * control.by_own.shares[place]
            found[name][index] = 100 * control.by_found.shares[place]
    return own, found


def highest_of(lines: dict[str, Array]) -> Array:
    """The highest line at every point, of those that are there."""
    highest: Array = np.fmax.reduce(list(lines.values()))
    return highest


def positions(ks: Sequence[int]) -> tuple[Array, list[int]]:
    """Places along the axis, and indices of those that have room for a tick.

    Logarithms where the numbers span much. The last one always has its tick.
    """
    x = np.array(ks, np.float64)
    if ks[-1] >= WIDE * ks[0]:
        x = np.log2(x)
    span = (x[-1] - x[0]) or 1.0
    ticks = [len(ks) - 1]
    for index in range(len(ks) - 2, -1, -1):
        if x[ticks[-1]] - x[index] >= LEAST_TICK * span:
            ticks.append(index)
    return x, ticks[::-1]


def name_ends(
    axes: Axes, look: Look, x: float, ends: dict[str, tuple[Array, str]], *, top: int
) -> None:
    """Names of lines to the right of where they end, apart from one another."""
    known = {name: (line[-1], colour) for name, (line, colour) in ends.items() if line[-1] >= 0}
    order = sorted(known, key=lambda name: known[name][0])
    heights = spread([known[name][0] for name in order], least=LEAST_LABEL * top, low=0, high=top)
    for name, height in zip(order, heights, strict=True):
        end, colour = known[name]
        axes.annotate(
            name,
            (x, end),
            xytext=(1.07, height),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=7.5,
            fontweight="bold" if name == "networks" else "normal",
            color=look.ink,
            arrowprops={
                "arrowstyle": "-", "color": colour, "linewidth": 0.9, "relpos": (0, 0.5),
                "shrinkA": 1, "shrinkB": 2,
            },
            annotation_clip=False,
        )  # fmt: skip


def spread(heights: Sequence[float], *, least: float, low: float, high: float) -> list[float]:
    """Rising heights moved apart to a least distance, by as little as the ends allow.

    Neighbours that are too close become a block about their mean, which may push on others.
    """
    blocks: list[tuple[float, int]] = []  # sum of the wished-for bottoms, and how many
    for rank, height in enumerate(heights):
        blocks.append((height - least * rank, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            (total, number), (upper, more) = blocks[-2:]
            blocks[-2:] = [(total + upper, number + more)]
    top = high - least * (len(heights) - 1)
    bottoms = [min(max(total / number, low), max(top, low)) for total, number in blocks
               for _ in range(number)]  # fmt: skip
    return [bottom + least * rank for rank, bottom in enumerate(bottoms)]


def summary_of(points: Sequence[ShownPoint], thresholds: Sequence[float]) -> str:
    """The picture in a sentence, for who cannot see it."""
    last, parts = points[-1], []
    for place, threshold in enumerate(thresholds):
        chance = max(control.by_own.shares[place] for control in last.controls.values())
        share = percent(last.networks.shares[place])
        parts.append(f"{share} with R² of at least {threshold:g} (chance: {percent(chance)})")
    return f"Filters that keys explain, against their number; {last.k} keys: {', '.join(parts)}."
