"""The key sets of a database as rows: they come with labels, and go with the last of them."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from filterdb.errors import KeySetError
from filterdb.store.connection import open_to_write, writing
from filterdb.store.digest import LABELS, digest_of, refresh_labels_digests
from filterdb.store.naming import clean
from filterdb.store.query import Row, reading
from filterdb.store.schema import now

ASTRAY = (
    "key_set NOT IN (SELECT id FROM key_sets) OR NOT EXISTS (SELECT 1 FROM layers WHERE "
    "layers.model_id = key_labels.model_id AND layers.layer_index = key_labels.layer_index)"
)
"""Labels of no layer or by no set: only damage makes them."""


@dataclass(frozen=True, slots=True)
class StoredKeySet:
    """A key set as the catalogue keeps it.

    Attributes
    ----------
    id
        The version of the set: another one if anything about its keys is different.
    name
        What it is called.
    kernel
        Height and width of its keys.
    n_keys
        Their number.
    content
        The set as a file.
    """

    id: str
    name: str
    kernel: tuple[int, int]
    n_keys: int
    content: bytes


def read_key_sets(folder: Path) -> list[StoredKeySet]:
    """The key sets of a database, in the order in which they came.

    Raises
    ------
    DatabaseNotFoundError, SchemaVersionError, StoreError
        The database cannot be read.
    """
    query = "SELECT id, name, kh, kw, n_keys, content FROM key_sets ORDER BY added_at, id"
    with reading(folder) as connection:
        return [
            StoredKeySet(number, name, (height, width), n_keys, content)
            for number, name, height, width, n_keys, content in connection.execute(query)
        ]


def forget_labels(folder: Path, key_set: str) -> int:
    """Remove a key set with all labels by it, in one transaction; damaged ones go, too.

    Parameters
    ----------
    folder
        The database.
    key_set
        Its id, also one that only `verify` still knows; or its name.

    Returns
    -------
    int
        Number of layers that had labels by it.

    Raises
    ------
    KeySetError
        Nothing in the database is of this set, or several sets have this name.
    StoreError
        The database cannot be written.
    """
    with closing(open_to_write(folder)) as connection, writing(connection):
        before = connection.total_changes
        number = _id_of(connection, key_set)
        gone = connection.execute("DELETE FROM key_labels WHERE key_set = ?", (number,)).rowcount
        connection.execute("DELETE FROM key_sets WHERE id = ?", (number,))
        _sweep(connection)
        if connection.total_changes == before:
            known = connection.execute("SELECT name, id FROM key_sets ORDER BY added_at, id")
            listed = ", ".join(f"{name} ({found})" for name, found in known) or "none"
            msg = f"The database has no key set {key_set!r}. It has labels by: {listed}."
            raise KeySetError(msg)
        refresh_labels_digests(connection)
    return gone


def forget(key_set: object) -> str:
    """How to mend what nothing can be made of: a command, in a sentence."""
    return (
        f"`{_command('--forget', key_set)}` removes what is kept of this key set; label again then "
        "by its name or file."
    )


def label_again(connection: sqlite3.Connection, key_set: object) -> str:
    """How to mend labels by a set: with layers of all kinds, where such have labels by it."""
    query = (
        "SELECT 1 FROM key_labels JOIN layers USING (model_id, layer_index) "
        "WHERE key_set = ? AND kind <> 'depthwise' LIMIT 1"
    )
    kind = ("--kind", "any") if connection.execute(query, (key_set,)).fetchone() else ()
    return (
        f"Label again: `{_command('--set', key_set, '--force', *kind)}` (or remove all labels by "
        f"this key set: `{_command('--forget', key_set)}`)."
    )


def _command(*arguments: object) -> str:
    return shlex.join(["filterdb", "keys", "label", "DB", *map(str, arguments)])


def put_key_set(connection: sqlite3.Connection, key_set: StoredKeySet) -> None:
    """Keep a set, in an open transaction; where it is there as it is, nothing happens."""
    row: Row = {
        "id": key_set.id,
        "name": clean(key_set.name),
        "kh": key_set.kernel[0],
        "kw": key_set.kernel[1],
        "n_keys": key_set.n_keys,
        "content": key_set.content,
    }
    query = "SELECT added_at, digest FROM key_sets WHERE id = ?"
    for added_at, digest in connection.execute(query, (key_set.id,)).fetchall():
        if digest_of(row | {"added_at": added_at}) == digest:
            row["added_at"] = added_at
    put_row(connection, "key_sets", {"added_at": now()} | row)


def settle_labels(connection: sqlite3.Connection) -> None:
    """Remove what belongs to nothing any more, and store all digests of labels anew.

    In the transaction that changed labels, or the layers that they are of.
    """
    _sweep(connection)
    refresh_labels_digests(connection)


def put_row(connection: sqlite3.Connection, table: str, row: Row) -> None:
    """Keep a row with its digest; it replaces the one of the same key."""
    row = row | {"digest": digest_of(row)}
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    query = f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})"  # noqa: S608
    connection.execute(query, list(row.values()))


def _sweep(connection: sqlite3.Connection) -> None:
    """Remove labels of nothing, then sets of no labels, then digests of no set."""
    connection.execute(f"DELETE FROM key_labels WHERE {ASTRAY}")  # noqa: S608
    connection.execute("DELETE FROM key_sets WHERE id NOT IN (SELECT key_set FROM key_labels)")
    connection.execute(
        "DELETE FROM checks WHERE subject <> 'schema' "
        "AND subject NOT IN (SELECT ? || id FROM key_sets)",
        (LABELS,),
    )


def _id_of(connection: sqlite3.Connection, key_set: str) -> str:
    """The id of a set; the name of none is taken for an id."""
    query = "SELECT id FROM key_sets WHERE id = ?1 OR name = ?1 ORDER BY id"
    found = [number for (number,) in connection.execute(query, (key_set,))]
    if key_set in found or not found:
        return key_set
    if len(found) > 1:
        msg = f"Several key sets are called {key_set!r}. Name one by its id: {', '.join(found)}."
        raise KeySetError(msg)
    return str(found[0])
