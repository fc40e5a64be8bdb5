"""The quality of one convolution layer, from its weights alone (METHODS 1.4).

All measures look at the *unscaled* weights; sums run in float64. A measure that is not defined
for a layer is ``None``, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.randomness import threshold

SPARSITY_EPS = 0.01
"""A filter is sparse if all its weights stay below this share of the layer's peak [paper]."""

BLOCK = 4096 * 9  # weights a block: its float64 copy stays in the second-level cache
GRAM_ELEMENTS = 2**20  # elements a block of the Gram matrix
TAME = (2.0**-20, 2.0**20)  # peaks whose squares are far from float32's limits
FAINT = 1e-20  # squared norm of a row, relative to the largest, that may underflow in products
ROUNDING = 1e-12  # relative standard deviation that is rounding of a constant

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerQuality:
    """What the weights of a layer say of its health.

    Attributes
    ----------
    n_filters
        Number of 2-D filters, ``C_out * C_in/groups``.
    n_invalid
        Weights that are NaN or infinite. If there are any, all that follows is None.
    peak
        Largest absolute weight.
    sparsity
        Share of filters whose weights all stay below 1 % of the peak; 1 if the peak is 0.
    variance_entropy
        ``H = -sum p log10 p`` of the explained-variance ratios ``p`` of the filters'
        principal components: 0 (all alike) to ``log10(kh * kw)``.
    randomness_threshold
        ``T_H``: the least ``H`` to expect of as many Gaussian filters; None up to two filters.
    entropy_ratio
        ``H / T_H``.
    n_clean, clean_variance_entropy, clean_randomness_threshold, clean_entropy_ratio
        The same over the filters that are not sparse.
    orthogonality
        1 (all output channels orthogonal) to 0 (all parallel); None for one output channel.
        It compares output channels, not the shapes of filters: 1x1 kernels have it too.
    l1, l2
        Sum of absolute weights; root of the sum of squares.
    l1_standardised, l2_standardised
        The same once the layer's weights have mean 0 and standard deviation 1; None where all
        weights are equal.
    """

    n_filters: int
    n_invalid: int = 0
    peak: float | None = None
    sparsity: float | None = None
    variance_entropy: float | None = None
    randomness_threshold: float | None = None
    entropy_ratio: float | None = None
    n_clean: int | None = None
    clean_variance_entropy: float | None = None
    clean_randomness_threshold: float | None = None
    clean_entropy_ratio: float | None = None
    orthogonality: float | None = None
    l1: float | None = None
    l2: float | None = None
    l1_standardised: float | None = None
    l2_standardised: float | None = None


def layer_quality(weights: NDArray[Any], *, sparsity_eps: float = SPARSITY_EPS) -> LayerQuality:
    """Measure one layer.

    Parameters
    ----------
    weights
        Shape ``(C_out, C_in/groups, kh, kw)``, any real dtype and memory layout; not changed.
    sparsity_eps
        A filter is sparse if all its weights are below this share of the peak.

    Returns
    -------
    LayerQuality
        Every measure; None where undefined. 1x1 kernels have no shape, so neither sparsity nor
        entropy.

    Raises
    ------
    ValueError
        ``weights`` is not four-dimensional, or not real.

    Notes
    -----
    Multiplying the weights by a constant changes nothing but ``peak``, ``l1`` and ``l2``.

    Examples
    --------
    >>> layer_quality(np.zeros((8, 4, 3, 3))).sparsity
    1.0
    """
    if weights.ndim != 4 or weights.dtype.kind not in "fiub":
        msg = (
            "Weights are real numbers of shape (C_out, C_in/groups, kh, kw), "
            f"not {weights.dtype} of shape {weights.shape}."
        )
        raise ValueError(msg)
    out, per_group, kh, kw = weights.shape
    n_filters = out * per_group
    if weights.size == 0:
        return LayerQuality(n_filters)
    # Whatever fits float32 exactly stays there: half the memory traffic, the same values.
    dtype = np.float32 if np.can_cast(weights.dtype, np.float32) else np.float64
    filters = np.ascontiguousarray(weights, dtype).reshape(n_filters, kh * kw)
    peak = max(float(filters.max()), -float(filters.min()))
    if not math.isfinite(peak):
        return LayerQuality(n_filters, n_invalid=int(np.count_nonzero(~np.isfinite(filters))))
    exponent = 0 if peak == 0 or TAME[0] < peak < TAME[1] else math.frexp(peak)[1]
    if exponent:
        filters = np.ldexp(filters.astype(np.float64), -exponent)
    return LayerQuality(
        n_filters,
        n_invalid=0,
        peak=peak,
        orthogonality=orthogonality(filters.reshape(out, -1)),
        **(shape_measures(filters, sparsity_eps) if kh * kw > 1 else {}),
        **norms(filters.reshape(-1), exponent),
    )


