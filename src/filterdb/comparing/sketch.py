"""A few numbers that tell one layer's weights from another's, whatever they are called."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SAME = 0.01
"""Distance of two sketches up to which the weights are the same but for rounding."""
ALIKE = 0.5
"""Distance up to which one network's weights come from the other's.

Unrelated ones lie at 0.85, and with :data:`TELLING` numbers or more hardly below 0.6.
"""
TELLING = 64
"""Numbers of a sketch from which on an accident is ruled out."""
DIRECTIONS = 8
CHANNELS, PER_CHANNEL = 64, 4096  # a sketch looks at no more of a layer


def sketch(weights: NDArray[np.float32]) -> Array:
    """A few numbers that tell a layer's weights from others', whatever each channel's factor.

    Each output channel is projected onto :data:`DIRECTIONS` fixed random vectors and divided by
    its length; the sign is dropped. Folding a BatchNorm, which multiplies output channels, does
    not change it; for noise of relative size e it moves by about e (root mean square).

    Parameters
    ----------
    weights
        Shape ``(C_out, C_in/groups, kh, kw)``.

    Returns
    -------
    ndarray of float64, shape (channels * DIRECTIONS,)
        Empty for weights that tell nothing: NaN or infinite, or all alike.
    """
    rows = weights.reshape(len(weights), -1) if weights.size else weights.reshape(1, 0)
    if rows.shape[1] == 1:  # one weight a channel: less its factor, nothing is left of it
        rows = rows.reshape(1, -1)
    rows = rows[:CHANNELS, :PER_CHANNEL].astype(np.float64)
    if not rows.size or not np.isfinite(rows).all() or np.ptp(rows) == 0:
        return np.empty(0)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    projected = rows @ directions(rows.shape[1])
    told: Array = np.abs(projected / np.where(lengths > 0, lengths, 1)).reshape(-1)
    return told


@lru_cache(maxsize=64)
def directions(length: int) -> Array:
    """Fixed random vectors, shape ``(length, DIRECTIONS)``."""
    return np.random.default_rng(length).standard_normal((length, DIRECTIONS))


def closest_pairs(
    a: Array, b: Array, limit: float, *, preferred: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Pair rows no farther apart than ``limit``, the closest first, each with one at most.

    Parameters
    ----------
    a, b
        Shapes ``(n, s)`` and ``(m, s)``; distances are root mean squares of differences.
    limit
        The largest distance.
    preferred
        Pairs that go before closer ones, shape ``(n, m)``.
    """
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    # What is closer than this is so by rounding: there the order decides, not the digits.
    distances = np.sqrt(squares.clip(min=0) / a.shape[1]).clip(min=SAME / 1000)
    r, c = np.nonzero(distances <= limit)
    order = np.lexsort((c, r, distances[r, c], ~preferred[r, c]))
    pairs: list[tuple[int, int]] = []
    taken_r, taken_c = set(), set()
    for i, j in zip(r[order].tolist(), c[order].tolist(), strict=True):
        if i not in taken_r and j not in taken_c:
            taken_r.add(i)
            taken_c.add(j)
            pairs.append((i, j))
    return pairs
