"""The weights of an ncnn network: runs of numbers in one of five ways, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.readers.ncnn.sizes import Part

FLOAT16, INT8, SCALED_FLOAT32 = 0x01306B47, 0x000D4B38, 0x0002C056
TABLE = 256


@dataclass(frozen=True, slots=True)
class Run:
    """Where a part lies: ``count`` elements of ``dtype`` from byte ``begin``.

    ``table`` is the place of the 256 values that stored bytes stand for, where they do.
    """

    data: NDArray[np.uint8]
    begin: int
    count: int
    dtype: str
    table: int | None = None

    def load(self) -> NDArray[Any]:
        """The numbers; one-dimensional."""
        stored = np.dtype(self.dtype).newbyteorder("<")
        values = self.data[self.begin : self.begin + self.count * stored.itemsize].view(stored)
        if self.table is None:
            return values
        table = self.data[self.table : self.table + 4 * TABLE].view("<f4")
        result: NDArray[Any] = table[values]
        return result


class Stream:
    """The ``.bin``, read from its beginning."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.position = 0

    def take(self, parts: Sequence[Part]) -> dict[str, Run]:
        """The runs of one layer.

        Raises
        ------
        CorruptFileError
            The file ends before.
        """
        return {part.name: self.run(part) for part in parts}

    def run(self, part: Part) -> Run:
        """One run, its tag looked at."""
        begin = self.position
        tag = 0
        if part.tagged:
            begin = self.advance(4) + 4
            tag = int.from_bytes(self.data[begin - 4 : begin].tobytes(), "little")
        if tag == FLOAT16:
            return Run(self.data, self.advance(padded(2 * part.count)), part.count, "float16")
        if tag == INT8:
            return Run(self.data, self.advance(padded(part.count)), part.count, "int8")
        if tag in (0, SCALED_FLOAT32):
            return Run(self.data, self.advance(4 * part.count), part.count, "float32")
        table = self.advance(4 * TABLE)
        return Run(self.data, self.advance(padded(part.count)), part.count, "uint8", table)

    def advance(self, count: int) -> int:
        """Pass over so many bytes; return where they begin."""
        begin = self.position
        self.position += count
        if self.position > len(self.data):
            msg = (
                f"The weights are to reach to byte {self.position:,}, but their .bin file has "
                f"{len(self.data):,}: it is cut short, or belongs to another .param. Download or "
                "copy both files again."
            )
            raise CorruptFileError(msg)
        return begin


def padded(count: int) -> int:
    """Bytes up to the next multiple of four."""
    return -(-count // 4) * 4
