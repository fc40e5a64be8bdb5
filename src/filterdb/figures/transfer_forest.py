"""Accuracy of every arm of an experiment, one below the other: a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filterdb.figures.lettering import legible, plain
from filterdb.figures.style import OTHER, PALETTE, Style, house
from filterdb.figures.transfer_marks import WIDER, Measured, limits, means, seeds, whiskers
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, STEP = 4.2, 0.21
"""Of the axes, and from one arm to the next, in inches."""
MOST_ARMS = 80
LONGEST = 44
"""Letters of a name."""
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


@dataclass(frozen=True, slots=True)
class Row:
    """An arm; a reference is drawn on as a line through all others."""

    name: str
    accuracy: Measured
    reference: bool = False


def accuracy_forest(
    rows: Sequence[Row], *, title: str = "", about: str = "", style: Style = "light"
) -> Figure:
    """Means with their 95 % intervals and single seeds, an arm a line.

    Parameters
    ----------
    rows
        From above; up to 80 are drawn.
    title, about
        Above the picture: what it shows, and of what.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        References are grey, and the first few of them go on as vertical lines. An arm without
        an accuracy keeps its line, and says so.

    Raises
    ------
    ValueError
        No arm has an accuracy.
    """
    if all(row.accuracy.mean is None for row in rows):
        msg = "There is no accuracy to draw: no run was done."
        raise ValueError(msg)
    shown = list(rows[:MOST_ARMS])
    low, high, beyond = limits([row.accuracy for row in shown])
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.tidy(figure.add_subplot(), grid="x")
        axes.set(xlim=(low, high), ylim=(len(shown) - 0.4, -0.6), xlabel="accuracy in %")
        axes.xaxis.set_major_formatter("{x:g}")
        lines = [row for row in shown if row.reference and row.accuracy.mean is not None]
        for row, dashes in zip(lines, DASHES, strict=False):
            axes.axvline(100 * (row.accuracy.mean or 0), color=look.muted, linewidth=0.9,
                         linestyle=dashes, zorder=1)  # fmt: skip
        for reference, colour in ((False, PALETTE[0]), (True, OTHER)):
            mine = [(y, row.accuracy) for y, row in enumerate(shown) if row.reference == reference]
            at, found = [y for y, _ in mine], [one for _, one in mine]
            seeds(axes, [y + 0.27 for y in at], found, across=True, colour=colour)
            whiskers(axes, at, found, across=True, color=colour, linewidth=1.6, zorder=3)
            axes.plot(means(found), at, color=colour, linestyle="", markersize=5, zorder=4,
                      marker="D" if reference else "o")  # fmt: skip
        for y, row in enumerate(shown):
            if row.accuracy.mean is None:
                axes.annotate("no run done", (0.01, y), xycoords=axes.get_yaxis_transform(),
                              va="center", fontsize=7.5, color=look.muted)  # fmt: skip
        axes.set_yticks(range(len(shown)), [plain(row.name, most=LONGEST) for row in shown])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        told = [about] if about else []
        told.append("Faint dots: single seeds; lines: 95 % intervals; diamonds: references")
        told += [WIDER] if beyond else []
        if len(rows) > MOST_ARMS:
            told.append(f"The first {MOST_ARMS} of {counted(len(rows), 'arm')}")
        least = look.head(axes, title, "\n".join(told))
        look.fit(figure, axes, width=WIDTH, height=STEP * len(shown) + 0.15)
        look.fit(figure, axes, width=max(WIDTH, least - 0.3), height=STEP * len(shown) + 0.15)
        return look.finish(figure, alt=summary_of(rows))


def summary_of(rows: Sequence[Row]) -> str:
    """The picture in a sentence, for who cannot see it."""
    known = [(row.accuracy.mean, row.name) for row in rows if row.accuracy.mean is not None]
    (low, worst), (high, best) = min(known), max(known)
    return (
        f"Accuracy of {counted(len(rows), 'arm')} with 95 % intervals, from {low:.1%} "
        f"({legible(worst)}) to {high:.1%} ({legible(best)})."
    )
