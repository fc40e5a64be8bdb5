"""Weights that are exactly zero: what pruning leaves, as opposed to what is merely tiny."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Zeros:
    """How many weights of a layer are exactly 0, and how they lie.

    Attributes
    ----------
    weights
        Weights that are 0: unstructured pruning leaves them anywhere.
    filters
        2-D filters of zeros alone.
    channels
        Output channels of zeros alone: structured pruning leaves those.
    """

    weights: int = 0
    filters: int = 0
    channels: int = 0


def count_zeros(weights: NDArray[Any]) -> Zeros:
    """Count the zeros of a layer of shape ``(C_out, C_in/groups, kh, kw)``; -0 is one, too.

    Examples
    --------
    >>> weights = np.ones((3, 2, 3, 3), np.float32)
    >>> weights[0] = weights[1, 1, 0] = 0
    >>> count_zeros(weights)
    Zeros(weights=21, filters=2, channels=1)
    """
    n_zero = weights.size - int(np.count_nonzero(weights))
    if n_zero == 0:
        return Zeros()
    out, per_group, *kernel = weights.shape
    used = weights.reshape(out * per_group, int(np.prod(kernel))).any(axis=1)
    in_use = used.reshape(out, per_group).any(axis=1)
    return Zeros(n_zero, int(np.count_nonzero(~used)), int(np.count_nonzero(~in_use)))
