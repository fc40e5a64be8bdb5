"""The basis that filters are described in: PCA of a population, or one that is fixed.

A shift between two populations needs coefficients in one basis. A fixed one makes them add up:
its histograms are taken once a layer, and every population is a sum of them. The package brings
one for each kernel size: fitted on its reference population (112 public networks) where enough
of them have that size, and otherwise the principal components of filters whose taps correlate
the less the farther they are apart.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.moments import Moments

Array = NDArray[np.float64]
Kernel = tuple[int, int]

REFERENCE_VERSION = 1
ROUNDING = 1e-9
NEIGHBOURS = 0.3
"""Correlation of neighbouring taps where no network was fitted: fitted ones have 0.25 to 0.36."""


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """An orthonormal basis of the max-abs-scaled filters of one kernel size.

    Attributes
    ----------
    kernel
        Height and width of the filters, in taps; ``k`` is their product.
    mean
        What is subtracted from a scaled filter, float64 of shape ``(k,)``.
    components
        One component a row, float64 of shape ``(k, k)``, by falling variance. A sign carries no
        meaning; here the largest entry of each is positive.
    explained_variance_ratio
        Share of the variance along each, shape ``(k,)``; sums to 1.
    n
        Number of filters that it was fitted on; 0 for an analytic one.
    origin
        Where it comes from, in words.
    """

    kernel: Kernel
    mean: Array
    components: Array
    explained_variance_ratio: Array
    n: int
    origin: str

    @property
    def id(self) -> str:
        """16 hexadecimal digits that tell bases apart: a hash of all their numbers.

        They are rounded to eight decimals, since eigensolvers of two machines differ in the
        sixteenth, which moves no filter to another bin.
        """
        digest = hashlib.sha256(repr(self.kernel).encode())
        for array in (self.mean, self.components, self.explained_variance_ratio):
            rounded = array.round(8) + 0.0  # no negative zeros
            digest.update(rounded.astype("<f8").tobytes())
        return digest.hexdigest()[:16]

    @property
    def reach(self) -> float:
        """No coefficient of a max-abs-scaled filter lies outside ``[-reach, reach]``.

        Such a filter is at most ``sqrt(k)`` long, and the mean is subtracted from it.
        """
        return math.sqrt(self.mean.size) + float(np.linalg.norm(self.mean))

    def coefficients(self, scaled: NDArray[np.floating]) -> Array:
        """Coefficients ``c = (f - mean) V`` of scaled filters (METHODS 1.3, step 2).

        Parameters
        ----------
        scaled
            Max-abs-scaled filters, shape ``(n, k)``.

        Returns
        -------
        ndarray of float64, shape (n, k)
            One column a component.
        """
        result: Array = (np.asarray(scaled, np.float64) - self.mean) @ self.components.T
        return result

    def __repr__(self) -> str:
        height, width = self.kernel
        return f"<Basis {height}x{width} {self.id}: {self.origin}, n = {self.n:,}>"


def fit_basis(moments: Moments, kernel: Kernel, *, origin: str = "fitted") -> Basis:
    """Principal components of a population, from its moments alone.

    Parameters
    ----------
    moments
        Of the max-abs-scaled filters.
    kernel
        Their height and width.
    origin
        Where they come from, in words.

    Raises
    ------
    ValueError
        There are no filters, or the kernel is not of their size.
    """
    if not moments.n or moments.first.size != kernel[0] * kernel[1]:
        msg = f"{moments.n} filters of {moments.first.size} taps give no basis of size {kernel}."
        raise ValueError(msg)
    variances, vectors = np.linalg.eigh(moments.covariance)
    variances, components = variances[::-1].clip(min=0), vectors.T[::-1]
    total = variances.sum()
    ratios = variances / total if total > 0 else np.full(variances.size, 1 / variances.size)
    return Basis(kernel, moments.mean, upright(components), ratios, moments.n, origin)


def upright(components: Array) -> Array:
    """Components with the sign that makes the largest entry of each positive.

    Of entries as large as one another but for rounding the first decides, on every machine.
    """
    sizes = np.abs(components)
    largest = (sizes >= sizes.max(axis=1, keepdims=True) - ROUNDING).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return np.ascontiguousarray(components * signs[:, None])


@lru_cache(maxsize=256)
def reference_basis(kernel: Kernel) -> Basis:
    """The fixed basis of a kernel size, the same in every database unless one chooses another."""
    fitted = fitted_bases().get(kernel)
    return fitted if fitted is not None else analytic_basis(kernel)


@lru_cache(maxsize=1)
def fitted_bases() -> dict[Kernel, Basis]:
    """Bases of the package by kernel size; `scripts/make_reference_basis.py` makes them."""
    with (files("filterdb.stats") / "reference_basis.npz").open("rb") as file:
        stored = dict(np.load(file))
    sizes = {tuple(map(int, name.split("_")[1].split("x"))) for name in stored}
    return {
        (height, width): Basis(
            kernel=(height, width),
            mean=stored[f"mean_{height}x{width}"],
            components=stored[f"components_{height}x{width}"],
            explained_variance_ratio=stored[f"ratios_{height}x{width}"],
            n=int(stored[f"n_{height}x{width}"]),
            origin=(
                f"reference {REFERENCE_VERSION}, "
                f"{int(stored[f'networks_{height}x{width}'])} public networks, each counted once"
            ),
        )
        for height, width in sizes
    }


def analytic_basis(kernel: Kernel) -> Basis:
    """Principal components of filters with mean 0 and correlation ``r ** (|dy| + |dx|)``.

    They are products of components along either axis, so ties between the two are resolved by
    their order and not by the eigensolver: every machine finds the same ones.
    """
    (rows, along_y), (columns, along_x) = map(chain_components, kernel)
    components = np.einsum("iy,jx->ijyx", along_y, along_x).reshape(rows.size * columns.size, -1)
    ratios = np.outer(rows, columns).reshape(-1)
    order = np.lexsort((np.arange(ratios.size), -ratios.round(12)))
    return Basis(
        kernel=kernel,
        mean=np.zeros(ratios.size),
        components=upright(components[order]),
        explained_variance_ratio=ratios[order],
        n=0,
        origin=f"reference {REFERENCE_VERSION}, neighbouring taps correlate by {NEIGHBOURS}",
    )


def chain_components(length: int) -> tuple[Array, Array]:
    """Shares of variance ``(length,)`` and components (rows) of a chain of correlated taps."""
    position = np.arange(length)
    correlation = NEIGHBOURS ** np.abs(np.subtract.outer(position, position))
    variances, vectors = np.linalg.eigh(correlation)
    return variances[::-1] / length, upright(vectors.T[::-1])
