"""Where a network stands among the reference population, at the same relative depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filterdb.checking import Check, LayerCheck
from filterdb.errors import QueryError
from filterdb.reference import NearNetwork, Percentile, reference_population
from filterdb.report.advice import TONES
from filterdb.report.reading import Network

Places = dict[tuple[int, str], Percentile]
"""A layer's index and a measure -> its place among reference layers."""

NEAREST = 5
MEASURES = {
    "sparsity": (
        "Filters next to nothing",
        "Share of a layer's filters that are next to nothing. High is wasteful.",
    ),
    "entropy_ratio": (
        "Irregularity of the patterns",
        "How varied the filters are, measured by what noise of the same size has. Very low means "
        "that they repeat one another, 100 % means noise.",
    ),
    "orthogonality": (
        "Independence of the outputs",
        "Whether the outputs of a layer see different things. High is economical.",
    ),
}
"""Measure -> its title, and what it says."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A layer in a chart: relative depth and place among others, both 0..1."""

    depth: float
    share: float
    tone: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The layers' places in one measure.

    Attributes
    ----------
    title, meaning
        Of the measure.
    words
        The typical place, as a sentence.
    dots
        One a layer.
    """

    title: str
    meaning: str
    words: str
    dots: tuple[Dot, ...]


def places(check: Check) -> Places:
    """The place of every layer in every measure, where it has one."""
    population = reference_population()
    found: Places = {}
    for row in check.layers:
        for measure in MEASURES:
            place = population.percentile(
                measure,
                getattr(row.quality, measure),
                depth=row.layer.conv_depth_norm,
                kernel=row.layer.kernel,
                kind=row.layer.kind,
            )
            if place is not None:
                found[row.layer.index, measure] = place
    return found


def places_if_any(check: Check) -> Places:
    """The places, or none where the reference fails: the section on it then says why."""
    try:
        return places(check)
    except Exception:
        return {}


def charts(check: Check, found: Places) -> tuple[Chart, ...]:
    """A chart for each measure that has places."""
    made = []
    for measure, (title, meaning) in MEASURES.items():
        rows = [row for row in check.layers if (row.layer.index, measure) in found]
        if rows:
            dots = tuple(dot(row, found[row.layer.index, measure]) for row in rows)
            middle = float(np.median([place.share for place in dots]))
            made.append(Chart(title, meaning, typical(middle, len(rows)), dots))
    return tuple(made)


def dot(row: LayerCheck, place: Percentile) -> Dot:
    """A layer in a chart."""
    return Dot(row.layer.conv_depth_norm, place.share, TONES[row.verdict])


def typical(middle: float, layers: int) -> str:
    """The middle of the layers' places in words."""
    what = "The layer" if layers == 1 else f"The typical one of its {layers:,} layers"
    percent = round(100 * middle)
    if 40 <= percent <= 60:
        return f"{what} is in the middle of the field (rank {percent} of 100)."
    return f"{what} is rather {'high' if percent > 60 else 'low'}: rank {percent} of 100."


def nearest(network: Network) -> tuple[tuple[NearNetwork, ...], str]:
    """The reference networks with the nearest filters, and of what kernel size; or why none."""
    population = reference_population()
    reason = "It has no filters with a shape to compare."
    for kernel in network.sizes:
        summary = network.sums[kernel]
        try:
            found = population.nearest(
                summary.coarse(), kernel=kernel, basis_id=summary.basis_id, n=NEAREST
            )
        except QueryError as error:
            reason = str(error)
            continue
        return found, "{}×{}".format(*kernel)
    return (), reason
