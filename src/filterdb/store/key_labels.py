"""Labels of filters by key sets as rows: what each filter is a copy of, and of which set."""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError
from filterdb.store.blobs import inflated
from filterdb.store.connection import open_to_write, writing
from filterdb.store.key_sets import StoredKeySet, put_key_set, put_row, settle_labels
from filterdb.store.query import Row, reading
from filterdb.store.schema import LABEL_COUNTS

LABEL = np.dtype(
    [("key", "<i2"), ("view", "u1"), ("a", "<f4"), ("b", "<f4"), ("r2", "<f4"), ("kind", "i1")]
)
"""What is kept of a filter: its best key and the move of it, ``a key + b``, R2, and its class."""

Key = tuple[int, int]
"""Number of a model, index of a layer."""
NO_KEY = -1  # of a filter without a shape
QUICK = 1  # of deflate's levels: the fits are floats, which hardly get smaller with the better ones


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
        The set; it replaces what is kept under its id. It does not stay where no layer has
        labels by it.
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
        put_key_set(connection, key_set)
        for new in labels:
            if connection.execute(there, new.key).fetchone() != (new.weights_hash,):
                continue
            row: Row = {"model_id": new.key[0], "layer_index": new.key[1], "key_set": key_set.id}
            row |= {name: new.counts[name] for name in LABEL_COUNTS}
            row["labels"] = packed(new.labels)
            put_row(connection, "key_labels", row)
            kept += 1
        settle_labels(connection)
    return kept


def labelled_layers(folder: Path, key_set: str) -> set[Key]:
    """The layers that have labels by a set."""
    query = "SELECT model_id, layer_index FROM key_labels WHERE key_set = ?"
    with reading(folder) as connection:
        return {(model, index) for model, index in connection.execute(query, (key_set,))}


def select_labels(
    folder: Path, key_set: str, *, n_keys: int, chosen: Container[Key] | None = None
) -> Iterator[tuple[Key, NDArray[np.void]]]:
    """Labels by a set, layer by layer; one layer's are in memory at a time.

    Parameters
    ----------
    folder
        The database.
    key_set
        Id of the set.
    n_keys
        Number of its keys: a label that names another one is damaged.
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
        "SELECT model_id, layer_index, n, n_filters, labels FROM key_labels "
        "JOIN layers USING (model_id, layer_index) WHERE key_set = ? ORDER BY 1, 2"
    )
    with reading(folder) as connection:
        for model, index, n, filters, blob in connection.execute(query, (key_set,)):
            if chosen is None or (model, index) in chosen:
                if n != filters:
                    raise DamagedStoreError(DAMAGED)
                yield (model, index), unpacked(blob, n, n_keys=n_keys)


def packed(labels: NDArray[np.void]) -> bytes:
    """Labels as they are kept: deflated, one column after the other."""
    columns = (labels[name].astype(LABEL[name]).tobytes() for name in LABEL.names or ())
    return zlib.compress(b"".join(columns), QUICK)


def unpacked(blob: bytes, n: int, *, n_keys: int) -> NDArray[np.void]:
    """The ``n`` labels that :func:`packed` wrote, by a set of so many keys.

    Raises
    ------
    DamagedStoreError
        They are not as they were stored.
    """
    try:
        data = inflated(blob, n * LABEL.itemsize)
    except (ValueError, TypeError) as error:
        raise DamagedStoreError(DAMAGED) from error
    if len(data) != n * LABEL.itemsize:
        raise DamagedStoreError(DAMAGED)
    labels = np.empty(n, LABEL)
    start = 0
    for name in LABEL.names or ():
        labels[name] = np.frombuffer(data, LABEL[name], n, start)
        start += n * LABEL[name].itemsize
    if np.any((labels["key"] < NO_KEY) | (labels["key"] >= n_keys)):
        raise DamagedStoreError(DAMAGED)
    return labels


DAMAGED = (
    "Labels in the catalogue are not as they were stored. `filterdb verify` names their model; "
    "label its filters again with `filterdb keys label DB --set SET --force`."
)
