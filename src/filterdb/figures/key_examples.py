"""The filters that keys explain best and worst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from filterdb.figures.lettering import compact
from filterdb.figures.results import ShownExamples
from filterdb.figures.style import Style, house

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 10
# In inches, which are also the units of the axes.
PITCH = 0.68  # distance of two filters
HALF = 0.3  # half the longer side of a tile
LINE = 0.15  # of text
BETWEEN = 0.14  # two rows


def best_and_worst(
    examples: ShownExamples,
    *,
    filters: int | None = None,
    limit: int = LIMIT,
    style: Style = "light",
) -> Figure:
    """The filters that keys explain best, and below them those that they explain worst.

    Parameters
    ----------
    examples
        Filters ``(m, kh, kw)`` and their R² ``(m,)``, of both kinds.
    filters
        How many they are chosen from.
    limit
        How many of each to show at most, from the first.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        The R² is below each; each is scaled to its own peak about 0.

    Raises
    ------
    ValueError
        There are no filters, or not an R² for each.
    """
    rows = {
        "best": (examples.best[:limit], examples.best_r2[:limit]),
        "worst": (examples.worst[:limit], examples.worst_r2[:limit]),
    }
    sizes = [(len(images), len(r2)) for images, r2 in rows.values()]
    rows = {name: row for name, row in rows.items() if len(row[0])}
    if not rows or any(images != r2 for images, r2 in sizes):
        msg = f"Filters and R² ({sizes[0]} of the best, {sizes[1]} of the worst) make no pairs."
        raise ValueError(msg)
    kernel = np.array(next(iter(rows.values()))[0].shape[1:])
    half = kernel / kernel.max() * HALF
    columns = max(max(sizes))
    height = 2 * half[0] + LINE + BETWEEN
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        small: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 7, "color": look.muted}
        for row, (images, scores) in enumerate(rows.values()):
            for column, (image, r2) in enumerate(zip(images, scores, strict=True)):
                at = ((column + 0.5) * PITCH, row * height + half[0])
                taps = np.asarray(image, np.float64)
                look.tile(axes, taps, at=at, half=half, peak=float(np.abs(taps).max()) or 1.0)
                axes.text(at[0], at[1] + half[0] + 0.04, f"{r2:.3f}", **small)
        bottom = len(rows) * height - BETWEEN
        axes.set(xlim=(0, columns * PITCH), ylim=(bottom, -0.01), xticks=[])
        axes.set_yticks([row * height + half[0] for row in range(len(rows))], list(rows))
        of = f" of {compact(filters)} filters" if filters else ""
        text = f"The ends{of}, {kernel[0]}x{kernel[1]}; below each its R²"
        least = look.head(axes, "Explained best and worst", text)
        look.fit(figure, axes, width=columns * PITCH, height=bottom + 0.01, least=least)
        ends = ", ".join(
            f"{name} R² {scores.min():.3f} to {scores.max():.3f}"
            for name, (_, scores) in rows.items()
        )
        return look.finish(figure, alt=f"Filters that keys explain{of}: {ends}.")
