"""Master key filters as large tiles, with what they are called."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.key_shares import REST, percent
from filterdb.figures.lettering import compact, legible
from filterdb.figures.results import ShownKeyName, ShownKeys
from filterdb.figures.style import Style, house
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

LIMIT = 64
MOST_COLUMNS = 8
# In inches, which are also the units of the axes.
WIDTH = 7.2  # of a row, at most
PITCH = 1.35  # distance of two columns, at most
SIDE = 0.86  # the longer side of a tile, in pitches
LINE, SMALL = 0.145, 0.125  # of text, at sizes 8 and 7
LETTER = 0.06  # width of a letter of size 8, about
BETWEEN = 0.16  # two rows

NO_BREAK = "\N{NO-BREAK SPACE}"


def key_mosaic(
    keys: ShownKeys,
    shares: NDArray[np.float64] | None = None,
    *,
    filters: int | None = None,
    title: str = "",
    style: Style = "light",
) -> Figure:
    """The keys of a set, with their names and scales, and how many filters are nearest to each.

    Parameters
    ----------
    keys
        A key set. Of more than 64, the first are shown.
    shares
        Of the filters: shape ``(K,)`` by nearest key, or ``(K + 3,)`` those that are copies of
        each, and at the end those that are "other", constant and nearly zero; the text above says
        which.
    filters
        What the shares are of.
    title
        By default, the number of keys.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Red is positive, blue negative, each key to its own peak about 0.

    Raises
    ------
    ValueError
        There are no keys, or as many shares as neither keys nor classes.
    """
    count = len(keys.filters)
    if not count or (shares is not None and len(shares) not in (count, count + len(REST))):
        msg = (
            f"{count} keys with {0 if shares is None else len(shares)} shares cannot be drawn: "
            f"it takes a share a key, and {len(REST)} more for what is no key, or none."
        )
        raise ValueError(msg)
    number = min(count, LIMIT)
    columns = grid_columns(number)
    rows = -(-number // columns)
    pitch = min(PITCH, WIDTH / columns)
    kernel = np.array(keys.filters.shape[1:])
    half = kernel / kernel.max() * SIDE * pitch / 2
    names = [name_of(text, int(pitch / LETTER)) for text in keys.texts[:number]]
    scales = [scales_of(name) for name in keys.names[:number]]
    above = SMALL + 0.03 if shares is not None else 0.0
    below = 0.04 + LINE * max(name.count("\n") + 1 for name in names) + SMALL * any(scales)
    height = above + 2 * half[0] + below + BETWEEN
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        for place in range(number):
            row, column = divmod(place, columns)
            at = ((column + 0.5) * pitch, row * height + above + half[0])
            image = np.asarray(keys.filters[place], np.float64)
            look.tile(axes, image, at=at, half=half, peak=float(np.abs(image).max()) or 1.0)
            share = "" if shares is None else percent(shares[place])
            write(axes, look, at, half=half[0], lines=(share, names[place], scales[place]))
        axes.set(xlim=(0, columns * pitch), ylim=(rows * height - BETWEEN, 0), xticks=[], yticks=[])
        text = describe(keys, shares, filters, shown=number)
        title = title or counted(count, "master key filter")
        least = look.head(axes, legible(title).replace("$", r"\$"), text.replace("$", r"\$"))
        look.fit(figure, axes, width=columns * pitch, height=rows * height - BETWEEN, least=least)
        listed = ", ".join(legible(name) for name in keys.texts[:number])
        return look.finish(figure, alt=f"{legible(title)}, {kernel[0]}x{kernel[1]}: {listed}.")


def grid_columns(count: int) -> int:
    """Columns, twice as many as rows if there are enough, with the fewest places left empty."""
    if count <= MOST_COLUMNS - 2:
        return count
    wide = [n for n in range(4, MOST_COLUMNS + 1) if n >= 2 * -(-count // n)]
    return min(wide or [MOST_COLUMNS], key=lambda n: (-count % n, n))


def name_of(text: str, letters: int) -> str:
    """A name in two lines at most, of so many letters; its number stays with the word before."""
    words, _, number = legible(text).rpartition(" ")
    joined = f"{words}{NO_BREAK}{number}" if words and number.isdigit() else legible(text)
    lines = textwrap.wrap(joined, letters, max_lines=2, placeholder=" …", break_on_hyphens=False)
    return "\n".join(lines).replace(NO_BREAK, " ").replace("$", r"\$")


def scales_of(name: ShownKeyName) -> str:
    """``σ 0.64 × 0.58`` (x, y), or nothing where a key has no scale."""
    known = [f"{scale:.2f}" for scale in (name.sigma_x, name.sigma_y) if scale is not None]
    return f"σ {' × '.join(known)}" if known else ""


def write(
    axes: Axes,
    look: Look,
    at: tuple[float, float],
    *,
    half: float,
    lines: tuple[str, str, str],
) -> None:
    """What stands above a tile, and the two lines below it."""
    (x, y), (above, name, scales) = at, lines
    small: dict[str, Any] = {"fontsize": 7, "color": look.muted, "ha": "center", "va": "baseline"}
    if above:
        axes.text(x, y - half - 0.04, above, **small)
    lower = y + half
    for line in name.split("\n"):
        lower += LINE
        axes.text(x, lower, line, ha="center", va="baseline", fontsize=8)
    if scales:
        axes.text(x, lower + 0.02 + SMALL, scales, **small)


def describe(
    keys: ShownKeys, shares: NDArray[np.float64] | None, filters: int | None, *, shown: int
) -> str:
    """Whose keys they are, what is not shown, and what is none of them."""
    height, width = keys.filters.shape[1:]
    count = len(keys.filters)
    first = [f"{height}x{width}", "each to its own peak"]
    if keys.name:
        first.insert(0, legible(keys.name, most=40))
    if shown < count:
        first.append(f"the first {shown:,} of {count:,}")
    lines = [", ".join(first)]
    if shares is not None:
        base = f"the {compact(filters)} filters" if filters else "the filters"
        full = len(shares) > count
        whose = "that are its copies" if full else "whose nearest key it is"
        lines.append(f"Above each: share of {base} {whose}")
        rest = zip(shares[count:], REST, strict=False)
        others = ", ".join(f"{percent(share)} {name}" for share, name in rest)
        lines += [f"None of them: {others}"] if others else []
    return "\n".join(lines)
