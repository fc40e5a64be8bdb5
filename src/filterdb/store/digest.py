"""Checksums over all that the catalogue says, so that a flipped byte is noticed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from filterdb.store.schema import INDEXES, TABLES, columns_of

Row = Mapping[str, Any]
LABELS = "labels "
"""What the subject of a check begins with that is about the labels by a key set."""


def canonical(row: Row) -> str:
    """A row as one text: columns sorted, undefined values (and the digest itself) left out.

    A column that is added later is undefined for the models that are there: their digests
    stay as they are.
    """
    known = {name: value for name, value in row.items() if value is not None and name != "digest"}
    return json.dumps(known, sort_keys=True, ensure_ascii=True, default=_shortened)


def _shortened(value: object) -> str:
    """Arrays by their hash, anything else that JSON lacks as text."""
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)


def digest_of(*rows: Row) -> str:
    """SHA-256 over rows in their order."""
    return hashlib.sha256("\n".join(canonical(row) for row in rows).encode()).hexdigest()


def model_digest(connection: sqlite3.Connection, model_id: int) -> str:
    """Digest of a model's row, its layers and what was skipped, as they are stored.

    Summaries, measures of folded weights and inferred metadata are in it by their own digests.
    """
    rows: list[Row] = []
    for table, key, order in (
        ("models", "id", "id"),
        ("layers", "model_id", "layer_index"),
        ("skipped", "model_id", "position"),
    ):
        columns = columns_of(connection, table)
        query = f"SELECT * FROM {table} WHERE {key} = ? ORDER BY {order}"  # noqa: S608
        found = connection.execute(query, (model_id,))
        rows.extend(dict(zip(columns, row, strict=True)) for row in found)
    for told, table, key in (
        ("summary", "summaries", "layer_index, part"),
        ("folded", "folded", "layer_index"),
        ("inferred", "inferred", '"column"'),
    ):
        query = f"SELECT {key}, digest FROM {table} WHERE model_id = ? ORDER BY {key}"  # noqa: S608
        rows.extend({told: list(row)} for row in connection.execute(query, (model_id,)))
    return digest_of(*rows)


def refresh_digest(connection: sqlite3.Connection, model_id: int) -> None:
    """Store a model's digest anew, in the transaction that changed the model."""
    digest = model_digest(connection, model_id)
    connection.execute("UPDATE models SET digest = ? WHERE id = ?", (digest, model_id))


def labels_digest(connection: sqlite3.Connection, key_set: str) -> str:
    """Digest of a key set and of all labels by it, so that a row that is gone is noticed, too.

    Models know nothing of it: their digests stay as they are, whoever labels their filters.
    """
    query = "SELECT digest FROM key_sets WHERE id = ?"
    rows: list[Row] = [{"key set": row[0]} for row in connection.execute(query, (key_set,))]
    query = (
        "SELECT model_id, layer_index, digest FROM key_labels WHERE key_set = ? "
        "ORDER BY model_id, layer_index"
    )
    rows.extend({"labels": list(row)} for row in connection.execute(query, (key_set,)))
    return digest_of(*rows)


def refresh_labels_digests(connection: sqlite3.Connection) -> None:
    """Store the digests of all labels anew, in the transaction that changed some."""
    connection.execute("DELETE FROM checks WHERE subject <> 'schema'")
    for (key_set,) in connection.execute("SELECT id FROM key_sets").fetchall():
        connection.execute(
            "INSERT INTO checks (subject, digest) VALUES (?, ?)",
            (LABELS + key_set, labels_digest(connection, key_set)),
        )


def schema_digest(connection: sqlite3.Connection) -> str:
    """Digest of how our tables and indexes are defined; what others add is theirs."""
    own = (*TABLES, *INDEXES)
    query = (
        "SELECT type, name, tbl_name, sql FROM sqlite_master "  # noqa: S608
        f"WHERE name IN ({', '.join('?' * len(own))}) ORDER BY name"
    )
    columns = ("type", "name", "tbl_name", "sql")
    rows = connection.execute(query, own).fetchall()
    return digest_of(*(dict(zip(columns, row, strict=True)) for row in rows))


def schema_is_whole(connection: sqlite3.Connection) -> bool:
    """True where the tables are defined as they were when their digest was stored."""
    stored = connection.execute("SELECT digest FROM checks WHERE subject = 'schema'").fetchall()
    return stored == [(schema_digest(connection),)]


def refresh_schema_digest(connection: sqlite3.Connection) -> None:
    """Store the digest of the tables anew, in the transaction that changed them."""
    connection.execute(
        "INSERT OR REPLACE INTO checks (subject, digest) VALUES ('schema', ?)",
        (schema_digest(connection),),
    )
