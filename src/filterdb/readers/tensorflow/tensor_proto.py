"""TensorFlow's element types, and the arrays that a TensorProto holds."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Loader
from filterdb.readers.elements import MAX_DIMENSIONS, decode, storage_dtype, stored_bytes
from filterdb.readers.limits import check_expansion
from filterdb.readers.tensorflow.message import AGAIN, Message, damaged

DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64",
    10: "bool", 11: "int8", 12: "uint8", 13: "int32", 14: "bfloat16", 15: "int16", 16: "uint16",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64", 24: "float8_e5m2",
    25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 28: "float8_e5m2fnuz",
    # TensorFlow keeps integers of 4 bits in a byte each.
    29: "int8", 30: "uint8",
}  # fmt: skip
"""Numbers of DataType that filterdb can read; references to them are larger by 100."""
STRING = 7
OTHERS = {7: "text", 8: "complex64", 18: "complex128", 20: "resource", 21: "variant"}
REALS = {"float32": (5, "<f4"), "float64": (6, "<f8")}
INTEGERS = {"float16": 13, "bfloat16": 13, "int64": 10, "bool": 11, "uint32": 16, "uint64": 17}
INT_FIELD = 7
FLOAT8_FIELD = 18
CONTENT = 4


def dtype_name(number: int) -> str | None:
    """The element type of a DataType; None where its values cannot be read."""
    return DTYPES.get(number % 100)


def dtype_words(number: int) -> str:
    """What the values are that cannot be read, for people."""
    return OTHERS.get(number % 100, f"unknown (type {number})")


def shape_of(message: Message) -> tuple[int, ...]:
    """The extents in a TensorShapeProto.

    Raises
    ------
    CorruptFileError
        One is negative, or there are too many.
    """
    shape = tuple(dim.integer(1) for dim in message.messages(2))
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size < 2**40 for size in shape):
        raise damaged(what=f"the impossible shape {shape[:8]}")
    return shape


def strings(tensor: Message) -> list[bytes]:
    """The texts that a TensorProto holds."""
    data = tensor.source.data
    return [data[m.begin : m.end].tobytes() for m in tensor.messages(8)]


def array_of(tensor: Message, file_size: int) -> tuple[tuple[int, ...], str, Loader] | str:
    """What a TensorProto holds.

    Returns
    -------
    (shape, dtype, load), or the reason why it cannot be read

    Raises
    ------
    CorruptFileError
        It holds more or fewer bytes than its shape needs.
    LimitError
        The fill of a repeated value is out of proportion to the file.
    """
    shape = shape_of(tensor.message(2))
    number = tensor.integer(1)
    name = dtype_name(number)
    if name is None:
        return f"its values are {dtype_words(number)}"
    needed = stored_bytes(name, shape)
    contents = list(tensor.messages(CONTENT))
    if contents and contents[-1].end > contents[-1].begin:
        held = contents[-1].end - contents[-1].begin
        if held != needed:
            of = f"A constant of shape {shape} of {name}"
            msg = f"{of} takes {needed:,} bytes, not {held:,}. {AGAIN}"
            raise CorruptFileError(msg)
        stored = tensor.source.data[contents[-1].begin : contents[-1].end]
        return shape, name, partial(from_content, stored, name, shape)
    check_expansion(needed, file_size, "A repeated constant")
    return shape, name, partial(from_values, tensor, name, shape)


def from_content(stored: NDArray[np.uint8], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values that lie as they would in memory."""
    return decode(stored.view(storage_dtype(name)), name, shape)


def values_of(tensor: Message, name: str) -> NDArray[Any]:
    """The values listed one by one, without the fill: one-dimensional, of the storage dtype."""
    if name in REALS:
        return tensor.reals(*REALS[name])
    if name.startswith("float8"):
        return np.frombuffer(tensor.content(FLOAT8_FIELD) or b"", np.uint8)
    wide = tensor.integer_array(INTEGERS.get(name, INT_FIELD))
    return wide.astype(storage_dtype(name))


def from_values(tensor: Message, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values listed one by one; the last stands for all that are not listed."""
    listed = values_of(tensor, name)
    count = prod(shape)
    if len(listed) > count:
        msg = f"A constant of shape {shape} lists {len(listed):,} values. {AGAIN}"
        raise CorruptFileError(msg)
    if len(listed) < count:
        last = listed[-1:] if len(listed) else np.zeros(1, storage_dtype(name))
        listed = np.concatenate([listed, np.broadcast_to(last, count - len(listed))])
    return decode(listed, name, shape)
