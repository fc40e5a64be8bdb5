"""The part of a database's page on master keys: the few filters that its networks share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from filterdb.errors import FilterDBError
from filterdb.figures import best_and_worst, coverage_curve, key_shares_by_depth
from filterdb.keys import sentences
from filterdb.keys.key_set import THRESHOLD
from filterdb.keys.labels.labelling import label
from filterdb.keys.search.finding import find
from filterdb.keys.search.found import (
    MEAN,
    THRESHOLDS,
    Control,
    CurvePoint,
    Explained,
    FoundKeys,
    NetworkCoverage,
)
from filterdb.keys.search.settings import Settings
from filterdb.report.keys import (
    Depthwise,
    KeysPart,
    mosaic,
    size_of,
    typeset,
)
from filterdb.report.pictures import Picture, picture
from filterdb.words import counted

if TYPE_CHECKING:
    from filterdb.keys.equivalence import Kernel
    from filterdb.keys.labels.labels import Labels
    from filterdb.report.page import Context
    from filterdb.report.selection import Selection

SIZES_SHOWN = 2
SEARCH = Settings(seeds=2, threshold=THRESHOLD, compare=(), ladder=(1, 2, 4, 8, 16))
"""A page has no time for more starts, methods and keys: ``filterdb keys find`` has."""
ENDS = 3
"""Networks at either end of the table."""
LEAST_FILTERS = 100
"""Of a network in it: of fewer, its share is mostly chance."""
EXAMPLES = 10
DRAWN = (0.8, 0.9)
"""R² of which there is a curve."""
LEAST_DRAWN = 0.01
NOT_DRAWN = (
    "Fewer than one filter in a hundred is a copy of a key, whatever their number: what keys "
    "explain by their number, and where they are, is not drawn."
)


def depthwise_of(selection: Selection) -> Depthwise:
    """The depthwise layers of a selection."""
    return Depthwise.of(
        (row["kind"], (row["kh"], row["kw"]), row["n_filters"]) for row in selection.layers
    )


def master_keys(selection: Selection) -> Context | None:
    """The keys of the selected networks' depthwise layers, and whether they are above chance.

    Nothing is kept in the database.

    Returns
    -------
    dict, or None
        None where no layer is depthwise: :attr:`Depthwise.why_none` says it elsewhere.
    """
    there = depthwise_of(selection)
    if not there.filters:
        return None
    shown = list(there.filters)[:SIZES_SHOWN]
    return {
        "threshold": THRESHOLD,
        "found": True,
        "parts": [part(selection, kernel, full=not place) for place, kernel in enumerate(shown)],
        "left_out": there.left_out(shown),
    }


def part(selection: Selection, kernel: Kernel, *, full: bool) -> KeysPart:
    """What is said of the filters of one size; of the main one more is drawn."""
    try:
        found = find(selection.database.select(selection.where, kernel=kernel), SEARCH)
        labels = label(
            selection.database, found.keys, where=selection.where, threshold=THRESHOLD, store=False
        )
    except FilterDBError as error:  # fewer distinct filters than keys; none has a shape
        return KeysPart(size_of(kernel), f"Nothing was found. {error}")
    said = [sentences.shares(found, THRESHOLD), sentences.agreement(found)]
    return KeysPart(
        size_of(kernel),
        typeset(sentences.headline(found)),
        tuple(typeset(sentence) for sentence in said if sentence),
        tuple(pictures(found, labels)) if full else (keys_of(found, labels),),
        networks(found),
        tuple(typeset(note) for note in (sentences.coverage(found), *found.notes))
        + (NOT_DRAWN,) * (full and not worth_drawing(found)),
    )


def keys_of(found: FoundKeys, labels: Labels) -> Picture:
    """The keys, with their names and shares."""
    total = labels.total
    return mosaic(
        found.keys,
        np.array(total.columns) / max(total.n, 1),
        filters=total.n,
        caption="The keys that were found on all of these filters, and above each the share of "
        "them that are its copies. Red numbers count for the pattern, blue ones against it. A key "
        "is named after the member of the scale-space family that it resembles, if any.",
    )


def pictures(found: FoundKeys, labels: Labels) -> Iterator[Picture]:
    """The keys, what they explain beside chance, where they are, and the filters at both ends."""
    yield keys_of(found, labels)
    if worth_drawing(found):
        group = sentences.group_of(found.searched).replace("model", "network")
        yield picture(
            partial(
                coverage_curve, shown(found.curve), thresholds=DRAWN, about=f"held-out {group}s"
            ),
            caption=f"How many filters so many keys explain, of {group}s on which they were not "
            "found. Only what is shaded is more than chance reaches.",
        )
        depths = np.array([row.depth for row in labels.counted])
        counts = np.array([row.columns for row in labels.counted])
        yield picture(
            partial(key_shares_by_depth, depths, counts, found.keys.texts),
            caption="Which keys the filters are copies of, from the first layers to the last.",
        )
    yield picture(
        partial(best_and_worst, found.examples, filters=found.searched.sampled, limit=EXAMPLES),
        caption="The filters that the keys explain best and worst, each with its R².",
    )


def worth_drawing(found: FoundKeys) -> bool:
    """Whether a curve of what keys explain, at any number of them, differs from a flat zero."""
    return any(point.networks.at(THRESHOLD) >= LEAST_DRAWN for point in found.curve)


def shown(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """The points, with the thresholds that are drawn and no others."""
    places = [THRESHOLDS.index(threshold) for threshold in DRAWN]

    def some(of: Explained) -> Explained:
        return replace(of, shares=tuple(of.shares[place] for place in places))

    return [
        replace(
            point,
            networks=some(point.networks),
            layers=tuple(point.layers[place] for place in places),
            controls={
                name: Control(some(control.by_found), some(control.by_own))
                for name, control in point.controls.items()
            },
        )
        for point in curve
    ]


def networks(found: FoundKeys) -> dict[str, Any] | None:
    """The networks that are explained best and worst; None where there is nothing to compare."""
    rows = sorted(
        (row for row in found.networks if row.explained.filters >= LEAST_FILTERS),
        key=lambda row: -row.explained.mean_r2,
    )
    if len(rows) < 2:
        return None
    shown = rows if len(rows) <= 2 * ENDS else [*rows[:ENDS], *rows[-ENDS:]]
    chance = sentences.claim_of(found, MEAN), sentences.claim_of(found, f"R² >= {THRESHOLD:g}")
    few = len(found.networks) - len(rows)
    return {
        "rows": [network(row) for row in shown],
        "chance": [shared(claim.chance) for claim in chance],
        "caption": caption(shown, rows, few),
    }


def caption(shown: Sequence[NetworkCoverage], rows: Sequence[NetworkCoverage], few: int) -> str:
    """What a table of networks has, and what it has not."""
    which = "The networks" if len(shown) == len(rows) else (
        f"The {ENDS} networks of {len(rows):,} that are explained best, and the {ENDS} worst"
    )  # fmt: skip
    text = f"{which}, by keys that were found on others; the last line is chance."
    if few:
        text += f" {counted(few, 'network')} with fewer than {LEAST_FILTERS} filters left out."
    return text


def network(row: NetworkCoverage) -> dict[str, Any]:
    """A line of the table."""
    return {
        "name": row.model,
        "layers": row.layers,
        "filters": row.filters,
        "mean": shared(row.explained.mean_r2),
        "copies": shared(row.explained.at(THRESHOLD)),
    }


def shared(share: float) -> str:
    """A share as the sentences have it."""
    return typeset(sentences.percent(share))
