"""FlatBuffers without a schema: a walk over tables that never leaves the file.

Offsets in a flatbuffer may point anywhere, and several may point to one place. Each is checked
against the file, and what is walked is counted, so that a small file cannot unfold to a large one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError

MAX_TABLES = 100_000
"""Tables that are still walked; the largest networks have some 20,000."""
MAX_TEXT = 4096
"""Bytes of a text that are read."""
INTEGERS = {1: "b", 2: "<h", 4: "<i", 8: "<q"}


class Flatbuffer:
    """The bytes of a file, with a count of what was walked.

    Parameters
    ----------
    data
        uint8, one-dimensional; may be a mapped file.
    """

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.view = data.data
        self.size = len(data)
        self.tables = 0
        self.walked = 0

    @property
    def root(self) -> Table:
        """The root table."""
        return self.table(self.unsigned(0))

    def table(self, position: int) -> Table:
        """The table at a position."""
        self.tables += 1
        if self.tables > MAX_TABLES:
            msg = f"It holds more than {MAX_TABLES:,} tables, as no network does."
            raise LimitError(msg)
        vtable = position - self.integer(position, 4)
        length = self.unsigned(vtable, 2)
        self.check(vtable, length)
        return Table(self, position, vtable, length)

    def check(self, position: int, length: int) -> None:
        """Require that a span lies in the file."""
        if position < 0 or length < 0 or position + length > self.size:
            msg = (
                f"A part of it lies at byte {position:,}, outside its {self.size:,} bytes. The "
                "file is damaged or cut short: download or copy it again."
            )
            raise CorruptFileError(msg)

    def spend(self, amount: int) -> None:
        """Count bytes that are walked: no honest file makes us walk it several times over."""
        self.walked += amount
        if self.walked > 2 * self.size + 2**20:
            msg = "Its tables refer to the same bytes over and over, as no network's do."
            raise LimitError(msg)

    def integer(self, position: int, size: int) -> int:
        """A signed integer of ``size`` bytes."""
        self.check(position, size)
        return int(struct.unpack_from(INTEGERS[size], self.view, position)[0])

    def unsigned(self, position: int, size: int = 4) -> int:
        """An unsigned integer of ``size`` bytes."""
        self.check(position, size)
        return int.from_bytes(self.view[position : position + size], "little")

    def target(self, position: int) -> int:
        """Where the offset at a position points: always forward."""
        return position + self.unsigned(position)


@dataclass(frozen=True, slots=True)
class Table:
    """One table; its fields are asked for by number, and absent ones have their default."""

    buffer: Flatbuffer
    position: int
    vtable: int
    length: int

    def place(self, number: int) -> int | None:
        """Where a field lies, None where it is absent."""
        slot = 4 + 2 * number
        if slot + 2 > self.length:
            return None
        offset = self.buffer.unsigned(self.vtable + slot, 2)
        return self.position + offset if offset else None

    def integer(self, number: int, *, size: int = 4, default: int = 0) -> int:
        """A signed integer field of ``size`` bytes."""
        place = self.place(number)
        return default if place is None else self.buffer.integer(place, size)

    def unsigned(self, number: int, *, size: int = 4) -> int:
        """An unsigned integer field of ``size`` bytes."""
        place = self.place(number)
        return 0 if place is None else self.buffer.unsigned(place, size)

    def child(self, number: int) -> Table | None:
        """A table field."""
        place = self.place(number)
        return None if place is None else self.buffer.table(self.buffer.target(place))

    def text(self, number: int) -> str:
        """A text field, its first :data:`MAX_TEXT` bytes; empty where it is absent."""
        found = self.vector(number, "u1")
        content = b"" if found is None else found[:MAX_TEXT].tobytes()
        self.buffer.spend(len(content))
        return content.decode("utf-8", "replace")

    def vector(self, number: int, dtype: str) -> NDArray[Any] | None:
        """A vector of numbers as a view of the file; None where it is absent."""
        place = self.place(number)
        if place is None:
            return None
        start = self.buffer.target(place)
        stored = np.dtype(dtype)
        count = self.buffer.unsigned(start)
        self.buffer.check(start + 4, count * stored.itemsize)
        return self.buffer.data[start + 4 : start + 4 + count * stored.itemsize].view(stored)

    def integers(self, number: int) -> tuple[int, ...]:
        """A vector of 32-bit integers; empty where it is absent."""
        found = self.vector(number, "<i4")
        if found is None:
            return ()
        self.buffer.spend(found.nbytes)
        return tuple(found.tolist())

    def children(self, number: int) -> Iterator[Table]:
        """A vector of tables; nothing where it is absent."""
        place = self.place(number)
        if place is None:
            return
        start = self.buffer.target(place)
        count = self.buffer.unsigned(start)
        self.buffer.check(start + 4, 4 * count)
        self.buffer.spend(4 * count)
        for index in range(count):
            yield self.buffer.table(self.buffer.target(start + 4 + 4 * index))
