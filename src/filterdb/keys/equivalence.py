"""When two filters are the same key: up to sign, and, if asked, up to rotation or a shift."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Kernel = tuple[int, int]
Keys32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Equivalence:
    """What does not matter when two filters are compared.

    Attributes
    ----------
    signed
        A filter and its negative are different keys; else they are the same one.
    rotations
        The eight rotations and reflections of a filter are the same key (the four that keep its
        shape, where it is not square).
    shifts
        A filter moved by one pixel is the same key; what leaves the kernel is lost, and zeros
        enter.
    """

    signed: bool = False
    rotations: bool = False
    shifts: bool = False

    def transforms(self, kernel: Kernel) -> NDArray[np.float32]:
        """The moves as matrices, shape ``(V, k, k)``: ``moved = transform @ filter``."""
        taps = kernel[0] * kernel[1]
        grid = np.eye(taps, dtype=np.float32).reshape(taps, *kernel)
        moved = [grid]
        if self.rotations:
            # Square kernels have eight, others four; a kernel of one row has two.
            moved = [flipped for base in (grid, np.swapaxes(grid, 1, 2))
                     if base.shape == grid.shape
                     for flipped in (base, base[:, ::-1], base[:, :, ::-1], base[:, ::-1, ::-1])
                     ]  # fmt: skip
        if self.shifts:
            steps = [(y, x) for y in (0, -1, 1) for x in (0, -1, 1)]
            moved = [_shifted(base, step) for base in moved for step in steps]
        # grid[i] is the i-th unit filter; moved[i] its image, so the i-th column of the matrix.
        matrices = np.stack([base.reshape(taps, taps).T for base in moved])
        return _distinct(matrices)

    def views(self, keys: NDArray[np.floating], kernel: Kernel) -> Keys32:
        """All moves of keys in normal form, float32 of shape ``(K, V, k)``.

        A view that a shift empties is a row of zeros: nothing is like it.
        """
        transforms = self.transforms(kernel)
        exact = np.einsum("vij,kj->kvi", transforms, np.asarray(keys, np.float64))
        exact -= exact.mean(axis=2, keepdims=True)
        norms = np.linalg.norm(exact, axis=2, keepdims=True)
        exact = np.divide(exact, norms, out=np.zeros_like(exact), where=norms > 1e-6)
        return np.ascontiguousarray(exact, np.float32)

    def to_dict(self) -> dict[str, bool]:
        """As JSON has it."""
        return asdict(self)


def _shifted(grid: Keys32, step: tuple[int, int]) -> Keys32:
    """Filters moved down and right by ``step`` pixels; zeros enter."""
    result = np.zeros_like(grid)
    height, width = grid.shape[1:]
    to, since = zip(*(_window(size, by) for size, by in zip((height, width), step, strict=True)),
                    strict=True)  # fmt: skip
    result[:, to[0], to[1]] = grid[:, since[0], since[1]]
    return result


def _window(size: int, by: int) -> tuple[slice, slice]:
    """Where an axis of that size goes, and where it comes from, when it is moved."""
    return slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size - max(by, 0))


def _distinct(matrices: Keys32) -> Keys32:
    """Without repeated moves: the reflections of a kernel of one row coincide."""
    seen: dict[bytes, Keys32] = {}
    for matrix in matrices:
        seen.setdefault(matrix.tobytes(), matrix)
    return np.stack(list(seen.values()))
