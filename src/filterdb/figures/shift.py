"""Shift matrix: how far every population is from every other, and whether that means anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import compact, legible, plain, shown
from filterdb.figures.results import ShownGroup, ShownShift
from filterdb.figures.style import Style, house, is_light
from filterdb.stats.shift import FEW_FILTERS
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

MOST_VALUES = 16  # groups up to which a cell has room for its number
MOST_LABELS = 130
LONGEST_LEVEL = 8  # letters of a name that fit above one another without a slope
ALIKE, WITHOUT = "////", "..."  # hatches
DARK_LINES, LIGHT_LINES = "#5a6069", "#c3c8cf"
LEAST_STEP = 0.13  # between ticks of the colour bar, in lengths of it
LONGEST_SIDE = 15.0  # of the matrix, in inches
PALE = 4.0  # times the nulls the colour reaches where no D is above them
LEAST_TOP = 0.1  # D with the strongest colour, at least: less is little, and should look so


def shift_matrix(
    shift: ShownShift,
    *,
    order: Literal["sorted", "given"] | None = None,
    style: Style = "light",
) -> Figure:
    """Heat map of D between all pairs of groups.

    Parameters
    ----------
    shift
        The result of ``Population.shift``.
    order
        ``"sorted"`` by the mean of a row, the least first, or as ``"given"``; by default the
        latter where the groups have an order of their own (depth, epoch).
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        A pair that is not distinguishable from its null is hatched and marked with ≈, one
        that cannot be judged (without a null, or with a group of fewer than 1,000 filters, which
        has a †) with ?. The colour goes with the square root of D, which grows with the square
        of a small difference, and is at its strongest no sooner than the nulls reach.

    Raises
    ------
    ValueError
        There are no groups, or no such order.
    """
    count = len(shift.groups)
    order = order or ("given" if shift.ordered else "sorted")
    if not count or order not in ("sorted", "given"):
        msg = f"{count} groups in order {order!r} cannot be drawn: it is 'sorted' or 'given'."
        raise ValueError(msg)
    few = np.array([group.filters < FEW_FILTERS for group in shift.groups])
    apart = np.array(shift.matrix, np.float64)
    np.fill_diagonal(apart, np.nan)
    null = np.asarray(shift.null_p95)
    top, beyond = colour_range(apart, null, few)
    chosen = np.arange(count) if order == "given" else np.argsort(row_means(apart), kind="stable")
    apart = apart[np.ix_(chosen, chosen)]
    small = few[chosen] | few[chosen][:, None]
    alike, without = marks(apart, null[np.ix_(chosen, chosen)], small)
    groups = [shift.groups[index] for index in chosen]
    valued = count <= MOST_VALUES
    cell = min(0.62 if valued else 0.2, LONGEST_SIDE / count)
    side = cell * count
    with house(style) as look:
        from matplotlib.colors import PowerNorm

        names = [label(group) for group in groups]
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        image = axes.imshow(
            apart,
            cmap=look.colormap(look.sequential),
            norm=PowerNorm(0.5, vmin=0, vmax=top),
        )
        name_ticks(axes, groups, names, size=8 if valued else max(4.0, min(7.0, 60 * cell)))
        light = is_light(image.cmap(image.norm(apart)))
        for cells, pattern in ((alike, ALIKE), (without, WITHOUT)):
            hatch(axes, cells & light, pattern, colour=DARK_LINES)
            hatch(axes, cells & ~light, pattern, colour=LIGHT_LINES)
        if valued:
            write_values(axes, apart, alike, without)
        if count > 1:
            bar = look.colour_bar(axes, image, extend="max" if beyond else "neither")
            bar.ax.set_title("D", fontsize=8, loc="left")
            ticks = round_ticks(top)
            bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        height, width = shift.kernel
        text = f"{height}x{width} filters, preset {plain(shift.preset)}"
        if count == 1:
            text += "\nOne group: there is no pair to compare."
        look.head(axes, f"Shift by {plain(shift.by)}", text)
        explain(figure, look, alike=alike, without=without, few=bool(few.any()), valued=valued)
        look.fit(figure, axes, width=side, height=side, least=4.2)
        return look.finish(figure, alt=summary_of(shift.by, groups, apart, alike))


def colour_range(
    apart: NDArray[np.float64], null: NDArray[np.float64], few: NDArray[np.bool_]
) -> tuple[float, bool]:
    """The D with the strongest colour, and whether some lie beyond it.

    Groups of few filters are far from everything by chance: they would wash out the others.
    What chance reaches is not strong, so that a lone D within its null is pale.
    """
    known = np.isfinite(apart)
    largest = float(np.max(apart, initial=0.0, where=known))
    large = known & ~few & ~few[:, None]
    firm = float(np.max(apart, initial=0.0, where=large))
    chance = float(np.max(null, initial=0.0, where=large & np.isfinite(null)))
    top = max(firm or largest, LEAST_TOP)
    if chance >= top:
        top = PALE * chance
    return top, top < largest


def round_ticks(top: float) -> list[float]:
    """Round numbers for the colour bar, at some distance on a scale of square roots."""
    decade = 10.0 ** np.floor(np.log10(top))
    ticks = [0.0]
    for tick in sorted(step * decade / 10**power for step in (1, 2, 5) for power in range(4)):
        if tick <= top and np.sqrt(tick / top) - np.sqrt(ticks[-1] / top) >= LEAST_STEP:
            ticks.append(float(tick))
    return ticks


def row_means(apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean D of each group to the others; 0 for a group without any."""
    known = np.isfinite(apart)
    sums = np.where(known, apart, 0).sum(axis=1)
    means: NDArray[np.float64] = sums / np.maximum(known.sum(axis=1), 1)
    return means


