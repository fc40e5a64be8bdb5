"""Every source's filters in every target, as a heat map of differences to the target's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import legible, plain
from filterdb.figures.shift import ALIKE, LONGEST_LEVEL
from filterdb.figures.style import Style, house, is_light
from filterdb.figures.transfer_marks import Measured
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

CELL, TIGHT = (0.82, 0.5), (0.56, 0.36)
"""Width and height of a cell in inches, with its interval and without."""
MOST_INTERVALS = 8
"""Sets up to which a cell has room for its interval."""
GAP = 0.35
"""Above the rows of reference and above that of accuracies, in cells."""
LEAST_TOP = 2.0
"""Points with the strongest colour, at least: less is little, and should look so."""
LONGEST = 28
"""Letters of a name."""
DARK_LINES, LIGHT_LINES = "#8a9099", "#aab0b8"


@dataclass(frozen=True, slots=True)
class Cell:
    """A difference of accuracies and its 95 % interval, shares; None where there is none."""

    difference: float | None
    low: float | None
    high: float | None

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def transfer_matrix(
    sets: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    *,
    own: Sequence[Measured],
    references: Mapping[str, Sequence[Cell]] | None = None,
    title: str = "",
    about: str = "",
    style: Style = "light",
) -> Figure:
    """Heat map of the difference to the target's own filters, in points of accuracy.

    Parameters
    ----------
    sets
        Names of the data sets.
    cells
        A row a source, a column a target; those of a set in itself are passed over.
    own
        Accuracy with the target's own filters.
    references
        Name -> difference to the target's own filters, a cell a target.
    title, about
        Above the picture: what it shows, and of what.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Red is better than the target's own filters, blue is worse. A cell whose interval holds 0
        is hatched and its number faint. Below: the references, and the accuracy that all are
        compared with.

    Raises
    ------
    ValueError
        There are no sets, or not as many cells.
    """
    references = references or {}
    lengths = {len(cells), len(own), *map(len, cells), *map(len, references.values())}
    if not sets or lengths != {len(sets)}:
        msg = f"{len(sets)} sets need as many rows and columns of cells, and as many accuracies."
        raise ValueError(msg)
    rows = [*(list(row) for row in cells), *(list(row) for row in references.values())]
    for place in range(len(sets)):
        rows[place][place] = Cell(None, None, None)
    heights = places(len(sets), len(references))
    detailed = len(sets) <= MOST_INTERVALS
    width, height = CELL if detailed else TIGHT
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        axes.set(xlim=(-0.5, len(sets) - 0.5), ylim=(heights[-1] + 0.5, -0.5))
        image = draw_cells(axes, look, rows, heights, detailed=detailed)
        write_own(axes, look, own, heights[-1], detailed=detailed)
        names = [plain(name, most=LONGEST) for name in sets]
        labels = [*names, *(plain(name, most=LONGEST) for name in references), "own filters, in %"]
        axes.set_yticks(heights, labels)
        axes.set_xticks(range(len(sets)), names)
        if max(map(len, names)) > LONGEST_LEVEL:
            for text in axes.get_xticklabels():
                text.set(rotation=45, ha="right", rotation_mode="anchor")
        axes.set_xlabel("into a network for")
        axes.set_ylabel("filters of")
        bar = look.colour_bar(axes, image)
        bar.ax.set_title("points", fontsize=8, loc="left")
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")
        told = [about] if about else []
        told.append("Points of accuracy more or less than with the target's own filters, frozen")
        told.append(
            "Small: 95 % intervals; hatched: not told apart" if detailed else
            "Hatched: not told apart at 95 %"
        )  # fmt: skip
        least = look.head(axes, title, "\n".join(told))
        look.fit(
            figure, axes, width=width * len(sets), height=height * (heights[-1] + 1),
            least=least + 0.2,
        )  # fmt: skip
        return look.finish(figure, alt=summary_of(sets, cells))


def places(sets: int, references: int) -> list[float]:
    """Heights of the rows: sources, below a gap the references, below another the accuracies."""
    rows = [float(row) for row in range(sets)]
    rows += [sets + GAP + row for row in range(references)]
    return [*rows, rows[-1] + 1 + GAP]


def top_of(values: NDArray[np.float64]) -> float:
    """Points with the strongest colour, on both sides of 0."""
    known = np.abs(values[np.isfinite(values)])
    return max(float(known.max(initial=0.0)), LEAST_TOP)


def draw_cells(
    axes: Axes,
    look: Look,
    rows: Sequence[Sequence[Cell]],
    heights: Sequence[float],
    *,
    detailed: bool,
) -> ScalarMappable:
    """Colours, hatches and numbers of all differences; what a colour bar is made from."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    values = np.array([[np.nan if c.difference is None else 100 * c.difference for c in row]
                       for row in rows])  # fmt: skip
    top = top_of(values)
    colours, norm = look.colormap(look.diverging), Normalize(-top, top)
    for y, row in zip(heights, rows, strict=False):
        for x, cell in enumerate(row):
            if cell.difference is None:
                axes.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fill=False, lw=0.6,
                                         edgecolor=look.grid))  # fmt: skip
                word = "own" if x == y else "–"
                axes.text(x, y, word, ha="center", va="center", fontsize=7.5, color=look.muted)
                continue
            colour = colours(norm(100 * cell.difference))
            sure = cell.told_apart
            light = bool(is_light(colour))
            axes.add_patch(
                Rectangle(
                    (x - 0.48, y - 0.48), 0.96, 0.96, facecolor=colour,
                    edgecolor="none" if sure else DARK_LINES if light else LIGHT_LINES,
                    linewidth=0, hatch=None if sure else ALIKE,
                )
            )  # fmt: skip
            write_cell(axes, cell, (x, y), colour, detailed=detailed)
    return ScalarMappable(norm, colours)


