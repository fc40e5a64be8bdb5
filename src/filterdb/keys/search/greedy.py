"""Greedy removal: from many candidates down to a few keys, by what each one costs (METHODS 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence, Kernel

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Which candidates greedy removal leaves.

    Attributes
    ----------
    indices
        Of the candidates that are left, in the order of the candidates.
    removed
        The others, the first to go first.
    mean_r2
        Mean R² of the filters with ``len(candidates), ..., count`` candidates left.
    """

    indices: tuple[int, ...]
    removed: tuple[int, ...]
    mean_r2: tuple[float, ...]


def remove_greedily(
    unit: NDArray[np.float32],
    candidates: NDArray[np.floating],
    count: int,
    *,
    kernel: Kernel,
    same: Equivalence | None = None,
) -> Kept:
    """Remove, one at a time, the candidate whose filters lose least by going to their second best.

    Parameters
    ----------
    unit
        Filters in normal form, shape ``(n, k)``; a few ten thousand are enough.
    candidates
        Shape ``(C, k)``.
    count
        How many are to be left.
    kernel
        Height and width.
    same
        What does not matter.

    Raises
    ------
    ValueError
        There are fewer candidates than that.
    """
    if not 1 <= count <= len(candidates):
        msg = f"{count} keys cannot be kept of {len(candidates)} candidates"
        raise ValueError(msg)
    likeness = r2_with_each(unit, candidates, kernel, same=same)
    left = list(range(len(candidates)))
    removed: list[int] = []
    history = [float(likeness.max(axis=1).mean())]
    while len(left) > count:
        own = likeness[:, left]
        two = np.partition(own, -2, axis=1)[:, -2:]
        cost = np.bincount(
            own.argmax(axis=1),
            weights=two[:, 1].astype(np.float64) - two[:, 0],
            minlength=len(left),
        )
        removed.append(left.pop(int(cost.argmin())))
        history.append(float(likeness[:, left].max(axis=1).mean()))
    return Kept(tuple(left), tuple(removed), tuple(history))


def r2_with_each(
    unit: NDArray[np.float32],
    keys: NDArray[np.floating],
    kernel: Kernel,
    *,
    same: Equivalence | None = None,
) -> NDArray[np.float32]:
    """R² of every filter with every key, the best of its moves; float32 of shape ``(n, K)``."""
    equivalence = same or Equivalence()
    views = equivalence.views(keys, kernel)
    best = np.zeros((len(unit), len(views)), np.float32)
    for view in range(views.shape[1]):
        cosine = unit @ views[:, view].T
        if equivalence.signed:
            np.maximum(cosine, 0, out=cosine)
        np.maximum(best, np.square(cosine), out=best)
    return np.minimum(best, 1)
