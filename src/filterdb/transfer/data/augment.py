"""Standard augmentation: a random crop of the padded image, and its mirror image half the time."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from filterdb.transfer.data.images import Images

Value = TypeVar("Value", bound=np.generic)


def flips(images: Images) -> bool:
    """Whether mirror images may be of the same class: not so for digits and characters.

    What is said of the set counts (``data.mirror`` of a plan). Else it is told by the names: sets
    whose classes are all numbers or single characters are of characters.
    """
    if images.mirror is not None:
        return images.mirror
    return not all(name.isdecimal() or len(name) == 1 for name in images.classes)


def augmented(
    batch: NDArray[Value], rng: np.random.Generator, *, padding: int = 4, flip: bool = True
) -> NDArray[Value]:
    """Crop each image at random from its zero-padded self, and mirror every other one.

    The augmentation that CIFAR-10 is commonly trained with (He et al., Deep Residual Learning for
    Image Recognition, 2016, Section 4.2).

    Parameters
    ----------
    batch
        Images ``(B, H, W, C)`` of any type; they are left as they are.
    rng
        The result is a function of the batch and the state of this generator.
    padding
        Pixels of zeros on each side: images move by so many at most.
    flip
        Mirror left and right with probability one half.

    Returns
    -------
    batch
        A new array of the same shape and type.
    """
    n, high, wide, _ = batch.shape
    top, left = rng.integers(0, 2 * padding + 1, (2, n))
    room = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(batch, room) if padding else batch
    rows = top[:, None] + np.arange(high)
    along = np.tile(np.arange(wide), (n, 1))
    if flip:
        mirrored = rng.random(n) < 0.5
        along[mirrored] = along[mirrored, ::-1]
    columns = left[:, None] + along
    return np.asarray(padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]])
