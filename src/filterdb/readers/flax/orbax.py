"""The reader of Orbax's checkpoints: folders of Zarr arrays, in files or in an OCDBT database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path

from filterdb.errors import CorruptFileError
from filterdb.layer import Contents, Skipped
from filterdb.readers.flax.stores import (
    MANIFEST,
    MANIFEST_MAGIC,
    METADATA,
    FolderStore,
    OcdbtStore,
    Store,
    inside,
)
from filterdb.readers.flax.tree import Path as Keys
from filterdb.readers.flax.tree import choose
from filterdb.readers.flax.zarr import array_at
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.limits import MAX_JSON, check_expansion, shortened
from filterdb.readers.mapping import map_file
from filterdb.readers.state_dict import Array

FORMAT = Format(
    "orbax",
    "Orbax checkpoint (JAX, folder)",
    ("_METADATA", "manifest.ocdbt"),
    reads=(
        "Zarr 2 and 3 (chunks, shards; gzip, Zstandard with zstandard or pyarrow) in files or in "
        "an OCDBT database"
    ),
)

TREE, CHECKPOINT = "_METADATA", "_CHECKPOINT_METADATA"
MAGIC = MANIFEST_MAGIC.to_bytes(4, "big")
MOST_LOOKED_AT = 64


def matches(head: Head) -> bool:
    """A folder with one of Orbax's files or of Zarr arrays, or such a file."""
    folder = folder_of(head)
    return folder is not None and first_file(folder) is not None


def folder_of(head: Head) -> Path | None:
    """The checkpoint that a file belongs to, by its content; a folder is one itself."""
    if head.is_folder:
        return head.path
    start = head.start.lstrip()
    if head.start.startswith(MAGIC) or start.startswith(b'{"tree_metadata"'):
        return head.path.parent
    if start.startswith(b"{") and b'"item_handlers"' in start and b"orbax" in start:
        return head.path.parent
    is_zarr = start.startswith(b"{") and b'"zarr_format"' in start
    return head.path.parent.parent if is_zarr else None


def first_file(folder: Path) -> Path | None:
    """The file that stands for a checkpoint."""
    for name in (MANIFEST, TREE, CHECKPOINT):
        if (folder / name).is_file():
            return folder / name
    found = (path / name for path in sorted(first_in(folder)) for name in METADATA)
    return next((path for path in found if path.is_file()), None)


def main_file(head: Head) -> Path | None:
    """The file that stands for another or for a folder; None where it does so itself."""
    folder = folder_of(head)
    first = first_file(folder) if folder is not None else None
    return first if first != head.path else None


def first_in(folder: Path) -> Iterator[Path]:
    """The first entries of a folder."""
    try:
        yield from (path for _, path in zip(range(MOST_LOOKED_AT), folder.iterdir(), strict=False))
    except OSError:
        return


def read(head: Head) -> Contents:
    """Find the arrays, and take the network of their tree.

    Raises
    ------
    ReadError
        It needs a library that is not installed, or a file of it is missing.
    CorruptFileError
        A part of it is damaged.
    LimitError
        It would take memory or time out of proportion to its size.
    """
    leaves: list[tuple[Keys, Array]] = []
    skipped: list[Skipped] = []
    stores: list[Store] = []
    folder = folder_of(head) or head.path
    parts = list(trees_in(folder))
    for name, part in parts:
        is_database = (part / MANIFEST).is_file()
        store: Store = OcdbtStore(part) if is_database else FolderStore(part)
        stores.append(store)
        paths = paths_in(part)
        for key in store.arrays():
            path = paths.get(key) or tuple(key.split("."))
            found = array_at(store, key)
            if isinstance(found, Array):
                leaves.append(((name, *path) if len(parts) > 1 else path, found))
            else:
                skipped.append(Skipped(shortened(key), found))
    if not stores:
        msg = "The checkpoint holds no arrays: it is incomplete. Copy the whole folder again."
        raise CorruptFileError(msg)
    chosen = choose(leaves)
    files = files_below(folder)
    size = sum(path.stat().st_size for path in files)
    wanted = sum(4 * prod(tensor.shape) for tensor in chosen.tensors)
    check_expansion(wanted, size, "The sum of its arrays")
    return Contents(
        FORMAT.name,
        chosen.tensors,
        (*skipped, *chosen.skipped),
        "orbax",
        chosen.notes,
        companions=tuple(path for path in sorted(files) if path != head.path),
    )


def trees_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """The folders that hold arrays: this one, or the items of a checkpoint."""
    if is_tree(folder):
        yield "", folder
        return
    for path in sorted(first_in(folder)):
        if path.is_dir() and not path.is_symlink() and is_tree(path):
            yield path.name, path


def is_tree(folder: Path) -> bool:
    """Whether arrays lie in a folder itself."""
    if any((folder / name).is_file() for name in (TREE, MANIFEST)):
        return True
    return any((path / name).is_file() for path in first_in(folder) for name in METADATA)


def paths_in(folder: Path) -> dict[str, Keys]:
    """Name of an array -> its path in the tree, where the checkpoint says it."""
    file = inside(folder, TREE)
    if file is None:
        return {}
    try:
        told = json.loads(map_file(file)[:MAX_JSON].tobytes())
        tree = told["tree_metadata"].values()
        paths = [tuple(str(key["key"]) for key in item["key_metadata"]) for item in tree]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{TREE} of the checkpoint is damaged. Copy the whole folder again."
        raise CorruptFileError(msg) from error
    return {".".join(path): path for path in paths}


def files_below(folder: Path) -> list[Path]:
    """The files that make up the arrays: all but notes on how they were written."""
    found = []
    for _, path in zip(range(100_000), folder.rglob("*"), strict=False):
        plain = path.is_file() and not path.is_symlink()
        if plain and path.name != "commit_success.txt" and not path.name.startswith("_"):
            found.append(path)
    return found
