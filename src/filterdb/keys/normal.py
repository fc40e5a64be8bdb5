"""The normal form of filters: what is left of one when its offset and its strength are taken away.

Two filters are the same key where one is ``a x + b`` of the other (METHODS 3.3): both have then the
same normal form, mean 0 and norm 1, but for the sign. Filters that are nearly zero, and those that
are constant, have none; they are classes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ZERO = 1e-4
"""Filters whose weights are all at most this are nearly zero [METHODS 3.3, step 1]."""
CONSTANT = 1e-5
"""Share of a filter's norm below which what is left of it without the mean is rounding."""
OFFSET = 8.0
"""Mean, beside the norm without it, from which it is taken away twice."""
TAME = (2.0**-60, 2.0**60)
"""Squared norms that float32 holds with all their digits; other filters are scaled first."""

SHAPED, CONSTANT_CLASS, ZERO_CLASS = 0, 1, 2
"""Classes of filters: with a shape, constant, and nearly zero."""


@dataclass(frozen=True, slots=True, eq=False)
class NormalForm:
    """Filters without their offset and strength.

    Attributes
    ----------
    unit
        Float32 of shape ``(n, k)``, mean 0 and norm 1; rows of zeros where there is no shape.
    norm
        Of each filter without its mean, float64 of shape ``(n,)``.
    mean
        Of the weights of each filter, float64 of shape ``(n,)``.
    kind
        :data:`SHAPED`, :data:`CONSTANT_CLASS` or :data:`ZERO_CLASS`, int8 of shape ``(n,)``.
    """

    unit: NDArray[np.float32]
    norm: NDArray[np.float64]
    mean: NDArray[np.float64]
    kind: NDArray[np.int8]

    @property
    def shaped(self) -> NDArray[np.float32]:
        """The normal forms of the filters that have one, shape ``(m, k)``."""
        has_shape = self.kind == SHAPED
        return self.unit if has_shape.all() else self.unit[has_shape]


def normal_form(filters: NDArray[np.floating], *, zero: float = ZERO) -> NormalForm:
    """Take the mean and the norm away from filters (METHODS 3.3, step 1).

    Parameters
    ----------
    filters
        Shape ``(n, k)``; not changed. A layer of any size is best given a block at a time.
    zero
        Filters whose weights are all at most this are nearly zero.

    Raises
    ------
    ValueError
        A weight is not finite.
    """
    weights: NDArray[np.float32] = np.asarray(filters, np.float32)
    taps = weights.shape[1]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        square = np.einsum("ij,ij->i", weights, weights)
    size = np.ones(len(weights))
    wild = ~((square > TAME[0]) & (square < TAME[1]))
    zeros = square <= 1.01 * taps * zero**2  # else one weight is certainly above
    if wild.any() or zeros.any():
        weights, square = weights.copy(), square.copy()
        peaks = _peaks(weights[wild])
        size[wild] = np.where(peaks > 0, peaks, 1)
        zeros[zeros] = _peaks(weights[zeros]) <= zero
        weights[wild] /= size[wild, None].astype(np.float32)
        square[wild] = np.einsum("ij,ij->i", weights[wild], weights[wild])
    average = np.full(taps, 1 / taps, np.float32)
    mean = weights @ average
    unit: NDArray[np.float32] = weights - mean[:, None]
    norm = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    if (np.abs(mean) > OFFSET * norm).any():  # there rounding left some of the mean
        unit -= (unit @ average)[:, None]
        norm = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    constant = norm <= CONSTANT * np.sqrt(square)
    kind = np.where(constant, CONSTANT_CLASS, SHAPED).astype(np.int8)
    kind[zeros] = ZERO_CLASS
    unit /= np.where(constant, np.float32(1), norm)[:, None]
    if (kind != SHAPED).any():
        unit[kind != SHAPED] = 0
    return NormalForm(unit, norm.astype(np.float64) * size, mean * size, kind)


def _peaks(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest absolute weight of each filter.

    Raises
    ------
    ValueError
        One is not finite.
    """
    peaks: NDArray[np.float32] = np.abs(weights).max(axis=1, initial=0)
    if not np.isfinite(peaks).all():
        msg = "a weight is NaN or infinite"
        raise ValueError(msg)
    return peaks


def canonical(keys: NDArray[np.floating]) -> NDArray[np.float64]:
    """Keys of either sign, with the sign that makes their largest weight positive.

    Parameters
    ----------
    keys
        Shape ``(K, k)``.
    """
    exact = np.asarray(keys, np.float64)
    # Of taps that are equally large but for rounding the first decides, as it does for copies.
    largest = np.abs(exact).round(5).argmax(axis=1)
    peak = np.take_along_axis(exact, largest[:, None], axis=1)
    return np.where(peak < 0, -exact, exact)
