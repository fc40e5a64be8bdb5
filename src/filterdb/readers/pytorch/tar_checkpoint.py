"""The PyTorch reader for the tar container of versions before 0.1.10.

Four members: ``sys_info``, ``pickle`` (the object, with tensors as persistent ids), ``tensors``
and ``storages``, the last two sequences of small pickles and raw numbers.
"""

from __future__ import annotations

import struct
from functools import partial

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Contents
from filterdb.readers.elements import MAX_DIMENSIONS
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.mapping import map_file
from filterdb.readers.pytorch.inert_objects import Persistent, as_key
from filterdb.readers.pytorch.inert_pickle import Budget, unpickle
from filterdb.readers.pytorch.stream_checkpoint import part_of, storage_at
from filterdb.readers.pytorch.tensors import (
    Storage,
    TorchObjects,
    checkpoint_contents,
    storage_dtype,
)
from filterdb.readers.state_dict import Array

FORMAT = Format(
    "pytorch",
    "PyTorch checkpoint (tar, before 0.1.10)",
    (".pth", ".pt", ".tar"),
    reads="the same as of the zip",
)

BLOCK = 512
MEMBERS = frozenset({"sys_info", "pickle", "tensors", "storages"})
NOTE = "Read from the tar container that torch.save wrote before version 0.1.10."

Members = dict[str, NDArray[np.uint8]]


def matches(head: Head) -> bool:
    """A tar archive that begins with one of torch's four members."""
    if not is_header(head.start[:BLOCK]):
        return False
    start = np.frombuffer(head.start, np.uint8)
    return any(name in MEMBERS for name, _, _ in headers(start))


def read(head: Head) -> Contents:
    """Read storages, then the tensors that view them, then the object that names those.

    Raises
    ------
    CorruptFileError
        The file is cut short, or contradicts itself.
    LimitError
        Views expand out of proportion to the file.
    """
    data = map_file(head.path)
    members: Members = {}
    for name, begin, size in headers(data):
        if begin + size > len(data):
            raise cut_short(member=name)
        members.setdefault(name, data[begin : begin + size])
    for name in ("storages", "tensors", "pickle"):
        if name not in members:
            raise cut_short(member=name)
    budget = Budget()
    storages = read_storages(members["storages"], budget)
    tensors = read_tensors(members["tensors"], storages, budget)
    content = unpickle(members["pickle"].data, 0, budget)
    objects = TorchObjects(partial(find_tensor, tensors))
    return checkpoint_contents(content.value, objects, file_size=head.size, notes=(NOTE,))


def is_header(block: bytes) -> bool:
    """True for a block of 512 bytes whose checksum is right."""
    if len(block) < BLOCK:
        return False
    summed = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    return octal(block[148:156]) == summed


def octal(digits: bytes) -> int:
    """A number in a tar header; -1 for what is none."""
    try:
        return int(digits.split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return -1


def headers(data: NDArray[np.uint8]) -> list[tuple[str, int, int]]:
    """Name, begin and size of each member; extended headers come along under their own names."""
    found: list[tuple[str, int, int]] = []
    position = 0
    while is_header(block := data[position : position + BLOCK].tobytes()):
        size = octal(block[124:136])
        if size < 0:
            break
        name = block[:100].split(b"\0")[0].decode("latin-1")
        if block[156:157] in (b"0", b"\0"):
            found.append((name, position + BLOCK, size))
        position += BLOCK + -(-size // BLOCK) * BLOCK
    return found


def read_storages(data: NDArray[np.uint8], budget: Budget) -> dict[str, Storage]:
    """A count; for each its key, device and class, and the elements; then views of them."""
    view = data.data
    head = unpickle(view, 0, budget)
    position = head.end
    found: dict[str, Storage] = {}
    for _ in range(count_of(head.value, len(data))):
        stream = unpickle(view, position, budget)
        if not isinstance(stream.value, tuple) or len(stream.value) != 3:
            raise cut_short(member="storages")
        key, _, kind = stream.value
        found[as_key(key)], position = storage_at(data, stream.end, storage_dtype(kind))
    views = unpickle(view, position, budget).value
    for entry in views if isinstance(views, list) else ():
        if not isinstance(entry, tuple) or len(entry) != 4 or as_key(entry[1]) not in found:
            raise cut_short(member="storages")
        target, root, offset, count = entry
        found[as_key(target)] = part_of(found[as_key(root)], (target, offset, count))
    return found


def read_tensors(
    data: NDArray[np.uint8], storages: dict[str, Storage], budget: Budget
) -> dict[str, Array | str]:
    """A count; for each its key, storage and class, and dimensions, shape, strides, offset."""
    view = data.data
    head = unpickle(view, 0, budget)
    position = head.end
    found: dict[str, Array | str] = {}
    for _ in range(count_of(head.value, len(data))):
        stream = unpickle(view, position, budget)
        if not isinstance(stream.value, tuple) or len(stream.value) != 3:
            raise cut_short(member="tensors")
        key, storage_key, _ = stream.value
        dimensions = int.from_bytes(view[stream.end : stream.end + 4], "little", signed=True)
        # The count takes 8 bytes, of which old versions wrote 4 and left the rest undefined.
        begin, position = stream.end + 8, stream.end + 16 * (dimensions + 1)
        if not 0 <= dimensions <= MAX_DIMENSIONS or position > len(view):
            raise cut_short(member="tensors")
        numbers = struct.unpack(f"<{2 * dimensions + 1}q", view[begin:position])
        shape, strides = numbers[:dimensions], numbers[dimensions:-1]
        reference = Persistent(storage_key)
        objects = TorchObjects(lambda wanted: storages.get(as_key(wanted.id)))
        found[as_key(key)] = objects.strided((reference, numbers[-1], shape, strides))
    return found


def count_of(value: object, size: int) -> int:
    """A number of entries, each of which takes bytes."""
    if type(value) is not int or not 0 <= value <= size:
        raise cut_short(member="storages")
    return value


def find_tensor(tensors: dict[str, Array | str], reference: Persistent) -> Array | None:
    """The tensor that a persistent id names; None for the classes of modules."""
    if not isinstance(reference.id, str | bytes | int):
        return None
    found = tensors.get(as_key(reference.id))
    return found if isinstance(found, Array) else None


def cut_short(*, member: str) -> CorruptFileError:
    """The error for a member that is missing, incomplete or malformed."""
    return CorruptFileError(
        f"The member {member!r} of its tar archive is missing, cut short or damaged. "
        "Download or copy the file again."
    )
