"""Smooth densities from fine histograms: a kernel density estimate that adds up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def smooth_density(
    counts: NDArray[Any], low: float, high: float, *, bandwidth: float | None = None
) -> Array:
    """Gaussian kernel density estimate of binned values.

    Each bin's values sit at its centre and are spread by a Gaussian, with its exact share in every
    other bin. A bandwidth below the width of a bin gives the histogram itself. Mass that leaves
    the range is lost, as it is for any kernel estimate drawn on a range.

    Parameters
    ----------
    counts
        Histogram over equal bins of ``[low, high]``, shape ``(bins,)``.
    low, high
        Ends of the range.
    bandwidth
        Standard deviation of the Gaussian; Silverman's rule if not given.

    Returns
    -------
    ndarray of float64, shape (bins,)
        Density per unit at the centres of the bins; zeros for no values.

    References
    ----------
    Silverman, Density Estimation for Statistics and Data Analysis (1986), section 3.4.2.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum()
    if not total:
        return np.zeros(counts.size)
    width = (high - low) / counts.size
    if bandwidth is None:
        bandwidth = silverman_bandwidth(counts, low, high)
    reach = min(counts.size, math.ceil(6 * bandwidth / width) + 1)
    edges = (np.arange(-reach, reach + 2) - 0.5) * width
    kernel = np.diff([below(edge, bandwidth) for edge in edges])
    smooth = np.convolve(counts, kernel)[reach : reach + counts.size]
    density: Array = smooth / (total * width)
    return density


def silverman_bandwidth(counts: NDArray[Any], low: float, high: float) -> float:
    """Silverman's rule ``s (3 n / 4) ** (-1/5)`` for binned values; 0 where they do not vary.

    ``s`` is the standard deviation of the bin centres, with ``n - 1``.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum()
    if total < 2:
        return 0.0
    centres = low + (np.arange(counts.size) + 0.5) * (high - low) / counts.size
    mean = counts @ centres / total
    variance = counts @ (centres - mean) ** 2 / (total - 1)
    return float(math.sqrt(variance) * (0.75 * total) ** -0.2)


def below(value: float, deviation: float) -> float:
    """Share of a centred Gaussian that lies below a value."""
    if deviation == 0:
        return float(value > 0)
    return 0.5 * (1 + math.erf(value / (deviation * math.sqrt(2))))
