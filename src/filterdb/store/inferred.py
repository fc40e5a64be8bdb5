"""Where a model's metadata comes from, where it is not the user's own word as it was written.

A row of ``inferred`` says that the file itself, or its name, is the source of a value, or that
the user wrote it by another word of the vocabulary (then the source is ``word: seg``). Values of
columns that the catalogue lacks (``description``) are kept here alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filterdb.layer import Statement
from filterdb.store.digest import digest_of
from filterdb.store.naming import clean
from filterdb.store.query import reading
from filterdb.store.schema import METADATA

WORD = "word: "
"""What a source begins with that is the user's own word for a value."""

Row = dict[str, Any]


def is_users(statement: Statement) -> bool:
    """True where the user said it, by another word."""
    return statement.source.startswith(WORD)


def put_inferred(
    connection: sqlite3.Connection, model_id: int, statements: Iterable[Statement]
) -> None:
    """Record statements on a model, each in the place of an earlier one on its column."""
    for statement in statements:
        row: Row = {
            "model_id": model_id,
            "column": clean(statement.column),
            "value": clean(statement.value),
            "source": clean(statement.source),
        }
        connection.execute(
            'INSERT OR REPLACE INTO inferred (model_id, "column", value, source, digest) '
            "VALUES (?, ?, ?, ?, ?)",
            (*row.values(), digest_of(row)),
        )


def forget_inferred(connection: sqlite3.Connection, model_id: int, columns: Iterable[str]) -> None:
    """Take statements on a model back."""
    connection.executemany(
        'DELETE FROM inferred WHERE model_id = ? AND "column" = ?',
        [(model_id, column) for column in columns],
    )


def inferred_of(connection: sqlite3.Connection, model_id: int) -> dict[str, Statement]:
    """Column -> the statement on it, of one model."""
    query = 'SELECT "column", value, source FROM inferred WHERE model_id = ? ORDER BY 1'
    found = connection.execute(query, (model_id,)).fetchall()
    return {row[0]: Statement(*row) for row in found}


def all_inferred(folder: Path) -> dict[int, dict[str, Statement]]:
    """Number of a model -> column -> the statement on it."""
    found: dict[int, dict[str, Statement]] = {}
    with reading(folder) as connection:
        query = 'SELECT model_id, "column", value, source FROM inferred ORDER BY 1, 2'
        for number, *statement in connection.execute(query):
            found.setdefault(number, {})[statement[0]] = Statement(*statement)
    return found


def provenance(statements: Mapping[str, Statement]) -> dict[str, dict[str, Any]]:
    """Where a model's values come from, as rows of models show it.

    ``inferred``: column -> value and source; ``own_words``: column -> the user's own word.
    """
    return {
        "inferred": {
            column: {"value": item.value, "source": item.source}
            for column, item in statements.items()
            if not is_users(item)
        },
        "own_words": {
            column: item.source.removeprefix(WORD)
            for column, item in statements.items()
            if is_users(item)
        },
    }


def values_of(statements: Iterable[Statement]) -> Row:
    """Column -> value, for the columns that the catalogue has; the epoch is a number."""
    return {
        item.column: int(item.value) if item.column == "epoch" else item.value
        for item in statements
        if item.column in METADATA
    }
