"""The quality of one convolution layer, from its weights alone (METHODS 1.4).

All measures look at the *unscaled* weights; sums run in float64. A measure that is not defined
for a layer is ``None``, never NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.moments import Moments
from filterdb.stats.orthogonality import orthogonality, squared_lengths
from filterdb.stats.randomness import threshold
from filterdb.stats.sparsity import SPARSITY_EPS, TAME, is_clean
from filterdb.stats.variance import BLOCK, Floats, blocks, component_variances, entropy_of, height

MOST_COMPONENTS = 1024  # principal components of a layer: the work grows with their cube
ROUNDING = 1e-12  # relative standard deviation that is rounding of a constant

Measures = dict[str, Any]


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
        1 (all output channels orthogonal) to 0 (all parallel); None for one output channel
        or for far too many.
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


def layer_quality(
    weights: NDArray[Any],
    *,
    sparsity_eps: float = SPARSITY_EPS,
    moments: tuple[Moments, Moments] | None = None,
) -> LayerQuality:
    """Measure one layer.

    Parameters
    ----------
    weights
        Shape ``(C_out, C_in/groups, kh, kw)``, any real dtype and memory layout; not changed.
    sparsity_eps
        A filter is sparse if all its weights are below this share of the peak.
    moments
        Of the filters that are not sparse and of those that are, with the same ``sparsity_eps``,
        where they are known: they save a pass over the weights.

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
    dtype: Any = np.float32 if np.can_cast(weights.dtype, np.float32) else np.float64
    filters: Floats = np.ascontiguousarray(weights, dtype).reshape(n_filters, kh * kw)
    peaks, absolute, total = magnitudes(filters)
    peak = float(peaks.max())
    if not math.isfinite(peak):
        return LayerQuality(n_filters, n_invalid=int(np.count_nonzero(~np.isfinite(filters))))
    exponent = 0 if peak == 0 or TAME[0] < peak < TAME[1] else math.frexp(peak)[1]
    if exponent:
        moments = None  # they are of the weights as they are
        filters = np.ldexp(filters.astype(np.float64), -exponent)
        peaks, absolute, total = magnitudes(filters)
    return LayerQuality(
        n_filters,
        peak=peak,
        **shape_measures(filters, peaks, sparsity_eps, moments),
        **layer_measures(filters.reshape(out, -1), absolute, total, exponent),
    )


def shape_measures(
    filters: Floats,
    peaks: Floats,
    sparsity_eps: float,
    moments: tuple[Moments, Moments] | None = None,
) -> Measures:
    """Sparsity and variance entropy of filters of shape ``(n, taps)``.

    None of them for one tap, nor for more than :data:`MOST_COMPONENTS` filters of as many taps:
    no network has those, but a hostile file may.
    """
    n, taps = filters.shape
    if taps == 1 or min(n, taps) > MOST_COMPONENTS:
        return {}
    peak = float(peaks.max())
    clean = is_clean(peaks, peak, dtype=filters.dtype, sparsity_eps=sparsity_eps)
    n_clean = int(np.count_nonzero(clean))
    variances = component_variances(filters, clean, moments)
    entropy, random, ratio = entropy_measures(variances[0], n, taps)
    clean_measures = entropy_measures(variances[1], n_clean, taps)
    return {
        "sparsity": (n - n_clean) / n,
        "variance_entropy": entropy,
        "randomness_threshold": random,
        "entropy_ratio": ratio,
        "n_clean": n_clean,
        "clean_variance_entropy": clean_measures[0],
        "clean_randomness_threshold": clean_measures[1],
        "clean_entropy_ratio": clean_measures[2],
    }


def magnitudes(filters: Floats) -> tuple[Floats, float, float]:
    """Largest absolute weight of each filter, shape ``(n,)``; sums of ``|w|`` and of ``w``.

    One pass, a block at a time: memory, not arithmetic, is what these cost.
    """
    peaks = np.empty(len(filters), filters.dtype)
    scratch = np.empty((filters.shape[1], min(len(filters), height(filters.shape))), filters.dtype)
    absolute = total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # sums of what is not finite are not used
        for rows in blocks(filters.shape):
            part = filters[rows]
            size = np.abs(part.T, out=scratch[:, : len(part)])
            size.max(axis=0, out=peaks[rows])
            absolute += float(size.sum())
            total += float(part.sum())
    return peaks, absolute, total


def entropy_measures(
    variances: NDArray[np.float64], n: int, taps: int
) -> tuple[float | None, float | None, float | None]:
    """``H``, ``T_H`` and their ratio; all None for no filters."""
    if n == 0:
        return None, None, None
    entropy = entropy_of(variances)
    random = threshold(n, taps)
    return entropy, random, entropy / random if random else None


def layer_measures(rows: Floats, absolute: float, total: float, exponent: int) -> Measures:
    """Norms and orthogonality of output channels of shape ``(C_out, -1)`` over ``2**exponent``.

    ``absolute`` and ``total`` are the sums of ``|w|`` and of ``w``.
    """
    values, count = rows.reshape(-1), rows.size
    square = float(squared_lengths(rows).sum(dtype=np.float64))
    mean = total / count
    if square < 2 * count * mean * mean:  # the mean outweighs the spread: float32 would cancel
        values = values.astype(np.float64)
        mean, variance = float(values.mean()), float(values.var())
    else:
        variance = square / count - mean * mean
    flat = variance <= ROUNDING**2 * square / count
    spread = absolute_deviations(values, mean)
    return {
        "orthogonality": orthogonality(rows),
        "l1": finite(absolute, exponent),
        "l2": finite(math.sqrt(square), exponent),
        "l1_standardised": None if flat else spread / math.sqrt(variance),
        "l2_standardised": None if flat else math.sqrt(count),
    }


def absolute_deviations(values: Floats, mean: float) -> float:
    """Sum of ``|w - mean|`` over a flat array."""
    scratch = np.empty(min(values.size, BLOCK), values.dtype)
    total = 0.0
    for start in range(0, values.size, BLOCK):
        part = values[start : start + BLOCK]
        deviation = np.subtract(part, part.dtype.type(mean), out=scratch[: part.size])
        total += float(np.abs(deviation, out=deviation).sum())
    return total


def finite(value: float, exponent: int) -> float | None:
    """``value * 2**exponent``, or None where that is out of float64's range."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return None
