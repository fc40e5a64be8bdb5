"""The layers of a network that are shown as pictures: the worst, and what is typical of the rest.

Their weights are read a second time, one layer after the other: nothing is kept meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from filterdb.checking import Check, LayerCheck
from filterdb.errors import while_reading
from filterdb.figures import filter_mosaic
from filterdb.report.advice import PLAIN, TONES
from filterdb.report.pictures import Picture, picture
from filterdb.report.words import percent
from filterdb.stats.verdict import DEGENERATE

WORST, TYPICAL = 4, 2
FILTERS_SHOWN = 100
LEAST_FILTERS = 9
"""Of a typical layer: fewer filters show nothing typical."""


@dataclass(frozen=True, slots=True)
class Example:
    """A layer that is shown."""

    name: str
    verdict: str
    tone: str
    picture: Picture


def worst(check: Check) -> list[LayerCheck]:
    """The largest layer of each kind of fault, then the largest of the rest."""
    bad = [row for row in check.layers if row.verdict in DEGENERATE and has_shape(row)]
    bad.sort(key=lambda row: -row.layer.n_filters)
    first = [next(row for row in bad if row.verdict == verdict) for verdict in
             dict.fromkeys(row.verdict for row in bad)]  # fmt: skip
    return [*first, *(row for row in bad if row not in first)][:WORST]


def typical(check: Check) -> list[LayerCheck]:
    """The healthy layers that are nearest to the median of them in entropy and sparsity."""
    rows = [
        row
        for row in check.layers
        if row.verdict == "healthy" and has_shape(row) and row.layer.n_filters >= LEAST_FILTERS
    ]
    if not rows:
        return []
    values = np.array([(row.quality.entropy_ratio or 0, row.quality.sparsity or 0) for row in rows])
    apart = np.abs(values - np.median(values, axis=0)).sum(axis=1)
    chosen = sorted(np.argsort(apart, kind="stable")[:TYPICAL].tolist())
    return [rows[place] for place in chosen]


def has_shape(row: LayerCheck) -> bool:
    """Whether a layer's filters are larger than one number."""
    return max(row.layer.kernel) > 1 and row.layer.n_filters > 0


def why_none(check: Check) -> str:
    """Why no layer is shown."""
    found = {row.verdict for row in check.layers if has_shape(row)}
    if not found:
        return "no layer has filters larger than one number."
    reasons = {
        "healthy": f"fewer than {LEAST_FILTERS} filters",
        "undecided": "too few filters to tell",
        "undefined": "filters that are too large to be judged",
        "invalid": "values that are not numbers",
    }
    said = [words for verdict, words in reasons.items() if verdict in found]
    return f"the layers with filters larger than one number have {' or '.join(said)}."


def example(row: LayerCheck) -> Example:
    """Draw a layer.

    Raises
    ------
    ReadError
        Its weights cannot be read any more.
    """
    with while_reading(layer=row.layer.name):
        weights = row.layer.weights
    # What is next to nothing shows only beside the strongest of the layer.
    whole = row.verdict == "sparse"
    return Example(
        row.layer.name,
        row.verdict,
        TONES[row.verdict],
        picture(
            partial(filter_mosaic, weights, limit=FILTERS_SHOWN, scale="layer" if whole else "own"),
            caption="",  # all is in the picture
            alt=f"Filters of the layer {row.layer.name}: {seen(row)}",
        ),
    )


def seen(row: LayerCheck) -> str:
    """What a mosaic shows, in words."""
    if row.verdict in PLAIN:
        return PLAIN[row.verdict].words(row)
    ratio = percent(row.quality.entropy_ratio)
    return f"its patterns differ from one another (irregularity {ratio} of that of noise)."
