"""The questions that a scan answers: moments, ranges, histograms, densities and summaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.scan.blocks import Array, Blocks
from filterdb.scan.job import SEEN, Arrays, Job
from filterdb.scan.parts import ScanLayer
from filterdb.stats.basis import Basis, Kernel
from filterdb.stats.moments import Moments
from filterdb.stats.summary import COARSE_BINS, LayerSummary, Summary, summarise

Counts = NDArray[np.int64]
Outside = Literal["drop", "clip"]

DENSITY_BINS = 512
DENSITY_REACH = 3.3
"""Of the published pictures: 512 bins over +-3.3 along either axis (METHODS 1.3, 4)."""


@dataclass(frozen=True, slots=True)
class MomentsJob(Job[Moments]):
    """Moments of the max-abs-scaled filters of each layer.

    Attributes
    ----------
    drop_sparse
        Leave sparse filters out (METHODS 1.4).
    """

    drop_sparse: bool = False

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:
        """Moments of a layer."""
        blocks = Blocks(filters, drop_sparse=self.drop_sparse)
        sums = Moments.zero(layer.taps)
        for columns in blocks:
            sums += Moments.of(columns)
        return {SEEN: np.asarray(blocks.seen), **moments_arrays(sums)}

    def value(self, arrays: Arrays) -> Moments:
        """The layer's moments."""
        return moments_of(arrays)


@dataclass(frozen=True, slots=True)
class RangeJob(Job[tuple[float, float]]):
    """Least and greatest of all coefficients of each layer: ``(inf, -inf)`` of no filters.

    Attributes
    ----------
    basis
        What the coefficients are along.
    drop_sparse
        Leave sparse filters out (METHODS 1.4).
    """

    basis: Basis
    drop_sparse: bool = False

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:
        """Least and greatest coefficient of a layer."""
        blocks = Blocks(filters, drop_sparse=self.drop_sparse)
        limits = np.array([np.inf, -np.inf])
        for found in coefficients(blocks, layer.kernel, self.basis):
            limits = np.array([min(limits[0], found.min()), max(limits[1], found.max())])
        return {SEEN: np.asarray(blocks.seen), "limits": limits}

    def value(self, arrays: Arrays) -> tuple[float, float]:
        """The two of them."""
        low, high = map(float, arrays["limits"])
        return low, high


@dataclass(frozen=True, slots=True)
class HistogramJob(Job[Counts]):
    """Histogram of the coefficients of each layer, int64 of shape ``(k, bins)``.

    The bins are those of ``np.histogram``: equally wide, and the last one holds its right edge.

    Attributes
    ----------
    basis
        What the coefficients are along.
    low, high
        Outer edges of the bins.
    bins
        Their number.
    drop_sparse
        Leave sparse filters out (METHODS 1.4).
    outside
        Coefficients outside the edges are left out, or counted in the outermost bins.
    """

    basis: Basis
    low: float
    high: float
    bins: int = COARSE_BINS
    drop_sparse: bool = False
    outside: Outside = "drop"

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:
        """Histogram of a layer."""
        blocks = Blocks(filters, drop_sparse=self.drop_sparse)
        limits = (self.low, self.high)
        counts = np.zeros((layer.taps, self.bins), np.int64)
        for found in coefficients(blocks, layer.kernel, self.basis):
            if self.outside == "clip":
                np.clip(found, *limits, out=found)
            for row, values in zip(counts, found, strict=True):
                row += np.histogram(values, self.bins, limits)[0]
        return {SEEN: np.asarray(blocks.seen), "counts": counts}

    def value(self, arrays: Arrays) -> Counts:
        """The counts, a component a row."""
        return arrays["counts"]


