"""The code of an autoencoder with one: what it draws along it, and where the filters are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import compact
from filterdb.figures.results import ShownCodeAxis
from filterdb.figures.style import OTHER, PALETTE, Style, house
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS, LEAST_COLUMNS = 5, 10
# In inches, which are also the units of the axes.
WIDTH = 6.4
PITCH = 0.64  # distance of two codes, at most
SIDE = 0.86  # the longer side of a tile, in pitches
BARS, LEAST_BARS = 0.6, 0.12  # height of the longest bar, and room for those of a row
BETWEEN = 0.3  # two rows


def code_axis(axis: ShownCodeAxis, *, style: Style = "light") -> Figure:
    """The filters that an autoencoder with one code draws along it, row by row.

    Parameters
    ----------
    axis
        Decoded filters, how many of the population have each code, and which are kept.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        A bar above each filter says how many have its code. Those that became keys have a
        coloured bar, a frame and a triangle below. Each is scaled to its own peak about 0.

    Raises
    ------
    ValueError
        There are no filters, or not as many counts, or others were kept than there are.
    """
    count = len(axis.decoded)
    kept = set(axis.kept)
    if not count or np.shape(axis.counts) != (count,) or not kept <= set(range(count)):
        msg = (
            f"{count} filters along a code with counts of shape {np.shape(axis.counts)}, of which "
            f"{sorted(kept)} are kept, cannot be drawn."
        )
        raise ValueError(msg)
    columns = min(count, max(LEAST_COLUMNS, -(-count // ROWS)))
    rows = -(-count // columns)
    pitch = min(PITCH, WIDTH / columns)
    kernel = np.array(axis.decoded.shape[1:])
    half = kernel / kernel.max() * SIDE * pitch / 2
    bars = BARS * np.asarray(axis.counts) / max(1, int(np.max(axis.counts)))
    tallest = [
        max(LEAST_BARS, part.max()) for part in np.split(bars, range(columns, count, columns))
    ]
    height = 0.05 + 2 * half[0] + BETWEEN
    bases = np.cumsum(tallest) + height * np.arange(rows)
    bottom = float(bases[-1]) + height - BETWEEN + 0.16
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        for place in range(count):
            row, column = divmod(place, columns)
            x, base = (column + 0.5) * pitch, float(bases[row])
            image = np.asarray(axis.decoded[place], np.float64)
            at = (x, base + 0.05 + half[0])
            look.tile(axes, image, at=at, half=half, peak=float(np.abs(image).max()) or 1.0)
            colour = PALETTE[1] if place in kept else OTHER
            axes.bar(x, -bars[place], 2 * half[1], base, color=colour, linewidth=0)
            axes.hlines(base, x - half[1], x + half[1], color=look.muted, linewidth=0.6)
            if place in kept:
                mark(axes, at, half, colour=colour)
        axes.set(xlim=(0, columns * pitch), ylim=(bottom, 0), xticks=[])
        ends = [(row * columns + 1, min(count, (row + 1) * columns)) for row in range(rows)]
        axes.set_yticks(bases + 0.05 + half[0], [f"{a}–{b}" if a < b else f"{a}" for a, b in ends])
        axes.tick_params(axis="y", labelcolor=look.muted)
        text = describe(axis, len(kept))
        title = f"{counted(count, 'filter')} along the code, {kernel[0]}x{kernel[1]}"
        least = look.head(axes, title, text)
        look.fit(figure, axes, width=columns * pitch, height=bottom, least=least)
        return look.finish(figure, alt=f"{title}. {text.replace(chr(10), ' ')}.")


def mark(axes: Axes, at: tuple[float, float], half: NDArray[np.float64], *, colour: str) -> None:
    """A frame about a tile, and a triangle below it for who sees no colours."""
    from matplotlib.patches import Rectangle

    (x, y), (down, across) = at, half
    corner = (x - across, y - down)
    frame = Rectangle(corner, 2 * across, 2 * down, fill=False, edgecolor=colour, lw=1.6)
    axes.add_patch(frame)
    axes.plot(x, y + down + 0.08, "^", color=colour, markersize=4.5)


def describe(axis: ShownCodeAxis, kept: int) -> str:
    """What the bars are of, and what the marks mean."""
    total, most = compact(float(np.sum(axis.counts))), int(np.max(axis.counts))
    lines = f"Bars: how many of {total} filters have the code nearest to it, at most {most:,}"
    return lines + (f"\nTriangles: {counted(kept, 'filter')} kept as keys" if kept else "")
