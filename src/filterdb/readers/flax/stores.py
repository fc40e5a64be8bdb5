"""Keys and bytes: a folder of files, or TensorStore's OCDBT, a tree of keys in few files.

An OCDBT database is a manifest, which names the root of its latest version, and data files with
the nodes of a B+ tree. A leaf holds short values itself and says where the long ones lie.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.readers import protobuf_wire as wire
from filterdb.readers.flax.compression import unzstd
from filterdb.readers.limits import allowed_bytes
from filterdb.readers.mapping import map_file
from filterdb.readers.tensorflow.checksum import crc32c

MANIFEST = "manifest.ocdbt"
MANIFEST_MAGIC, NODE_MAGIC = 0x0CDB3A2A, 0x0CDB20DE
SINGLE = 0
"""The kind of manifest that names the versions itself."""
MAX_KEYS = 200_000
MAX_NODES = 20_000
MAX_FILES = 10_000
METADATA = (".zarray", "zarr.json")


class Store(Protocol):
    """Finds bytes by a key."""

    files: dict[Path, int]

    def arrays(self) -> list[str]:
        """Names of the arrays: the keys of their descriptions without the last part."""

    def get(self, key: str) -> NDArray[np.uint8] | None:
        """The bytes of a key, or None."""


@dataclass
class FolderStore:
    """A folder in which each key is a file.

    Attributes
    ----------
    files
        The files that were opened, with their sizes.
    """

    folder: Path
    files: dict[Path, int] = field(default_factory=dict)

    def arrays(self) -> list[str]:
        """The folders directly below that describe an array."""
        found = []
        for count, path in enumerate(sorted(self.folder.iterdir())):
            if count > MAX_FILES:
                msg = f"It has more than {MAX_FILES:,} entries, as no checkpoint has: not read."
                raise LimitError(msg)
            if any((path / name).is_file() for name in METADATA):
                found.append(path.name)
        return found

    def get(self, key: str) -> NDArray[np.uint8] | None:
        """A file's bytes, mapped."""
        path = inside(self.folder, key)
        if path is None:
            return None
        data = map_file(path)
        self.files[path] = len(data)
        return data


def inside(folder: Path, key: str) -> Path | None:
    """The file of a key, or None where there is none in the folder itself."""
    parts = PurePosixPath(key).parts
    if ".." in parts or key.startswith("/") or "\0" in key or "\\" in key:
        return None
    try:
        path = folder.joinpath(*parts)
        within = path.resolve().is_relative_to(folder.resolve())
        return path if within and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # a loop of links, an impossible name
        return None


@dataclass(frozen=True, slots=True)
class Place:
    """Where bytes lie: a data file, and the folder that paths in it begin from."""

    file: str
    base: str
    begin: int
    length: int


class OcdbtStore:
    """An OCDBT database, read at its latest version.

    Parameters
    ----------
    folder
        The folder with its manifest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[Path, int] = {}
        self.opened: dict[str, NDArray[np.uint8]] = {}
        self.values: dict[str, Place | NDArray[np.uint8]] = {}
        self.unfolded = 0
        manifest = self.data_file(MANIFEST)
        root, height = latest_root(self.body(manifest, MANIFEST_MAGIC))
        if root is not None:
            self.walk(root, height)

    def arrays(self) -> list[str]:
        """The keys that end in a description."""
        heads = (key.rpartition("/") for key in self.values)
        return [name for name, slash, last in heads if slash and last in METADATA]

    def get(self, key: str) -> NDArray[np.uint8] | None:
        """The bytes of a key: in a leaf, or a span of a data file."""
        found = self.values.get(key)
        return self.span(found) if isinstance(found, Place) else found

    def data_file(self, name: str) -> NDArray[np.uint8]:
        """A file of the database, mapped once.

        Raises
        ------
        ReadError
            It is not there, or lies outside the folder.
        """
        if name not in self.opened:
            path = inside(self.folder, name)
            if path is None or len(self.opened) > MAX_FILES:
                msg = f"Its file {name[-100:]!r} is missing: copy the whole folder again."
                raise ReadError(msg)
            self.opened[name] = map_file(path)
            self.files[path] = len(self.opened[name])
        return self.opened[name]

    def span(self, place: Place) -> NDArray[np.uint8]:
        """The bytes at a place."""
        data = self.data_file(place.base + place.file)
        if place.begin + place.length > len(data):
            raise damaged(what="a span reaches beyond its file")
        return data[place.begin : place.begin + place.length]

    def body(self, data: NDArray[np.uint8], magic: int) -> Cursor:
        """What a node holds, behind its header and before its checksum."""
        cursor = Cursor(data)
        number = int.from_bytes(cursor.take(4).tobytes(), "big")
        length = int.from_bytes(cursor.take(8).tobytes(), "little")
        version, compression = cursor.varint(), cursor.varint()
        if number != magic or length != len(data) or length < cursor.position + 4 or version:
            raise damaged(what="a node has a wrong header")
        if crc32c(data[:-4]) != int.from_bytes(data[-4:].tobytes(), "little"):
            raise damaged(what="a node has a wrong checksum")
        content = data[cursor.position : -4]
        if compression > 1:
            raise damaged(what=f"compression {compression} is unknown")
        if compression:
            content = unzstd(content, allowed_bytes(sum(self.files.values())) - self.unfolded)
            self.unfolded += len(content)
        return Cursor(content)

    def walk(self, root: Place, height: int) -> None:
        """Collect the keys of a tree, each node of which begins with a part of them."""
        waiting = [(root, height, b"")]
        for _ in range(MAX_NODES):
            if not waiting:
                return
            place, expected, prefix = waiting.pop()
            cursor = self.body(self.span(place), NODE_MAGIC)
            if cursor.byte() != expected:
                raise damaged(what="a node has a wrong height")
            files = cursor.file_table(place.base)
            if expected:
                below = inner_entries(cursor, files, prefix)
                waiting += [(child, expected - 1, begin) for child, begin in below]
            else:
                self.values |= leaf_entries(cursor, files, prefix)
            if len(self.values) > MAX_KEYS:
                break
        msg = "It has more nodes or keys than any checkpoint: not read."
        raise LimitError(msg)


class Cursor:
    """Reads the fields of a node one after the other."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.position = 0

    def take(self, length: int) -> NDArray[np.uint8]:
        """The next bytes."""
        begin, end = self.position, self.position + length
        if end > len(self.data):
            raise damaged(what="a node is cut short")
        self.position = end
        return self.data[begin:end]

    def byte(self) -> int:
        """The next byte."""
        return int(self.take(1)[0])

    def varint(self) -> int:
        """The next integer."""
        try:
            value, self.position = wire.varint(self.data.data, self.position, len(self.data))
        except wire.WireError as error:
            raise damaged(what="a number is cut short") from error
        return value

    def varints(self, count: int) -> list[int]:
        """So many integers, of which each takes a byte at least."""
        if count > len(self.data) - self.position:
            raise damaged(what="a node is cut short")
        return [self.varint() for _ in range(count)]

    def keys(self, count: int, *, columns: int = 0) -> tuple[list[bytes], list[list[int]]]:
        """Keys without what each shares with the one before; columns stand before their text."""
        if count < 1:
            raise damaged(what="a node is empty")
        shared = [0, *self.varints(count - 1)]
        lengths = self.varints(count)
        further = [self.varints(count) for _ in range(columns)]
        found: list[bytes] = []
        for common, length in zip(shared, lengths, strict=True):
            before = found[-1] if found else b""
            if common > len(before) or common + length > 2**16:
                raise damaged(what="a key is longer than it may be")
            found.append(before[:common] + self.take(length).tobytes())
        return found, further

    def file_table(self, base: str) -> list[tuple[str, str]]:
        """The data files that a node refers to: path, and the folder that it counts from."""
        count = self.varint()
        if count == 0:
            return []
        paths, (bases,) = self.keys(count, columns=1)
        found = []
        for path, length in zip(paths, bases, strict=True):
            if length > len(path):
                raise damaged(what="a path is shorter than its folder")
            text = path.decode("utf-8", "replace")
            found.append((text[length:], base + text[:length]))
        return found


