"""What chance looks like: kernels in which there is nothing to find, or less than in networks.

So many lines explain something of any kernels, and of 3x3 kernels, which have eight dimensions
without their mean, much. Whatever keys explain of networks stands beside what as many keys explain
of these.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Kernel
from filterdb.keys.normal import normal_form

Unit = NDArray[np.float32]

DESCRIPTIONS = {
    "gaussian": "independent Gaussian weights",
    "spectrum": "the networks' kernels with random phases: the same power spectrum, no shape",
    "covariance": "Gaussian kernels with the covariance of the networks' normal forms",
    "initialisation": "the same networks before training",
}
"""Control -> what it is."""


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
    models = unit[rng.integers(len(unit), size=n)] if n != len(unit) else unit
    amplitudes = np.abs(np.fft.rfft2(models.reshape(-1, *kernel)))
    # Phases of real noise keep the symmetry that a real kernel needs.
    noise = np.fft.rfft2(rng.standard_normal((n, *kernel)))
    phases = noise / np.maximum(np.abs(noise), 1e-12)
    return _normal(np.fft.irfft2(amplitudes * phases, s=kernel).reshape(n, -1))


def same_covariance(unit: Unit, n: int, *, seed: int = 0) -> Unit:
    """Gaussian kernels with the second moments of given filters: what PCA sees, and no more.

    The hardest of the controls: networks beat it only if their filters lie on few lines, not
    merely in some directions more than in others.

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
    rng = np.random.default_rng([seed, 3])
    second = (unit.T @ unit).astype(np.float64) / len(unit)
    values, vectors = np.linalg.eigh(second)
    spread = vectors * np.sqrt(np.maximum(values, 0))
    drawn = rng.standard_normal((n, len(values))) @ spread.T
    return _normal(drawn)


def _normal(kernels: NDArray[np.floating]) -> Unit:
    """Normal forms; a kernel that chance left without a shape is left out."""
    return normal_form(kernels.astype(np.float32), zero=0).shaped
