"""Tables of sorted keys, in which TensorFlow keeps checkpoints (the format is LevelDB's).

A footer names a block that lists the blocks; a block is entries, whose keys share their
beginnings, and then the places where a key is written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.readers import protobuf_wire as wire
from filterdb.readers.head import Head
from filterdb.readers.limits import check_expansion
from filterdb.readers.mapping import map_file
from filterdb.readers.recognise.signatures import (
    SSTABLE_MAGIC,
    is_checkpoint_v1,
    last_bytes,
)
from filterdb.readers.tensorflow.checksum import crc32c, unmasked
from filterdb.readers.tensorflow.snappy import decompress

FOOTER = 48
MAGIC = SSTABLE_MAGIC
LISTED = b"\x0a"
"""Field 1, a message; of a V2 checkpoint it is a number."""
TRAILER = 5
"""After each block: how it is compressed, and its checksum."""
MAX_ENTRIES = 300_000
MAX_KEY = 10_000

Entry = tuple[bytes, NDArray[np.uint8]]


def entries(path: Path) -> Iterator[Entry]:
    """The keys and values of a table, in its order; values are views where they can be.

    Raises
    ------
    CorruptFileError
        It is cut short, a block has a wrong checksum, or contradicts itself.
    LimitError
        It unfolds out of proportion to the file.
    """
    data = map_file(path)
    if len(data) < FOOTER or data[-8:].tobytes() != MAGIC:
        raise damaged(what="its last bytes are missing")
    end = len(data) - FOOTER
    position = end
    try:
        for _ in range(2):  # the first names a block of filters
            _, position = wire.varint(data.data, position, len(data) - 8)
        begin, position = wire.varint(data.data, position, len(data) - 8)
        size, _ = wire.varint(data.data, position, len(data) - 8)
        unfolded = count = 0
        for _, handle in block_entries(block(data, begin, size, end)):
            start, after = wire.varint(handle.data, 0, len(handle))
            length, _ = wire.varint(handle.data, after, len(handle))
            content = block(data, start, length, end)
            unfolded += len(content)
            check_expansion(unfolded, len(data), "Its table")
            for entry in block_entries(content):
                count += 1
                if count > MAX_ENTRIES:
                    msg = f"Its table holds more than {MAX_ENTRIES:,} entries: it was not read."
                    raise LimitError(msg)
                yield entry
    except wire.WireError as error:
        raise damaged(what=str(error)) from error


def is_table(path: Path) -> bool:
    """Whether a file ends as a table does."""
    return last_bytes(path, len(MAGIC)) == MAGIC


def holds_values(path: Path) -> bool:
    """Whether a table is a V1 checkpoint: its first entry lists tensors, not files of data."""
    try:
        key, value = next(entries(path), (b"-", np.empty(0, np.uint8)))
    except ReadError:
        return is_checkpoint_v1(Head.of(path))
    return key == b"" and value[:1].tobytes() == LISTED


def block(data: NDArray[np.uint8], begin: int, size: int, end: int) -> NDArray[np.uint8]:
    """The content of a block, after its checksum."""
    if begin + size + TRAILER > end:
        raise damaged(what="a block reaches beyond the end of the file")
    stored = data[begin : begin + size + TRAILER]
    if unmasked(int.from_bytes(stored[-4:].tobytes(), "little")) != crc32c(stored[:-4]):
        raise damaged(what="a block has a wrong checksum")
    kind = int(stored[size])
    if kind == 0:
        return stored[:size]
    if kind != 1:
        raise damaged(what=f"a block is compressed in the unknown way {kind}")
    return np.frombuffer(decompress(stored[:size].data), np.uint8)


def block_entries(content: NDArray[np.uint8]) -> Iterator[Entry]:
    """The keys and values of a block."""
    if len(content) < 4:
        raise damaged(what="a block is too short")
    restarts = int.from_bytes(content[-4:].tobytes(), "little")
    end = len(content) - 4 - 4 * restarts
    if end < 0:
        raise damaged(what="a block is too short")
    view, position, key = content.data, 0, b""
    while position < end:
        shared, position = wire.varint(view, position, end)
        added, position = wire.varint(view, position, end)
        length, position = wire.varint(view, position, end)
        after = position + added + length
        if shared > len(key) or after > end:
            raise damaged(what="an entry reaches beyond its block")
        if shared + added > MAX_KEY:
            msg = f"A key of its table is longer than {MAX_KEY:,} bytes: it was not read."
            raise LimitError(msg)
        key = key[:shared] + view[position : position + added].tobytes()
        yield key, content[position + added : after]
        position = after


def damaged(*, what: str) -> CorruptFileError:
    """The error for a table that contradicts itself."""
    return CorruptFileError(
        f"The table of the checkpoint is damaged: {what}. Download or copy the file again."
    )