def shape_measures(filters: Floats, sparsity_eps: float) -> dict[str, Any]:
    """Sparsity and variance entropy of filters of shape ``(n, taps)``, and of the clean ones."""
    n, taps = filters.shape
    peaks = filter_peaks(filters)
    # Compared in the weights' own precision, as the reference does: ties stay ties.
    limit = filters.dtype.type(sparsity_eps * float(peaks.max()))
    clean = peaks >= limit if limit > 0 else np.zeros(n, dtype=np.bool_)
    n_clean = int(np.count_nonzero(clean))
    entropy, random, ratio = entropy_measures(filters, n, taps)
    if n_clean < n:
        clean_measures = entropy_measures(filters[clean], n_clean, taps)
    else:
        clean_measures = entropy, random, ratio
    return {
        "sparsity": 1 - n_clean / n,
        "variance_entropy": entropy,
        "randomness_threshold": random,
        "entropy_ratio": ratio,
        "n_clean": n_clean,
        "clean_variance_entropy": clean_measures[0],
        "clean_randomness_threshold": clean_measures[1],
        "clean_entropy_ratio": clean_measures[2],
    }


def filter_peaks(filters: Floats) -> Floats:
    """Largest absolute weight of each filter, shape ``(n,)``."""
    peaks = np.empty(len(filters), filters.dtype)
    for rows in blocks(filters.shape):
        np.abs(filters[rows].T, order="C").max(axis=0, out=peaks[rows])
    return peaks


def entropy_measures(
    filters: Floats, n: int, taps: int
) -> tuple[float | None, float | None, float | None]:
    """``H``, ``T_H`` and their ratio; all None for no filters."""
    if n == 0:
        return None, None, None
    entropy = entropy_of(component_variances(filters))
    random = threshold(n, taps)
    return entropy, random, entropy / random if random else None


def entropy_of(variances: NDArray[np.float64]) -> float:
    """Entropy, to base 10, of the shares of a total; 0 where the total is 0."""
    total = variances.sum()
    if total <= 0:
        return 0.0
    shares = variances[variances > 0] / total
    return max(0.0, -float(shares @ np.log10(shares)))


def component_variances(filters: Floats) -> NDArray[np.float64]:
    """Variances, times n, along the principal components of filters of shape ``(n, taps)``.

    They are the squared singular values of the centred filters, by way of the smaller of the
    two Gram matrices. The filters are shifted by the first of them before they are summed:
    equal filters have exactly zero variance, and as the shift is one of the n points, the
    cancellation in subtracting the mean costs at most a factor n of float64's precision.
    """
    n, taps = filters.shape
    origin = filters[0].astype(np.float64)
    if n <= taps:
        centred = filters - origin
        centred -= centred.mean(axis=0)
        scatter = centred @ centred.T
    else:
        total = np.zeros(taps)
        scatter = np.zeros((taps, taps))
        for rows in blocks(filters.shape):
            shifted = filters[rows].T.astype(np.float64, order="C")
            shifted -= origin[:, None]
            total += shifted.sum(axis=1)
            scatter += shifted @ shifted.T
        scatter -= np.outer(total, total / n)
    variances: NDArray[np.float64] = np.linalg.eigvalsh(scatter)
    return variances.clip(min=0)


def orthogonality(rows: Floats) -> float | None:
    """``1 - sum |W W^T - I| / (C (C - 1))`` for C output channels flattened to rows of norm 1.

    A zero row stays zero, and so counts 1 through its missing diagonal element. The rows are
    not normalised but the elements of their Gram matrix: ``sum |g_ij| / (|w_i| |w_j|)`` is a
    bilinear form. Only its upper triangle is visited, a block of rows at a time.
    """
    channels = len(rows)
    if channels < 2:
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
    squares = (rows[:, None, :] @ rows[:, :, None]).reshape(len(rows))
    faint = np.flatnonzero(squares < FAINT * squares.max())
    faint = faint[rows[faint].any(axis=1)]
    if faint.size:
        lifted = rows[faint].astype(np.float64)
        lifted /= np.abs(lifted).max(axis=1, keepdims=True)
        lifted /= np.linalg.norm(lifted, axis=1, keepdims=True)
        rows = rows.copy()
        rows[faint], squares[faint] = lifted, 1
    return rows, np.sqrt(squares)


def norms(values: Floats, exponent: int) -> dict[str, float | None]:
    """Norms of a layer's weights, given over ``2**exponent``; raw and standardised."""
    total = absolute = square = 0.0
    for part in pieces(values):
        total += float(part.sum())
        absolute += float(np.abs(part).sum())
        square += float(part @ part)
    mean = total / values.size
    if square < 2 * mean * total:  # the mean outweighs the spread: float32 would cancel
        values = values.astype(np.float64)
        mean = float(values.mean())
    variance = spread = 0.0
    for part in pieces(values):
        centred = part - mean
        variance += float(centred @ centred)
        spread += float(np.abs(centred, out=centred).sum())
    deviation = math.sqrt(variance / values.size)
    flat = deviation <= ROUNDING * math.sqrt(square / values.size)
    return {
        "l1": finite(absolute, exponent),
        "l2": finite(math.sqrt(square), exponent),
        "l1_standardised": None if flat else spread / deviation,
        "l2_standardised": None if flat else math.sqrt(values.size),
    }


def finite(value: float, exponent: int) -> float | None:
    """``value * 2**exponent``, or None where that is out of float64's range."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return None


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of a matrix of ``shape``, about :data:`BLOCK` elements each."""
    height = max(1, BLOCK // shape[1])
    return (slice(start, start + height) for start in range(0, shape[0], height))


def pieces(values: Floats) -> Iterator[Floats]:
    """A flat array in pieces of :data:`BLOCK` elements."""
    return (values[start : start + BLOCK] for start in range(0, values.size, BLOCK))
