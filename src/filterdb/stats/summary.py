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
from filterdb.stats.sparsity import SPARSITY_EPS, is_clean

FINE_BINS = 560
"""Bins of a stored histogram, over ``[-reach, reach]`` of its basis."""
COARSE_BINS = 70
"""Bins of the histograms that a shift compares [code]; each holds eight fine ones."""
MOST_TAPS = 121
"""Largest kernel with a summary, 11x11: second moments grow with the square of its taps."""
BLOCK = 8192  # filters a block: all its arrays stay in the second-level cache
MARGIN = 1e-12  # of the range, beyond either end

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
    height = min(len(filters), BLOCK)
    whole, sparse = _Sums(basis, height), _Sums(basis, height)
    room = np.empty((2, filters.shape[1] + 1, height))
    for start in range(0, len(filters), BLOCK):
        part = filters[start : start + BLOCK]
        columns, sizes = (narrowed(matrix, len(part)) for matrix in room)
        columns[:-1], columns[-1] = part.T, 1  # a filter is a column, with a one below
        peaks = np.abs(columns[:-1], out=sizes[:-1]).max(axis=0)
        dead = ~is_clean(peaks, peak, dtype=filters.dtype, sparsity_eps=sparsity_eps)
        whole.add(columns, peaks)
        if dead.any():
            sparse.add(columns[:, dead], peaks[dead])
    return LayerSummary(whole.summary(without=sparse), sparse.summary())


def narrowed(room: NDArray[Any], columns: int) -> NDArray[Any]:
    """A contiguous matrix with the rows of ``room`` and fewer columns, in its memory."""
    if columns == room.shape[1]:
        return room
    return room.reshape(-1)[: len(room) * columns].reshape(len(room), columns)


def largest(filters: NDArray[np.floating]) -> float:
    """Largest absolute weight, NaN if one is; 0 for no filters."""
    if not filters.size:
        return 0.0
    return float(np.maximum(filters.max(), -filters.min()))


class _Sums:
    """A summary on its way: filters come as columns, block by block.

    Below each filter stands a one: a single product of matrices then gives the sums of products
    with the sums and the number, and another one the coefficients as places on the bins.
    """

    def __init__(self, basis: Basis, height: int) -> None:
        taps = basis.mean.size
        self._basis = basis
        # Fresh arrays of this size would cost more than the arithmetic: these are used again.
        self._scaled_room = np.empty((taps + 1, height))
        self._places_room = np.empty((taps, height))
        self._bins_room = np.empty((taps, height), np.intp)
        self._raw, self._scaled = np.zeros((2, taps + 1, taps + 1))
        self._peak = 0.0
        self._counts = np.zeros(taps * FINE_BINS, np.int64)
        # A coefficient c lies in bin (c + reach) * per_unit of its component's bins. The outermost
        # edges are moved out by less than any coefficient's rounding, so that none falls over.
        per_unit = FINE_BINS * (1 - 2 * MARGIN) / (2 * basis.reach)
        shift = (basis.reach - basis.components @ basis.mean) * per_unit + FINE_BINS * MARGIN
        shift += np.arange(taps) * FINE_BINS
        self._to_places = np.column_stack([basis.components * per_unit, shift])

    def add(self, columns: Array, peaks: Array) -> None:
        """Add filters, shape ``(k + 1, n)``, with the largest absolute weight of each, ``(n,)``."""
        self._raw += columns @ columns.T
        self._peak = max(self._peak, float(peaks.max()))
        scaled = narrowed(self._scaled_room, peaks.size)
        np.divide(columns, np.where(peaks > 0, peaks, 1), out=scaled)
        scaled[-1] = 1
        self._scaled += scaled @ scaled.T
        places = narrowed(self._places_room, peaks.size)
        bins = narrowed(self._bins_room, peaks.size)
        np.copyto(bins, np.matmul(self._to_places, scaled, out=places), casting="unsafe")
        self._counts += np.bincount(bins.reshape(-1), minlength=self._counts.size)

    def summary(self, *, without: _Sums | None = None) -> Summary:
        """The sums as a summary, less those of some of the filters."""
        basis = self._basis
        raw, scaled, counts, peak = self._raw, self._scaled, self._counts, self._peak
        if without is not None:
            raw, scaled = raw - without._raw, scaled - without._scaled
            counts = counts - without._counts
        if not counts.any():
            return Summary.empty(basis)
        return Summary(
            kernel=basis.kernel,
            basis_id=basis.id,
            scaled=_moments(scaled),
            raw=_moments(raw),
            peak=peak,
            counts=counts.reshape(-1, FINE_BINS),
        )


def _moments(sums: Array) -> Moments:
    """Moments from the sums of products of filters with a one below each."""
    return Moments(round(sums[-1, -1]), sums[:-1, -1].copy(), sums[:-1, :-1].copy())
