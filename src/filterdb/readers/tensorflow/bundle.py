"""A V2 checkpoint: a table of what there is, and the files that hold the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.layer import Loader
from filterdb.readers import protobuf_wire as wire
from filterdb.readers.elements import decode, storage_dtype, stored_bytes
from filterdb.readers.mapping import map_file
from filterdb.readers.tensorflow.checksum import crc32c, unmasked
from filterdb.readers.tensorflow.message import AGAIN, Message, damaged
from filterdb.readers.tensorflow.slices import PART_OF, Part, decode_key
from filterdb.readers.tensorflow.sorted_table import entries
from filterdb.readers.tensorflow.tensor_proto import STRING, dtype_name, dtype_words, shape_of

SUFFIX = ".index"
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
MAX_SHARDS = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """What the table says of one tensor, or of a part of one."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool

    @classmethod
    def of(cls, message: Message) -> Entry:
        """Read a BundleEntryProto."""
        return cls(
            message.integer(1), shape_of(message.message(2)), message.integer(3),
            message.integer(4), message.integer(5), message.integer(6),
            next(message.messages(7), None) is not None,
        )  # fmt: skip


@dataclass
class Bundle:
    """A checkpoint, its tensors unread.

    Attributes
    ----------
    index
        Path of the table.
    entries
        Key -> what it says, in its order; keys of parts are in ``parts``.
    """

    index: Path
    shards: int
    entries: dict[str, Entry]
    parts: dict[str, list[tuple[Part, Entry]]]
    mapped: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, index: Path) -> Bundle:
        """Read the table.

        Raises
        ------
        CorruptFileError
            It is damaged.
        LimitError
            It unfolds out of proportion.
        ReadError
            It was written on a machine of the other byte order.
        """
        shards = 0
        found: dict[str, Entry] = {}
        parts: dict[str, list[tuple[Part, Entry]]] = {}
        for key, value in entries(index):
            message = Message.whole(value)
            if not key:
                shards = message.integer(1)
                if message.integer(2):
                    msg = (
                        "The checkpoint was written on a big-endian machine: load it there, and "
                        "save its arrays with numpy.savez."
                    )
                    raise ReadError(msg)
            elif key.startswith(PART_OF):
                part = decode_key(key)
                parts.setdefault(part.name, []).append((part, Entry.of(message)))
            else:
                found[text(key)] = Entry.of(message)
        if not 0 < shards < MAX_SHARDS:
            raise damaged(what=f"the checkpoint has {shards} files of data")
        return cls(index, shards, found, parts)

    def array(self, key: str) -> tuple[tuple[int, ...], str, Loader] | str:
        """What there is under a key: its shape, type and loader, or why it cannot be read.

        Raises
        ------
        CorruptFileError
            It does not lie within its file, or is not as long as its shape needs.
        """
        entry = self.entries[key]
        name = dtype_name(entry.dtype)
        if name is None:
            return f"its values are {dtype_words(entry.dtype)}"
        if not entry.sliced:
            return entry.shape, name, partial(self.load, key, entry, name)
        return entry.shape, name, self.joined(key, entry, name)

    def joined(self, key: str, entry: Entry, name: str) -> Loader:
        """The loader of a tensor that is kept in parts."""
        placed = []
        for part, own in self.parts.get(key, []):
            place = part.within(entry.shape)
            if place is None or own.dtype != entry.dtype:
                raise damaged(what=f"a part of {key!r} does not fit it")
            shape = tuple(one.stop - one.start for one in place)
            if prod(shape) != prod(own.shape):
                raise damaged(what=f"a part of {key!r} does not fit it")
            placed.append((place, shape, partial(self.load, key, own, name)))
        if sum(prod(shape) for _, shape, _ in placed) != prod(entry.shape):
            raise damaged(what=f"parts of {key!r} are missing")
        return partial(load_parts, entry.shape, placed)

    def check(self, key: str, entry: Entry, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor, in place.

        Raises
        ------
        CorruptFileError
            They do not lie within its file, or are not as many as its shape needs.
        ReadError
            The file that holds them is missing.
        """
        data = self.shard(entry.shard)
        if entry.size != stored_bytes(name, entry.shape):
            needed = stored_bytes(name, entry.shape)
            msg = f"The tensor of shape {entry.shape} takes {needed:,} bytes, not {entry.size:,}."
            raise CorruptFileError(f"{msg} {AGAIN}").at(layer=key)
        if not 0 <= entry.offset <= len(data) - entry.size:
            msg = f"It reaches beyond the end of {self.shard_path(entry.shard).name}. {AGAIN}"
            raise CorruptFileError(msg).at(layer=key)
        return data[entry.offset : entry.offset + entry.size]

    def load(self, key: str, entry: Entry, name: str) -> NDArray[Any]:
        """The values of a tensor, after their checksum."""
        stored = self.check(key, entry, name)
        if unmasked(entry.checksum) != crc32c(stored):
            msg = f"Its checksum is wrong. {AGAIN}"
            raise CorruptFileError(msg).at(layer=key)
        return decode(stored.view(storage_dtype(name)), name, entry.shape)

    def shard_path(self, number: int) -> Path:
        """Path of one of the files of data."""
        stem = self.index.name.removesuffix(SUFFIX)
        return self.index.with_name(f"{stem}.data-{number:05d}-of-{self.shards:05d}")

    def shard(self, number: int) -> NDArray[np.uint8]:
        """One of the files of data, mapped.

        Raises
        ------
        ReadError
            It is missing, or a link that leads elsewhere.
        """
        if number not in self.mapped:
            path = self.shard_path(number)
            if not 0 <= number < self.shards or not path.is_file():
                msg = (
                    f"Its values lie in {path.name}, which is missing: put it beside the index, "
                    "under the same name."
                )
                raise ReadError(msg)
            # In the cache of a hub, both are links to one folder.
            if path.resolve().parent not in {self.index.parent.resolve(),
                                             self.index.resolve().parent}:  # fmt: skip
                msg = f"{path.name} is a link that leads out of the folder: put the file there."
                raise ReadError(msg)
            self.mapped[number] = map_file(path)
        return self.mapped[number]

    def companions(self) -> tuple[Path, ...]:
        """The files of data."""
        numbers = sorted({entry.shard for entry in self.all_entries()})
        return tuple(self.shard_path(number) for number in numbers)

    def all_entries(self) -> list[Entry]:
        """Whole tensors that are not kept in parts, and all parts."""
        whole = [entry for entry in self.entries.values() if not entry.sliced]
        return whole + [entry for parts in self.parts.values() for _, entry in parts]

    def object_graph(self) -> Message | None:
        """The objects that the variables belong to; None where there are none."""
        entry = self.entries.get(OBJECT_GRAPH)
        if entry is None or entry.dtype != STRING or entry.shape:
            return None
        data = self.shard(entry.shard)
        end = entry.offset + entry.size
        if not 0 <= entry.offset <= end <= len(data):
            raise damaged(what="the graph of objects lies outside the file of data")
        try:
            length, begin = wire.varint(data.data, entry.offset, end)
        except wire.WireError as error:
            raise damaged(what=str(error)) from error
        begin += 4  # the checksum of the length
        if begin + length != end:
            raise damaged(what="the graph of objects is not as long as it says")
        return Message.whole(data[begin:end])


def load_parts(
    shape: tuple[int, ...],
    placed: Sequence[tuple[tuple[slice, ...], tuple[int, ...], Loader]],
) -> NDArray[Any]:
    """Put a tensor together from its parts."""
    values = [(place, load().reshape(own)) for place, own, load in placed]
    joined = np.empty(shape, values[0][1].dtype if values else np.float32)
    for place, part in values:
        joined[place] = part
    return joined


def text(key: bytes) -> str:
    """A key as text."""
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(what=f"the name {key[:40]!r} is not text") from error
