"""Another basis for a database: fitted on it, the package's, or that of another database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path

from filterdb.population.population import Population
from filterdb.population.preset import KEY, LAYER, Scanning
from filterdb.scan.jobs import SummaryJob
from filterdb.scan.parts import ScanLayer, split
from filterdb.stats.basis import Basis, Kernel, reference_basis
from filterdb.stats.summary import LayerSummary
from filterdb.store.connection import SCANS
from filterdb.store.query import select_summaries
from filterdb.store.rebasing import Key, rebase
from filterdb.store.summaries import read_bases

Place = tuple[str, str, bytes]
FILTERS_PER_TAP = 100
"""Fewer filters than that for each tap say more about themselves than about a population."""


def fitted_bases(folder: Path) -> dict[Kernel, Basis]:
    """Bases fitted on all of a database, for the kernel sizes that it has enough filters of."""
    bases = {}
    for kernel, there in read_bases(folder).items():
        population = Population(folder, kernel=kernel)
        basis = population.basis()
        if basis.n >= FILTERS_PER_TAP * basis.mean.size:
            origin = f"fitted on {basis.origin} of this database"
            bases[there.kernel] = Basis(
                kernel, basis.mean, basis.components, basis.explained_variance_ratio, basis.n,
                origin,
            )  # fmt: skip
    return bases


def adopt(
    folder: Path, bases: Mapping[Kernel, Basis], *, scanning: Scanning | None = None
) -> dict[Kernel, Basis]:
    """Take the histograms of a database anew, in other bases.

    All or nothing; after an interruption the same call goes on where it stopped.

    Parameters
    ----------
    folder
        The database.
    bases
        For each kernel size; sizes that are not in it, and those that have that basis
        already, stay as they are.
    scanning
        How to pass over the weights.

    Returns
    -------
    dict
        The bases that were changed.

    Raises
    ------
    StoreError
        An ingest is running, or the database cannot be read or written.
    """
    there = read_bases(folder)
    changed = {
        kernel: bases[kernel]
        for kernel, basis in there.items()
        if kernel in bases and bases[kernel].id != basis.id
    }
    if changed:
        rebase(folder, list(changed.values()), _summaries(folder, changed, scanning or Scanning()))
    return changed


def adopt_reference(folder: Path, *, scanning: Scanning | None = None) -> dict[Kernel, Basis]:
    """Go back to the bases that come with the package."""
    bases = {kernel: reference_basis(kernel) for kernel in read_bases(folder)}
    return adopt(folder, bases, scanning=scanning)


def _summaries(
    folder: Path, bases: Mapping[Kernel, Basis], scanning: Scanning
) -> Iterator[tuple[list[Key], bool, LayerSummary]]:
    """Summaries in other bases, each with all the rows whose weights it is of, and if folded."""
    rows: dict[Place, list[Key]] = defaultdict(list)
    layers: dict[Place, ScanLayer] = {}
    for kernel, folded in product(bases, (False, True)):
        columns = (*KEY, *LAYER)
        found, _ = select_summaries(folder, None, columns, kernel=kernel, folded=folded)
        for row in found:
            scale, part = row[len(columns) : len(columns) + 2]
            layer = ScanLayer.of(dict(zip(columns, row, strict=False)), scale=scale)
            place = place_of(layer)
            key = (layer.model_id, layer.layer_index)
            if part is not None and folded == bool(scale) and key not in rows[place]:
                rows[place].append(key)
                layers.setdefault(place, layer)
    ordered: Iterable[ScanLayer] = sorted(
        layers.values(), key=lambda layer: (layer.weights_hash, layer.layer_index)
    )
    job = SummaryJob(tuple(bases.values()))
    for scanned in scanning.scan(split(folder, ordered), job, checkpoint=folder / SCANS):
        for layer in scanned.layers:
            yield rows[place_of(layer)], bool(layer.scale), scanned.value


def place_of(layer: ScanLayer) -> Place:
    """What tells a layer's weights: their payload, their tensor, and what they are times."""
    return layer.weights_hash, layer.tensor, layer.scale
