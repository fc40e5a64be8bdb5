"""What is said of a model, changed: users' words go before what the file itself says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from filterdb.layer import Statement
from filterdb.store.connection import writing
from filterdb.store.digest import refresh_digest
from filterdb.store.inferred import forget_inferred, inferred_of, is_users, put_inferred
from filterdb.store.schema import quoted

Row = dict[str, Any]


def describe(
    connection: sqlite3.Connection,
    model_id: int,
    said: Mapping[str, Any],
    *,
    sources: Sequence[Statement] = (),
) -> bool:
    """Write down what a user says of a model; True where anything was different.

    No word (None) takes back the user's own word, but nothing that the file says.

    Parameters
    ----------
    connection
        Of a catalogue that is open to write.
    model_id
        Number of the model.
    said
        Column -> what the user says now.
    sources
        The words by which the user said some of it.
    """
    if not _changes(connection, model_id, said):
        return False
    with writing(connection):
        return _change(connection, model_id, _changes(connection, model_id, said), sources)


def undescribe(connection: sqlite3.Connection, model_id: int, columns: Iterable[str]) -> bool:
    """Empty columns of a model, whoever filled them; True where anything was there."""
    with writing(connection):
        there = _values(connection, model_id, columns)
        filled = dict.fromkeys(name for name, value in there.items() if value is not None)
        return _change(connection, model_id, filled, ())


def _changes(connection: sqlite3.Connection, model_id: int, said: Mapping[str, Any]) -> Row:
    """The columns that become different."""
    there = _values(connection, model_id, said)
    stated = {
        column
        for column, statement in inferred_of(connection, model_id).items()
        if not is_users(statement)
    }
    return {
        column: said[column]
        for column, value in there.items()
        if value != said[column] and not (said[column] is None and column in stated)
    }


def _values(connection: sqlite3.Connection, model_id: int, columns: Iterable[str]) -> Row:
    """What the catalogue has in some columns of a model; nothing where it is gone."""
    names = list(columns)
    listed = ", ".join(map(quoted, ("id", *names)))
    query = f"SELECT {listed} FROM models WHERE id = ?"  # noqa: S608
    found = connection.execute(query, (model_id,)).fetchone()
    return {} if found is None else dict(zip(names, tuple(found)[1:], strict=True))


def _change(
    connection: sqlite3.Connection, model_id: int, fresh: Row, sources: Sequence[Statement]
) -> bool:
    """Change columns of a model, and where their values come from, in an open transaction."""
    if not fresh:
        return False
    change = ", ".join(f"{quoted(name)} = ?" for name in fresh)
    query = f"UPDATE models SET {change} WHERE id = ?"  # noqa: S608
    connection.execute(query, (*fresh.values(), model_id))
    forget_inferred(connection, model_id, fresh)
    put_inferred(connection, model_id, [item for item in sources if item.column in fresh])
    refresh_digest(connection, model_id)
    return True
