"""What chance looks like: kernels in which there is nothing to find, or less than in networks.

So many lines explain something of any kernels, and of 3x3 kernels, which have eight dimensions
without their mean, much. Whatever keys explain of networks stands beside what as many keys explain
of these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Kernel
from filterdb.keys.normal import normal_form

Unit = NDArray[np.float32]

OWN_MOMENTS = 5
"""Filters for each tap that a layer or a network needs for second moments of its own."""
MATCHED_BY, MATCHING = 1000, 20
"""Kernels and rounds by which variances before and after the norm are matched."""


def gaussian(n: int, kernel: Kernel, *, seed: int = 0) -> Unit:
    """Kernels of independent N(0, 1) weights in normal form, float32 of shape ``(n, k)``."""
    rng = np.random.default_rng([seed, 1])
    return _normal(rng.standard_normal((n, kernel[0] * kernel[1]), np.float32))


def same_spectrum(unit: Unit, n: int, kernel: Kernel, *, seed: int = 0) -> Unit:
    """Kernels with the amplitudes of given ones, and random phases.

    Each has the discrete power spectrum of one of the given filters exactly, so the same
    smoothness and orientation; where its weights lie is left to chance.

    Parameters
    ----------
    unit
        Filters in normal form, ``(m, k)``.
    n
        Number of kernels.
    kernel
        Height and width.
    seed
        Of the phases, and of which filters are taken.

    Returns
    -------
    ndarray of float32, shape (n, k)
    """
    rng = np.random.default_rng([seed, 2])
    amplitudes = np.abs(np.fft.rfft2(_drawn(unit, n, rng).reshape(-1, *kernel)))
    # Phases of real noise keep the symmetry that a real kernel needs.
    noise = np.fft.rfft2(rng.standard_normal((n, *kernel)))
    phases = noise / np.maximum(np.abs(noise), 1e-12)
    return _normal(np.fft.irfft2(amplitudes * phases, s=kernel).reshape(n, -1))


def same_weights(unit: Unit, n: int, *, seed: int = 0) -> Unit:
    """Given filters with their taps shuffled, each by itself: the same weights in no shape.

    What one large tap, or a few, explain by themselves: networks beat this control only by where
    their weights lie.

    Parameters
    ----------
    unit
        Filters in normal form, ``(m, k)``.
    n, seed
        Number of kernels; of the draw.

    Returns
    -------
    ndarray of float32, shape (n, k)
    """
    rng = np.random.default_rng([seed, 9])
    return _normal(rng.permuted(_drawn(unit, n, rng), axis=1))


def same_covariance(
    unit: Unit, n: int, *, owners: Sequence[NDArray[np.intp]] = (), seed: int = 0
) -> Unit:
    """Gaussian kernels with the second moments of given filters: what PCA sees, and no more.

    Parameters
    ----------
    unit
        Filters in normal form, ``(m, k)``.
    n, seed
        Number of kernels; of the draw.
    owners
        Number of the layer of each filter, then of its network: the first that has enough
        filters gives the moments; all filters do, where none has. So layers that differ in
        smoothness alone do not beat the control.

    Returns
    -------
    ndarray of float32, shape (n, k)
        Where ``n`` is ``m``, each kernel stands for the filter in its place.
    """
    rng = np.random.default_rng([seed, 3])
    enough = OWN_MOMENTS * unit.shape[1]
    groups = np.zeros(len(unit), np.intp)
    first = 1
    for owner in reversed(owners):  # the finest has the last word
        large = (np.bincount(owner) >= enough)[owner]
        groups[large] = owner[large] + first
        first += int(owner.max()) + 1
    chosen = groups if n == len(unit) else groups[rng.integers(len(unit), size=n)]
    found = np.empty((n, unit.shape[1]), np.float32)
    for group in np.unique(chosen):
        own, place = unit[groups == group], np.flatnonzero(chosen == group)
        values, vectors = np.linalg.eigh((own.T @ own).astype(np.float64) / len(own))
        scales = np.sqrt(_before_norm(np.maximum(values, 0)))
        found[place] = (rng.standard_normal((len(place), len(values))) * scales) @ vectors.T
    return _normal(found)


def _before_norm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances along axes that come out as these once each kernel is brought to norm 1.

    That takes more from the larger ones, so that Gaussian kernels with the variances of normal
    forms would be nearer to noise than the normal forms are.
    """
    noise = np.square(np.random.default_rng(0).standard_normal((MATCHED_BY, len(values))))
    found = values.copy()
    for _ in range(MATCHING):
        drawn = noise * found
        norms = drawn.sum(axis=1, keepdims=True)
        reached = (drawn / np.maximum(norms, np.finfo(float).tiny)).mean(axis=0)
        found *= np.divide(values, reached, out=np.zeros_like(values), where=reached > 0)
    return found


def _drawn(unit: Unit, n: int, rng: np.random.Generator) -> Unit:
    """As many of the filters, each once where that is all of them."""
    return unit if n == len(unit) else unit[rng.integers(len(unit), size=n)]


def _normal(kernels: NDArray[np.floating]) -> Unit:
    """Normal forms; a kernel that chance left without a shape is a row of zeros."""
    return normal_form(kernels.astype(np.float32), zero=0).unit
