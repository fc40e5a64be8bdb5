"""IDX, the format of MNIST: a header of big-endian sizes, then the values; often gzipped."""

from __future__ import annotations

import gzip
import re
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import TransferError
from filterdb.transfer.data.raw import Raw, as_pixels, check_bytes, of_part, reading

GZIP = b"\x1f\x8b"
DTYPES = {
    0x08: "uint8",
    0x09: "int8",
    0x0B: "int16",
    0x0C: "int32",
    0x0D: "float32",
    0x0E: "float64",
}
MAX_AXES = 4
BLOCK = 2**20


def matches(head: bytes) -> bool:
    """Whether the first bytes of a file (uncompressed) are those of IDX."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in DTYPES and head[3] <= MAX_AXES


def first_bytes(path: Path) -> bytes:
    """The first four bytes of a file, gzipped or not; fewer where there are no more.

    Raises
    ------
    TransferError
        The file cannot be read.
    """
    with reading(path), path.open("rb") as file:
        head = file.read(4)
        if not head.startswith(GZIP):
            return head
    with reading(path), gzip.open(path) as file:
        return bytes(file.read(4))


def _values(file: BinaryIO, path: Path, *, zipped: bool) -> NDArray[np.uint8]:
    head = file.read(4)
    if not matches(head):
        msg = f"{path}: this is not an IDX file: it does not begin with its signature."
        raise TransferError(msg)
    if DTYPES[head[2]] != "uint8":
        msg = (
            f"{path}: the values are of type {DTYPES[head[2]]}; of IDX files only uint8 (0x08) "
            "is read. Write the values as uint8."
        )
        raise TransferError(msg)
    sizes = file.read(4 * head[3])
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
    claimed, on_disk = prod(shape), path.stat().st_size
    if len(sizes) < 4 * head[3] or (not zipped and on_disk != 4 + len(sizes) + claimed):
        msg = (
            f"{path}: the header claims {claimed:,} values, the file has "
            f"{max(on_disk - 4 - len(sizes), 0):,}. It is cut short or damaged: fetch it again."
        )
        raise TransferError(msg)
    check_bytes(claimed, path, compressed=on_disk if zipped else None)
    # In blocks: a gzipped header may claim what the stream does not hold.
    data = bytearray()
    while len(data) < claimed and (block := file.read(min(BLOCK, claimed - len(data)))):
        data += block
    if len(data) < claimed or file.read(1):
        more = "more" if len(data) == claimed else f"{len(data):,}"
        msg = (
            f"{path}: the header claims {claimed:,} values, the file has {more}. It is cut short "
            "or damaged: fetch it again."
        )
        raise TransferError(msg)
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of type uint8, gzipped or not.

    Raises
    ------
    TransferError
        It is of another type, damaged, or expands out of proportion.
    """
    with reading(path):
        with path.open("rb") as plain:
            zipped = plain.read(2) == GZIP
        if zipped:
            with gzip.open(path) as file:
                return _values(file, path, zipped=True)  # type: ignore[arg-type]
        with path.open("rb") as file:
            return _values(file, path, zipped=False)


def labels_beside(path: Path) -> Path:
    """The file of labels that goes with a file of images, found by its name.

    Raises
    ------
    TransferError
        There is none.
    """
    name = re.sub("idx[34]", "idx1", path.name.replace("images", "labels"))
    stem = name.removesuffix(".gz")
    for candidate in (name, stem, f"{stem}.gz"):
        if candidate != path.name and (path.parent / candidate).is_file():
            return path.parent / candidate
    msg = (
        f"{path}: no labels are beside it. Images in ...-images-idx3-ubyte need their labels in "
        "...-labels-idx1-ubyte (.gz or not) in the same folder."
    )
    raise TransferError(msg)


def read(path: Path, part: str) -> Raw:
    """The images in an IDX file, with the labels in the file beside it.

    Raises
    ------
    TransferError
        Either is damaged, of another type, or they do not go together.
    """
    array = read_idx(path)
    if array.ndim == 1:
        msg = f"{path}: these are labels. Give the file of the images; the labels are found beside."
        raise TransferError(msg)
    beside = labels_beside(path)
    labels = read_idx(beside)
    if labels.shape != array.shape[:1]:
        msg = (
            f"{beside}: it holds labels of shape {labels.shape}, for images of shape {array.shape} "
            f"in {path.name}. Fetch the two files that belong together."
        )
        raise TransferError(msg)
    return of_part(as_pixels(array, path), labels.astype(np.int64), part)
