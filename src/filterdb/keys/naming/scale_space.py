"""The discrete Gaussian scale space: what the analytic family of keys is built from.

``T(n; s) = exp(-s) I_n(s)`` with ``s = sigma^2`` is the discrete analogue of the Gaussian:
smoothing with it adds variances exactly, and ``dT/ds`` is half the second difference of ``T``
(Lindeberg, IEEE PAMI 12:234, 1990; Lindeberg et al., arXiv 2509.12746). Derivatives are difference
operators applied to ``T`` on the whole line; only then is the result cut to the taps of a kernel.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Kernel = tuple[int, int]

DIFFERENCES: dict[str, tuple[float, float, float]] = {
    # operator: weights of T(n - 1), T(n), T(n + 1)
    "smooth": (0, 1, 0),
    "forward": (0, -1, 1),
    "backward": (-1, 1, 0),
    "central": (-0.5, 0, 0.5),
    "second": (1, -2, 1),
    "three": (1, 1, 1),
}
"""Operators of three taps, as convolution kernels see them: ``forward`` is ``f(x + 1) - f(x)``."""
TAIL = 30.0
"""Taps beyond ten sigma after which T is below the rounding of float64, for any sigma."""


def discrete_gaussian(sigma: ArrayLike, positions: ArrayLike) -> Array:
    """The discrete Gaussian ``T(n; sigma^2) = exp(-sigma^2) I_n(sigma^2)``.

    It is the integral of ``exp(s (cos t - 1)) cos(n t) / pi`` over ``0..pi``; the trapezoid rule is
    exact to rounding there, because the integrand is smooth and periodic.

    Parameters
    ----------
    sigma
        Standard deviations in pixels, shape ``(m,)``; 0 gives the unit impulse.
    positions
        Whole numbers ``n``, shape ``(k,)``.

    Returns
    -------
    ndarray
        Float64 of shape ``(m, k)``, none negative; the sum over all ``n`` is 1. Read-only.
    """
    sigmas = np.atleast_1d(np.asarray(sigma, np.float64))
    places = np.atleast_1d(np.asarray(positions, np.int64))
    return _discrete_gaussian(sigmas.tobytes(), places.tobytes())


@lru_cache(maxsize=256)
def _discrete_gaussian(sigma: bytes, positions: bytes) -> Array:
    """Kept, because every member of the family asks for the same grid."""
    sigmas, places = np.frombuffer(sigma), np.frombuffer(positions, np.int64)
    reach = np.abs(places).max(initial=0) + 10 * sigmas.max(initial=0) + TAIL
    nodes = ceil(reach)
    angle = np.pi * np.arange(nodes + 1) / nodes
    weights = np.full(nodes + 1, 1 / nodes)
    weights[[0, -1]] /= 2
    spectrum = np.exp(np.square(sigmas)[:, None] * (np.cos(angle) - 1))
    values: Array = np.maximum((spectrum * weights) @ np.cos(np.outer(angle, places)), 0)
    values.setflags(write=False)
    return values


def profile(operator: str, sigma: ArrayLike, positions: NDArray[np.int64]) -> Array:
    """One factor of a separable kernel.

    Parameters
    ----------
    operator
        One of :data:`DIFFERENCES`, applied to ``T``; or ``"point"``, the unit impulse;
        ``"beside"``, what a line with the profile of ``T`` leaves out, ``1 - T(n) / T(0)``;
        ``"box"``, a box as wide as one of standard deviation ``sigma``, ``sqrt(12 sigma^2 + 1)``
        pixels.
    sigma
        Standard deviations in pixels, shape ``(m,)``.
    positions
        Where the taps lie beside the centre, shape ``(k,)``; they follow one another.

    Returns
    -------
    ndarray
        Float64 of shape ``(m, k)``.
    """
    sigmas = np.atleast_1d(np.asarray(sigma, np.float64))
    if operator == "point":
        return np.broadcast_to((positions == 0).astype(np.float64), (len(sigmas), len(positions)))
    if operator == "box":
        half = np.sqrt(12 * np.square(sigmas) + 1)[:, None] / 2
        share: Array = np.clip(half - np.abs(positions) + 0.5, 0, 1)  # a tap at the rim: in part
        return share
    if operator == "beside":
        return 1 - discrete_gaussian(sigmas, positions) / discrete_gaussian(sigmas, [0])
    wide = np.arange(positions.min() - 1, positions.max() + 2)
    line = difference(operator, discrete_gaussian(sigmas, wide))
    return line if positions[0] == wide[1] else line[:, ::-1]


def difference(operator: str, line: Array) -> Array:
    """Apply one of :data:`DIFFERENCES` along the last axis, which gets two taps shorter."""
    before, here, after = DIFFERENCES[operator]
    return before * line[..., :-2] + here * line[..., 1:-1] + after * line[..., 2:]


def centres(kernel: Kernel) -> tuple[tuple[int, int], ...]:
    """Row and column of the middle taps: one where both sides are odd, else two or four.

    A discrete Gaussian is centred on a tap. Where a side is even, the middle lies between two taps,
    and no discrete Gaussian is symmetric about it: either of the two is taken.
    """
    rows, columns = (sorted({(size - 1) // 2, size // 2}) for size in kernel)
    return tuple((row, column) for row in rows for column in columns)


def offsets(kernel: Kernel, centre: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``y`` of each row, upwards, and ``x`` of each column, to the right, beside the centre."""
    y = centre[0] - np.arange(kernel[0])
    x = np.arange(kernel[1]) - centre[1]
    return y, x
