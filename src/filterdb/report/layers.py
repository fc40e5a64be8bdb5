"""The table of a network's layers: a row each, with its small pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from filterdb.checking import Check, LayerCheck
from filterdb.report import sparks
from filterdb.report.advice import TONES
from filterdb.report.reading import Network
from filterdb.report.standing import Places
from filterdb.stats.verdict import DEGENERATE

MOST_ROWS = 300
MOST_CELLS = 120
"""Cells of a strip with a gap between them; more are joined where they are alike."""
DROPPED_FIRST = ({"undefined"}, {"healthy"}, {"undecided"}, DEGENERATE, {"invalid"})
"""Verdicts of the layers that a full table loses, those that say least first."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer in the table; paths are for a box of :mod:`filterdb.report.sparks`."""

    number: int
    name: str
    kernel: str
    kind: str
    channels: str
    filters: int
    verdict: str
    tone: str
    sparsity: float | None
    irregularity: float | None
    sparsity_place: float | None
    irregularity_place: float | None
    spectrum: str
    strengths: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The layers of a network as a row of cells, in the colour of their verdicts.

    Attributes
    ----------
    cells
        Number of cells.
    paths
        Verdict, its colour, how many layers, and their cells.
    words
        The same as a sentence.
    """

    cells: int
    paths: tuple[tuple[str, str, int, str], ...]
    words: str


def table(network: Network, places: Places) -> tuple[list[LayerRow], dict[str, int]]:
    """The rows of the table, and the verdicts of layers that it has no room for -> how many."""
    rows = list(network.check.layers)
    left_out: Counter[str] = Counter()
    for verdicts in DROPPED_FIRST:
        spare = len(rows) - MOST_ROWS
        if spare <= 0:
            break
        candidates = [row for row in rows if row.verdict in verdicts]
        # The smallest ones go, of equal ones the last; the order of the rest stays.
        candidates.sort(key=lambda row: (row.layer.n_filters, -row.layer.index))
        dropped = {row.layer.index for row in candidates[:spare]}
        left_out.update(row.verdict for row in candidates[:spare])
        rows = [row for row in rows if row.layer.index not in dropped]
    return [layer_row(row, network, places) for row in rows], dict(left_out)


def layer_row(row: LayerCheck, network: Network, places: Places) -> LayerRow:
    """A layer's row."""
    layer, quality = row.layer, row.quality
    spark = network.sparks.get(layer.index)
    sparsity, irregularity = (
        places.get((layer.index, name)) for name in ("sparsity", "entropy_ratio")
    )
    return LayerRow(
        number=layer.index + 1,
        name=layer.name,
        kernel="{}×{}".format(*layer.kernel),
        kind=layer.kind,
        channels=f"{layer.in_per_group:,} → {layer.out_channels:,}",
        filters=layer.n_filters,
        verdict=row.verdict,
        tone=TONES[row.verdict],
        sparsity=quality.sparsity,
        irregularity=quality.entropy_ratio,
        sparsity_place=None if sparsity is None else sparsity.share,
        irregularity_place=None if irregularity is None else irregularity.share,
        spectrum=sparks.bars(spark.spectrum[:25]) if spark else "",
        strengths=sparks.bars(spark.strengths) if spark else "",
    )


def strip(verdicts: list[str]) -> Strip:
    """Layers in order as cells."""
    counts = Counter(verdicts)
    order = sorted(counts, key=lambda name: (name not in DEGENERATE, name != "healthy", name))
    paths = tuple(
        (
            name,
            TONES.get(name, "none"),
            counts[name],
            sparks.cells(
                [place for place, verdict in enumerate(verdicts) if verdict == name],
                joined=len(verdicts) > MOST_CELLS,
            ),
        )
        for name in order
    )
    listed = ", ".join(f"{counts[name]:,} {name}" for name in order)
    return Strip(len(verdicts), paths, f"{len(verdicts):,} layers from first to last: {listed}.")


def strip_of(check: Check) -> Strip:
    """The strip of a network that was read."""
    return strip([row.verdict for row in check.layers])
