"""What a layer leaves behind for every later question: sums that add up to any population.

Scaled filters are those of METHODS 1.3, step 1: ``f / max |f|``; all-zero ones stay. All sums run
in float64, in blocks, so that neither memory nor rounding grows with the number of filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.basis import Basis, Kernel
from filterdb.stats.moments import Moments
from filterdb.stats.quality import SPARSITY_EPS

FINE_BINS = 560
"""Bins of a stored histogram, over ``[-reach, reach]`` of its basis."""
COARSE_BINS = 70
"""Bins of the histograms that a shift compares [code]; each holds eight fine ones."""
MOST_TAPS = 121
"""Largest kernel with a summary, 11x11: second moments grow with the square of its taps."""
BLOCK = 8192  # filters a block: all its arrays stay in the second-level cache

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Sums over a set of filters of one kernel size; ``a + b`` is the summary of both.

    Attributes
    ----------
    kernel
        Height and width, in taps; ``k`` is their product.
    basis_id
        The basis that the histograms are in.
    scaled, raw
        Moments of the max-abs-scaled filters, and of the filters as they are.
    peak
        Largest absolute weight; 0 for no filters.
    counts
        Histogram of the coefficients along each component, int64 of shape ``(k, FINE_BINS)``,
        in equal bins over ``[-reach, reach]`` of the basis.
    """

    kernel: Kernel
    basis_id: str
    scaled: Moments
    raw: Moments
    peak: float
    counts: Counts

    @classmethod
    def empty(cls, basis: Basis) -> Self:
        """The summary of no filters."""
        taps = basis.mean.size
        counts = np.zeros((taps, FINE_BINS), np.int64)
        return cls(basis.kernel, basis.id, Moments.zero(taps), Moments.zero(taps), 0.0, counts)

    @property
    def n(self) -> int:
        """Number of filters."""
        return self.scaled.n

    def coarse(self) -> Counts:
        """The histogram in the bins that a shift compares, shape ``(k, COARSE_BINS)``."""
        return coarse(self.counts)

    def __add__(self, other: Self) -> Self:
        if (self.kernel, self.basis_id) != (other.kernel, other.basis_id):
            msg = (
                f"Summaries in {self.kernel} {self.basis_id} and {other.kernel} {other.basis_id} "
                "do not add up: they differ in their kernel size or their basis."
            )
            raise ValueError(msg)
        return type(self)(
            self.kernel,
            self.basis_id,
            self.scaled + other.scaled,
            self.raw + other.raw,
            max(self.peak, other.peak),
            self.counts + other.counts,
        )

    def __repr__(self) -> str:
        height, width = self.kernel
        return f"<Summary of {self.n:,} {height}x{width} filters in basis {self.basis_id}>"


@dataclass(frozen=True, slots=True, eq=False)
class LayerSummary:
    """A layer's summary in two parts: the filters that are sparse (METHODS 1.4), and the rest."""

    clean: Summary
    sparse: Summary

    def all(self) -> Summary:
        """Of all filters of the layer."""
        return self.clean + self.sparse


def coarse(counts: NDArray[Any]) -> NDArray[Any]:
    """Merge fine bins: shape ``(..., FINE_BINS)`` to ``(..., COARSE_BINS)``."""
    merged: NDArray[Any] = counts.reshape(*counts.shape[:-1], COARSE_BINS, -1).sum(axis=-1)
    return merged


def has_summary(kernel: Kernel) -> bool:
    """Whether filters of a size are summarised: not 1x1, which have no shape, nor huge ones."""
    return 1 < kernel[0] * kernel[1] <= MOST_TAPS


def scale(filters: NDArray[np.floating]) -> Array:
    """Filters over their largest absolute weight, float64; all-zero ones stay.

    Parameters
    ----------
    filters
        Shape ``(n, k)``.
    """
    peaks = np.abs(filters).max(axis=1, keepdims=True).astype(np.float64)
    return filters / np.where(peaks > 0, peaks, 1)


