"""A protobuf message of which only the fields that are asked for are ever looked at."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers import protobuf_wire as wire
from filterdb.readers.limits import allowed_bytes

FIELD_BYTES = 250
"""Memory that a field takes, roughly, with its share of the message that it is in."""
CHUNK = 2**20
MAX_VARINT = 10
AGAIN = "Download or copy the file again."


@dataclass(slots=True)
class Bytes:
    """What the messages are views of, and how many fields may still be walked."""

    data: NDArray[np.uint8]
    most: int
    left: int

    @classmethod
    def of(cls, data: NDArray[np.uint8]) -> Bytes:
        """Bytes of which so many fields may be walked as their number can justify."""
        most = min(wire.MAX_FIELDS, allowed_bytes(len(data)) // FIELD_BYTES)
        return cls(data, most, most)

    def spend(self, count: int) -> None:
        """Count fields.

        Raises
        ------
        LimitError
            There are more than in any network.
        """
        self.left -= count
        if self.left < 0:
            msg = f"It holds more than {self.most:,} protobuf fields: that is out of proportion."
            raise LimitError(msg)


@dataclass(slots=True)
class Message:
    """The message from ``begin`` to ``end`` of ``source``."""

    source: Bytes = field(repr=False)
    begin: int
    end: int
    known: dict[int, list[wire.Field]] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def whole(cls, data: NDArray[np.uint8]) -> Message:
        """Bytes that are one message from the first to the last."""
        return cls(Bytes.of(data), 0, len(data))

    @property
    def fields(self) -> dict[int, list[wire.Field]]:
        """The fields by number.

        Raises
        ------
        CorruptFileError
            The bytes are no message, or a field reaches beyond it.
        """
        if self.known is None:
            self.known = {}
            for one in self.walk():
                self.known.setdefault(one[0], []).append(one)
        return self.known

    def walk(self) -> Iterator[wire.Field]:
        """The fields in the file's order, none of them kept."""
        try:
            for one in wire.fields(self.source.data.data, self.begin, self.end):
                self.source.spend(1)
                if one[3] > self.end:
                    raise damaged(what=f"field {one[0]} reaches beyond its message")
                yield one
        except wire.WireError as error:
            raise damaged(what=str(error)) from error

    def messages(self, number: int) -> Iterator[Message]:
        """The messages in a repeated field."""
        for _, kind, begin, end in self.fields.get(number, ()):
            if kind == wire.LENGTH:
                yield Message(self.source, begin, end)

    def message(self, number: int) -> Message:
        """The last message in a field; an empty one where there is none."""
        return next(reversed(list(self.messages(number))), Message(self.source, 0, 0))

    def content(self, number: int) -> bytes | None:
        """The last bytes in a field."""
        found = [self.source.data[m.begin : m.end].tobytes() for m in self.messages(number)]
        return found[-1] if found else None

    def text(self, number: int) -> str:
        """The last text in a field; empty where there is none."""
        return next(reversed(self.texts(number)), "")

    def texts(self, number: int) -> list[str]:
        """The texts in a repeated field."""
        return [as_text(self.source.data[m.begin : m.end].tobytes()) for m in self.messages(number)]

    def integer(self, number: int, default: int = 0) -> int:
        """The last number in a field, signed."""
        return next(reversed(self.integers(number)), default)

    def integers(self, number: int) -> list[int]:
        """The signed integers in a repeated field, packed or not."""
        data, values = self.source.data.data, []
        try:
            for _, kind, begin, end in self.fields.get(number, ()):
                if kind == wire.VARINT:
                    values.append(signed(wire.varint(data, begin, end)[0]))
                elif kind == wire.LENGTH:
                    values += packed_integers(self.source.data[begin:end]).tolist()
                else:
                    values.append(int.from_bytes(data[begin:end], "little"))
        except wire.WireError as error:
            raise damaged(what=str(error)) from error
        return values

    def integer_array(self, number: int) -> NDArray[np.int64]:
        """As :meth:`integers`, for many: int64."""
        spans = self.fields.get(number, ())
        if all(kind == wire.LENGTH for _, kind, _, _ in spans):
            parts = [packed_integers(self.source.data[begin:end]) for _, _, begin, end in spans]
            return np.concatenate([np.empty(0, np.int64), *parts])
        return np.array(self.integers(number), np.int64)

    def real(self, number: int, default: float = 0.0) -> float:
        """The last float in a field."""
        for _, kind, begin, end in reversed(self.fields.get(number, ())):
            if kind == wire.FIXED32:
                return float(struct.unpack("<f", self.source.data[begin:end].tobytes())[0])
        return default

    def reals(self, number: int, dtype: str) -> NDArray[Any]:
        """The fixed-size numbers in a repeated field, packed or not; a view where they are one."""
        size = np.dtype(dtype).itemsize
        spans = self.fields.get(number, ())
        if any((end - begin) % size for _, _, begin, end in spans):
            raise damaged(what=f"field {number} is cut within a number")
        parts = [self.source.data[begin:end] for _, _, begin, end in spans]
        joined = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint8), *parts])
        return joined.view(dtype)

    def entries(self, number: int) -> dict[str, Message]:
        """A map from text to messages."""
        return {entry.text(1): entry.message(2) for entry in self.messages(number)}


def packed_integers(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Decode varints that follow each other: int64, one for each.

    Raises
    ------
    CorruptFileError
        The last is cut short, or one is longer than ten bytes.
    """
    parts = [np.empty(0, np.int64)]
    position = 0
    while position < len(data):  # a part at a time: the work takes many times its bytes
        part = data[position : position + CHUNK]
        ends = np.flatnonzero(part < 0x80)
        if not len(ends):
            raise damaged(what="an integer is cut short")
        parts.append(unpacked(part, ends))
        position += int(ends[-1]) + 1
    return np.concatenate(parts)


def unpacked(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The varints that end at the given places."""
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > MAX_VARINT:
        raise damaged(what="an integer is longer than any")
    values = np.zeros(len(ends), np.uint64)
    for i in range(longest):
        there = lengths > i
        bits = data[starts[there] + i].astype(np.uint64) & np.uint64(0x7F)
        values[there] |= bits << np.uint64(7 * i)
    return values.view(np.int64)


def signed(value: int) -> int:
    """A varint of 64 bits as the signed number that it stands for."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def as_text(content: bytes) -> str:
    """A name as text.

    Raises
    ------
    CorruptFileError
        It is none.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(what=f"the name {content[:40]!r} is not text") from error


def damaged(*, what: str) -> CorruptFileError:
    """The error for bytes that are no such message."""
    return CorruptFileError(f"Its protobuf is damaged or cut short ({what}). {AGAIN}")
