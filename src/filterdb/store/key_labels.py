"""Labels of filters by key sets as rows: what each filter is a copy of, and of which set."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError
from filterdb.store.catalogue import now
from filterdb.store.connection import open_to_write, writing
from filterdb.store.digest import digest_of, refresh_labels_digests
from filterdb.store.naming import clean
from filterdb.store.query import Row, reading
from filterdb.store.schema import LABEL_COUNTS

LABEL = np.dtype(
    [("key", "<i2"), ("view", "u1"), ("a", "<f4"), ("b", "<f4"), ("r2", "<f4"), ("kind", "i1")]
)
"""What is kept of a filter: its best key and the move of it, ``a key + b``, R2, and its class."""

Key = tuple[int, int]
"""Number of a model, index of a layer."""
QUICK = 1  # of deflate's levels: the fits are floats, which hardly get smaller with the better ones
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


@dataclass(frozen=True, slots=True, eq=False)
class NewLabels:
    """The labels of a layer that are about to be kept.

    Attributes
    ----------
    key
        The layer.
    weights_hash
        Of the layer: what was labelled. Another layer in its place gets no labels.
    labels
        Of every filter, shape ``(n,)`` and of dtype :data:`LABEL`.
    counts
        The columns :data:`~filterdb.store.schema.LABEL_COUNTS`.
    """

    key: Key
    weights_hash: str
    labels: NDArray[np.void]
    counts: Mapping[str, float | None]


def put_labels(folder: Path, key_set: StoredKeySet, labels: Iterable[NewLabels]) -> int:
    """Keep labels by a set, in one transaction: all of them, or none.

    Parameters
    ----------
    folder
        The database.
    key_set
        The set; it replaces what is kept under its id.
    labels
        They replace those of the same layers by the same set. They may be computed while this
        runs; an error there leaves everything as it was.

    Returns
    -------
    int
        Number of layers; those that were removed meanwhile are not among them.

    Raises
    ------
    StoreError
        The database cannot be written.
    """
    there = "SELECT weights_hash FROM layers WHERE model_id = ? AND layer_index = ?"
    kept = 0
    with closing(open_to_write(folder)) as connection, writing(connection):
        _put_key_set(connection, key_set)
        for new in labels:
            if connection.execute(there, new.key).fetchone() != (new.weights_hash,):
                continue
            row: Row = {"model_id": new.key[0], "layer_index": new.key[1], "key_set": key_set.id}
            row |= {name: new.counts[name] for name in LABEL_COUNTS}
            row["labels"] = packed(new.labels)
            _put(connection, "key_labels", row)
            kept += 1
        connection.execute(f"DELETE FROM key_labels WHERE {ASTRAY}")  # noqa: S608
        refresh_labels_digests(connection)
    return kept


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


def labelled_layers(folder: Path, key_set: str) -> set[Key]:
    """The layers that have labels by a set."""
    query = "SELECT model_id, layer_index FROM key_labels WHERE key_set = ?"
    with reading(folder) as connection:
        return {(model, index) for model, index in connection.execute(query, (key_set,))}


def select_labels(
    folder: Path, key_set: str, *, chosen: Container[Key] | None = None
) -> Iterator[tuple[Key, NDArray[np.void]]]:
    """Labels by a set, layer by layer; one layer's are in memory at a time.

    Parameters
    ----------
    folder
        The database.
    key_set
        Id of the set.
    chosen
        Only of these layers.

    Yields
    ------
    key
        The layer, by model and index.
    labels
        Of its filters, shape ``(n,)`` and of dtype :data:`LABEL`.

    Raises
    ------
    DamagedStoreError
        Labels are not as they were stored.
    """
    query = (
        "SELECT model_id, layer_index, n, labels FROM key_labels WHERE key_set = ? "
        "ORDER BY model_id, layer_index"
    )
    with reading(folder) as connection:
        for model, index, n, blob in connection.execute(query, (key_set,)):
            if chosen is None or (model, index) in chosen:
                yield (model, index), unpacked(blob, n)


def packed(labels: NDArray[np.void]) -> bytes:
    """Labels as they are kept: deflated, one column after the other."""
    columns = (labels[name].astype(LABEL[name]).tobytes() for name in LABEL.names or ())
    return zlib.compress(b"".join(columns), QUICK)


def unpacked(blob: bytes, n: int) -> NDArray[np.void]:
    """The ``n`` labels that :func:`packed` wrote.

    Raises
    ------
    DamagedStoreError
        They are not as they were stored.
    """
    try:
        data = zlib.decompress(blob)
    except (zlib.error, TypeError) as error:
        raise DamagedStoreError(DAMAGED) from error
    if len(data) != n * LABEL.itemsize:
        raise DamagedStoreError(DAMAGED)
    labels = np.empty(n, LABEL)
    start = 0
    for name in LABEL.names or ():
        labels[name] = np.frombuffer(data, LABEL[name], n, start)
        start += n * LABEL[name].itemsize
    return labels


def _put_key_set(connection: sqlite3.Connection, key_set: StoredKeySet) -> None:
    """Keep a set; where it is there as it is, nothing happens."""
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
    _put(connection, "key_sets", {"added_at": now()} | row)


def _put(connection: sqlite3.Connection, table: str, row: Row) -> None:
    row = row | {"digest": digest_of(row)}
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    query = f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})"  # noqa: S608
    connection.execute(query, list(row.values()))


DAMAGED = (
    "Labels in the catalogue are not as they were stored. `filterdb verify` names their model; "
    "label its filters again with `filterdb keys label DB --set SET --force`."
)
