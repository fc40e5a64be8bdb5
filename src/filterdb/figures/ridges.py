"""Ridge plot: the distribution of every coefficient in every population."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import compact, plain
from filterdb.figures.style import PALETTE, Style, house
from filterdb.stats.density import smooth_density
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_COMPONENTS = 9
OVERLAP = 1.7
"""Height of a ridge, in rows: the highest reaches into the row above."""
OUTSIDE = 0.005  # share of a ridge that the range drawn may cut off at either end


def ridge_plot(
    histograms: Mapping[str, NDArray[Any]],
    *,
    reach: float,
    ratios: Sequence[float] | NDArray[np.float64] | None = None,
    components: int = SHOWN_COMPONENTS,
    style: Style = "light",
) -> Figure:
    """Smooth densities of the coefficients: a row a population, a column a component.

    Parameters
    ----------
    histograms
        Population's name to its counts, shape ``(k, bins)``, in equal bins over
        ``[-reach, reach]``; the finer, the smoother.
    reach
        End of the histograms' range.
    ratios
        Share of the variance of each component, for the titles, shape ``(k,)``.
    components
        How many to show at most, from the first.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Every ridge is as high as the next: the shape is shown, not the height. All columns
        have one scale, so that their widths compare.

    Raises
    ------
    ValueError
        There are no histograms.
    """
    if not histograms:
        msg = "There is no histogram to draw."
        raise ValueError(msg)
    stack = np.stack([np.asarray(counts, np.float64) for counts in histograms.values()])
    rows, taps, bins = stack.shape
    columns = min(components, taps)
    centres = (np.arange(bins) + 0.5) * (2 * reach / bins) - reach
    limit = max(drawn_range(counts, reach) for counts in stack[:, :columns].reshape(-1, bins))
    inside = np.abs(centres) <= limit * 1.05
    with house(style) as look:
        labels = [
            f"{plain(name)}\nn = {compact(counts[0].sum())}"
            for name, counts in zip(histograms, stack, strict=True)
        ]
        row_height = 0.5 if rows <= 15 else 0.36
        figure = look.figure(1.6 + 0.95 * columns, 0.9 + row_height * (rows + 0.8))
        panels = figure.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
        for column, axes in enumerate(panels):
            look.tidy(axes)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.axvline(0, color=look.grid, linewidth=0.8, zorder=0)
            for row in range(rows):
                density = smooth_density(stack[row, column], -reach, reach)
                ridge = row - OVERLAP * 0.9 * density / (density.max() or 1.0)
                # A lower row stands in front of the one above it.
                axes.fill_between(
                    centres[inside],
                    ridge[inside],
                    row,
                    facecolor=PALETTE[0],
                    alpha=0.75,
                    linewidth=0,
                    zorder=2 * row + 2,
                )
                axes.plot(
                    centres[inside],
                    ridge[inside],
                    color=look.ink,
                    linewidth=0.7,
                    zorder=2 * row + 3,
                )
            share = "" if ratios is None else f"\n{100 * ratios[column]:.1f} %"
            axes.set_title(f"c{column}{share}", loc="center")
        panels[0].set(xlim=(-limit, limit), ylim=(rows - 0.7, -OVERLAP))
        panels[0].set_yticks(range(rows), labels, va="bottom")
        tick = float(f"{0.75 * limit:.1g}")
        panels[0].set_xticks([-tick, 0, tick], [f"−{tick:g}", "0", f"{tick:g}"])
        figure.supxlabel("coefficient", fontsize=8)
        alt = f"Distributions of the first {columns} coefficients in {counted(rows, 'population')}."
        return look.finish(figure, alt=alt)


def drawn_range(counts: NDArray[np.float64], reach: float) -> float:
    """Least end of a range about 0 that leaves out few of the values: the tails say nothing."""
    least = 0.05 * reach
    if not counts.sum():
        return least
    share = np.cumsum(counts) / counts.sum()
    low, high = np.searchsorted(share, (OUTSIDE, 1 - OUTSIDE))
    edges = np.linspace(-reach, reach, counts.size + 1)
    return float(min(reach, max(-edges[low], edges[min(high + 1, counts.size)], least)))