@dataclass(frozen=True, slots=True)
class DensityJob(Job[Counts]):
    """Joint histogram of two coefficients, int64 of shape ``(bins, bins)``, a part at a time.

    The first axis is the first component; coefficients outside are left out.

    Attributes
    ----------
    basis
        What the coefficients are along.
    components
        Which two.
    bins, reach
        Bins along either axis, from ``-reach`` to ``reach``.
    drop_sparse
        Leave sparse filters out (METHODS 1.4).
    """

    per_layer: ClassVar[bool] = False

    basis: Basis
    components: tuple[int, int] = (0, 1)
    bins: int = DENSITY_BINS
    reach: float = DENSITY_REACH
    drop_sparse: bool = False

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:
        """Joint histogram of a layer."""
        blocks = Blocks(filters, drop_sparse=self.drop_sparse)
        counts = np.zeros(self.bins**2, np.int64)
        for found in coefficients(blocks, layer.kernel, self.basis):
            pair = found[list(self.components)]
            pair = pair[:, (np.abs(pair) <= self.reach).all(axis=0)]
            places = ((pair + self.reach) * (self.bins / (2 * self.reach))).astype(np.intp)
            rows, columns = places.clip(max=self.bins - 1)
            counts += np.bincount(rows * self.bins + columns, minlength=counts.size)
        return {SEEN: np.asarray(blocks.seen), "counts": counts.reshape(self.bins, self.bins)}

    def value(self, arrays: Arrays) -> Counts:
        """The counts, the first component along the first axis."""
        return arrays["counts"]


@dataclass(frozen=True, slots=True)
class SummaryJob(Job[LayerSummary]):
    """The summary of each layer, as an ingest makes it, in other bases.

    Attributes
    ----------
    bases
        One for each kernel size that occurs.
    """

    bases: tuple[Basis, ...]

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:
        """Summary of a layer."""
        found = summarise(filters.reshape(-1, *layer.kernel), self._basis(layer.kernel))
        return {
            SEEN: np.asarray(found.clean.n + found.sparse.n),
            **_prefixed("clean", summary_arrays(found.clean)),
            **_prefixed("sparse", summary_arrays(found.sparse)),
        }

    def value(self, arrays: Arrays) -> LayerSummary:
        """The summary, put together again."""
        height, width = map(int, arrays["clean.kernel"])
        basis = self._basis((height, width))
        clean, sparse = (summary_of(_of(part, arrays), basis) for part in ("clean", "sparse"))
        return LayerSummary(clean, sparse)

    def _basis(self, kernel: Kernel) -> Basis:
        for basis in self.bases:
            if basis.kernel == kernel:
                return basis
        msg = f"there is no basis for filters of size {kernel[0]}x{kernel[1]}"
        raise ValueError(msg)


def coefficients(blocks: Blocks, kernel: Kernel, basis: Basis) -> Iterator[Array]:
    """Coefficients of a layer, block by block: float64 of shape ``(k, n)``, a component a row."""
    if kernel != basis.kernel:
        msg = f"a basis of size {basis.kernel} does not fit filters of size {kernel}"
        raise ValueError(msg)
    mean = basis.mean[:, None]
    for columns in blocks:
        yield basis.components @ np.subtract(columns, mean, out=columns)


def moments_arrays(moments: Moments) -> dict[str, NDArray[Any]]:
    """Moments as arrays."""
    return {"n": np.asarray(moments.n), "first": moments.first, "second": moments.second}


def moments_of(arrays: Arrays) -> Moments:
    """The moments that :func:`moments_arrays` took apart."""
    return Moments(int(arrays["n"]), arrays["first"], arrays["second"])


def summary_arrays(summary: Summary) -> dict[str, NDArray[Any]]:
    """A summary as arrays; its basis stays behind."""
    return {
        "kernel": np.asarray(summary.kernel),
        "peak": np.asarray(summary.peak),
        "counts": summary.counts,
        **_prefixed("scaled", moments_arrays(summary.scaled)),
        **_prefixed("raw", moments_arrays(summary.raw)),
    }


def summary_of(arrays: Arrays, basis: Basis) -> Summary:
    """The summary that :func:`summary_arrays` took apart."""
    return Summary(
        kernel=basis.kernel,
        basis_id=basis.id,
        scaled=moments_of(_of("scaled", arrays)),
        raw=moments_of(_of("raw", arrays)),
        peak=float(arrays["peak"]),
        counts=arrays["counts"],
    )


def _prefixed(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _of(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    start = f"{prefix}."
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }
