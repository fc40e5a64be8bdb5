"""Which reference layers a layer is compared with: of its kind and size, at its relative depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.reference.networks import Kernel, Layers

HALF_WIDTH, STEP = 0.1, 0.05
"""Relative depths this far from the layer's are compared; if they are too few, a step more."""
LEAST_LAYERS, LEAST_REPOSITORIES = 30, 10
SIZE_BOUND = frozenset({"variance_entropy", "randomness_threshold", "clean_variance_entropy",
                        "clean_randomness_threshold"})  # fmt: skip
"""Measures that end at log10 (kh kw): kernels of other sizes say nothing of them."""


@dataclass(frozen=True, slots=True)
class Window:
    """Layers to compare with.

    Attributes
    ----------
    chosen
        Their positions, intp of shape ``(L,)``.
    depths
        Relative depth from which to which they were taken.
    compared
        What they are, in words.
    """

    chosen: NDArray[np.intp]
    depths: tuple[float, float]
    compared: str


def window(
    layers: Layers,
    repository: NDArray[np.intp],
    *,
    measure: str,
    depth: float,
    kernel: Kernel,
    kind: str | None,
) -> Window | None:
    """The layers most like one that are enough: 30 of 10 repositories.

    Layers of its size and kind come first, then those of its size and any kind, then those of
    any size above 1x1, each within 0.1 of its relative depth and then farther in steps of 0.05.
    """
    defined = np.isfinite(layers.measures[measure])
    for alike, compared in likenesses(layers, measure=measure, kernel=kernel, kind=kind):
        pool = np.flatnonzero(alike & defined)
        distance = np.abs(layers.depth[pool] - depth)
        half = HALF_WIDTH
        while True:
            chosen = pool[distance <= half + 1e-9]
            if enough(chosen, layers.model, repository):
                return Window(chosen, (max(0.0, depth - half), min(1.0, depth + half)), compared)
            if half >= 1:
                break
            half = round(half + STEP, 2)
    return None


def likenesses(
    layers: Layers, *, measure: str, kernel: Kernel, kind: str | None
) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """Layers like one and what they are in words, the most alike first."""
    size = "{}x{}".format(*kernel)
    same_size = (layers.kernel == kernel).all(axis=1)
    if kind not in (None, "unknown"):
        depthwise = kind == "depthwise"
        same_kind = (layers.kind == "depthwise") == depthwise
        yield same_size & same_kind, f"{size}, {'' if depthwise else 'not '}depthwise"
    yield same_size, size
    if measure not in SIZE_BOUND and kernel != (1, 1):
        yield layers.kernel.prod(axis=1) > 1, "any kernel size above 1x1"


def enough(chosen: NDArray[np.intp], model: NDArray[np.intp], repository: NDArray[np.intp]) -> bool:
    """Whether layers are enough to stand for a population."""
    if len(chosen) < LEAST_LAYERS:
        return False
    return len(np.unique(repository[model[chosen]])) >= LEAST_REPOSITORIES
