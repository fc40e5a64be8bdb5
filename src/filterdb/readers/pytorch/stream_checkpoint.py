"""The PyTorch reader for the stream that ``torch.save`` wrote before version 1.6.

Five pickles (magic number, protocol, system, the object, the keys of its storages), then each
storage as a length and its bytes, little-endian on every machine.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Contents
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.mapping import map_file
from filterdb.readers.pytorch.inert_objects import Persistent, as_key, is_number
from filterdb.readers.pytorch.inert_pickle import Budget, Unpickled, unpickle
from filterdb.readers.pytorch.tensors import (
    Storage,
    TorchObjects,
    checkpoint_contents,
    item_bytes,
    storage_dtype,
)

FORMAT = Format(
    "pytorch",
    "PyTorch checkpoint (stream, before 1.6)",
    (".pth", ".pt", ".pth.tar", ".th"),
    reads="the same as of the zip",
)

MAGIC = 0x1950A86A20F9469CFC6C
MAGIC_BYTES = MAGIC.to_bytes(10, "little")
PROTOCOL = 1001
NOTE = "Read from the stream format that torch.save wrote before version 1.6."


def matches(head: Head) -> bool:
    """A pickle of the magic number, in any of pickle's protocols."""
    start = head.start[:64]
    binary = start[:1] == b"\x80" and MAGIC_BYTES in start[:24]
    return binary or start.startswith(b"L%d" % MAGIC)


def read(head: Head) -> Contents:
    """Follow the five pickles and find each storage.

    Raises
    ------
    CorruptFileError
        The file is cut short, or contradicts itself.
    LimitError
        Views expand out of proportion to the file, or its pickles are endless.
    """
    data = map_file(head.path)
    view, budget = data.data, Budget()
    position = 0
    streams: list[Unpickled] = []
    for expected in (MAGIC, PROTOCOL, None, None, None):
        streams.append(unpickle(view, position, budget))
        value = streams[-1].value
        if expected is not None and value != expected:
            found = f" {value}" if is_number(value) else ""
            msg = f"Its magic number or protocol{found} is not torch's: the file is damaged."
            raise CorruptFileError(msg)
        position = streams[-1].end
    *_, content, keys = streams
    spans = find_spans(data, position, keys.value, storage_types(content.persistent))
    objects = TorchObjects(partial(find_storage, spans))
    return checkpoint_contents(content.value, objects, file_size=head.size, notes=(NOTE,))


def storage_types(references: tuple[Persistent, ...]) -> dict[str, str]:
    """Key -> element type of every storage that the object refers to."""
    types: dict[str, str] = {}
    for reference in references:
        identity = reference.id
        if isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage":
            types.setdefault(as_key(identity[2]), storage_dtype(identity[1]))
    return types


def find_spans(
    data: NDArray[np.uint8], position: int, keys: object, types: dict[str, str]
) -> dict[str, Storage]:
    """The storages behind the pickles, in the order of their keys."""
    if not isinstance(keys, list) or {as_key(key) for key in keys} != types.keys():
        msg = "Its list of storages does not fit its tensors: the file is damaged or cut short."
        raise CorruptFileError(msg)
    found: dict[str, Storage] = {}
    for key in map(as_key, keys):
        found[key], position = storage_at(data, position, types[key])
    return found


def storage_at(data: NDArray[np.uint8], position: int, dtype: str) -> tuple[Storage, int]:
    """A storage as torch writes it: the number of elements in 8 bytes, then the elements."""
    count = int.from_bytes(data[position : position + 8].tobytes(), "little", signed=True)
    begin = position + 8
    end = begin + count * item_bytes(dtype)
    if not begin <= end <= len(data):
        msg = (
            f"A storage of {count:,} elements is to begin at byte {begin:,} of {len(data):,}: "
            "the file is cut short or damaged. Download or copy it again."
        )
        raise CorruptFileError(msg)
    values = data[begin:end]
    return Storage(dtype, len(values), lambda: values), end


def find_storage(found: dict[str, Storage], reference: Persistent) -> Storage | None:
    """The storage that ``("storage", class, key, device, length, view)`` refers to."""
    identity = reference.id
    if not (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage"):
        return None  # ("module", class, file, source): the class of a pickled module
    whole = found.get(as_key(identity[2]))
    view = identity[5] if len(identity) > 5 else None
    return whole if whole is None or view is None else part_of(whole, view)


def part_of(whole: Storage, view: object) -> Storage:
    """A view ``(key, offset, length)`` of a storage, as torch 0.x wrote them."""
    if isinstance(view, tuple) and len(view) == 3:
        offset, count = view[1:]
        if type(offset) is int and type(count) is int and offset >= 0 <= count:
            size = item_bytes(whole.dtype)
            begin, end = offset * size, (offset + count) * size
            if end <= whole.nbytes:
                return Storage(whole.dtype, end - begin, lambda: whole.values()[begin:end])
    msg = "A view of a storage reaches outside it: the file is damaged. Download it again."
    raise CorruptFileError(msg)
