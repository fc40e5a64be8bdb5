"""Filters before and after: what fine-tuning, pruning or quantising did to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import legible, plain
from filterdb.figures.style import Style, house

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

LIMIT = 24
ACROSS = 4  # triples beside one another
STEP = 3.55  # distance of two triples, in images
TILE = 0.5  # distance of two images, in inches
HALF = 0.46  # half the longer side of an image, in that distance
TEXT = 0.88  # between two rows


def changed_filters(
    before: NDArray[Any],
    after: NDArray[Any],
    labels: Sequence[str],
    *,
    limit: int = LIMIT,
    style: Style = "light",
) -> Figure:
    """The filters that changed most: before, after, and the difference.

    Parameters
    ----------
    before, after
        The same filters, shape ``(m, kh, kw)``, the most changed first; not changed.
    labels
        The name of each, e.g. ``"layer1.0.conv1 [3, 5]"``, length ``m``.
    limit
        How many to show at most, from the first.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        The three images of a filter share one scale, its peak before and after: a difference
        that looks pale is small. Below each, the norm of the change over the norm before.

    Raises
    ------
    ValueError
        There are no filters, or shapes and labels do not match.
    """
    if (
        before.shape != after.shape
        or before.ndim != 3
        or len(labels) != len(before)
        or not before.size
    ):
        msg = (
            f"Filters of shapes {before.shape} and {after.shape} with {len(labels)} labels "
            "do not make pairs."
        )
        raise ValueError(msg)
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    with np.errstate(invalid="ignore"):  # of weights that are not finite
        difference = after - before
    count = min(limit, len(before))
    across = min(ACROSS, count)
    down = -(-count // across)
    half = np.array(before.shape[1:]) / max(before.shape[1:]) * HALF
    pitch = 2 * half[0] + TEXT
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        texts = []
        for place in range(count):
            row, column = divmod(place, across)
            x, y = column * STEP, row * pitch
            peak = max(largest(before[place]), largest(after[place])) or 1.0
            for offset, images in enumerate((before, after, difference)):
                image = np.where(np.isfinite(images[place]), images[place], np.nan)
                look.tile(axes, image, at=(x + offset, y), half=half, peak=peak)
            texts.append(relative(norm(difference[place]), norm(before[place])))
            # They lie within the axes, or beside the last triple where there is room.
            written: dict[str, Any] = {"fontsize": 6.5, "in_layout": False}
            corner = x - HALF
            axes.text(corner, y - half[0] - 0.07, plain(labels[place], most=27), **written)
            written |= {"color": look.muted, "va": "top"}
            axes.text(corner, y + half[0] + 0.07, texts[-1], **written)
        name_columns(axes, across, above=-half[0] - 0.38, colour=look.muted)
        limits = {
            "xlim": (-HALF - 0.02, across * STEP - 1.0),
            "ylim": ((down - 1) * pitch + half[0] + 0.3, -half[0] - 0.65),
        }
        axes.set(xticks=[], yticks=[], **limits)
        number = f"{count:,} of {len(before):,}" if count < len(before) else f"{count:,}"
        text = f"{number} filter{'' if number == '1' else 's'}, the most changed first"
        least = look.head(axes, "Filters before and after", text)
        (left, right), (bottom, top) = limits.values()
        look.fit(
            figure, axes, width=TILE * (right - left), height=TILE * (bottom - top), least=least
        )
        alt = f"{text}, before and after: {legible(labels[0])} {texts[0]}."
        return look.finish(figure, alt=alt)


def name_columns(axes: Axes, across: int, *, above: float, colour: str) -> None:
    """Write over each column of triples what its three images are."""
    named: dict[str, Any] = {"fontsize": 6.5, "color": colour, "ha": "center", "in_layout": False}
    for column in range(across):
        for offset, name in enumerate(("before", "after", "difference")):
            axes.text(column * STEP + offset, above, name, **named)


def norm(image: Array) -> float:
    """Euclidean norm."""
    return float(np.sqrt(np.square(image).sum()))


def largest(image: Array) -> float:
    """Largest finite absolute weight; 0 if there is none."""
    return float(np.max(np.abs(image), initial=0.0, where=np.isfinite(image)))


def relative(change: float, size: float) -> str:
    """Norm of a change over the norm before it, for a label."""
    if not np.isfinite(change):
        return "not finite"
    if size == 0:
        return "was zero" if change else "zero"
    return f"changed by {100 * change / size:.3g} %"
