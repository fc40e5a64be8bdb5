"""``.pdiparams``: tensors one after the other, each with its type and shape, without names."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Loader
from filterdb.readers import elements
from filterdb.readers.tensorflow.message import Message

TYPES = {
    0: "bool", 1: "int16", 2: "int32", 3: "int64", 4: "float16", 5: "float32", 6: "float64",
    20: "uint8", 21: "int8", 22: "bfloat16", 32: "float8_e4m3fn", 33: "float8_e5m2",
}  # fmt: skip
MAX_LEVELS = 16
MAX_DESCRIPTION = 1000
AGAIN = "Download or copy it again."


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the file, unread."""

    shape: tuple[int, ...]
    dtype: str
    load: Loader = field(repr=False, compare=False)


def read_streams(data: NDArray[np.uint8], count: int) -> list[Stored]:
    """Find so many tensors, which must fill the file.

    Raises
    ------
    CorruptFileError
        They do not.
    """
    found, position = [], 0
    for index in range(count):
        stored, position = read_stream(data, position, index)
        found.append(stored)
    if position != len(data):
        msg = (
            f"Its {count} tensors take {position:,} bytes, but the file of parameters has "
            f"{len(data):,}: it belongs to another network, or is damaged."
        )
        raise CorruptFileError(msg)
    return found


def read_stream(data: NDArray[np.uint8], position: int, index: int) -> tuple[Stored, int]:
    """The tensor that begins at a position, and where it ends."""
    version, levels = number(data, position, 4), number(data, position + 4, 8)
    if version or levels > MAX_LEVELS:
        raise damaged(what=f"tensor {index} has no sound header")
    position += 12
    for _ in range(levels):
        position += 8 + number(data, position, 8)
    version, length = number(data, position, 4), number(data, position + 4, 4)
    begin = position + 8
    if version or length > MAX_DESCRIPTION or begin + length > len(data):
        raise damaged(what=f"tensor {index} has no sound description")
    description = Message.whole(data[begin : begin + length])
    dtype = TYPES.get(description.integer(1))
    shape = tuple(description.integers(2))
    sound = len(shape) <= elements.MAX_DIMENSIONS and all(0 <= extent < 2**40 for extent in shape)
    if dtype is None or not sound:
        raise damaged(what=f"tensor {index} has an unknown type or an impossible shape")
    begin += length
    end = begin + elements.stored_bytes(dtype, shape)
    if end > len(data):
        raise damaged(what=f"tensor {index} reaches beyond its end")
    return Stored(shape, dtype, partial(load, data[begin:end], dtype, shape)), end


def load(stored: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of a tensor; a view of the mapped file where NumPy has the type."""
    return elements.decode(stored.view(elements.storage_dtype(dtype)), dtype, shape)


def number(data: NDArray[np.uint8], position: int, size: int) -> int:
    """An unsigned integer in a file; a whole one."""
    taken = data[position : position + size].tobytes()
    if len(taken) < size:
        raise damaged(what="it is cut short")
    return int.from_bytes(taken, "little")


def damaged(*, what: str) -> CorruptFileError:
    """The error for a file that is no sequence of tensors."""
    return CorruptFileError(f"The file of parameters is damaged: {what}. {AGAIN}")
