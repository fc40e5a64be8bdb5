"""`Raw`: what files hold before classes have names and the parts have been taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import FilterDBError, TransferError
from filterdb.transfer.data.images import Pixels

MAX_BYTES = 4 * 2**30
"""Bytes of pixels that are held at most: the sets are kept in memory."""
EXPANSION = 100
ALLOWANCE = 64 * 2**20
"""A compressed file may expand to so many times its size and so much more. Pixels compress
further than weights do: scanned digits to a fifth, line drawings to a thirtieth."""


class LeftOut(NamedTuple):
    """An image that is not used, and why."""

    reason: str
    name: str
    part: str


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """Pixels and labels as files have them.

    Attributes
    ----------
    images
        uint8 of shape ``(N, H, W, C)``, C 1 or 3.
    labels
        N integers (int64) or N strings (object): the file's own, not yet indices.
    parts
        The part of the data set each image comes from, such as ``"train"``; "" is unsaid.
    folders
        The first folder of the path that is kept with each image, where every image has one.
    names
        Names of the classes, where the file states them: those of the labels 0, 1, 2 ...
    left_out
        What the file holds and the arrays do not.
    """

    images: Pixels
    labels: NDArray[Any]
    parts: NDArray[Any]
    folders: NDArray[Any] | None = None
    names: tuple[str, ...] | None = None
    left_out: tuple[LeftOut, ...] = ()


def of_part(images: Pixels, labels: NDArray[Any], part: str, **more: Any) -> Raw:
    """Images that all belong to one part."""
    return Raw(images, labels, np.full(len(labels), part, dtype=object), **more)


def check_bytes(wanted: int, path: Path | str, *, compressed: int | None = None) -> None:
    """Refuse an allocation that is too large, or out of proportion with a compressed file.

    Raises
    ------
    TransferError
        It is.
    """
    if wanted > MAX_BYTES:
        msg = (
            f"{path}: the images take {wanted / 2**30:,.1f} GiB in memory, more than the "
            f"{MAX_BYTES / 2**30:.0f} that are allowed. Give a smaller size, or fewer images."
        )
        raise TransferError(msg)
    if compressed is not None and wanted > EXPANSION * compressed + ALLOWANCE:
        msg = (
            f"{path}: it claims {wanted:,} bytes in {compressed:,} compressed ones, which is out "
            "of proportion, so it was not read. If it is genuine, decompress it first."
        )
        raise TransferError(msg)


def as_pixels(array: NDArray[Any], path: Path, name: str = "images") -> Pixels:
    """An array of images as ``(N, H, W, C)``, from that, ``(N, H, W)`` or ``(N, C, H, W)``.

    Raises
    ------
    TransferError
        It is not uint8, or of no such shape.
    """
    check_pixels(array.dtype, array.shape, path, name)
    if array.ndim == 3:
        array = array[..., None]
    elif array.shape[3] not in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(array, dtype=np.uint8)


def check_pixels(dtype: np.dtype[Any], shape: tuple[int, ...], path: Path, name: str) -> None:
    """Refuse an array that :func:`as_pixels` cannot use, from its header alone.

    Raises
    ------
    TransferError
        It cannot.
    """
    if dtype != np.uint8:
        msg = (
            f"{path}: {name} has values of type {dtype}; only uint8 (0 to 255) is read. Scale the "
            "values to 0..255 and store them as uint8."
        )
        raise TransferError(msg)
    fits = len(shape) == 3 or (len(shape) == 4 and (shape[3] in (1, 3) or shape[1] in (1, 3)))
    if not fits or 0 in shape[1:]:
        msg = (
            f"{path}: {name} has the shape {shape}. Images are (N, H, W), (N, H, W, C) or "
            "(N, C, H, W), with 1 or 3 channels."
        )
        raise TransferError(msg)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes a parser raise into a sentence that names the file."""
    try:
        yield
    except FilterDBError:
        raise
    except OSError as error:
        told = error.strerror or str(error) or type(error).__name__
        msg = f"{path}: the file cannot be read ({told:.200}). Is it complete?"
        raise TransferError(msg) from error
    except Exception as error:
        msg = (
            f"{path}: the file is damaged, cut short or not what it claims to be "
            f"({type(error).__name__}: {error!s:.200}). Fetch it again."
        )
        raise TransferError(msg) from error
