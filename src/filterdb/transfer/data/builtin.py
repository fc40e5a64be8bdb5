"""Sets that need no file: scikit-learn's digits, and three that are drawn."""

from __future__ import annotations

import numpy as np

from filterdb.extras import require
from filterdb.transfer.data.drawn.sets import IMAGE_SETS, Split, draw
from filterdb.transfer.data.images import Pixels
from filterdb.transfer.data.raw import Raw, check_bytes, of_part

DRAWN = ("textures", "shapes", "fractals")
BUILT_IN = ("digits", *DRAWN)
TRAIN, TEST = 2000, 1000
"""Images that are drawn for the two parts, unless it is said how many."""
BLOCK = 1000
"""Images that are drawn at a time: the drawing takes some hundred times their memory."""


def _digits() -> list[Raw]:
    bunch = require("sklearn.datasets", extra="transfer").load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return [of_part(pixels, bunch.target.astype(np.int64), "")]


def _drawn(name: str, n: int, seed: int, part: Split, size: int | None) -> Raw:
    """``n`` images; those of a smaller ``n`` (in whole blocks) are the first of them."""
    blocks = -(-n // BLOCK)
    seeds = np.random.SeedSequence(seed).generate_state(blocks, np.uint64)
    images: list[Pixels] = []
    labels = []
    for at, own in enumerate(seeds.tolist()):
        fields, block = draw(name, min(BLOCK, n - at * BLOCK), own, split=part, size=size)
        images.append(np.round(fields * 255).astype(np.uint8).transpose(0, 2, 3, 1))
        labels.append(block)
    return of_part(
        np.ascontiguousarray(np.concatenate(images)),
        np.concatenate(labels),
        part,
        names=IMAGE_SETS[name].classes,
    )


def read(
    name: str,
    *,
    n: int | None = None,
    limits: tuple[int | None, int | None] = (None, None),
    seed: int = 0,
    size: int | None = None,
) -> list[Raw]:
    """A built-in set by its name.

    Parameters
    ----------
    name
        One of :data:`BUILT_IN`.
    n
        Images to draw for training, and half as many for testing.
    limits
        Images a class that training and testing ask for: without ``n``, so many are drawn.
    seed
        The drawn images are a function of it; the digits are not.
    size
        Side in pixels at which to draw.
    """
    if name == "digits":
        return _digits()
    drawn = IMAGE_SETS[name]
    train, test = (
        usual if limit is None else limit * len(drawn.classes)
        for limit, usual in zip(limits, (TRAIN, TEST), strict=True)
    )
    if n is not None:
        train, test = n, max(n // 2, 1)
    check_bytes((train + test) * (size or drawn.size) ** 2 * drawn.channels, name)
    return [_drawn(name, train, seed, "train", size), _drawn(name, test, seed, "test", size)]
