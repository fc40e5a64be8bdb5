"""The wire format of protocol buffers: a walk over fields, without a schema and without copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from filterdb.errors import LimitError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

MAX_NESTING = 100
"""As in the libraries of protocol buffers."""
MAX_FIELDS = 2_000_000
"""Fields in all the messages of a file that are still walked; real networks have some 10,000."""

Field = tuple[int, int, int, int]


class WireError(ValueError):
    """The bytes are no sequence of fields."""


def varint(data: memoryview, position: int, end: int) -> tuple[int, int]:
    """An integer of up to ten bytes, and the position after it."""
    if position < end and data[position] < 0x80:  # nearly all are short
        return data[position], position + 1
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    msg = "an integer is cut short"
    raise WireError(msg)


def fields(data: memoryview, start: int, end: int) -> Iterator[Field]:
    """Walk the fields of one message.

    Yields
    ------
    tuple of int
        Field number, wire type, and the span of the value: for :data:`LENGTH` its content. A
        span may end beyond ``end`` where the message is cut short; the walk then stops.

    Raises
    ------
    WireError
        A tag is impossible, or cut short.
    """
    position = start
    while position < end:
        tag, position = varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        after = position
        if kind == VARINT:
            _, after = varint(data, position, end)
        elif kind == LENGTH:
            length, position = varint(data, position, end)
            after = position + length
        elif kind in (FIXED32, FIXED64):
            after = position + (4 if kind == FIXED32 else 8)
        else:
            msg = f"field {number} has the impossible wire type {kind}"
            raise WireError(msg)
        if number == 0:
            msg = "field number 0"
            raise WireError(msg)
        yield number, kind, position, after
        position = after


def count_messages(data: memoryview, descriptor: Any, *, at_most: int) -> int:
    """Count the messages nested in one, by its descriptor; stop when there are too many.

    A message of two bytes becomes an object of 150 when it is parsed, so the count, and not the
    size of the file, says how much memory that takes.

    Raises
    ------
    WireError
        The bytes are no message, or one reaches beyond its parent.
    LimitError
        There are more than :data:`MAX_FIELDS` fields.
    """
    count = walked = 0
    nested: dict[Any, dict[int, Any]] = {}

    def opened(kind: Any, start: int, end: int) -> tuple[Iterator[Field], dict[int, Any], int]:
        if kind not in nested:
            nested[kind] = {f.number: f.message_type for f in kind.fields if f.message_type}
        return fields(data, start, end), nested[kind], end

    stack = [opened(descriptor, 0, len(data))]
    while stack and count <= at_most:
        remaining, kinds, end = stack[-1]
        field = next(remaining, None)
        if field is None:
            stack.pop()
            continue
        walked += 1
        if walked > MAX_FIELDS:
            msg = f"It holds more than {MAX_FIELDS:,} protobuf fields, as no network does."
            raise LimitError(msg)
        number, wire, begin, after = field
        if after > end:
            msg = f"field {number} reaches beyond the end"
            raise WireError(msg)
        if wire == LENGTH and number in kinds:
            count += 1
            if begin == after:
                continue
            if len(stack) > MAX_NESTING:
                msg = f"more than {MAX_NESTING} messages are inside one another"
                raise WireError(msg)
            stack.append(opened(kinds[number], begin, after))
    return count
