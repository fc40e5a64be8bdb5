"""Where a network stands among the reference population, at the same relative depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from filterdb.checking import Check, LayerCheck
from filterdb.errors import QueryError
from filterdb.reference import NearNetwork, Percentile, reference_population
from filterdb.reference.networks import Network as ReferenceNetwork
from filterdb.report.advice import TONES
from filterdb.report.reading import Network
from filterdb.report.words import percent
from filterdb.stats.shift import FEW_FILTERS
from filterdb.stats.summary import MOST_TAPS

Places = dict[tuple[int, str], Percentile]
"""A layer's index and a measure -> its place among reference layers."""

NEAREST = 5
MEASURES = {
    "sparsity": (
        "Filters next to nothing",
        "What is next to nothing costs time and room and does no work: the lower, the better used "
        "is the layer.",
    ),
    "entropy_ratio": (
        "Irregularity of the patterns",
        "Very low means that the filters repeat one another; 100 % and more is what random "
        "numbers have.",
    ),
    "orthogonality": (
        "Independence of the outputs",
        "1 means that every output of a layer sees something else; the lower, the more of them "
        "repeat one another.",
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


def places(network: Network) -> Places:
    """The place of every layer in every measure, where it has one, among other networks' layers."""
    population = reference_population()
    own = itself(network)
    found: Places = {}
    for row in network.check.layers:
        for measure in MEASURES:
            place = population.percentile(
                measure,
                getattr(row.quality, measure),
                depth=row.layer.conv_depth_norm,
                kernel=row.layer.kernel,
                kind=row.layer.kind,
                without=own,
            )
            if place is not None:
                found[row.layer.index, measure] = place
    return found


def places_if_any(network: Network) -> Places | None:
    """The places, or None where the reference fails: the section on it then says why."""
    try:
        return places(network)
    except Exception:
        return None


def charts(check: Check, found: Places) -> tuple[Chart, ...]:
    """A chart for each measure that has places."""
    made = []
    for measure, (title, meaning) in MEASURES.items():
        rows = [row for row in check.layers if (row.layer.index, measure) in found]
        if rows:
            rows_places = [(row, found[row.layer.index, measure]) for row in rows]
            dots = tuple(dot(row, place) for row, place in rows_places)
            made.append(Chart(title, meaning, typical(measure, rows_places), dots))
    return tuple(made)


def dot(row: LayerCheck, place: Percentile) -> Dot:
    """A layer in a chart."""
    return Dot(row.layer.conv_depth_norm, place.share, TONES[row.verdict])


def typical(measure: str, rows: Sequence[tuple[LayerCheck, Percentile]]) -> str:
    """The layer with the middle place, its value and its place, as a sentence."""
    ranked = sorted(rows, key=lambda item: item[1].share)
    row, place = ranked[(len(ranked) - 1) // 2]
    value = value_words(measure, getattr(row.quality, measure))
    who = "The layer" if len(rows) == 1 else f"The middle one of its {len(rows):,} layers"
    return f"{who} has {value}, {place.words}."


def value_words(measure: str, value: float) -> str:
    """A layer's measure, as one has it."""
    if measure == "sparsity":
        return f"{percent(value) if value else 'no'} filters next to nothing".replace(
            "% filters", "% of its filters"
        )
    if measure == "entropy_ratio":
        return f"{percent(value)} of the irregularity of random numbers"
    return f"an independence of {value:.2f}"


@dataclass(frozen=True, slots=True)
class Near:
    """The reference networks nearest to a network.

    Attributes
    ----------
    networks
        The nearest first; none where they cannot be told.
    words
        What was compared, or why nothing was.
    """

    networks: tuple[NearNetwork, ...]
    words: str


def itself(network: Network) -> ReferenceNetwork | None:
    """The reference network that has the very same filters: D is exactly 0, of any size."""
    population = reference_population()
    for kernel in network.sizes:
        summary = network.sums[kernel]
        if population.basis_ids.get(kernel) != summary.basis_id:
            continue
        for near in population.nearest(
            summary.coarse(), kernel=kernel, basis_id=summary.basis_id, n=1
        ):
            if near.shift == 0 and near.filters == summary.n:
                return near.model
    return None


def nothing_to_compare(check: Check) -> str:
    """Why a network has no filters to compare with others."""
    shaped = [row for row in check.layers if row.layer.n_filters and max(row.layer.kernel) > 1]
    if not shaped:
        return "It has no filters with a shape to compare."
    if all(prod(row.layer.kernel) > MOST_TAPS for row in shaped):
        return f"Its filters have more than {MOST_TAPS} taps: so large ones are not compared."
    return "Its filters hold values that are not numbers, or are too large: nothing is compared."


def nearest(network: Network, *, without: ReferenceNetwork | None) -> Near:
    """The reference networks with the nearest filters, of the size that most filters have."""
    if not network.sizes:
        return Near((), nothing_to_compare(network.check))
    population = reference_population()
    kernel = network.sizes[0]
    summary, size = network.sums[kernel], "{}×{}".format(*kernel)
    if summary.n < FEW_FILTERS:
        return Near(
            (),
            f"Most of its filters with a shape are {size}, {summary.n:,} of them. Of fewer than "
            f"{FEW_FILTERS:,}, D is mostly chance: nothing is compared.",
        )
    try:
        found = population.nearest(
            summary.coarse(), kernel=kernel, basis_id=summary.basis_id, n=NEAREST + 1,
            least=FEW_FILTERS,
        )  # fmt: skip
    except QueryError as error:
        return Near((), f"Most of its filters with a shape are {size}. {error}")
    others = tuple(row for row in found if row.model != without)[:NEAREST]
    words = (
        f"Compared are the {summary.n:,} filters of {size}, the size that most have, with "
        f"networks that have {FEW_FILTERS:,} or more of it: of fewer, D is mostly chance."
    )
    return Near(others, words if others else f"No other network has enough filters of {size}.")
