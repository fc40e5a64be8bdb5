"""The shift between two populations of filters: a symmetric divergence of their histograms.

METHODS 1.3, step 3, after Gavrikov & Keuper (CVPR 2022): the coefficients along each component
make a density histogram, and the shift is the divergence of these, weighted by component.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EMPTY = float(np.finfo(np.float32).eps)
"""What stands for an empty bin, in units of density: 1.1920929e-07 [code]."""

FEW_FILTERS = 1_000
"""Below so many filters D is mostly the bias of a small sample: 0.14 at 1,000 (METHODS 1.3, 5)."""

Array = NDArray[np.float64]


def smoothed(counts: NDArray[Any], *, width: float) -> Array:
    """Turn histograms into probabilities without zeros.

    Parameters
    ----------
    counts
        Shape ``(..., bins)``, as a rule ``(..., k, bins)``: whole numbers, or fractions where
        layers are weighted. Not changed.
    width
        Width of a bin, in units of the coefficients. An empty bin is given the *density* ``eps``
        of :data:`EMPTY`, so that its probability is about ``eps * width``.

    Returns
    -------
    numpy.ndarray
        float64 of the same shape; the last axis sums to 1, and is NaN where it holds no counts.
    """
    n = counts.sum(axis=-1, keepdims=True, dtype=np.float64)
    empty = counts == 0
    floor = EMPTY * width
    total = n * (1 + floor * np.count_nonzero(empty, axis=-1, keepdims=True))
    with np.errstate(invalid="ignore"):  # no counts at all: 0/0, the NaN that is promised
        probabilities: Array = np.where(empty, floor * n, counts) / total
    return probabilities


def divergence(p: Array, q: Array, weights: NDArray[Any]) -> Array:
    """The shift ``D(P, Q) = sum_i a_i (KL(p_i || q_i) + KL(q_i || p_i))``, natural logarithm.

    Parameters
    ----------
    p, q
        Probabilities without zeros, as :func:`smoothed` makes them; shapes ``(..., k, bins)``
        that broadcast.
    weights
        ``a_i``, shape ``(k,)``: explained-variance ratios, or ``1/k``.

    Returns
    -------
    numpy.ndarray
        float64 of shape ``(...)``; exactly 0 for equal ones, and exactly symmetric.
    """
    per_component = np.einsum("...b,...b->...", p - q, np.log(p) - np.log(q))
    shift: Array = per_component @ np.asarray(weights, np.float64)
    return shift


def shift_matrix(counts: NDArray[Any], weights: NDArray[Any], *, width: float) -> Array:
    """The shift between any two of several groups.

    Parameters
    ----------
    counts
        Histograms of the groups in the same bins, shape ``(G, k, bins)``.
    weights
        ``a_i`` of the components, shape ``(k,)``.
    width
        Width of a bin, in units of the coefficients.

    Returns
    -------
    numpy.ndarray
        ``D``, float64 of shape ``(G, G)``: symmetric, 0 on the diagonal, NaN in the row and the
        column of a group without filters.

    Notes
    -----
    ``D`` is biased upwards in small samples: two samples of 1,000 filters of *one* distribution
    have 0.14 (METHODS 1.5). Read it beside its null,
    :func:`filterdb.stats.null.permutation_null`.

    Examples
    --------
    >>> matrix = shift_matrix(np.array([[[8, 2]], [[2, 8]]]), np.array([1.0]), width=0.5)
    >>> matrix.round(4).tolist()
    [[0.0, 1.6636], [1.6636, 0.0]]
    """
    groups, k, bins = counts.shape
    probabilities = smoothed(counts, width=width)
    # The weighted difference of two groups times that of their logarithms: one product a pair.
    logs = np.log(probabilities).reshape(groups, k * bins)
    weighted = (probabilities * np.asarray(weights, np.float64)[:, None]).reshape(groups, k * bins)
    matrix = np.zeros((groups, groups))
    for i in range(groups):
        row = np.einsum("gj,gj->g", weighted[i:] - weighted[i], logs[i:] - logs[i])
        matrix[i, i:] = matrix[i:, i] = row
    return matrix
