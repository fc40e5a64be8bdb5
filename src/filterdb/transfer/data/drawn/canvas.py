"""What the drawn sets share: coordinates, rotation, edges, colours, noise. All per image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def uniform(rng: np.random.Generator, n: int, low: float, high: float) -> Array:
    """One value an image, of shape ``(n, 1, 1)``, ready to broadcast over pixels."""
    return rng.uniform(low, high, (n, 1, 1))


def grid(size: int) -> tuple[Array, Array]:
    """Coordinates x and y of the pixel centres in -1..1, each of shape ``(1, size, size)``."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]


def rotate(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    """Turn coordinates by an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def inside(distance: Array, size: int) -> Array:
    """Coverage 0..1 of a signed distance (negative inside), with an edge one pixel wide."""
    return np.clip(0.5 - distance * size / 2, 0, 1)


def colours(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two RGB colours an image, ``(n, 3, 1, 1)`` each, that differ clearly in brightness."""
    first = rng.uniform(0, 1, (n, 3, 1, 1))
    apart = rng.uniform(0.35, 0.6, (n, 1, 1, 1)) * rng.choice([-1, 1], (n, 1, 1, 1))
    mean = first.mean(axis=1, keepdims=True)
    apart = np.where((mean + apart > 0.85) | (mean + apart < 0.15), -apart, apart)
    second = np.clip(mean + apart + rng.uniform(-0.2, 0.2, (n, 3, 1, 1)), 0, 1)
    return first, second


def noise(shape: tuple[int, ...], slope: float, rng: np.random.Generator) -> Array:
    """Noise with a power spectrum of ``frequency ** -slope``, zero mean, unit variance an image.

    ``slope`` 0 is white, 2 is like natural images. ``shape`` ends in the two image axes.
    """
    spectrum = np.fft.fft2(rng.standard_normal(shape))
    spectrum *= frequency(shape[-1]).clip(1 / shape[-1]) ** (-slope / 2)
    spectrum[..., 0, 0] = 0
    field = np.fft.ifft2(spectrum).real
    return np.asarray(field / field.std(axis=(-2, -1), keepdims=True))


def frequency(size: int) -> Array:
    """Spatial frequency of each Fourier coefficient in cycles per pixel, ``(size, size)``."""
    axis = np.fft.fftfreq(size)
    return np.asarray(np.hypot(axis[:, None], axis[None, :]))
