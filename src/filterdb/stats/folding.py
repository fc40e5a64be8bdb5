"""Filters times the scale of the batch normalisation that follows them (METHODS 1.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STORED_SCALE = np.dtype("<f8")
"""Of a scale as bytes, one number an output channel."""


def folded(weights: NDArray[np.float32], scale: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights times the scale of their output channel.

    Parameters
    ----------
    weights
        Shape ``(C_out, C_in/groups, kh, kw)``; not changed.
    scale
        Shape ``(C_out,)``; no unit.

    Returns
    -------
    ndarray of float32
        Of the shape of ``weights``; what float32 cannot hold is infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        factors = scale.astype(np.float32).reshape(-1, 1, 1, 1)
        return np.ascontiguousarray(weights * factors, dtype=np.float32)
