"""The plane of the first two components: how dense filters lie on it, and what it looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import compact, legible, plain
from filterdb.figures.style import Look, Style, house
from filterdb.stats.phenotype import Phenotype, centres, covariance_of, merged, smoothed, spread_of
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    Masked = np.ma.MaskedArray[tuple[int, int], np.dtype[np.float64]]

FAINTEST = 1e-5
"""Where the colours begin, as a share of the densest bin (METHODS 1.3, 4)."""

MEANINGS = {
    "sun": "like a Gaussian",
    "spikes": "local hot spots",
    "symbols": "clouds beside\nan empty centre",
    "point": "mass at zero",
    "undecided": "",
}
SIDE, PANEL = 4.2, 1.7  # of a large and of a small picture, in inches
PANEL_BIN = 0.06  # of a small picture, in units of the coefficients
EMPTY_ROW = 0.2  # height of a row without layers, as a share of another's
MARGIN = 0.25  # around what any layer of the figure has
REASON = 36  # letters on a line


def coefficient_density(
    counts: NDArray[Any],
    *,
    reach: float = 3.3,
    title: str = "",
    ratios: Sequence[float] | NDArray[Any] = (),
    bandwidth: float | None = None,
    style: Style = "light",
) -> Figure:
    """Density of filters over the first two components, on a logarithmic scale.

    Parameters
    ----------
    counts
        Filters by their coefficients c0 (rows) and c1 (columns), shape ``(bins, bins)``, over
        equal bins of ``[-reach, reach]``; 512 bins over +-3.3 in the published pictures.
    reach
        Ends of the range.
    title
        Of what the filters are.
    ratios
        Explained-variance ratios of the components, of which the first two are shown; may be
        empty.
    bandwidth
        Standard deviation of the Gaussian that each filter is spread by; 0 draws the histogram.
        If not given half of ``s n ** (-1/6)``, where ``s`` is the standard deviation of a round
        cloud: 0.1 for the thousand filters of a layer, less than a bin for the 1.5 billion of the
        published pictures.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Divided by its maximum, colours from 1e-5 (METHODS 1.3, 4). What is farther than two
        bandwidths from any filter is paper.

    Raises
    ------
    ValueError
        The counts are not square, or there are no filters.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or len(set(counts.shape)) > 1 or not counts.sum() > 0:
        msg = f"A density needs square counts of at least one filter, not {counts.shape}."
        raise ValueError(msg)
    width = 2 * reach / len(counts)
    if bandwidth is None:
        bandwidth = rule_of_thumb(counts, reach)
    with house(style) as look:
        from matplotlib.colors import LogNorm

        figure = look.figure(4, 4)
        axes = look.tidy(figure.add_subplot())
        density, smooth = spread_out(counts, width, bandwidth)
        image = show(look, axes, density, reach=reach, norm=LogNorm(FAINTEST, 1))
        axes.set(xlabel=label(0, ratios), ylabel=label(1, ratios))
        look.colour_bar(axes, image).ax.minorticks_off()
        text = f"{counted(int(counts.sum()), 'filter')}; colours: density / its maximum"
        if smooth:
            text += f", smoothed by {bandwidth:.2f}"
        heading = plain(title or "Filters on the first two components", most=48)
        least = look.head(axes, heading, text)
        look.fit(figure, axes, width=SIDE, height=SIDE, least=least)
        name = legible(title) or "Filters"
        return look.finish(
            figure, alt=f"{name}: density over the first two principal components, {text}."
        )


