"""D between the filters of two layers, beside what chance alone makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.basis import Basis, reference_basis
from filterdb.stats.null import permutation_null
from filterdb.stats.shift import divergence, smoothed
from filterdb.stats.summary import COARSE_BINS, has_summary, scale

PERMUTATIONS = 100
MOST_PARTS = 2_000
"""Histograms of a layer that change sides; beyond, neighbouring filters share one."""
MOST_CELLS = 2**22
"""Bins of all histograms of a layer, 16 MiB: large kernels get fewer of them."""
BLOCK = 8192  # filters that are measured at once

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the distributions of two layers' filters lie apart.

    Attributes
    ----------
    value
        D.
    null_p95
        What D hardly exceeds by chance; None where there are too few filters to exchange.
    """

    value: float
    null_p95: float | None


def layer_shift(a: Weights, b: Weights) -> Shift | None:
    """D between the max-abs-scaled filters of two layers, in the fixed basis (METHODS 1.3).

    Parameters
    ----------
    a, b
        Before and after, finite, shape ``(C_out, C_in/groups, kh, kw)`` each.

    Returns
    -------
    Shift or None
        None where the kernels differ, or filters of that size have no summary (1x1).

    Notes
    -----
    The null takes filters in pairs, before and after at one position, and exchanges the two at
    random: a paired permutation. It answers whether the *distribution* of the filters' shapes
    changed by more than a random exchange of before and after does, and not whether the weights
    changed. It needs no correction for D's bias in small samples, which its permutations share.

    Above 2,000 filters, neighbours are exchanged together, in 2,000 groups. That is as valid a
    set of permutations, and each of them is of the whole layer: the null of a sample would be
    that of a small layer, where D runs higher.

    Layers of different shapes have no pairs: there all filters of both are dealt anew.
    """
    kernel = (a.shape[2], a.shape[3])
    if kernel != b.shape[2:] or not has_summary(kernel) or not a.size or not b.size:
        return None
    basis = reference_basis(kernel)
    width = 2 * basis.reach / COARSE_BINS
    weights = basis.explained_variance_ratio
    most = min(MOST_PARTS, max(2, MOST_CELLS // (basis.mean.size * COARSE_BINS)))
    filters = [w.reshape(-1, basis.mean.size) for w in (a, b)]
    size = -(-max(map(len, filters)) // most)
    before, after = (histograms(w, basis, size=size) for w in filters)
    p, q = (smoothed(parts.sum(axis=0, dtype=np.float64), width=width) for parts in (before, after))
    if a.shape == b.shape:
        in_p = in_q = np.ones(len(before), np.bool_)
    else:
        in_p = np.arange(len(before) + len(after)) < len(before)
        in_q = ~in_p
        before = after = np.concatenate([before, after])
    null = permutation_null(
        before, after, weights,
        width=width, in_p=in_p, in_q=in_q, permutations=PERMUTATIONS, unit="filter",
    )  # fmt: skip
    return Shift(float(divergence(p, q, weights)), null.p95)


def histograms(filters: Weights, basis: Basis, *, size: int) -> NDArray[np.float32]:
    """Histograms of the coefficients of every ``size`` filters in a row.

    Parameters
    ----------
    filters
        Shape ``(n, k)``.
    basis
        What the coefficients are taken in.
    size
        Filters a histogram; the last one may hold fewer.

    Returns
    -------
    ndarray of float32, shape (ceil(n / size), k, COARSE_BINS)
        Whole numbers.
    """
    n, taps = filters.shape
    found = np.empty((-(-n // size), taps, COARSE_BINS), np.float32)
    step = max(1, BLOCK // size)
    for first in range(0, len(found), step):
        block = found[first : first + step]
        rows = filters[first * size : (first + len(block)) * size]
        places = (basis.coefficients(scale(rows)) + basis.reach) * (COARSE_BINS / 2 / basis.reach)
        # What lies on the outermost edge may be rounded over it.
        bins = np.clip(places.astype(np.intp), 0, COARSE_BINS - 1)
        part = np.arange(len(rows)) // size
        flat = (part[:, None] * taps + np.arange(taps)) * COARSE_BINS + bins
        counts = np.bincount(flat.reshape(-1), minlength=block.size)
        block[...] = counts.reshape(block.shape)
    return found
