"""NumPy arrays inside a pickle, rebuilt from what NumPy would have been called with."""

from __future__ import annotations

import re
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.readers.elements import MAX_DIMENSIONS
from filterdb.readers.pytorch.inert_objects import Global, Opaque
from filterdb.readers.pytorch.pickle_text import MAX_LENGTH_OF_PYTHON_2
from filterdb.readers.state_dict import Array

RECONSTRUCT = re.compile(r"numpy\.(core|_core)\.multiarray\._reconstruct")
FROM_BUFFER = re.compile(r"numpy\.(core|_core)\.numeric\._frombuffer")
PLAIN = re.compile(r"[<>=|]?(b1|\?|[iu][1248]|f[248])")


def numpy_array(value: Opaque) -> Array | str | None:
    """The array that a call stands for, why it is not taken, or None if it is no array.

    Raises
    ------
    CorruptFileError
        Its bytes and its shape contradict each other.
    """
    called = str(value.function) if isinstance(value.function, Global) else ""
    if RECONSTRUCT.fullmatch(called) and isinstance(value.state, tuple) and len(value.state) == 5:
        _, shape, kind, fortran, stored = value.state
    elif FROM_BUFFER.fullmatch(called) and len(value.args) == 4:
        stored, kind, shape, order = value.args
        fortran = order == "F"
    else:
        return None
    dtype = plain_dtype(kind)
    if dtype is None:
        return "a NumPy array of objects or records, not of plain numbers"
    if not is_shape(shape):
        msg = "Its NumPy array has no sound shape: the file is damaged."
        raise CorruptFileError(msg)
    if (held := stored_length(stored)) != prod(shape) * dtype.itemsize:
        msg = (
            f"Its shape {shape} of {dtype.name} needs {prod(shape) * dtype.itemsize:,} bytes, but "
            f"the pickle holds {held:,}. Download or copy the file again."
        )
        raise CorruptFileError(msg)
    load = partial(rebuild, stored, dtype, shape, "F" if fortran else "C")
    return Array(shape, dtype.name, load)


def plain_dtype(kind: Any) -> np.dtype[Any] | None:
    """The dtype of plain numbers that a pickled ``numpy.dtype`` stands for, or None."""
    if not (isinstance(kind, Opaque) and kind.args and isinstance(kind.args[0], str)):
        return None
    name = kind.args[0]
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "="
    if not PLAIN.fullmatch(name) or order not in ("<", ">", "=", "|"):
        return None
    dtype = np.dtype(name)
    if order in ("=", "|"):
        return dtype
    return dtype.newbyteorder("<" if order == "<" else ">")


def is_shape(shape: Any) -> bool:
    """True for a tuple of at most 64 extents that a machine can count."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(extent) is int and 0 <= extent < 2**62 for extent in shape)
    )


def stored_length(stored: Any) -> int:
    """Bytes that the values take in the stream; -1 for what is no data."""
    if isinstance(stored, Opaque):  # bytes that protocol 2 wraps into a call
        inner = stored.args[0] if stored.args else b""
        return len(inner) if isinstance(inner, str | bytes) else -1
    if isinstance(stored, str):  # raw data of Python 2 that happened to be text
        # Python 2's longer strings never become text: this one is not honest, so not looked at.
        short = len(stored) <= MAX_LENGTH_OF_PYTHON_2
        return len(stored.encode("utf-8", "surrogatepass")) if short else -1
    return len(stored) if isinstance(stored, bytes) else -1


def rebuild(stored: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> NDArray[Any]:
    """The values; bool as uint8."""
    if isinstance(stored, Opaque):
        stored = stored.args[0]
        encoding = "latin-1"
    else:
        encoding = "utf-8"
    try:
        raw = stored if isinstance(stored, bytes) else stored.encode(encoding, "surrogatepass")
    except UnicodeEncodeError as error:
        msg = "The bytes of its NumPy array cannot be decoded: the file is damaged."
        raise CorruptFileError(msg) from error
    plain = np.dtype("u1") if dtype.kind == "b" else dtype
    return np.frombuffer(raw, plain).reshape(shape, order="F" if order == "F" else "C")