def write_cell(
    axes: Axes, cell: Cell, at: tuple[float, float], colour: Any, *, detailed: bool
) -> None:
    """A difference in points, its interval below, in black or white, whatever is read best."""
    ink = "#000000" if is_light(colour) else "#ffffff"
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
    if not cell.told_apart:  # lines of the hatch do not cross the numbers
        look["bbox"] = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
    x, y = at
    bold = "bold" if cell.told_apart else "normal"
    sized = 8.5 if detailed else 7.5
    below = detailed and cell.low is not None and cell.high is not None
    if below:
        text = f"{100 * (cell.low or 0):+.1f} to {100 * (cell.high or 0):+.1f}"
        axes.text(x, y + 0.24, text, fontsize=6, **look)
    text = f"{100 * (cell.difference or 0):+.1f}"
    axes.text(x, y - 0.14 * below, text, fontsize=sized, fontweight=bold, **look)


def write_own(axes: Axes, look: Look, own: Sequence[Measured], y: float, *, detailed: bool) -> None:
    """The accuracies that all differences are to."""
    for x, one in enumerate(own):
        told: dict[str, Any] = {"ha": "center", "va": "center", "color": look.ink}
        known = detailed and one.low is not None and one.high is not None
        if one.mean is None:
            axes.text(x, y, "–", fontsize=8.5, **told)
            continue
        axes.text(x, y - 0.14 * known, f"{100 * one.mean:.1f}", fontsize=8.5, **told)
        if known:
            text = f"{100 * (one.low or 0):.1f} to {100 * (one.high or 0):.1f}"
            axes.text(x, y + 0.24, text, fontsize=6, **told | {"color": look.muted})


def summary_of(sets: Sequence[str], cells: Sequence[Sequence[Cell]]) -> str:
    """The picture in a sentence, for who cannot see it."""
    pairs = [
        (cell.difference, sets[y], sets[x], cell.told_apart)
        for y, row in enumerate(cells)
        for x, cell in enumerate(row)
        if x != y and cell.difference is not None
    ]
    text = f"Filters of {counted(len(sets), 'set')} in one another, against the target's own"
    if not pairs:
        return f"{text}: there is no pair."
    low, source, target, _ = min(pairs)
    return (
        f"{text}. The least, {100 * low:+.1f} points, has {legible(target)} with filters of "
        f"{legible(source)}; {sum(pair[3] for pair in pairs)} of {counted(len(pairs), 'pair')} "
        "are told apart."
    )