def latest_root(cursor: Cursor) -> tuple[Place | None, int]:
    """Where the root of the latest version lies, and the height of its tree.

    Raises
    ------
    ReadError
        The manifest only counts others, as databases with many writers have.
    """
    cursor.take(16)
    if cursor.varint() != SINGLE:
        msg = (
            "Its OCDBT manifest only counts others, as databases with many writers have: restore "
            "it in JAX with orbax.checkpoint and save the arrays with numpy.savez."
        )
        raise ReadError(msg)
    cursor.varints(2)
    cursor.byte()
    if cursor.varint():
        cursor.take(4)
    files = cursor.file_table("")
    count = cursor.varint()
    if count < 1:
        return None, 0
    cursor.varints(count)
    heights = [cursor.byte() for _ in range(min(count, len(cursor.data)))]
    ids, offsets, lengths = (cursor.varints(count) for _ in range(3))
    keys = cursor.varints(count)
    if not keys[-1] and not lengths[-1]:
        return None, 0
    return place_of(files, ids[-1], offsets[-1], lengths[-1]), heights[-1]


def place_of(files: list[tuple[str, str]], number: int, begin: int, length: int) -> Place:
    """A place in the data file of a number."""
    if number >= len(files):
        raise damaged(what="a node refers to a file that it does not name")
    name, base = files[number]
    return Place(name, base, begin, length)


def inner_entries(
    cursor: Cursor, files: list[tuple[str, str]], prefix: bytes
) -> list[tuple[Place, bytes]]:
    """The children of a node, each with what all its keys begin with."""
    count = cursor.varint()
    keys, (common,) = cursor.keys(count, columns=1)
    ids, offsets, lengths = (cursor.varints(count) for _ in range(3))
    return [
        (place_of(files, ids[i], offsets[i], lengths[i]), prefix + keys[i][: common[i]])
        for i in range(count)
    ]


def leaf_entries(
    cursor: Cursor, files: list[tuple[str, str]], prefix: bytes
) -> dict[str, Place | NDArray[np.uint8]]:
    """The keys and values of a leaf."""
    count = cursor.varint()
    keys, _ = cursor.keys(count)
    lengths, kinds = cursor.varints(count), cursor.varints(count)
    elsewhere = [i for i, kind in enumerate(kinds) if kind == 1]
    ids, offsets = (cursor.varints(len(elsewhere)) for _ in range(2))
    found: dict[str, Place | NDArray[np.uint8]] = {}
    places = {
        i: place_of(files, number, offset, lengths[i])
        for i, number, offset in zip(elsewhere, ids, offsets, strict=True)
    }
    for i, key in enumerate(keys):
        name = (prefix + key).decode("utf-8", "replace")
        if kinds[i] > 1:
            raise damaged(what="a value is stored in an unknown way")
        found[name] = places[i] if i in places else cursor.take(lengths[i])
    return found


def damaged(*, what: str) -> CorruptFileError:
    """The error for a database that contradicts itself."""
    return CorruptFileError(f"Its OCDBT database is damaged: {what}. Copy the folder again.")
