"""How many directions a key set really has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.key_set import KeySet


def singular_values(keys: KeySet) -> NDArray[np.float64]:
    """Singular values of the keys as rows, largest first; their squares add up to their number."""
    return np.asarray(np.linalg.svd(keys.flat, compute_uv=False), np.float64)


def effective_rank(keys: KeySet) -> float:
    """Exponential of the entropy of the normalised singular values (Roy and Vetterli 2007).

    Returns
    -------
    float
        1 where all keys are one line, ``K`` where they are orthogonal.
    """
    values = singular_values(keys)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
