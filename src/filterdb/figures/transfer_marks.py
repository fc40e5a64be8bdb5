"""What the pictures of transfer experiments share: accuracies with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from filterdb.figures.key_coverage import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from filterdb.figures.style import Look

ROOM = 0.6
"""Of the span of all seeds: how far beyond them the axis goes for intervals."""
LEAST_SPAN = 4.0
"""Points that an axis spans at least: less would make noise look large."""
LEAST_LABEL = 0.062
"""Between two names at the ends of lines, in heights of the axes."""
WIDER = "An interval that reaches the edge goes on beyond it"


@dataclass(frozen=True, slots=True)
class Measured:
    """Accuracies of an arm, one a seed, and what they come to; all are shares in 0..1.

    Attributes
    ----------
    mean, low, high
        Mean and 95 % interval; None where there is none.
    values
        The seeds.
    """

    mean: float | None
    low: float | None
    high: float | None
    values: Sequence[float] = ()


def limits(measured: Iterable[Measured]) -> tuple[float, float, bool]:
    """Ends of an axis in per cent that all seeds lie on, and whether an interval goes beyond.

    Three seeds may give an interval as wide as everything there is: the axis goes some way with
    it, so that what was measured can still be read.
    """
    found = list(measured)
    seeds = [100 * value for one in found for value in (*one.values, one.mean) if value is not None]
    if not seeds:
        return 0.0, 100.0, False
    bottom, top = min(seeds), max(seeds)
    room = max(ROOM * (top - bottom), LEAST_SPAN / 2)
    ends = [100 * end for one in found for end in (one.low, one.high) if end is not None]
    low = max(min([bottom, *ends]), bottom - room, 0.0)
    high = min(max([top, *ends]), top + room, 100.0)
    lacking = max(LEAST_SPAN - (high - low), 0.0) / 2
    low, high = max(low - lacking, 0.0), min(high + lacking, 100.0)
    margin = 0.04 * (high - low)
    beyond = any(end < low - 1e-9 or end > high + 1e-9 for end in ends)
    return low - margin, high + margin, beyond


def whiskers(
    axes: Axes, at: Sequence[float], measured: Sequence[Measured], *, across: bool = False,
    **look: Any,
) -> None:  # fmt: skip
    """Intervals as lines without caps, which the edge of the axes may cut.

    ``across``: accuracies lie along x.
    """
    known = [(place, one) for place, one in zip(at, measured, strict=True) if one.low is not None]
    places = [place for place, _ in known]
    ends = np.array([(one.low, one.high) for _, one in known], np.float64).reshape(-1, 2).T * 100
    (axes.hlines if across else axes.vlines)(places, *ends, **look)


def seeds(
    axes: Axes, at: Sequence[float], measured: Sequence[Measured], *, across: bool = False,
    colour: str,
) -> None:  # fmt: skip
    """Single seeds as faint dots."""
    places = [place for place, one in zip(at, measured, strict=True) for _ in one.values]
    values = [100 * value for one in measured for value in one.values]
    x, y = (values, places) if across else (places, values)
    axes.scatter(x, y, s=9, color=colour, alpha=0.5, linewidths=0, zorder=3.5)


def means(measured: Sequence[Measured]) -> list[float]:
    """In per cent; NaN where there is none."""
    return [float("nan") if one.mean is None else 100 * one.mean for one in measured]


def name_ends(
    axes: Axes, look: Look, ends: Sequence[tuple[str, float, float, str]], *, bold: Sequence[str]
) -> None:
    """Names to the right of the axes, apart from one another.

    ``ends`` has a name, where its line ends (x, y), and its colour.
    """
    bottom, top = axes.get_ylim()
    known = sorted((end for end in ends if bottom <= end[2] <= top), key=lambda end: end[2])
    heights = spread(
        [y for _, _, y, _ in known], least=LEAST_LABEL * (top - bottom), low=bottom, high=top
    )
    for (name, x, y, colour), height in zip(known, heights, strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.05, height),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            fontweight="bold" if name in bold else "normal",
            color=look.ink,
            arrowprops={
                "arrowstyle": "-", "color": colour, "linewidth": 0.9, "relpos": (0, 0.5),
                "shrinkA": 1, "shrinkB": 1,
            },
            annotation_clip=False,
        )  # fmt: skip
