"""The histograms of the authors' own papers, which need more than one pass (METHODS 1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import QueryError
from filterdb.scan.job import Job
from filterdb.scan.jobs import HistogramJob, MomentsJob, RangeJob
from filterdb.scan.parts import Part
from filterdb.scan.run import Progress, forget, scan
from filterdb.stats.basis import Basis, fit_basis
from filterdb.stats.moments import Moments

Value = TypeVar("Value")
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Preset:
    """The settings of a paper.

    Attributes
    ----------
    drop_sparse
        Whether sparse filters are removed first.
    limits
        Outer edges of the bins; None takes the least and the greatest of all coefficients.
    uniform
        Whether all components weigh the same, instead of by their explained variance.
    """

    drop_sparse: bool = False
    limits: tuple[float, float] | None = None
    uniform: bool = False


PRESETS = {
    "cvpr2022": Preset(),
    "cvprw2022": Preset(drop_sparse=True),
    "medneurips2022": Preset(limits=(-3.0, 3.0), uniform=True),
}


@dataclass(frozen=True, slots=True, eq=False)
class PresetHistograms:
    """What the shift of a paper is computed from.

    Attributes
    ----------
    preset
        Name of the preset.
    basis
        The principal components of all filters of the selection, pooled.
    low, high
        Outer edges of the bins, common to all components and layers.
    weights
        Of the components, shape ``(k,)``; they sum to 1.
    counts
        Histograms of the layers in the order of the parts, int64 of shape ``(L, k, bins)``.
    n
        Filters of each layer that were looked at, int64 of shape ``(L,)``.
    notes
        What was left out, in sentences.
    """

    preset: str
    basis: Basis
    low: float
    high: float
    weights: NDArray[np.float64]
    counts: Counts
    n: Counts
    notes: tuple[str, ...]


def preset_histograms(
    parts: Sequence[Part],
    preset: str,
    *,
    drop_sparse: bool = False,
    executor: Executor | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> PresetHistograms:
    """Histograms as one of the papers defines them: pooled PCA, common range, 70 bins.

    Two or three passes: moments, which the basis follows from; the range, where the paper takes
    it from the data; the histograms.

    Parameters
    ----------
    parts
        Layers of one kernel size.
    preset
        ``"cvpr2022"``, ``"cvprw2022"`` or ``"medneurips2022"``.
    drop_sparse
        Remove sparse filters even where the paper does not.
    executor, checkpoint, progress
        As in :func:`~filterdb.scan.run.scan`; progress runs over all passes.

    Raises
    ------
    ValueError
        There is no such preset, or there are several kernel sizes.
    QueryError
        No filters are left.
    StoreError
        As :func:`~filterdb.scan.run.scan`.
    """
    if preset not in PRESETS:
        msg = f"There is no preset {preset!r}. The presets are: {', '.join(PRESETS)}."
        raise ValueError(msg)
    settings = replace(PRESETS[preset], drop_sparse=PRESETS[preset].drop_sparse or drop_sparse)
    kernels = {layer.kernel for part in parts for layer in part.layers}
    if len(kernels) > 1:
        msg = f"Histograms are of one kernel size, not of {sorted(kernels)}."
        raise ValueError(msg)
    passes = _Passes(
        parts,
        2 if settings.limits else 3,
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )
    layers = passes.run(MomentsJob(settings.drop_sparse))
    n = np.array([moments.n for moments in layers], np.int64)
    if not n.sum():
        msg = "No filters are left: there are none in the selection, or all of them are sparse."
        raise QueryError(msg)
    (kernel,) = kernels
    pooled = sum(layers, Moments.zero(kernel[0] * kernel[1]))
    basis = fit_basis(pooled, kernel, origin=f"selection, preset {preset}")
    low, high = settings.limits or passes.limits(basis, drop_sparse=settings.drop_sparse)
    if low == high:  # all filters are alike: any range around them does
        low, high = low - 0.5, high + 0.5
    histogram = HistogramJob(
        basis,
        low,
        high,
        drop_sparse=settings.drop_sparse,
        # Another machine may round the outermost coefficients past the range that one found.
        outside="drop" if settings.limits else "clip",
    )
    counts = np.array(passes.run(histogram), np.int64)
    passes.forget()
    taps = counts.shape[1]
    weights = np.full(taps, 1 / taps) if settings.uniform else basis.explained_variance_ratio
    total = sum(part.n_filters for part in parts)
    notes = _notes(
        signs=settings.limits is None,
        sparse=total - int(n.sum()),
        outside=int(n.sum()) * taps - int(counts.sum()),
    )
    return PresetHistograms(preset, basis, low, high, weights, counts, n, notes)


class _Passes:
    """Scans of the same parts; what they keep is removed when the last one is complete."""

    def __init__(
        self,
        parts: Sequence[Part],
        passes: int,
        *,
        executor: Executor | None,
        checkpoint: Path | None,
        progress: Progress | None,
    ) -> None:
        self._parts = parts
        self._total = passes * len(parts)
        self._checkpoint = checkpoint
        self._progress = progress
        self._jobs: list[Job[Any]] = []
        self._scan = partial(scan, parts, executor=executor, checkpoint=checkpoint, keep=True)

    def run(self, job: Job[Value]) -> list[Value]:
        """The answer of every layer."""
        before = len(self._jobs) * len(self._parts)
        self._jobs.append(job)

        def tell(done: int, _: int, item: str) -> None:
            if self._progress is not None:
                self._progress(before + done, self._total, item)

        return [found.value for found in self._scan(job, progress=tell)]

    def limits(self, basis: Basis, *, drop_sparse: bool) -> tuple[float, float]:
        """Least and greatest of all coefficients."""
        lows, highs = zip(*self.run(RangeJob(basis, drop_sparse)), strict=True)
        return min(lows), max(highs)

    def forget(self) -> None:
        """Remove what was kept."""
        forget(self._checkpoint, *self._jobs)


def _notes(*, signs: bool, sparse: int, outside: int) -> tuple[str, ...]:
    notes = []
    if signs:
        notes.append(
            "The range from the least to the largest coefficient is not symmetric, so that the "
            "bins depend on the signs of the components: here the largest entry of each is "
            "positive. Other signs move D by some per cent."
        )
    if sparse:
        notes.append(f"{sparse:,} sparse filters were removed first.")
    if outside:
        notes.append(f"{outside:,} coefficients lie outside the range and were left out.")
    return tuple(notes)
