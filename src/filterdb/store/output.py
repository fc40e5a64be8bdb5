"""Where output may go: never over the database that it is made from, or over any other."""

from __future__ import annotations

import os
from pathlib import Path

from filterdb.errors import ExportError
from filterdb.store.connection import CATALOGUE, LOCK, PAYLOAD, SCANS, exists

PathLike = str | os.PathLike[str]


def output_file(out: PathLike) -> Path:
    """Where a file that users name is written: links are followed, a regular file is replaced.

    Beside a catalogue is a fine place for a page or a picture; anything of the database itself
    is not.

    Returns
    -------
    Path
        Without links.

    Raises
    ------
    ExportError
        It would be written over a part of a database, or is there and is no regular file.
    """
    path = resolved(out)
    if (database := _database_around(out, only_own=True)) is not None:
        msg = f"{out} is a part of the database {database}, so it is not written. Name another."
        raise ExportError(msg)
    if path.exists() and not path.is_file():
        msg = f"{out} is there and is no regular file, so it is not replaced. Name another."
        raise ExportError(msg)
    return path


def output_outside(out: PathLike) -> Path:
    """Where an export that users name is written: links are followed, no database is entered.

    Returns
    -------
    Path
        Without links.

    Raises
    ------
    ExportError
        It lies in the folder of a database.
    """
    if (database := _database_around(out, only_own=False)) is not None:
        msg = f"{out} lies in the database {database}. Name a place outside of it."
        raise ExportError(msg)
    return resolved(out)


def resolved(out: PathLike) -> Path:
    """A path without links.

    Raises
    ------
    ExportError
        Its links lead nowhere, but to one another.
    """
    path = Path(os.path.realpath(out))
    if path.is_symlink():
        msg = f"The links of {out} lead to one another. Name another place."
        raise ExportError(msg)
    return path


def _database_around(out: PathLike, *, only_own: bool) -> Path | None:
    """The database that a path, as it is written or without links, lies in."""
    for path in (Path(os.path.abspath(out)), resolved(out)):  # noqa: PTH100  (links stay links)
        for folder in path.parents:
            if exists(folder) and (not only_own or _is_own(path.relative_to(folder).parts[0])):
                return folder
    return None


def _is_own(name: str) -> bool:
    """True where a name in a database's folder is the database's: some systems ignore case."""
    name = name.casefold()
    return name in (LOCK, PAYLOAD, SCANS) or name.startswith(CATALOGUE)
