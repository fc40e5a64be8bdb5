"""Moments that add up: a population's mean and covariance are sums over its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Counts, sums and sums of products of filters.

    Attributes
    ----------
    n
        Number of filters.
    first
        Sum over the filters, float64 of shape ``(k,)`` with ``k = kh * kw`` taps.
    second
        Sum of the outer products, float64 of shape ``(k, k)``, not centred.
    """

    n: int
    first: Array
    second: Array

    @classmethod
    def zero(cls, taps: int) -> Self:
        """The moments of no filters."""
        return cls(0, np.zeros(taps), np.zeros((taps, taps)))

    @classmethod
    def of(cls, columns: Array) -> Self:
        """Moments of a few filters, float64 of shape ``(k, n)``: a filter is a column."""
        return cls(columns.shape[1], columns.sum(axis=1), columns @ columns.T)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.n + other.n, self.first + other.first, self.second + other.second)

    @property
    def mean(self) -> Array:
        """Mean filter, shape ``(k,)``; NaN for no filters."""
        return self.first / self.n if self.n else np.full_like(self.first, np.nan)

    @property
    def covariance(self) -> Array:
        """Covariance of the taps (divided by ``n``), shape ``(k, k)``; NaN for no filters."""
        if not self.n:
            return np.full_like(self.second, np.nan)
        return self.second / self.n - np.outer(self.mean, self.mean)
