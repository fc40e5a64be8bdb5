"""MessagePack without copies: maps, lists, text and numbers; bytes and extensions as views."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.limits import MAX_DEPTH

MAX_VALUES = 2_000_000
"""Values in a file; real ones have some ten thousand."""
NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
BINARY = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""Markers whose length stands in so many bytes."""
EXTENSION = {0xC7: 1, 0xC8: 2, 0xC9: 4}
FIXED_EXTENSION = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
TEXT = {0xD9: 1, 0xDA: 2, 0xDB: 4}
LIST = {0xDC: 2, 0xDD: 4}
MAP = {0xDE: 2, 0xDF: 4}


@dataclass(frozen=True, slots=True, eq=False)
class Extension:
    """A value of a type that the format leaves to its users."""

    code: int
    data: NDArray[np.uint8] = field(repr=False)


class Unpacker:
    """Reads values one after the other.

    Parameters
    ----------
    data
        The bytes.
    """

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.position = 0
        self.count = 0

    def value(self, depth: int = 0) -> Any:
        """The next value.

        Raises
        ------
        CorruptFileError
            The bytes are cut short, or no MessagePack.
        LimitError
            There are more values than in any network, or they are nested without end.
        """
        self.count += 1
        if self.count > MAX_VALUES or depth > MAX_DEPTH:
            msg = "It holds more values, or deeper nested ones, than any network: not read."
            raise LimitError(msg)
        mark = int(self.take(1)[0])
        if mark < 0x80 or mark >= 0xE0:
            return mark if mark < 0x80 else mark - 256
        if mark in CONSTANTS:
            return CONSTANTS[mark]
        if mark in NUMBERS:
            form = NUMBERS[mark]
            return struct.unpack(form, self.take(struct.calcsize(form)).tobytes())[0]
        if mark in BINARY:
            self.count += 3
            return self.take(self.number(BINARY[mark]))
        if mark in EXTENSION or mark in FIXED_EXTENSION:
            self.count += 3  # a view takes as much as several numbers
            length = FIXED_EXTENSION.get(mark) or self.number(EXTENSION.get(mark, 1))
            code = int(self.take(1).view(np.int8)[0])
            return Extension(code, self.take(length))
        if 0xA0 <= mark < 0xC0 or mark in TEXT:
            return self.text(mark & 0x1F if mark < 0xC0 else self.number(TEXT[mark]))
        if 0x90 <= mark < 0xA0 or mark in LIST:
            length = mark & 0x0F if mark < 0xA0 else self.number(LIST[mark])
            return [self.value(depth + 1) for _ in range(self.fits(length))]
        if mark < 0x90 or mark in MAP:
            return self.mapping(mark & 0x0F if mark < 0x90 else self.number(MAP[mark]), depth)
        raise damaged(what=f"byte {mark} begins no value")

    def mapping(self, length: int, depth: int) -> dict[Any, Any]:
        """A map; its keys are text or numbers."""
        found: dict[Any, Any] = {}
        for _ in range(self.fits(length)):
            key = self.value(depth + 1)
            if not isinstance(key, str | int):
                raise damaged(what="a key is neither text nor a number")
            found[key] = self.value(depth + 1)
        return found

    def text(self, length: int) -> str:
        """Text of so many bytes."""
        try:
            return self.take(length).tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise damaged(what="a name is not text") from error

    def number(self, size: int) -> int:
        """An unsigned integer of so many bytes."""
        return int.from_bytes(self.take(size).tobytes(), "big")

    def fits(self, length: int) -> int:
        """A count of values, of which each takes a byte at least."""
        if length > len(self.data) - self.position:
            raise damaged(what="it is cut short")
        return length

    def take(self, length: int) -> NDArray[np.uint8]:
        """The next bytes."""
        begin, end = self.position, self.position + length
        if end > len(self.data):
            raise damaged(what="it is cut short")
        self.position = end
        return self.data[begin:end]


def damaged(*, what: str) -> CorruptFileError:
    """The error for bytes that are no MessagePack."""
    return CorruptFileError(f"Its MessagePack is damaged: {what}. Download or copy the file again.")
