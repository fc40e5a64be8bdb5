"""Coloured shapes on uneven, noisy grounds: outlines and fillings, turned, scaled, moved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from filterdb.transfer.data.drawn.canvas import Array, colours, grid, inside, noise, rotate, uniform


def _polygon(x: Array, y: Array, sides: int) -> Array:
    """Regular polygon with circumscribed radius 1."""
    step = 2 * np.pi / sides
    angle = np.mod(np.arctan2(y, x), step) - step / 2
    return np.asarray(np.hypot(x, y) * np.cos(angle) - np.cos(step / 2))


def _box(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _star(x: Array, y: Array) -> Array:
    wave = np.abs(np.mod(np.arctan2(y, x) * 5 / np.pi, 2) - 1)
    return np.asarray((np.hypot(x, y) - (0.4 + 0.65 * wave)) * 0.7)


def _crescent(x: Array, y: Array) -> Array:
    return np.asarray(np.maximum(np.hypot(x, y) - 1, 0.8 - np.hypot(x - 0.55, y)))


# Signed distance (negative inside) of each class, at about unit size.
SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "disc": lambda x, y: np.hypot(x, y) - 0.9,
    "triangle": lambda x, y: _polygon(x, y, 3),
    "square": lambda x, y: _polygon(x, y, 4),
    "hexagon": lambda x, y: _polygon(x, y, 6),
    "star": _star,
    "cross": lambda x, y: np.minimum(_box(x, y, 1.0, 0.3), _box(x, y, 0.3, 1.0)),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.75) - 0.2,
    "bar": lambda x, y: _box(x, y, 1.0, 0.3),
    "crescent": _crescent,
    "corner": lambda x, y: np.minimum(_box(x, y + 0.6, 0.85, 0.25), _box(x + 0.6, y, 0.25, 0.85)),
}
CLASSES = tuple(SHAPES)


def draw_masks(labels: NDArray[np.int64], size: int, rng: np.random.Generator) -> Array:
    """Coverage 0..1 of the shape in each pixel, of shape ``(n, size, size)``."""
    n = len(labels)
    x, y = grid(size)
    scale = uniform(rng, n, 0.4, 0.72)
    reach = 0.95 - scale
    x = (x - uniform(rng, n, -1, 1) * reach) / scale
    y = (y - uniform(rng, n, -1, 1) * reach) / scale
    x, y = rotate(x, y, uniform(rng, n, 0, 2 * np.pi))
    masks = np.empty((n, size, size))
    for index, distance in enumerate(SHAPES.values()):
        mine = labels == index
        masks[mine] = inside(distance(x[mine], y[mine]) * scale[mine], size)
    return masks


def paint(masks: Array, rng: np.random.Generator) -> Array:
    """Colour the shapes: RGB of shape ``(n, 3, size, size)`` in 0..1."""
    n, size = len(masks), masks.shape[-1]
    ground, colour = colours(n, rng)
    x, _ = rotate(*grid(size), uniform(rng, n, 0, 2 * np.pi))
    shade = 1 + uniform(rng, n, 0, 0.25) * x
    clouds = noise((n, size, size), 2.0, rng) * uniform(rng, n, 0, 0.08)
    images = ground + (colour - ground) * masks[:, None]
    images = images * shade[:, None] + clouds[:, None]
    return np.clip(images + rng.normal(0, 0.04, images.shape), 0, 1)


def draw(labels: NDArray[np.int64], size: int, rng: np.random.Generator) -> Array:
    """Draw one shape an image: RGB of shape ``(n, 3, size, size)`` in 0..1."""
    return paint(draw_masks(labels, size, rng), rng)