def phenotypes(
    examples: Sequence[tuple[str, NDArray[Any], Phenotype]],
    *,
    reach: float = 3.3,
    columns: int = 5,
    style: Style = "light",
) -> Figure:
    """Layers by phenotype: a row for each of the four, and one for undecided ones if there are any.

    Parameters
    ----------
    examples
        Name of the layer, its counts as in :func:`coefficient_density`, and its phenotype.
    reach
        Ends of the range of the counts.
    columns
        How many of each to show at most, the first ones.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        Densities, smoothed as in :func:`coefficient_density`, colours by their square root and up
        to their own maximum; below each what decided. The cross is where coefficients are zero. A
        row without layers says so.

    Raises
    ------
    ValueError
        There are no examples.
    """
    if not examples:
        msg = "There are no layers whose phenotypes could be drawn."
        raise ValueError(msg)
    rows = {
        name: [one for one in examples if one[2].name == name]
        for name in MEANINGS
        if name != "undecided" or any(one[2].name == name for one in examples)
    }
    shown = min(columns, max(map(len, rows.values())))
    limit = extent_of(
        [counts for layers in rows.values() for _, counts, _ in layers[:shown]], reach
    )
    heights = [1 if layers else EMPTY_ROW for layers in rows.values()]
    with house(style) as look:
        from matplotlib.colors import PowerNorm

        figure = look.figure(1.5 + PANEL * shown, 0.5 + (PANEL + 0.5) * sum(heights))
        figure.suptitle("Phenotypes on the first two components", x=0.01, ha="left")
        figure.set_layout_engine("constrained", h_pad=0.08)
        grid = figure.subplots(len(rows), shown, squeeze=False, height_ratios=heights)
        for (name, layers), line in zip(rows.items(), grid, strict=True):
            for axes in line:
                look.bare(axes).set(xticks=[], yticks=[])
            some = f"\n{shown} of {len(layers)}" if len(layers) > shown else ""
            line[0].set_ylabel(
                f"{name}\n{MEANINGS[name]}{some}", rotation=0, ha="right", va="center"
            )
            if not layers:
                line[0].text(0, 0.5, " none of these layers", va="center", color=look.muted)
            for (layer, counts, found), axes in zip(layers, line, strict=False):
                few = merged(np.asarray(counts), reach, PANEL_BIN)
                bandwidth = rule_of_thumb(few, reach)
                density, _ = spread_out(few, 2 * reach / len(few), bandwidth)
                show(look, axes, density, reach=reach, norm=PowerNorm(0.5, 0, 1))
                axes.axhline(0, color=look.muted, linewidth=0.3)
                axes.axvline(0, color=look.muted, linewidth=0.3)
                axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
                axes.set_title(plain(layer, most=30), fontsize=6.5)
                text = f"n = {compact(found.n)}\n{fill(found.reason, REASON)}"
                axes.set_xlabel(text, fontsize=6, color=look.muted)
        number = ", ".join(f"{len(layers)} {name}" for name, layers in rows.items())
        return look.finish(figure, alt=f"Densities of layers by phenotype: {number}.")


def show(look: Look, axes: Axes, density: Masked, *, reach: float, norm: Normalize) -> AxesImage:
    """A density: c0 to the right, c1 upwards; nothing where it is masked."""
    return axes.imshow(
        density.T,
        origin="lower",
        extent=(-reach, reach, -reach, reach),
        cmap=look.colormap(look.sequential, bad=look.paper),
        norm=norm,
    )


def spread_out(counts: NDArray[Any], width: float, bandwidth: float) -> tuple[Masked, bool]:
    """Counts as shares of the highest, smoothed unless that would move little, and whether so.

    Masked where there is less than a lone filter has at a distance of two bandwidths.
    """
    smooth = bandwidth > width / 2
    density = smoothed(counts, width, bandwidth) if smooth else np.asarray(counts, np.float64)
    lone = width**2 / (2 * math.pi * bandwidth**2) * math.exp(-2) if smooth else 1.0
    return np.ma.masked_less(density, lone * 0.999) / density.max(), smooth


def rule_of_thumb(counts: NDArray[Any], reach: float) -> float:
    """Half of what suits a single cloud: the densities of interest have more than one."""
    deviation = spread_of(covariance_of(counts, centres(len(counts), reach)))
    return float(0.5 * deviation * counts.sum() ** (-1 / 6))


def extent_of(tables: list[NDArray[Any]], reach: float) -> float:
    """How far from the origin any filter lies along either axis, and a margin."""
    most = 0.0
    for counts in tables:
        places = np.abs(centres(len(counts), reach))
        occupied = np.asarray(counts).any(axis=0) | np.asarray(counts).any(axis=1)
        most = max(most, float(places[occupied].max(initial=0.0)))
    return min(reach, most + MARGIN)


def label(index: int, ratios: Sequence[float] | NDArray[Any]) -> str:
    """Name of an axis, with the component's share of the variance if it is known."""
    return f"c{index} ({ratios[index]:.1%} of the variance)" if len(ratios) > index else f"c{index}"
