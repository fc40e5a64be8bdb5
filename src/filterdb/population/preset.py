"""Presets: the settings of the papers, which need a pass over the weights (METHODS 1.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from filterdb.population.axes import Axis
from filterdb.population.grouping import Grouped, group_layers
from filterdb.population.table import LayerTable
from filterdb.scan import presets
from filterdb.scan.executors import executor_for
from filterdb.scan.job import Job
from filterdb.scan.jobs import DENSITY_BINS, DensityJob
from filterdb.scan.parts import Part, ScanLayer, split
from filterdb.scan.run import Scanned, scan
from filterdb.stats.basis import Basis
from filterdb.store.connection import SCANS

if TYPE_CHECKING:
    from filterdb.population.selection import Selection

Value = TypeVar("Value")
KEY = ("model_id", "layer_index")
LAYER = ("tensor", "out_channels", "in_per_group", "kh", "kw", "n_filters", "model_weights_hash")


@dataclass(frozen=True, slots=True, eq=False)
class Histograms:
    """What a preset compares: histograms of each layer in one basis, on one range.

    Attributes
    ----------
    counts
        Float32 of shape ``(L, k, 70)``.
    weights
        Of the components in D, shape ``(k,)``.
    width
        Of a bin, in units of the coefficients.
    basis
        What the coefficients are taken in.
    notes
        What to know of them.
    """

    counts: NDArray[np.float32]
    weights: NDArray[np.float64]
    width: float
    basis: Basis
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scanning:
    """How to pass over the weights: in processes, or on a cluster.

    Attributes
    ----------
    jobs
        Number of processes; the available cores if None, this process if 1.
    scheduler
        Address of a Dask scheduler, ``"tcp://..."``.
    progress
        Called with the number of payloads done, their total and the last one.
    """

    jobs: int | None = None
    scheduler: str | None = None
    progress: Callable[[int, int, str], None] | None = None

    def scan(
        self,
        parts: Sequence[Part],
        job: Job[Value],
        *,
        checkpoint: Path | None = None,
        keep: bool = False,
    ) -> Iterator[Scanned[Value]]:
        """Put a question to layers in this way; see :func:`filterdb.scan.run.scan`."""
        with executor_for(jobs=self.jobs, scheduler=self.scheduler) as executor:
            yield from scan(
                parts,
                job,
                executor=executor,
                checkpoint=checkpoint,
                keep=keep,
                progress=self.progress,
            )


def preset_histograms(
    population: Selection, axis: Axis, preset: str, scanning: Scanning
) -> tuple[Grouped, Histograms]:
    """Sort the layers of a population into groups, and take their histograms as a paper does.

    Raises
    ------
    QueryError
        No layer is in a group, or no filter is left.
    StoreError
        A payload is missing or damaged, or a worker failed. What is finished is kept.
    """
    grouped = group_layers(population, axis, columns=LAYER)
    # Weights that are in several groups are one layer of the pooled filters, and scanned once.
    place = {
        weights: position for position, weights in enumerate(dict.fromkeys(grouped.table.weights))
    }
    rows = [place[weights] for weights in grouped.table.weights]
    distinct = grouped.table.take(np.unique(rows, return_index=True)[1].tolist())
    with executor_for(jobs=scanning.jobs, scheduler=scanning.scheduler) as executor:
        found = presets.preset_histograms(
            split(population.folder, scan_layers(distinct)),
            preset,
            drop_sparse=population.drop_sparse,
            executor=executor,
            checkpoint=population.folder / SCANS,
            progress=scanning.progress,
        )
    width = (found.high - found.low) / found.counts.shape[-1]
    grouped = grouped.with_filters(found.n[rows])
    counts = found.counts[rows].astype(np.float32)
    return grouped, Histograms(counts, found.weights, width, found.basis, found.notes)


def density(population: Selection, scanning: Scanning) -> NDArray[np.int64]:
    """Counts of the first two coefficients together; see ``Population.density``."""
    table = population.table(columns=LAYER)
    job = DensityJob(table.basis, drop_sparse=population.drop_sparse)
    parts = split(population.folder, scan_layers(table))
    total = np.zeros((DENSITY_BINS, DENSITY_BINS), np.int64)
    for found in scanning.scan(parts, job, checkpoint=population.folder / SCANS):
        total += found.value
    return total


def scan_layers(table: LayerTable) -> list[ScanLayer]:
    """The layers of a table whose first columns are :data:`LAYER`, as a scan takes them."""
    return [
        ScanLayer.of(dict(zip((*KEY, *LAYER), (*key, *values), strict=False)), scale=scale)
        for key, values, scale in zip(table.keys, table.values, table.scales, strict=True)
    ]
