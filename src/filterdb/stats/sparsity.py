"""Which filters are sparse (METHODS 1.4): next to nothing beside the strongest of their layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SPARSITY_EPS = 0.01
"""A filter is sparse if all its weights stay below this share of the layer's peak [paper]."""

TAME = (2.0**-20, 2.0**20)
"""Peaks whose squares, and hundredths, are far from float32's limits."""


def is_clean(
    peaks: NDArray[Any], peak: float, *, dtype: Any, sparsity_eps: float = SPARSITY_EPS
) -> NDArray[np.bool_]:
    """Whether filters are not sparse.

    Parameters
    ----------
    peaks
        Largest absolute weight of each filter, shape ``(n,)``.
    peak
        That of the layer. If it is 0, all filters are sparse.
    dtype
        Of the weights: they are compared in their own precision, as the reference does, so that
        ties stay ties; but in float64 if they are so small or large that it ends there.
    sparsity_eps
        The share of the peak that one weight has to reach.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    if not TAME[0] < peak < TAME[1]:
        dtype = np.dtype(np.float64)
    clean: NDArray[np.bool_] = (peaks >= dtype.type(sparsity_eps * peak)) & (peak > 0)
    return clean
