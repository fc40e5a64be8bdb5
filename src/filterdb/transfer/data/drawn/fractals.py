"""Windows on escape-time fractals: eight recurrences, each turned, scaled, moved, recoloured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.transfer.data.drawn.canvas import Array, colours, grid, rotate, uniform

Complex = NDArray[np.complex128]
Rng = np.random.Generator
STEPS = 40
ESCAPE = 4.0


def _folded(z: Complex) -> Complex:
    return np.abs(z.real) + 1j * np.abs(z.imag)


# Recurrence, centre of the window, and the constant of a Julia set (None: the pixel itself).
FRACTALS: dict[str, tuple[Callable[[Complex], Complex], complex, complex | None]] = {
    "mandelbrot": (lambda z: z * z, -0.6, None),
    "burning ship": (lambda z: _folded(z) ** 2, -0.4 - 0.5j, None),
    "tricorn": (lambda z: np.conj(z) ** 2, -0.2, None),
    "multibrot": (lambda z: z**4, 0.0, None),
    "dendrite": (lambda z: z * z, 0.0, 1j),
    "rabbit": (lambda z: z * z, 0.0, -0.123 + 0.745j),
    "dragon": (lambda z: z * z, 0.0, -0.8 + 0.156j),
    "san marco": (lambda z: z * z, 0.0, -0.75),
}
CLASSES = tuple(FRACTALS)


def _escape(step: Callable[[Complex], Complex], pixels: Complex, julia: Any) -> Array:
    """Smooth escape time in 0..1; 1 for what never leaves."""
    z = pixels.copy()
    time = np.full(pixels.shape, float(STEPS))
    alive = np.ones(pixels.shape, dtype=bool)
    constant = pixels if julia is None else np.broadcast_to(julia, pixels.shape)
    for count in range(STEPS):
        z[alive] = step(z[alive]) + constant[alive]
        left = alive & (np.abs(z) > ESCAPE)
        time[left] = count + 1 - np.log2(np.log(np.abs(z[left])) / np.log(ESCAPE)).clip(0, 1)
        alive &= ~left
    return np.asarray(np.log1p(time.clip(0)) / np.log1p(STEPS))


def draw(labels: NDArray[np.int64], size: int, rng: Rng) -> Array:
    """Draw one window an image: RGB of shape ``(n, 3, size, size)`` in 0..1."""
    n = len(labels)
    x, y = grid(size)
    x, y = rotate(x, y, uniform(rng, n, 0, 2 * np.pi))
    scale = uniform(rng, n, 0.7, 1.5)
    moved = uniform(rng, n, -0.35, 0.35) + 1j * uniform(rng, n, -0.35, 0.35)
    window = (x + 1j * y) * scale + moved
    jitter = 0.02 * (uniform(rng, n, -1, 1) + 1j * uniform(rng, n, -1, 1))
    times = np.empty((n, size, size))
    for index, (step, centre, julia) in enumerate(FRACTALS.values()):
        mine = labels == index
        constant = None if julia is None else julia + jitter[mine]
        times[mine] = _escape(step, window[mine] + centre, constant)
    bands = 0.5 - 0.5 * np.cos(np.pi * uniform(rng, n, 1, 2.5) * times)
    ground, colour = colours(n, rng)
    images = ground + (colour - ground) * bands[:, None]
    return np.clip(images + rng.normal(0, 0.03, images.shape), 0, 1)
