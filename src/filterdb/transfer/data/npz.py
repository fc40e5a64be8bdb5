"""NumPy archives: images and labels under the names that are in use."""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import TransferError
from filterdb.transfer.data.raw import Raw, as_pixels, check_bytes, check_pixels, of_part, reading

NAMES = (
    ("images", "labels", ""),
    ("x_train", "y_train", "train"),
    ("x_test", "y_test", "test"),
    ("train_images", "train_labels", "train"),
    ("val_images", "val_labels", "validation"),
    ("test_images", "test_labels", "test"),
)
"""Names of the images, of their labels, and the part they are. Keras's and MedMNIST's included."""
CLASSES = "classes"


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    return shape, dtype


def _array(archive: zipfile.ZipFile, name: str, path: Path, *, pixels: bool) -> NDArray[Any]:
    """One array; its header is checked before anything is allocated."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        shape, dtype = _header(file)
    if dtype.hasobject:
        msg = f"{path}: {name} holds Python objects, which would have to run to be read. Refused."
        raise TransferError(msg)
    if pixels:
        check_pixels(dtype, shape, path, name)
    claimed = prod(shape) * dtype.itemsize
    check_bytes(claimed, path, compressed=path.stat().st_size)
    if not claimed <= info.file_size:
        msg = f"{path}: {name} claims {claimed:,} bytes and has {info.file_size:,}. It is damaged."
        raise TransferError(msg)
    with archive.open(info) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def as_labels(array: NDArray[Any], n: int, path: Path, name: str) -> NDArray[Any]:
    """Labels as int64, or as strings, one an image.

    Raises
    ------
    TransferError
        They are neither, or not as many as the images.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (n,):
        msg = f"{path}: {name} has the shape {array.shape}; {n:,} images need {n:,} labels."
        raise TransferError(msg)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "U":
        return array.astype(object)
    msg = f"{path}: {name} is of type {array.dtype}; labels are integers or strings."
    raise TransferError(msg)


def read(path: Path, part: str = "") -> list[Raw]:
    """The images in an archive: a part each; ``part`` for those whose names do not say.

    Raises
    ------
    TransferError
        It holds no images with labels, or not of the types that can be used.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        there = {name.removesuffix(".npy") for name in archive.namelist()}
        names = None
        if CLASSES in there:
            stated = _array(archive, CLASSES, path, pixels=False)
            names = tuple(map(str, as_labels(stated, stated.size, path, CLASSES)))
        parts = []
        for images, labels, own in NAMES:
            if images not in there:
                continue
            if labels not in there:
                msg = f"{path}: {images} has no labels. Store them in the same file as {labels}."
                raise TransferError(msg)
            pixels = as_pixels(_array(archive, images, path, pixels=True), path, images)
            found = _array(archive, labels, path, pixels=False)
            parts.append(
                of_part(
                    pixels, as_labels(found, len(pixels), path, labels), own or part, names=names
                )
            )
    if not parts:
        msg = (
            f"{path}: it holds {', '.join(sorted(there)[:10]) or 'nothing'}, but no images and "
            "labels, nor x_train, y_train, x_test and y_test. Store them under these names."
        )
        raise TransferError(msg)
    return parts
