"""How far the output channels of a layer are from pointing the same way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRAM_ELEMENTS = 2**20  # elements a block of the Gram matrix
MOST_PRODUCTS = 2**40  # products of a Gram matrix that a layer is worth: seconds, not hours
OVERHEAD = 64  # products that the other work on one element of the Gram matrix costs
FAINT = 1e-20  # squared norm of a row, relative to the largest, that may underflow in products

Floats = NDArray[np.float32] | NDArray[np.float64]


def orthogonality(rows: Floats) -> float | None:
    """``1 - sum |W W^T - I| / (C (C - 1))`` for C output channels flattened to rows of norm 1.

    A zero row stays zero, and so counts 1 through its missing diagonal element. The rows are
    not normalised but the elements of their Gram matrix: ``sum |g_ij| / (|w_i| |w_j|)`` is a
    bilinear form. Only its upper triangle is visited, a block of rows at a time.

    None for one output channel, and for so many (a million, say) that their pairs would take
    hours: the work grows with their square, a file only with their number.
    """
    channels = len(rows)
    products = channels**2 * (rows.shape[1] + OVERHEAD)
    if channels < 2 or products > MOST_PRODUCTS:
        return None
    rows, lengths = row_lengths(rows)
    inverse = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    total = float(np.count_nonzero(lengths == 0))
    height = max(1, GRAM_ELEMENTS // channels)
    for start in range(0, channels, height):
        tail = rows[start:]
        gram = tail[:height] @ tail.T
        np.abs(gram, out=gram)
        np.fill_diagonal(gram, 0)
        columns = inverse[start:].copy()
        columns[height:] *= 2  # stands for the lower triangle, too
        gram *= columns
        total += float((gram.sum(axis=1) * inverse[start : start + height]).sum(dtype=np.float64))
    return max(0.0, 1 - total / (channels * (channels - 1)))  # rounding may overshoot


def row_lengths(rows: Floats) -> tuple[Floats, Floats]:
    """Rows and their Euclidean norms, with rows too faint for the squares brought to norm 1."""
    squares = squared_lengths(rows)
    faint = np.flatnonzero(squares < FAINT * squares.max())
    faint = faint[rows[faint].any(axis=1)]
    if faint.size:
        lifted = rows[faint].astype(np.float64)
        lifted /= np.abs(lifted).max(axis=1, keepdims=True)
        lifted /= np.linalg.norm(lifted, axis=1, keepdims=True)
        rows = rows.copy()
        rows[faint], squares[faint] = lifted, 1
    return rows, np.sqrt(squares)


def squared_lengths(rows: Floats) -> Floats:
    """Squared Euclidean norm of each row, as dot products without a temporary."""
    return (rows[:, None, :] @ rows[:, :, None]).reshape(len(rows))
