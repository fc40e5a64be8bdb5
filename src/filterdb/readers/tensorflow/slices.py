"""Parts of a tensor, and the keys under which a V2 checkpoint keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from filterdb.readers.tensorflow.message import Message, damaged

WHOLE = -1
"""Length of a part that is all of its axis."""
PART_OF = b"\0"
"""Keys of parts begin with the number 0, in the order-keeping code."""

Extent = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of which tensor: begin and length along each axis, the name of the whole."""

    name: str
    extents: tuple[Extent, ...]

    def within(self, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
        """Where it lies in a tensor of that shape; None where it does not fit."""
        if len(self.extents) != len(shape):
            return None
        found = []
        for (begin, length), size in zip(self.extents, shape, strict=True):
            end = size if length == WHOLE else begin + length
            if not 0 <= begin <= end <= size:
                return None
            found.append(slice(begin, end))
        return tuple(found)


def extents_of(message: Message) -> tuple[Extent, ...]:
    """The extents in a TensorSliceProto; a length that is not written is all of the axis."""
    return tuple((extent.integer(1), extent.integer(2, WHOLE)) for extent in message.messages(1))


def written(text: str) -> tuple[Extent, ...]:
    """The extents in a text such as ``"3 3 4 6 -:-:-:0,3"``: a shape, and a part of it.

    Raises
    ------
    CorruptFileError
        It is no such text.
    """
    found = []
    for extent in text.rpartition(" ")[2].split(":"):
        begin, _, length = extent.partition(",")
        if extent == "-":
            found.append((0, WHOLE))
        elif begin.isdecimal() and length.isdecimal() and len(extent) < 40:
            found.append((int(begin), int(length)))
        else:
            raise damaged(what=f"{text[:80]!r} is no part of a tensor")
    return tuple(found)


def decode_key(key: bytes) -> Part:
    """The part that a key stands for.

    Raises
    ------
    CorruptFileError
        It stands for none.
    """
    position, name = after_text(key, after_number(key, 0)[1])
    rank, position = after_number(key, position)
    extents = []
    for _ in range(min(rank, 64)):
        begin, position = after_signed(key, position)
        length, position = after_signed(key, position)
        extents.append((begin, length))
    if position != len(key):
        raise damaged(what="the key of a part is malformed")
    return Part(name, tuple(extents))


def after_number(key: bytes, position: int) -> tuple[int, int]:
    """A number, written as its length in bytes and those bytes; and the position after it."""
    size = key[position] if position < len(key) else 255
    end = position + 1 + size
    if end > len(key):
        raise damaged(what="the key of a part is cut short")
    return int.from_bytes(key[position + 1 : end], "big"), end


def after_text(key: bytes, position: int) -> tuple[int, str]:
    """A text, in which the bytes 0 and 255 are escaped; and the position after it."""
    end = key.find(b"\0\x01", position)
    if end < 0:
        raise damaged(what="the key of a part is cut short")
    content = key[position:end].replace(b"\0\xff", b"\0").replace(b"\xff\0", b"\xff")
    try:
        return end + 2, content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(what="the name of a part is not text") from error


def after_signed(key: bytes, position: int) -> tuple[int, int]:
    """A signed number, led by as many equal bits as it has bytes; and the position after it."""
    start = key[position : position + 10]
    if not start:
        raise damaged(what="the key of a part is cut short")
    negative = start[0] < 0x80
    bits = "".join(f"{byte ^ 0xFF if negative else byte:08b}" for byte in start)
    size = len(bits) - len(bits.lstrip("1"))
    if size > len(start):
        raise damaged(what="the key of a part is cut short")
    value = int(bits[size : 8 * size], 2)
    return (~value if negative else value), position + size
