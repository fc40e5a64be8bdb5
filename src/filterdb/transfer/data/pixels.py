"""Pixels of one set made to suit another: size, channels; and their mean and deviation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import TransferError
from filterdb.transfer.data.images import Images, Pixels

BLOCK = 512
"""Images that are resized at a time."""
LUMA = (19595, 38470, 7471)
"""Red, green and blue in the luminance of ITU-R BT.601, in 65536ths."""


def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Matrix ``(new, old)`` of linear interpolation; a triangle as wide as a new pixel if finer."""
    scale = old / new
    centre = (np.arange(new)[:, None] + 0.5) * scale
    reach = np.abs(np.arange(old) + 0.5 - centre) / max(scale, 1.0)
    weights = np.clip(1 - reach, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def squared(pixels: Pixels, size: int) -> Pixels:
    """The central square of pixels ``(N, H, W, C)``, ``size`` wide."""
    n, high, wide, depth = pixels.shape
    side = min(high, wide)
    top, left = (high - side) // 2, (wide - side) // 2
    pixels = pixels[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(pixels)
    weights = _weights(side, size)
    done = np.empty((n, size, size, depth), dtype=np.uint8)
    for at in range(0, n, BLOCK):
        block = pixels[at : at + BLOCK].astype(np.float32)
        rows = (weights @ block.reshape(-1, side, side * depth)).reshape(-1, side, depth)
        both = (weights @ rows).reshape(-1, size, size, depth)
        done[at : at + BLOCK] = np.rint(both).clip(0, 255)
    return done


def resized(images: Images, size: int) -> Images:
    """Images as squares of another size: their centre, by antialiased linear interpolation.

    Parameters
    ----------
    images
        A set of N images.
    size
        Side in pixels.

    Raises
    ------
    TransferError
        The size is below 1.
    """
    if size < 1:
        msg = f"{images.source}: images cannot be {size} pixels wide. Give a size of 1 or more."
        raise TransferError(msg)
    if images.size == (size, size):
        return images
    return replace(images, images=squared(images.images, size))


def recoloured(pixels: Pixels, count: int) -> Pixels:
    """Pixels ``(N, H, W, C)`` in 1 (luminance, ITU-R BT.601) or 3 channels (grey thrice)."""
    if pixels.shape[3] == count:
        return pixels
    if count == 3:
        return np.repeat(pixels, 3, axis=3)
    red, green, blue = (pixels[..., i].astype(np.uint32) * LUMA[i] for i in range(3))
    return ((red + green + blue + 0x8000) >> 16).astype(np.uint8)[..., None]


def channels(images: Images, count: int) -> Images:
    """Images in 1 channel (luminance, ITU-R BT.601) or in 3 (grey repeated).

    Raises
    ------
    TransferError
        Another number of channels is asked for.
    """
    if count not in (1, 3):
        msg = f"{images.source}: images have 1 channel (grey) or 3 (RGB), not {count}."
        raise TransferError(msg)
    return replace(images, images=recoloured(images.images, count))


def mean_std(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each channel, for pixels in 0..1.

    From the counts of the 256 values: exact, and no copy of the images.

    Returns
    -------
    mean, std
        float64 of shape ``(C,)``. A channel that never varies has the deviation 0.

    Raises
    ------
    TransferError
        There are no images.
    """
    if not len(images):
        msg = f"{images.source}: there are no images to take a mean of."
        raise TransferError(msg)
    values = np.arange(256) / 255
    shares = np.stack([
        np.bincount(images.images[..., i].ravel(), minlength=256) / images.images[..., i].size
        for i in range(images.channels)
    ])  # fmt: skip
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(axis=1)
    return mean, np.sqrt(variance)
