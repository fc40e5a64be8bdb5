"""Image folders: a sub-folder a class, perhaps below ``train`` and ``test``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from filterdb.errors import TransferError
from filterdb.transfer.data.naming import natural
from filterdb.transfer.data.pictures import Record

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".pnm",
            ".tif", ".tiff"}  # fmt: skip


def class_folders(folder: Path) -> list[Path]:
    """The sub-folders of a folder in natural order, hidden ones aside.

    Raises
    ------
    TransferError
        There are none.
    """
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not found:
        msg = (
            f"{folder}: it has no sub-folders. An image folder has one for each class, with the "
            "images of the class in it."
        )
        raise TransferError(msg)
    return sorted(found, key=lambda path: natural(path.name))


def records(folder: Path, part: str) -> Iterator[Record]:
    """The files of each class in natural order, however the file system lists them."""
    places = class_folders(folder)
    loose = [path for path in folder.iterdir() if not path.is_dir()]
    for path in sorted(loose, key=lambda path: natural(path.name)):
        yield _record(path, folder, None, part)
    for place in places:
        files = [path for path in place.rglob("*") if not path.is_dir()]
        for path in sorted(files, key=lambda path: natural(path.relative_to(place).as_posix())):
            yield _record(path, folder, place.name, part)


def _record(path: Path, folder: Path, label: str | None, part: str) -> Record:
    """A file; what is no picture by its name goes on as an empty one: counted, and named."""
    picture = path.suffix.lower() in SUFFIXES and path.is_file()
    return Record(
        path.relative_to(folder.parent).as_posix(), path if picture else None, label, part
    )
