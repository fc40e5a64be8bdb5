"""Grey textures: gratings, lattices, noise fields, cells; turned, scaled, varied in contrast."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from filterdb.transfer.data.drawn.canvas import Array, frequency, grid, noise, rotate, uniform

Rng = np.random.Generator


def _plane(n: int, size: int, rng: Rng) -> tuple[Array, Array]:
    """Coordinates turned, moved and scaled, in periods of 4 to 8 pixels."""
    period = uniform(rng, n, 4, 8) * 2 / size
    x, y = grid(size)
    x, y = rotate(x, y, uniform(rng, n, 0, 2 * np.pi))
    return x / period + uniform(rng, n, 0, 1), y / period + uniform(rng, n, 0, 1)


def _wave(x: Array) -> Array:
    return np.sin(2 * np.pi * x)


def _hard(x: Array) -> Array:
    """A wave with steep, still antialiased, flanks."""
    return np.tanh(4 * x)


def _grating(n: int, size: int, rng: Rng) -> Array:
    return _wave(_plane(n, size, rng)[0])


def _stripes(n: int, size: int, rng: Rng) -> Array:
    return _hard(_wave(_plane(n, size, rng)[0]))


def _checker(n: int, size: int, rng: Rng) -> Array:
    x, y = _plane(n, size, rng)
    return _hard(1.5 * _wave(x / 1.5) * _wave(y / 1.5))


def _weave(n: int, size: int, rng: Rng) -> Array:
    x, y = _plane(n, size, rng)
    over = _wave(x / 2) * _wave(y / 2) > 0
    return np.where(over, np.abs(_wave(x / 2)), -np.abs(_wave(y / 2)))


def _dots(n: int, size: int, rng: Rng) -> Array:
    x, y = _plane(n, size, rng)
    third = np.sqrt(0.75)
    lattice = sum(
        np.cos(2 * np.pi * (x * c + y * s)) for c, s in ((1, 0), (0.5, third), (-0.5, third))
    )
    return _hard(np.asarray(lattice) - 0.6)


def _rings(n: int, size: int, rng: Rng) -> Array:
    period = uniform(rng, n, 4, 8) * 2 / size
    x, y = grid(size)
    radius = np.hypot(x - uniform(rng, n, -1, 1), y - uniform(rng, n, -1, 1))
    return _wave(radius / period + uniform(rng, n, 0, 1))


def _white(n: int, size: int, rng: Rng) -> Array:
    return noise((n, size, size), 0.0, rng)


def _clouds(n: int, size: int, rng: Rng) -> Array:
    return noise((n, size, size), 3.0, rng)


def _grain(n: int, size: int, rng: Rng) -> Array:
    """Noise of one scale: a ring in the spectrum."""
    centre = 1 / uniform(rng, n, 4, 8)
    ring = np.exp(-(((frequency(size)[None] - centre) / 0.04) ** 2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, size, size))) * ring).real
    return np.asarray(field / field.std(axis=(1, 2), keepdims=True))


def _cells(n: int, size: int, rng: Rng) -> Array:
    """Voronoi cells, each with its own grey."""
    x, y = grid(size)
    points = rng.uniform(-1.2, 1.2, (n, 24, 2, 1, 1))
    nearest = ((x - points[:, :, 0]) ** 2 + (y - points[:, :, 1]) ** 2).argmin(axis=1)
    greys = rng.uniform(-1, 1, (n, 24))
    return np.take_along_axis(greys, nearest.reshape(n, -1), axis=1).reshape(n, size, size)


TEXTURES: dict[str, Callable[[int, int, Rng], Array]] = {
    "grating": _grating,
    "stripes": _stripes,
    "checker": _checker,
    "weave": _weave,
    "dots": _dots,
    "rings": _rings,
    "white noise": _white,
    "clouds": _clouds,
    "grain": _grain,
    "cells": _cells,
}
CLASSES = tuple(TEXTURES)


def draw(labels: NDArray[np.int64], size: int, rng: Rng) -> Array:
    """Draw one texture an image: grey of shape ``(n, 1, size, size)`` in 0..1."""
    n = len(labels)
    fields = np.empty((n, size, size))
    for index, texture in enumerate(TEXTURES.values()):
        mine = labels == index
        if mine.any():
            fields[mine] = texture(int(mine.sum()), size, rng)
    fields = fields - fields.mean(axis=(1, 2), keepdims=True)
    fields /= fields.std(axis=(1, 2), keepdims=True) + 1e-6
    fields *= uniform(rng, n, 0.12, 0.25) * rng.choice([-1, 1], (n, 1, 1))
    fields += uniform(rng, n, 0.4, 0.6) + rng.normal(0, 0.04, fields.shape)
    return np.asarray(np.clip(fields, 0, 1)[:, None])
