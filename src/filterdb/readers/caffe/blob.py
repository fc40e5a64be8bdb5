"""A Caffe blob: a shape in one of two ways, and numbers in one of three."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Loader
from filterdb.readers import protobuf_wire as wire
from filterdb.readers.elements import MAX_DIMENSIONS

OLD_SHAPE = (1, 2, 3, 4)
"""Fields num, channels, height and width."""
DATA, SHAPE, DOUBLE_DATA, RAW_TYPE, RAW_DATA = 5, 7, 8, 10, 12
RAW_TYPES = {0: "float64", 1: "float32", 2: "float16", 3: "int32", 4: "uint32"}
BLOB_FIELDS = 20
"""Fields of the message that a blob takes the memory of."""


@dataclass(slots=True)
class Message:
    """Where a message lies in the file, and how many fields of the file may still be walked."""

    data: memoryview
    start: int
    end: int
    budget: list[int] = field(default_factory=lambda: [wire.MAX_FIELDS])

    def fields(self) -> Iterator[tuple[int, int, Message]]:
        """Number, wire type and value of each field.

        Raises
        ------
        CorruptFileError
            The bytes are no message, or it is cut short.
        LimitError
            The file has more fields than any network.
        """
        try:
            for number, kind, begin, end in wire.fields(self.data, self.start, self.end):
                self.budget[0] -= 1
                if self.budget[0] < 0:
                    msg = f"It holds more than {wire.MAX_FIELDS:,} protobuf fields: not read."
                    raise LimitError(msg)
                if end > self.end:
                    raise cut_short()
                yield number, kind, Message(self.data, begin, end, self.budget)
        except wire.WireError as error:
            msg = f"Its protobuf message is damaged: {error}. Download or copy the file again."
            raise CorruptFileError(msg) from error

    @property
    def integer(self) -> int:
        """The value of a varint, as a signed number of 64 bits."""
        value, _ = wire.varint(self.data, self.start, self.end)
        return value - 2**64 if value >= 2**63 else value

    @property
    def float32(self) -> float:
        """The value of a fixed number of 32 bits."""
        return float(np.frombuffer(self.data[self.start : self.end], "<f4")[0])

    @property
    def text(self) -> str:
        """The value of a string; what is no UTF-8 is shown as it may be."""
        return bytes(self.data[self.start : self.end]).decode("utf-8", "backslashreplace")

    def integers(self) -> list[int]:
        """Packed varints."""
        values: list[int] = []
        position = self.start
        try:
            while position < self.end and len(values) <= MAX_DIMENSIONS:
                value, position = wire.varint(self.data, position, self.end)
                values.append(value)
        except wire.WireError as error:
            raise cut_short() from error
        return values


@dataclass(frozen=True, slots=True)
class Blob:
    """An array of a layer, unread until it is loaded."""

    shape: tuple[int, ...]
    dtype: str
    load: Loader = field(repr=False, compare=False)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


def read_blob(message: Message) -> Blob:
    """Find the shape and the numbers of a BlobProto.

    Raises
    ------
    CorruptFileError
        They contradict each other.
    """
    message.budget[0] -= BLOB_FIELDS
    old: dict[int, int] = {}
    shape: list[int] | None = None
    spans: dict[int, list[Message]] = {}
    raw_type = 1
    for number, kind, value in message.fields():
        if number in OLD_SHAPE and kind == wire.VARINT:
            old[number] = value.integer
        elif number == SHAPE and kind == wire.LENGTH:
            shape = read_shape(value)
        elif number == RAW_TYPE and kind == wire.VARINT:
            raw_type = value.integer
        elif number in (DATA, DOUBLE_DATA, RAW_DATA) and kind != wire.VARINT:
            spans.setdefault(number, []).append(value)
    if shape is None:
        shape = [old.get(number, 1) for number in OLD_SHAPE] if old else None
    held = next((n for n in (DATA, DOUBLE_DATA, RAW_DATA) if n in spans), None)
    dtype = {DATA: "float32", DOUBLE_DATA: "float64", RAW_DATA: RAW_TYPES.get(raw_type, "")}.get(
        held or DATA, ""
    )
    if not dtype:
        msg = f"It holds raw data of the unknown type {raw_type}: the file is damaged."
        raise CorruptFileError(msg)
    pieces = spans.get(held or DATA, [])
    stored = np.dtype(dtype).newbyteorder("<")
    count, rest = divmod(sum(piece.end - piece.start for piece in pieces), stored.itemsize)
    sizes = tuple(shape if shape is not None else [count])
    if rest or len(sizes) > MAX_DIMENSIONS or min(sizes, default=0) < 0 or prod(sizes) != count:
        msg = (
            f"A blob of shape {sizes!s:.200} holds {count:,} numbers: the file is damaged. "
            "Download or copy it again."
        )
        raise CorruptFileError(msg)

    def load() -> NDArray[Any]:
        parts = [np.frombuffer(piece.data[piece.start : piece.end], stored) for piece in pieces]
        whole = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, stored), *parts])
        return whole.reshape(sizes)

    return Blob(sizes, dtype, load)


def read_shape(message: Message) -> list[int]:
    """The extents in a BlobShape."""
    extents: list[int] = []
    for number, kind, value in message.fields():
        if number == 1 and len(extents) <= MAX_DIMENSIONS:
            extents += value.integers() if kind == wire.LENGTH else [value.integer]
    return extents


def cut_short() -> CorruptFileError:
    """The error for a message that reaches beyond its end."""
    return CorruptFileError("Its protobuf message is cut short. Download or copy the file again.")
