"""Columns of the user's own in the catalogue: as many as fit, and none of them twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from filterdb.errors import MetadataError
from filterdb.store.connection import writing
from filterdb.store.digest import refresh_schema_digest
from filterdb.store.schema import LAYERS, columns_of, quoted


def ensure_columns(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Make room in ``models``; without a type, so numbers stay numbers.

    A name that differs from that of a column only in the case of its letters is that column.

    Raises
    ------
    MetadataError
        There would be more columns than a table can have.
    StoreError
        The database cannot be written.
    """
    names = list(names)
    if not lacking(connection, names):
        return
    with writing(connection):
        missing = lacking(connection, names)
        _check_room(connection, len(missing))
        for name in missing:
            connection.execute(f"ALTER TABLE models ADD COLUMN {quoted(name)}")
        refresh_schema_digest(connection)


def lacking(connection: sqlite3.Connection, names: Iterable[str]) -> list[str]:
    """Those of the names that are no columns of ``models`` yet."""
    there = set(map(_folded, columns_of(connection, "models")))
    return [name for name in names if _folded(name) not in there]


def _folded(name: str) -> str:
    """A name as SQLite compares it: the case of ASCII letters does not matter, of others does."""
    return name.encode().lower().decode()


def _check_room(connection: sqlite3.Connection, more: int) -> None:
    """Make sure that models can still be joined with their layers."""
    limit = connection.getlimit(sqlite3.SQLITE_LIMIT_COLUMN) - len(LAYERS)
    room = limit - len(columns_of(connection, "models"))
    if more > room:
        msg = (
            f"The metadata would add {more:,} columns to the database, which has room for "
            f"{max(0, room):,} more. Leave out those that you do not need."
        )
        raise MetadataError(msg)
