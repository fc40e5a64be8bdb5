"""Whether two key sets are the same: each key against each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import legible, plain
from filterdb.figures.style import Style, house, is_light
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_VALUES = 16  # keys up to which a cell has room for its number
CELL, SMALL_CELL = 0.5, 0.2  # inches
LONGEST_SIDE = 12.8
LONGEST_LEVEL = 5  # letters of a name that fit beside one another


def key_agreement(
    cosines: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    sets: tuple[str, str] = ("", ""),
    style: Style = "light",
) -> Figure:
    """Heat map of the absolute cosine between the keys of two sets.

    Parameters
    ----------
    cosines
        Shape ``(K, L)``; only their size is drawn.
    rows, columns
        Names of the keys of either set, lengths ``K`` and ``L``.
    sets
        Names of the two sets.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        With up to 16 keys the cosine stands in every cell, bold in the closest of each row.

    Raises
    ------
    ValueError
        There are no keys, or names do not match.
    """
    if cosines.shape != (len(rows), len(columns)) or not cosines.size:
        msg = (
            f"Cosines of shape {cosines.shape} are not those of {len(rows)} keys with "
            f"{len(columns)}."
        )
        raise ValueError(msg)
    near = np.abs(np.asarray(cosines, np.float64))
    valued = max(near.shape) <= MOST_VALUES
    cell = CELL if valued else min(SMALL_CELL, LONGEST_SIDE / max(near.shape))
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        image = axes.imshow(near, cmap=look.colormap(look.sequential), vmin=0, vmax=1)
        name_ticks(axes, rows, columns, size=8 if valued else max(4.0, min(7.0, 60 * cell)))
        if valued:
            write_values(axes, near)
        else:
            look.colour_bar(axes, image)
        text = f"{plain(sets[0])} (rows) and {plain(sets[1])} (columns)" if all(sets) else ""
        bold = "bold: closest in its row" if valued else ""
        text = "; ".join(filter(None, (text, bold)))
        least = look.head(axes, "|cos| between keys", text)
        height, width = np.array(near.shape) * cell
        look.fit(figure, axes, width=width, height=height, least=least)
        closest = near.max(axis=1)
        alt = (
            f"Absolute cosines of {counted(len(rows), 'key')} of {legible(sets[0]) or 'a set'} and "
            f"{len(columns)} of {legible(sets[1]) or 'another'}; the closest of each is between "
            f"{closest.min():.2f} and {closest.max():.2f}."
        )
        return look.finish(figure, alt=alt)


def name_ticks(axes: Axes, rows: Sequence[str], columns: Sequence[str], *, size: float) -> None:
    """Names of the keys along both sides, those of columns at a slope where they are long."""
    axes.set_yticks(range(len(rows)), [plain(name, most=24) for name in rows], fontsize=size)
    names = [plain(name, most=24) for name in columns]
    axes.set_xticks(range(len(columns)), names, fontsize=size)
    if len(columns) > MOST_VALUES:
        axes.tick_params(axis="x", labelrotation=90)
    elif max(map(len, names)) > LONGEST_LEVEL:
        for text in axes.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")


def write_values(axes: Axes, near: NDArray[np.float64]) -> None:
    """The cosine in every cell, in black or white, whatever is read best."""
    image = axes.images[0]
    light = is_light(image.cmap(image.norm(near)))
    closest = near == near.max(axis=1, keepdims=True)
    for (row, column), value in np.ndenumerate(near):
        axes.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=7,
            fontweight="bold" if closest[row, column] else "normal",
            color="#000000" if light[row, column] else "#ffffff",
        )
