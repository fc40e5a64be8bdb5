"""A decoder of Snappy, in which tables may be compressed.

A copy takes at least two bytes and yields at most 64, so what comes out is bounded by what goes in.
"""

from __future__ import annotations

from filterdb.errors import CorruptFileError
from filterdb.readers import protobuf_wire as wire

LITERAL = 0


def decompress(data: memoryview) -> bytes:
    """Decode one block.

    Raises
    ------
    CorruptFileError
        It is damaged, or not as long as it announces.
    """
    try:
        length, position = wire.varint(data, 0, min(len(data), 5))
    except wire.WireError as error:
        raise damaged() from error
    result = bytearray()
    end = len(data)
    while position < end:
        tag = data[position]
        position += 1
        if tag & 3 == LITERAL:
            size = tag >> 2
            if size >= 60:
                extra = size - 59
                size = int.from_bytes(data[position : position + extra], "little")
                position += extra
            size += 1
            if position + size > end:
                raise damaged()
            result += data[position : position + size]
            position += size
        else:
            position = copy(data, tag, position, result)
        if len(result) > length:
            raise damaged()
    if len(result) != length:
        raise damaged()
    return bytes(result)


def copy(data: memoryview, tag: int, position: int, result: bytearray) -> int:
    """Repeat a part of what was decoded; return the position after the element."""
    kind = tag & 3
    extra = (0, 1, 2, 4)[kind]
    if position + extra > len(data):
        raise damaged()
    offset = int.from_bytes(data[position : position + extra], "little")
    size = (tag >> 2) + 1
    if kind == 1:
        size = ((tag >> 2) & 7) + 4
        offset |= (tag >> 5) << 8
    if not 0 < offset <= len(result):
        raise damaged()
    start = len(result) - offset
    while size > 0:  # the part may overlap itself
        part = result[start : start + min(size, offset)]
        result += part
        size -= len(part)
    return position + extra


def damaged() -> CorruptFileError:
    """The error for bytes that are no such block."""
    return CorruptFileError(
        "A compressed block of its table is damaged. Download or copy the file again."
    )
