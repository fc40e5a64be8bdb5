"""The reader of Flax's own files: a tree of arrays in MessagePack."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.layer import Contents
from filterdb.readers import elements
from filterdb.readers.flax.message_pack import MAP, Extension, Unpacker
from filterdb.readers.flax.tree import Path, choose
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.limits import check_expansion, shortened
from filterdb.readers.mapping import map_file
from filterdb.readers.state_dict import Array

FORMAT = Format(
    "flax",
    "Flax parameters (MessagePack)",
    (".msgpack", ".flax"),
    reads=(
        "linen and nnx trees; bfloat16, arrays in chunks; the norms of `batch_stats`; optimiser "
        "state left out"
    ),
)

ARRAY = 1
"""The extension type of an array: its shape, the name of its type, its bytes."""
CONTAINERS = frozenset({*range(0x80, 0xA0), 0xC7, 0xC8, 0xC9, 0xDC, 0xDD, 0xDE, 0xDF})
"""Bytes that begin a map, a list or an array."""
MOST_SCALARS = 8
CHUNKED = "__msgpack_chunked_array__"
OTHER_NAMES = {"bool": "bool", "float8_e4m3": "float8_e4m3fn"}


def matches(head: Head) -> bool:
    """A map whose keys are text, and whose first value that is no number is a map or an array."""
    start = np.frombuffer(head.start, np.uint8)
    if not len(start) or not (0x81 <= start[0] <= 0x8F or start[0] in MAP):
        return False
    unpacker = Unpacker(start)
    unpacker.take(1 + MAP.get(int(start[0]), 0))
    try:
        for _ in range(MOST_SCALARS):
            key = unpacker.value()
            if not isinstance(key, str) or not (key and key.isprintable() and key.isascii()):
                return False
            if int(start[unpacker.position]) in CONTAINERS:
                return True
            if isinstance(unpacker.value(), np.ndarray):
                return False
    except (ReadError, IndexError):
        pass
    return False


def read(head: Head) -> Contents:
    """Take the network of the tree.

    Raises
    ------
    CorruptFileError
        It is damaged or cut short, or an array contradicts its shape.
    LimitError
        It is nested without end.
    """
    data = map_file(head.path)
    unpacker = Unpacker(data)
    root = unpacker.value()
    if unpacker.position != len(data) or not isinstance(root, dict):
        msg = "It is no single map, as Flax writes them: it is damaged or of another program."
        raise CorruptFileError(msg)
    chosen = choose(arrays_in(root, ()))
    wanted = sum(4 * prod(tensor.shape) for tensor in chosen.tensors)
    check_expansion(wanted, head.size, "The sum of its arrays")
    return Contents(FORMAT.name, chosen.tensors, chosen.skipped, "flax", chosen.notes)


def arrays_in(value: Any, path: Path) -> Iterator[tuple[Path, Array]]:
    """Every array below a value, with its path, in the file's order."""
    if isinstance(value, Extension):
        if value.code == ARRAY:
            yield path, array_of(value.data, path)
    elif isinstance(value, dict) and CHUNKED in value:
        yield path, joined(value, path)
    elif isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in pairs:
            yield from arrays_in(part, (*path, str(key)))


def array_of(data: NDArray[np.uint8], path: Path) -> Array:
    """The array in an extension.

    Raises
    ------
    CorruptFileError
        Its bytes do not fit its shape and type.
    """
    parts = Unpacker(data).value()
    if isinstance(parts, list) and len(parts) == 3:
        shape, kind, stored = parts
        if isinstance(kind, np.ndarray):
            kind = kind.tobytes().decode("ascii", "replace")
        name = OTHER_NAMES.get(str(kind), str(kind))
        if is_shape(shape) and isinstance(stored, np.ndarray) and name in elements.READABLE:
            extents = tuple(shape)
            name_of_bytes = "int8" if name == "int4" else "uint8" if name == "uint4" else name
            if len(stored) == elements.stored_bytes(name_of_bytes, extents):
                return Array(extents, name, partial(values, stored, name_of_bytes, extents))
    msg = "An array in it is damaged, or of a type that is not known."
    raise CorruptFileError(msg).at(layer=shortened("/".join(path)))


def is_shape(shape: Any) -> bool:
    """A list of extents that a machine can count."""
    return (
        isinstance(shape, list)
        and len(shape) <= elements.MAX_DIMENSIONS
        and all(type(extent) is int and 0 <= extent < 2**40 for extent in shape)
    )


def joined(value: dict[Any, Any], path: Path) -> Array:
    """An array of more than a gigabyte, which stands in flat parts.

    Raises
    ------
    CorruptFileError
        They are not as many numbers as its shape needs.
    """
    shape, chunks = value.get("shape"), value.get("chunks")
    if isinstance(shape, dict) and isinstance(chunks, dict):
        extents = [shape.get(str(i)) for i in range(len(shape))]
        held = [chunks.get(str(i)) for i in range(len(chunks))]
        if is_shape(extents) and held and all(isinstance(part, Extension) for part in held):
            parts = [array_of(part.data, path) for part in held if isinstance(part, Extension)]
            whole = tuple(extent for extent in extents if extent is not None)
            counted = sum(prod(part.shape) for part in parts)
            if counted == prod(whole) and len({part.dtype for part in parts}) == 1:
                return Array(whole, parts[0].dtype, partial(load_joined, parts, whole))
    msg = "An array in parts is damaged: they do not fit its shape."
    raise CorruptFileError(msg).at(layer=shortened("/".join(path)))


def load_joined(parts: list[Array], shape: tuple[int, ...]) -> NDArray[Any]:
    """The parts as one array."""
    return np.concatenate([part.load().reshape(-1) for part in parts]).reshape(shape)


def values(stored: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of an array; a view of the mapped file where NumPy has the type."""
    return elements.decode(stored.view(elements.storage_dtype(dtype)), dtype, shape)
