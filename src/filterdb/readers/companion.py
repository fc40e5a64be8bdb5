"""A file that belongs to another: beside it, under the same stem, never further away."""

from __future__ import annotations

from pathlib import Path

from filterdb.errors import LimitError, ReadError
from filterdb.readers.mapping import map_file


def beside(path: Path, suffix: str) -> Path | None:
    """The file of the same stem with another suffix, or None.

    A link that leads out of the folder counts as none: no file outside it is ever opened.
    """
    try:
        other = path.with_suffix(suffix)
        return other if other != path and is_beside(other, path) and other.is_file() else None
    except (OSError, RuntimeError, ValueError):  # a loop of links, an impossible name
        return None


def is_beside(other: Path, path: Path) -> bool:
    """Whether a file truly lies in the folder of another.

    Of a link that was given, the folder that it lies in counts, not its target's. In a cache, as
    that of a hub, both are links into one folder: then that is where they lie.
    """
    if other.resolve().parent == path.parent.resolve():
        return True
    if not (other.is_symlink() and path.is_symlink()):
        return False
    return target_folder(other) == target_folder(path)


def target_folder(link: Path) -> Path:
    """The folder that a link leads into, itself without links."""
    return (link.parent / link.readlink()).parent.resolve()


def read_text_file(path: Path, most: int) -> str:
    """The text of a file; what is no UTF-8 in it is shown as it may be.

    Raises
    ------
    LimitError
        It has more than ``most`` bytes.
    ReadError
        It cannot be opened.
    """
    data = map_file(path)
    if len(data) > most:
        msg = f"{path.name} has {len(data):,} bytes of text, as no network does: not read."
        raise LimitError(msg)
    try:
        return data.tobytes().decode("utf-8-sig", "backslashreplace")
    except OSError as error:
        msg = f"{path.name} cannot be read: {error.strerror or error}."
        raise ReadError(msg) from error
