"""The scales of keys by their spatial spread, as Lindeberg et al. publish them (arXiv 2509.12746).

Not a least-squares fit of the weights: the scales are those at which the model spreads as far as
the key does. With ``m(sigma_x, sigma_y)`` for a model and ``W = |m(1, 1)|`` for a window, sigma_x
is where the variance along x of ``|m(sigma_x, 1)| W`` equals that of ``|key| W``, each about its
own mean, and sigma_y likewise along y. The Gaussian's key first loses a constant, the one that
makes the determinant of its covariance least. ``centre-surround`` has a fit of its own: the key
without its constant and with sum 1 by ``identity - alpha Laplacian of T``, least squares with one
sigma for both axes.

A Gaussian is cut to the taps of the kernel first here; difference operators see it mirrored at the
rim. (:mod:`~filterdb.keys.naming.member_fit` cuts last.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.keys.naming.grid_search import maximum
from filterdb.keys.naming.members import BY_NAME
from filterdb.keys.naming.scale_space import DIFFERENCES, difference, discrete_gaussian

Array = NDArray[np.float64]

STEPS = 201
LEAST = 0.05
"""Pixels; less has no spread to compare."""


@dataclass(frozen=True, slots=True)
class SpreadFit:
    """Scales of a key.

    Attributes
    ----------
    sigma_x, sigma_y
        In pixels.
    alpha
        Of ``identity - alpha Laplacian of T``; None for other members.
    """

    sigma_x: float
    sigma_y: float
    alpha: float | None = None


def fit_spread(filter_: NDArray[np.floating], member: str) -> SpreadFit:
    """The scales at which a member spreads as far as a key.

    Parameters
    ----------
    filter_
        Shape ``(kh, kw)``, both odd and at least 3.
    member
        ``"Gaussian"``, ``"centre-surround"``, or a derivative of the family.

    Returns
    -------
    SpreadFit

    Raises
    ------
    KeySetError
        The member or the kernel is none of these, or no scale spreads as far as the key.
    """
    key = np.asarray(filter_, np.float64)
    if key.ndim != 2 or min(key.shape) < 3 or not all(size % 2 for size in key.shape):
        msg = f"Spread is compared in kernels of odd sides of 3 or more, not {key.shape}."
        raise KeySetError(msg)
    if member == "centre-surround":
        return _fit_centre_surround(key - background(key))
    parts = BY_NAME[member].parts if member in BY_NAME else ()
    operators = [term[1:] for part in parts for term in part]
    if len(operators) != 1 or not set(operators[0]) <= DIFFERENCES.keys():
        msg = f"{member!r} is no member whose spread is compared."
        raise KeySetError(msg)
    along_y, along_x = operators[0]
    magnitude = np.abs(key - background(key) if member == "Gaussian" else key)
    window = [np.abs(_mirrored(along_y, np.ones(1), key.shape[0])[0, ::-1]),
              np.abs(_mirrored(along_x, np.ones(1), key.shape[1])[0])]  # fmt: skip
    weighted = magnitude * np.outer(*window)
    # The model is separable: its spread along an axis does not depend on the other.
    sigma_y = _sigma_of(_variance(weighted.sum(axis=1)), along_y, window[0][::-1])
    sigma_x = _sigma_of(_variance(weighted.sum(axis=0)), along_x, window[1])
    return SpreadFit(sigma_x, sigma_y)


def background(key: Array) -> float:
    """The constant that, taken away, leaves a key with the most compact magnitude.

    It makes the determinant of the covariance of ``|key - constant|`` over the taps least.
    """
    y, x = (axis.ravel() for axis in np.indices(key.shape))

    def compactness(constants: Array) -> Array:
        weights = np.abs(key.ravel() - constants[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        mean_x, mean_y = weights @ x, weights @ y
        variance_x = weights @ (x * x) - mean_x**2
        variance_y = weights @ (y * y) - mean_y**2
        covariance = weights @ (x * y) - mean_x * mean_y
        determinant: Array = variance_x * variance_y - covariance**2
        return -determinant

    (constant,), _ = maximum(compactness, [np.linspace(key.min(), key.max(), 10 * STEPS)])
    return constant


def _fit_centre_surround(key: Array) -> SpreadFit:
    """Least squares of a key of sum 1 by the identity less a multiple of the Laplacian of T."""
    unit = np.zeros(key.shape)
    unit[key.shape[0] // 2, key.shape[1] // 2] = 1
    rest = key / key.sum() - unit

    def laplacian(sigma: Array) -> Array:
        height, width = key.shape
        columns = [_mirrored(name, sigma, height) for name in ("smooth", "second")]
        rows = [_mirrored(name, sigma, width) for name in ("second", "smooth")]
        return np.asarray(np.einsum("tni,tnj->nij", columns, rows))

    def explained(sigma: Array) -> Array:
        kernels = laplacian(sigma)
        inner = np.einsum("nij,ij->n", kernels, rest)
        return np.asarray(inner**2 / np.einsum("nij,nij->n", kernels, kernels))

    (sigma,), _ = maximum(explained, [np.linspace(LEAST, max(key.shape) / 2, STEPS)])
    kernel = laplacian(np.array([sigma]))[0]
    alpha = -float((kernel * rest).sum() / np.square(kernel).sum())
    return SpreadFit(sigma, sigma, alpha)


def _mirrored(operator: str, sigma: Array, taps: int) -> Array:
    """An operator on Gaussians that were cut to ``taps`` and go on mirrored, ``(m, taps)``."""
    line = discrete_gaussian(sigma, np.arange(taps) - taps // 2)
    return difference(operator, np.pad(line, ((0, 0), (1, 1)), mode="symmetric"))


def _variance(weights: Array) -> Array:
    """Variance of the place along the last axis, with weights of any sum."""
    share = weights / weights.sum(axis=-1, keepdims=True)
    place = np.arange(weights.shape[-1])
    return np.asarray(share @ place**2 - (share @ place) ** 2)


def _sigma_of(variance: Array, operator: str, window: Array) -> float:
    """The sigma at which the windowed model has that variance: it grows with sigma."""
    sigmas = np.linspace(LEAST, len(window) / 2, STEPS)

    def lack(sigma: Array) -> Array:
        return -np.abs(_variance(np.abs(_mirrored(operator, sigma, len(window))) * window)
                       - variance)  # fmt: skip

    (sigma,), value = maximum(lack, [sigmas])
    if value < -1e-4:
        msg = "The key spreads further, or less far, than its model does at any scale."
        raise KeySetError(msg)
    return sigma
