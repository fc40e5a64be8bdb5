"""Labelled images that need no download: one entrance to the four sets.

Digits come with scikit-learn; shapes, textures and fractals are drawn. Every set is a pure
function of its arguments: the same seed gives the same images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.transfer.data.drawn import digits, fractals, shapes, textures

Pictures = NDArray[np.float32]
Labels = NDArray[np.int64]
Split = Literal["train", "test"]
Draw = Callable[[Labels, int, np.random.Generator], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ImageSet:
    """A set of images: how to draw it, its classes, colours and natural size.

    Attributes
    ----------
    classes
        Names of the classes; a label is an index into them.
    channels, size
        1 (grey) or 3 (RGB), and the side in pixels.
    """

    classes: tuple[str, ...]
    channels: int
    size: int
    train: Draw
    test: Draw


IMAGE_SETS = {
    "digits": ImageSet(digits.CLASSES, 1, 16, digits.draw_train, digits.draw_test),
    "shapes": ImageSet(shapes.CLASSES, 3, 24, shapes.draw, shapes.draw),
    "textures": ImageSet(textures.CLASSES, 1, 24, textures.draw, textures.draw),
    "fractals": ImageSet(fractals.CLASSES, 3, 24, fractals.draw, fractals.draw),
}


def generator(name: str, seed: int, split: Split) -> np.random.Generator:
    """A stream of its own for each set, seed and split."""
    return np.random.default_rng([seed, list(IMAGE_SETS).index(name), int(split == "test")])


def balanced_labels(n: int, classes: int, rng: np.random.Generator) -> Labels:
    """``n`` labels in random order, the count of each class equal to within one."""
    return rng.permutation(np.arange(n, dtype=np.int64) % classes)


def draw(
    name: str, n: int, seed: int, *, split: Split = "train", size: int | None = None
) -> tuple[Pictures, Labels]:
    """Draw labelled images.

    Parameters
    ----------
    name
        One of :data:`IMAGE_SETS`.
    n
        Number of images; the classes are balanced to within one.
    seed
        The images are a function of it.
    split
        The two splits share no image. For digits they also share no handwritten original.
    size
        Side in pixels; by default the set's own.

    Returns
    -------
    images, labels
        float32 of shape ``(n, channels, size, size)`` in 0..1, and int64 of shape ``(n,)``.

    Raises
    ------
    KeyError
        There is no set of that name.
    """
    image_set = IMAGE_SETS[name]
    rng = generator(name, seed, split)
    labels = balanced_labels(n, len(image_set.classes), rng)
    drawer = image_set.train if split == "train" else image_set.test
    images = drawer(labels, size or image_set.size, rng)
    return np.ascontiguousarray(images, dtype=np.float32), labels