def marks(
    apart: NDArray[np.float64], null: NDArray[np.float64], small: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pairs that are not distinguishable from their null, and pairs that cannot be judged.

    These have no null, or a group that is too ``small`` for D to be more than chance.
    """
    pair = np.isfinite(apart)
    return pair & ~small & (apart <= null), pair & (small | ~np.isfinite(null))


def label(group: ShownGroup) -> str:
    """A group's name with its mark."""
    return plain(group.name) + (" †" if group.filters < FEW_FILTERS else "")


def name_ticks(axes: Axes, groups: Sequence[ShownGroup], names: list[str], *, size: float) -> None:
    """Names along the columns; along the rows with the numbers of models and filters."""
    every = -(-len(groups) // MOST_LABELS)
    places = range(0, len(groups), every)
    break_ = "\n" if len(groups) <= MOST_VALUES else "  "
    rows = [f"{names[place]}{break_}{sizes(groups[place])}" for place in places]
    axes.set_yticks(places, rows, fontsize=size)
    axes.set_xticks(places, [names[place] for place in places], fontsize=size)
    if len(groups) > MOST_VALUES:
        axes.tick_params(axis="x", labelrotation=90)
    elif max(map(len, names)) > LONGEST_LEVEL:
        for text in axes.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")


def sizes(group: ShownGroup) -> str:
    """Numbers of models and filters, for a label."""
    return f"{counted(group.models, 'model')}, {compact(group.filters)} filters"


def hatch(axes: Axes, cells: NDArray[np.bool_], pattern: str, *, colour: str) -> None:
    """Hatch some cells of a matrix, as one path: a thousand would take seconds."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not cells.any():
        return
    square = Path.unit_rectangle()
    corners = np.asarray(square.vertices)
    outline = Path.make_compound_path(
        *(Path(corners + np.array([x - 0.5, y - 0.5]), square.codes) for y, x in np.argwhere(cells))
    )
    axes.add_patch(
        PathPatch(outline, facecolor="none", edgecolor=colour, hatch=pattern, linewidth=0)
    )


def write_values(
    axes: Axes,
    apart: NDArray[np.float64],
    alike: NDArray[np.bool_],
    without: NDArray[np.bool_],
) -> None:
    """D in every cell, in black or white, whatever is read best; a dash where there is none."""
    image = axes.images[0]
    for y, x in np.argwhere(~np.eye(len(apart), dtype=bool)):
        value = apart[y, x]
        colour = image.cmap(image.norm(value))
        sign = "≈" if alike[y, x] else ""
        axes.text(
            x,
            y,
            sign + shown(value) + (" ?" if without[y, x] else ""),
            ha="center",
            va="center",
            fontsize=7,
            color="#000000" if is_light(colour) else "#ffffff",
            # Lines of the hatch do not cross the number.
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2} if sign else None,
        )


def explain(
    figure: Figure,
    look: Look,
    *,
    alike: NDArray[np.bool_],
    without: NDArray[np.bool_],
    few: bool,
    valued: bool,
) -> None:
    """A legend of the marks that occur."""
    from matplotlib.patches import Patch

    handles = []
    for cells, sign, pattern, text in (
        (alike, "≈", ALIKE, "not distinguishable from random splits"),
        (without, "?", WITHOUT, "cannot be judged: too few to split"),
    ):
        if cells.any():
            shown_text = f"{sign} {text}" if valued else text
            pairs = counted(int(cells.sum()) // 2, "pair")
            handles.append(
                Patch(
                    facecolor="none",
                    edgecolor=look.muted,
                    hatch=pattern,
                    linewidth=0,
                    label=f"{shown_text} ({pairs})",
                )
            )
    if few:
        text = f"† fewer than {FEW_FILTERS:,} filters: far from all by chance"
        handles.append(Patch(alpha=0, label=text))
    if handles:
        figure.legend(
            handles=handles, loc="outside lower left", handlelength=1.4, labelcolor=look.ink
        )


def summary_of(
    by: str,
    groups: Sequence[ShownGroup],
    apart: NDArray[np.float64],
    alike: NDArray[np.bool_],
) -> str:
    """The picture in a sentence, for who cannot see it."""
    text = f"Shift D between {counted(len(groups), 'group')} by {legible(by)}"
    if not np.isfinite(apart).any():
        return f"{text}: there is no pair."
    ends = np.unravel_index(np.nanargmax(apart), apart.shape)
    a, b = (legible(groups[int(end)].name) for end in ends)
    return (
        f"{text}. The largest, {shown(apart[ends])}, is between {a} and {b}; "
        f"{int(alike.sum()) // 2} of {int(np.isfinite(apart).sum()) // 2} pairs are not "
        "distinguishable from random splits."
    )
