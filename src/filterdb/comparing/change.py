"""How far the weights of a layer moved, weight by weight and filter by filter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
Array = NDArray[np.float64]

BLOCK = 2**18  # weights a block: its float64 copies stay in the cache
MOST_TAPS = 1024  # largest kernel that is kept for a picture, 32x32
KEPT = 32
"""Filters of a layer that are kept for a picture, the most changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the weights ``a`` of a layer in ``b``, of the same shape.

    Attributes
    ----------
    relative_l2
        ``||b - a|| / ||a||``; 0 where neither has a weight other than zero, None where only
        ``a`` has none.
    cosine
        Of the two as vectors; None where either is all zero.
    sign_flips
        Share of the weights that are positive in one and negative in the other.
    newly_zero, newly_nonzero
        Shares of the weights that became zero, and that no longer are.
    """

    relative_l2: float | None
    cosine: float | None
    sign_flips: float
    newly_zero: float
    newly_nonzero: float


NO_CHANGE = Change(0.0, 1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class ChangedFilters:
    """The most changed filters of a layer, the most changed first.

    Attributes
    ----------
    index
        Position among the layer's filters, ``c_out * (C_in/groups) + c_in``, shape ``(m,)``.
    change
        ``||b - a||`` of each filter, over the root mean square length of the layer's filters
        (before, or after where all were zero), shape ``(m,)``.
    before, after
        float32 of shape ``(m, kh, kw)``.
    """

    index: NDArray[np.int64]
    change: Array
    before: Weights
    after: Weights

    @classmethod
    def none(cls) -> ChangedFilters:
        """No filter, of no size."""
        empty = np.empty((0, 0, 0), np.float32)
        return cls(np.empty(0, np.int64), np.empty(0), empty, empty)


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """Sums over each output channel of ``a`` and ``b``, float64 of shape ``(C_out,)``.

    A layer with one weight a channel counts as one channel: it has no direction.
    """

    aa: Array
    bb: Array
    ab: Array

    @property
    def residual(self) -> float:
        """What no factor per output channel explains: the largest sine between channels.

        1 where a channel is all zero before and not after.
        """
        if np.any((self.aa == 0) & (self.bb > 0)):
            return 1.0
        live = (self.aa > 0) & (self.bb > 0)
        cosines = self.ab[live] / np.sqrt(self.aa[live]) / np.sqrt(self.bb[live])
        # sqrt(1 - cos^2) cancels near 1: what this can tell from 0 is 1e-8.
        return float(np.sqrt((1 - cosines**2).clip(min=0)).max(initial=0.0))

    @property
    def factors(self) -> Array:
        """The factor that brings each channel of ``a`` that is not zero closest to ``b``."""
        live = self.aa > 0
        factors: Array = self.ab[live] / self.aa[live]
        return factors


def compare_weights(a: Weights, b: Weights) -> tuple[Change, Products, ChangedFilters]:
    """Compare the weights of two layers, finite and of one shape.

    Parameters
    ----------
    a, b
        Before and after, shape ``(C_out, C_in/groups, kh, kw)``; not changed. All sums run in
        float64, a block of output channels at a time.
    """
    kernel = a.shape[2:]
    rows = (a.shape[0], -1) if a[0].size > 1 else (1, -1)
    left, right = a.reshape(rows), b.reshape(rows)
    aa, bb, ab = np.zeros((3, len(left)))
    moved = np.zeros((len(left), left.shape[1] // math.prod(kernel)))
    flips = gone = born = 0
    height = max(1, BLOCK // left.shape[1])
    for start in range(0, len(left), height):
        part = slice(start, start + height)
        x, y = left[part].astype(np.float64), right[part].astype(np.float64)
        aa[part] = np.einsum("ij,ij->i", x, x)
        bb[part] = np.einsum("ij,ij->i", y, y)
        ab[part] = np.einsum("ij,ij->i", x, y)
        zero_x, zero_y = x == 0, y == 0
        flips += int(np.count_nonzero(((x < 0) != (y < 0)) & ~zero_x & ~zero_y))
        gone += int(np.count_nonzero(zero_y & ~zero_x))
        born += int(np.count_nonzero(zero_x & ~zero_y))
        filters = np.subtract(y, x, out=y).reshape(-1, math.prod(kernel))
        moved[part] = np.einsum("ij,ij->i", filters, filters).reshape(len(x), -1)
    before, after = float(aa.sum()), float(bb.sum())
    distance = math.sqrt(float(moved.sum()))
    change = Change(
        relative_l2=distance / math.sqrt(before) if before else None if after else 0.0,
        cosine=cosine(before, after, float(ab.sum())),
        sign_flips=flips / a.size,
        newly_zero=gone / a.size,
        newly_nonzero=born / a.size,
    )
    scale = math.sqrt((before or after) / moved.size)
    return change, Products(aa, bb, ab), most_changed(a, b, moved.reshape(-1), scale)


def cosine(aa: float, bb: float, ab: float) -> float | None:
    """Cosine from the three products of two vectors; None where one of them is zero."""
    if not aa or not bb:
        return None
    return max(-1.0, min(1.0, ab / (math.sqrt(aa) * math.sqrt(bb))))


def most_changed(a: Weights, b: Weights, squares: Array, scale: float) -> ChangedFilters:
    """The filters with the largest of ``squares``, ``||b - a||^2`` each, of shape ``(n,)``."""
    kernel = a.shape[2:]
    if not 1 < math.prod(kernel) <= MOST_TAPS:
        return ChangedFilters.none()
    largest = np.argpartition(-squares, min(KEPT, squares.size) - 1)[:KEPT]
    index = largest[np.lexsort((largest, -squares[largest]))]
    index = index[squares[index] > 0].astype(np.int64)
    before, after = (w.reshape(-1, *kernel)[index] for w in (a, b))
    return ChangedFilters(index, np.sqrt(squares[index]) / scale, before, after)
