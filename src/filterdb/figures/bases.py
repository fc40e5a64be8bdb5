"""Bases of populations: eigenimages, and the variance that they explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import compact, legible, plain
from filterdb.figures.style import MARKERS, OTHER, PALETTE, Style, house
from filterdb.stats.basis import Basis
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_COMPONENTS = 9
EXTREMES = 4
"""Populations named at either end where there are more than colours."""
TILE = 0.74  # distance of two columns, in inches
TOP = -0.95  # where the names of the columns begin
PITCH = 1.3  # distance of two rows, in columns: there is text between them
HALF = 0.46  # half the longer side of an image, in columns


def eigenimages(
    bases: Mapping[str, Basis], *, components: int = SHOWN_COMPONENTS, style: Style = "light"
) -> Figure:
    """Principal components of populations as images, with the variance that each explains.

    Parameters
    ----------
    bases
        Population's name to its basis; kernel sizes may differ. A row each.
    components
        How many to show at most, from the first.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Each image is scaled to its own largest entry, about 0. As a sign carries no meaning,
        those of later rows follow the first row of the same kernel size.

    Raises
    ------
    ValueError
        There are no bases.
    """
    check_bases(bases)
    columns = min(components, max(len(basis.components) for basis in bases.values()))
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        models: dict[tuple[int, int], NDArray[np.float64]] = {}
        for row, basis in enumerate(bases.values()):
            model = models.setdefault(basis.kernel, basis.components)
            half = np.array(basis.kernel) / max(basis.kernel) * HALF
            for column, image in enumerate(aligned(basis.components, model)[:columns]):
                look.tile(
                    axes,
                    image.reshape(basis.kernel),
                    at=(column, row * PITCH),
                    half=half,
                    peak=float(np.abs(image).max()) or 1.0,
                )
                axes.text(
                    column,
                    row * PITCH - half[0] - 0.05,
                    f"{100 * basis.explained_variance_ratio[column]:.1f} %",
                    ha="center",
                    va="bottom",
                    fontsize=7,
                    color=look.muted,
                )
        rows = len(bases)
        for column in range(columns):
            axes.text(column, TOP + 0.02, f"c{column}", ha="center", va="top", fontsize=8)
        axes.set(xlim=(-0.5, columns - 0.5), ylim=((rows - 1) * PITCH + 0.5, TOP), xticks=[])
        labels = [f"{plain(name)}\n{describe(basis)}" for name, basis in bases.items()]
        axes.set_yticks(np.arange(rows) * PITCH, labels)
        look.head(axes, "Eigenimages", remark(bases, columns))
        look.fit(
            figure,
            axes,
            width=TILE * columns,
            height=TILE * ((rows - 1) * PITCH + 0.5 - TOP),
            least=5.2,
        )
        alt = (
            f"Eigenimages of {', '.join(map(legible, bases))}: the first {columns} components, "
            "each with its share of the variance."
        )
        return look.finish(figure, alt=alt)


def describe(basis: Basis) -> str:
    """Kernel size of a basis and the filters that it comes from, for a label."""
    return f"{basis.kernel[0]}x{basis.kernel[1]}, {origin(basis)}"


def check_bases(bases: Mapping[str, Basis]) -> None:
    """Make sure that there is something to draw.

    Raises
    ------
    ValueError
        There are no bases.
    """
    if not bases:
        msg = "There is no basis to draw."
        raise ValueError(msg)


def origin(basis: Basis) -> str:
    """How many filters a basis comes from, for a label."""
    return f"n = {compact(basis.n)}" if basis.n else "not fitted"


def aligned(components: NDArray[np.float64], model: NDArray[np.float64]) -> NDArray[np.float64]:
    """Components ``(k, k)`` with the signs that make each point along its like in ``model``."""
    signs = np.where(np.einsum("ij,ij->i", components, model) < 0, -1.0, 1.0)
    return components * signs[:, None]


def remark(bases: Mapping[str, Basis], columns: int) -> str:
    """What the picture leaves out, and what its colours are."""
    most = max(len(basis.components) for basis in bases.values())
    text = "The share of the variance is above each image. A sign carries no meaning."
    return f"The first {columns} of up to {most} components.\n{text}" if columns < most else text


def cumulative_variance(bases: Mapping[str, Basis], *, style: Style = "light") -> Figure:
    """Share of the variance that the first components explain together, a line a population.

    Parameters
    ----------
    bases
        Population's name to its basis.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        With more populations than colours, only those at either end are named. A dashed line
        is what random filters of the same size have.

    Raises
    ------
    ValueError
        There are no bases.
    """
    check_bases(bases)
    by_first = sorted(bases, key=lambda name: -bases[name].explained_variance_ratio[0])
    named = list(bases)
    if len(bases) > len(PALETTE):
        named = [*by_first[:EXTREMES], *by_first[-EXTREMES:]]
    with house(style) as look:
        from matplotlib.ticker import MaxNLocator

        figure = look.figure(6.2, 3.8)
        axes = look.tidy(figure.add_subplot(), grid="y")
        others = [name for name in bases if name not in named]
        for name, colour, marker in zip(named, PALETTE, MARKERS, strict=False):
            taps = len(bases[name].components)
            axes.plot(
                *cumulated(bases[name]),
                color=colour,
                marker=marker if taps <= 25 else None,
                markersize=4,
                linewidth=1.4,
                label=f"{plain(name)} ({origin(bases[name])})",
            )
        for rank, name in enumerate(others):
            axes.plot(
                *cumulated(bases[name]),
                color=OTHER,
                linewidth=0.7,
                alpha=0.6,
                zorder=1.5,
                label="" if rank else counted(len(others), "other"),
            )
        sizes = sorted({len(basis.components) for basis in bases.values()})
        for taps in sizes:
            axes.plot(
                [1, taps],
                [1 / taps, 1],
                color=look.muted,
                linestyle=(0, (4, 3)),
                linewidth=0.9,
                label="random filters" if taps == sizes[0] else "",
            )
        axes.set(xlim=(0.8, sizes[-1] + 0.2), ylim=(0, 1.02))
        axes.set(xlabel="components", ylabel="explained variance, cumulative")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        first = bases[by_first[0]].explained_variance_ratio[0]
        alt = (
            f"Cumulative explained variance of {counted(len(bases), 'population')}; the first "
            f"component explains at most {100 * first:.0f} %."
        )
        return look.finish(figure, alt=alt)


def cumulated(basis: Basis) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Number of components, from 1, and the share of the variance that they explain."""
    ratios = basis.explained_variance_ratio
    return np.arange(1, len(ratios) + 1), np.cumsum(ratios)
