"""Filters of one layer as a grid of small images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import legible, plain
from filterdb.figures.style import Style, house

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

LIMIT = 256
FILTER = 24  # pixels of the array for the longer side of a filter, at least
GAP = 3
GAP_PIXEL, PAPER_PIXEL = 1, 2
SIDE = 5.2  # of a full mosaic, in inches
SMALLEST = 200  # pixels that a full mosaic has: fewer make a smaller picture


def filter_mosaic(
    weights: NDArray[Any],
    *,
    title: str = "",
    limit: int = LIMIT,
    scale: Literal["own", "layer"] = "own",
    style: Style = "light",
) -> Figure:
    """The filters of a layer, from the largest norm to the smallest.

    Parameters
    ----------
    weights
        Shape ``(C_out, C_in/groups, kh, kw)`` or ``(n, kh, kw)``; not changed.
    title
        The layer's name.
    limit
        How many to show at most. Of more, ranks at equal distance are shown, so that the
        strongest, the typical and the weakest are all there.
    scale
        The colours of a filter reach to its ``"own"`` peak, which shows its shape, or to the
        ``"layer"``'s, which shows how much it weighs.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Red is positive, blue negative. Dark grey taps are NaN or infinite.

    Raises
    ------
    ValueError
        There are no filters, or ``scale`` is neither.
    """
    if weights.ndim not in (3, 4) or not weights.size or scale not in ("own", "layer"):
        msg = f"Filters of shape {weights.shape} cannot be drawn with the scale {scale!r}."
        raise ValueError(msg)
    filters = np.asarray(weights, np.float64).reshape(-1, *weights.shape[-2:])
    filters = np.where(np.isfinite(filters), filters, np.nan)
    shown = filters[evenly_by_norm(filters, limit)]
    peaks = np.nanmax(np.abs(filters), axis=(1, 2), initial=0.0)
    top = float(peaks.max())
    if scale == "own":
        own = np.nanmax(np.abs(shown), axis=(1, 2), initial=0.0, keepdims=True)
        shown = shown / np.where(own > 0, own, 1)
        top = 1.0
    columns = grid_columns(len(shown), shown.shape[1:])
    picture, outside = tiles(shown, columns=columns)
    height, width = np.array(picture.shape) * (SIDE / max(SMALLEST, *picture.shape))
    with house(style) as look:
        from matplotlib.colors import to_rgba

        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        colours = look.colormap(look.diverging, bad=look.muted)
        image = axes.imshow(picture, cmap=colours, vmin=-(top or 1.0), vmax=top or 1.0)
        between = np.zeros((*picture.shape, 4))
        between[outside == GAP_PIXEL] = to_rgba(look.grid)
        between[outside == PAPER_PIXEL] = to_rgba(look.paper)
        axes.imshow(between)
        axes.set(xticks=[], yticks=[])
        if scale == "layer":
            look.colour_bar(axes, image)
        text = describe(len(shown), filters, scale=scale)
        least = look.head(axes, plain(title, most=48), text)
        look.fit(figure, axes, width=width, height=height, least=least)
        name = legible(title) or "Filters of a layer"
        return look.finish(figure, alt=f"{name}: {text.replace(chr(10), '; ')}.")


def evenly_by_norm(filters: Array, limit: int) -> NDArray[np.intp]:
    """Indices by falling norm; of more than ``limit`` filters, ranks at equal distance."""
    norms = np.sqrt(np.nansum(np.square(filters), axis=(1, 2)))
    order: NDArray[np.intp] = np.argsort(-norms, kind="stable")
    if len(order) > limit:
        order = order[np.linspace(0, len(order) - 1, limit).round().astype(int)]
    return order


def grid_columns(count: int, kernel: tuple[int, ...]) -> int:
    """Columns that make a grid of filters about as wide as high."""
    zoom = zoom_of(kernel)
    wanted = round(math.sqrt(count * (kernel[0] * zoom + GAP) / (kernel[1] * zoom + GAP)))
    return min(count, max(1, wanted))


def zoom_of(kernel: tuple[int, ...]) -> int:
    """Pixels that each tap is high and wide."""
    return max(2, -(-FILTER // max(kernel)))


def tiles(filters: Array, *, columns: int) -> tuple[Array, NDArray[np.uint8]]:
    """Filters ``(n, kh, kw)`` as one picture, row by row.

    Returns
    -------
    picture : ndarray of float64
        Each tap is a square of pixels; 0 between filters.
    outside : ndarray of uint8
        ``GAP_PIXEL`` between filters, ``PAPER_PIXEL`` where there is none, 0 within.
    """
    zoom = zoom_of(filters.shape[1:])
    large = filters.repeat(zoom, axis=1).repeat(zoom, axis=2)
    _, height, width = large.shape
    rows = -(-len(filters) // columns)
    size = (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP)
    picture, outside = np.zeros(size), np.full(size, PAPER_PIXEL, np.uint8)
    for index in range(len(large)):
        y, x = np.array(divmod(index, columns)) * (height + GAP, width + GAP)
        outside[y : y + height + 2 * GAP, x : x + width + 2 * GAP] = GAP_PIXEL
    for index, image in enumerate(large):
        y, x = np.array(divmod(index, columns)) * (height + GAP, width + GAP) + GAP
        picture[y : y + height, x : x + width] = image
        outside[y : y + height, x : x + width] = 0
    return picture, outside


def describe(count: int, filters: Array, *, scale: str) -> str:
    """How many of how many filters are shown, and how."""
    total, height, width = filters.shape
    size = f"{height}x{width}"
    number = f"{count:,} of {total:,} filters" if count < total else f"All {total:,} filters"
    lines = [
        f"The only filter, {size}" if total == 1 else f"{number}, {size}, by falling norm",
        "each to its own peak" if scale == "own" else "all to the layer's peak",
    ]
    if count < total:
        lines[1] = f"at even ranks, {lines[1]}"
    invalid = int(np.isnan(filters).any(axis=(1, 2)).sum())
    if invalid:
        lines.append(f"grey: NaN or infinite, in {invalid:,} of them")
    return "\n".join(lines)
