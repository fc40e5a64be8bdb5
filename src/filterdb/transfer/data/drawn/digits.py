"""Scikit-learn's 1,797 handwritten digits (8 x 8), enlarged, moved, scaled, varied in contrast."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.extras import require
from filterdb.transfer.data.drawn.canvas import Array, uniform

CLASSES = tuple(str(digit) for digit in range(10))
HELD_OUT = 4
"""Every fourth original is only ever drawn for testing."""


@cache
def _originals() -> tuple[NDArray[Any], NDArray[Any]]:
    bunch = require("sklearn.datasets", extra="transfer").load_digits()
    return bunch.images / 16, bunch.target


def _interpolation(size: int, scale: Array, shift: Array) -> Array:
    """Matrices ``(n, size, 8)`` that enlarge one axis linearly; outside the original is 0."""
    place = (np.arange(size)[:, None] + 0.5) * 8 / size - 4
    place = (place - shift) / scale + 3.5
    return np.asarray(np.clip(1 - np.abs(place - np.arange(8)), 0, 1))


def _choose(labels: NDArray[np.int64], rng: np.random.Generator, *, test: bool) -> NDArray[Any]:
    """An original for each label; none comes again before all of its class have come."""
    _, targets = _originals()
    held_out = np.arange(len(targets)) % HELD_OUT == 0
    chosen = np.empty(len(labels), dtype=np.int64)
    for digit in range(len(CLASSES)):
        pool = np.flatnonzero((targets == digit) & (held_out == test))
        where = np.flatnonzero(labels == digit)
        rounds = len(where) // len(pool) + 1
        order = np.concatenate([rng.permutation(pool) for _ in range(rounds)])
        chosen[where] = order[: len(where)]
    return chosen


def _draw(labels: NDArray[np.int64], size: int, rng: np.random.Generator, *, test: bool) -> Array:
    n = len(labels)
    images = _originals()[0][_choose(labels, rng, test=test)]
    scale = uniform(rng, n, 0.8, 1.05)
    rows = _interpolation(size, scale, uniform(rng, n, -0.6, 0.6))
    columns = _interpolation(size, scale, uniform(rng, n, -0.6, 0.6))
    images = (rows @ images @ columns.transpose(0, 2, 1)) * uniform(rng, n, 0.6, 1)
    return np.asarray(np.clip(images + rng.normal(0, 0.03, images.shape), 0, 1)[:, None])


def draw_train(labels: NDArray[np.int64], size: int, rng: np.random.Generator) -> Array:
    """Draw from three quarters of the originals: ``(n, 1, size, size)`` in 0..1."""
    return _draw(labels, size, rng, test=False)


def draw_test(labels: NDArray[np.int64], size: int, rng: np.random.Generator) -> Array:
    """Draw from the quarter of the originals that :func:`draw_train` never shows."""
    return _draw(labels, size, rng, test=True)