def summarise(
    weights: NDArray[np.floating], basis: Basis, *, sparsity_eps: float = SPARSITY_EPS
) -> LayerSummary:
    """Summarise a layer.

    Parameters
    ----------
    weights
        Shape ``(C_out, C_in/groups, kh, kw)``, or ``(n, kh, kw)``; not changed.
    basis
        What its histograms are taken in; of the same kernel size.
    sparsity_eps
        A filter is sparse if all its weights are below this share of the layer's peak.

    Raises
    ------
    ValueError
        The basis is of another kernel size, or a weight is not finite.
    """
    kernel = (weights.shape[-2], weights.shape[-1])
    if kernel != basis.kernel:
        msg = f"A basis of size {basis.kernel} does not fit filters of size {kernel}."
        raise ValueError(msg)
    filters = weights.reshape(-1, kernel[0] * kernel[1])
    peak = largest(filters)
    if not np.isfinite(peak):
        msg = "Weights that are NaN or infinite have no summary."
        raise ValueError(msg)
    clean, sparse = _Sums(basis), _Sums(basis)
    # Compared in the weights' own precision, as the sparsity measure does: ties stay ties.
    least = filters.dtype.type(sparsity_eps * peak)
    block = np.empty((filters.shape[1], min(len(filters), BLOCK)))
    scratch = np.empty_like(block)
    for start in range(0, len(filters), BLOCK):
        part = filters[start : start + BLOCK]
        columns = block[:, : len(part)]
        columns[...] = part.T
        peaks = np.abs(columns, out=scratch[:, : len(part)]).max(axis=0)
        alive = (peaks >= least) & (peak > 0)
        if alive.all():
            clean.add(columns, peaks, scratch)
            continue
        clean.add(columns[:, alive], peaks[alive], scratch)
        sparse.add(columns[:, ~alive], peaks[~alive], scratch)
    return LayerSummary(clean.summary(), sparse.summary())


def largest(filters: NDArray[np.floating]) -> float:
    """Largest absolute weight, NaN if one is; 0 for no filters."""
    if not filters.size:
        return 0.0
    return float(np.maximum(filters.max(), -filters.min()))


class _Sums:
    """A summary on its way: filters come as columns, block by block."""

    def __init__(self, basis: Basis) -> None:
        taps = basis.mean.size
        self._basis = basis
        self._scaled, self._raw = Moments.zero(taps), Moments.zero(taps)
        self._peak = 0.0
        self._counts = np.zeros(taps * FINE_BINS, np.int64)
        # A coefficient c lies in bin (c + reach) * per_unit; each component has its own bins.
        per_unit = FINE_BINS / (2 * basis.reach)
        self._to_places = basis.components * per_unit
        shift = basis.reach - basis.components @ basis.mean
        self._shift = (shift * per_unit)[:, None]
        self._first_bins = np.arange(taps)[:, None] * FINE_BINS
        self._places = self._bins = np.empty((taps, 0))

    def add(self, columns: Array, peaks: Array, scratch: Array) -> None:
        """Add filters, shape ``(k, n)``, with the largest absolute weight of each, ``(n,)``.

        Everything is computed into arrays that are there: fresh ones of this size cost more
        than the arithmetic.
        """
        n = peaks.size
        if not n:
            return
        if self._places.shape[1] < n:
            self._places = np.empty(scratch.shape)
            self._bins = np.empty(scratch.shape, np.intp)
        self._raw += Moments.of(columns)
        self._peak = max(self._peak, float(peaks.max()))
        scaled = np.divide(columns, np.where(peaks > 0, peaks, 1), out=scratch[:, :n])
        self._scaled += Moments.of(scaled)
        places = np.matmul(self._to_places, scaled, out=self._places[:, :n])
        places += self._shift
        # The outermost bins take what rounding puts on or beyond their edge.
        np.clip(places, 0, FINE_BINS - 1, out=places)
        bins = self._bins[:, :n]
        np.copyto(bins, places, casting="unsafe")
        bins += self._first_bins
        self._counts += np.bincount(bins.reshape(-1), minlength=self._counts.size)

    def summary(self) -> Summary:
        basis = self._basis
        counts = self._counts.reshape(-1, FINE_BINS)
        return Summary(basis.kernel, basis.id, self._scaled, self._raw, self._peak, counts)
