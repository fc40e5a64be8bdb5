"""Labels in a database: what is kept of them, and what can be told from the catalogue alone."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError, KeySetError, ModelNotFoundError, ReadError
from filterdb.keys.fit import Fit
from filterdb.keys.key_set import THRESHOLD, KeySet
from filterdb.keys.labels.database_layers import DatabaseLayer, database_layers, repeats
from filterdb.keys.labels.jobs import fit_of, labels_of
from filterdb.keys.labels.labels import SAME_WEIGHTS, Labels, LayerLabels, Tally, check_threshold
from filterdb.keys.normal import CONSTANT_CLASS, SHAPED, ZERO_CLASS
from filterdb.keys.search.found import THRESHOLDS
from filterdb.keys.search.sample import DEPTHWISE
from filterdb.keys.sets.set_file import decode_keys, encode_keys, is_known, load_keys
from filterdb.store.key_labels import (
    DAMAGED,
    Key,
    NewLabels,
    labelled_layers,
    select_labels,
)
from filterdb.store.key_sets import StoredKeySet, read_key_sets

PathLike = str | os.PathLike[str]
UNLABELLED = "not labelled by this key set yet"
CLASSES = (SHAPED, CONSTANT_CLASS, ZERO_CLASS)
COUNTED = tuple(f"n_r2_{round(100 * threshold)}" for threshold in THRESHOLDS)


def stored_keys(folder: PathLike) -> list[KeySet]:
    """The key sets by which layers of a database were labelled.

    Raises
    ------
    DatabaseNotFoundError, SchemaVersionError, StoreError
        The database cannot be read.
    DamagedStoreError
        A set is not as it was stored.
    """
    return [decoded(found.content) for found in read_key_sets(Path(folder))]


def read_labels(folder: PathLike, key_set: str, *, threshold: float = THRESHOLD) -> Labels:
    """The labels of a database, from the catalogue alone: no weights are read.

    Parameters
    ----------
    folder
        The database.
    key_set
        Id or name of a set by which its layers were labelled.
    threshold
        R² from which a filter is a copy of its key.

    Raises
    ------
    KeySetError
        There are no labels by this set, or the threshold is no share.
    DamagedStoreError, StoreError
        The database cannot be read.
    """
    check_threshold(threshold)
    place = Path(folder)
    keys = stored_set(place, key_set)
    layers = [layer for layer in database_layers(place) if layer.kernel == keys.kernel]
    labelled = labelled_layers(place, keys.id)
    chosen = [layer for layer in layers if layer.key in labelled]
    missing = sum(layer.kind == DEPTHWISE and layer.key not in labelled for layer in layers)
    reasons = {UNLABELLED: missing} if missing else {}
    tallies = stored_tallies(place, keys, chosen, threshold=threshold)
    return assembled(keys, tallies, chosen, threshold=threshold, left_out=reasons)


def stored_tallies(
    folder: Path, keys: KeySet, layers: Sequence[DatabaseLayer], *, threshold: float
) -> dict[Key, Tally]:
    """The filters of the labelled ones among layers, counted by key."""
    dtypes = {layer.key: layer.dtype for layer in layers}
    return {
        key: Tally.of(_fit_of(labels), keys, threshold=threshold, dtype=dtypes[key])
        for key, labels in select_labels(folder, keys.id, n_keys=len(keys), chosen=dtypes)
    }


def assembled(
    keys: KeySet,
    tallies: Mapping[Key, Tally],
    layers: Sequence[DatabaseLayer],
    *,
    threshold: float,
    left_out: Mapping[str, int],
    notes: tuple[str, ...] = (),
) -> Labels:
    """Labels of a database from the tallies of its layers, in the catalogue's order."""
    there = [layer for layer in layers if layer.key in tallies]
    again = repeats(there)
    rows = tuple(
        LayerLabels.of_tally(
            tallies[layer.key],
            model=layer.model,
            model_id=layer.scan.model_id,
            layer=layer.layer,
            layer_index=layer.scan.layer_index,
            kind=layer.kind,
            depth=layer.depth,
            repeated=layer.key in again,
        )
        for layer in there
    )
    reasons = {**left_out, SAME_WEIGHTS: len(again)} if again else dict(left_out)
    return Labels(keys, threshold, rows, reasons, notes)


def labels_of_layer(folder: PathLike, key_set: str, layer: Key) -> Fit:
    """The labels of every filter of a layer, from the catalogue alone.

    Parameters
    ----------
    folder
        The database.
    key_set
        Id or name of a set.
    layer
        Number of its model, and its index.

    Raises
    ------
    KeySetError, ModelNotFoundError
        There are no labels by this set, or none of this layer.
    """
    place = Path(folder)
    keys = stored_set(place, key_set)
    for _, labels in select_labels(place, keys.id, n_keys=len(keys), chosen={layer}):
        return _fit_of(labels)
    msg = f"Layer {layer[1]} of model {layer[0]} has no labels by the key set {keys.name!r}."
    raise ModelNotFoundError(msg)


def stored_key_set(keys: KeySet) -> StoredKeySet:
    """A set as the catalogue keeps it."""
    return StoredKeySet(keys.id, keys.name, keys.kernel, len(keys), encode_keys(keys))


def new_labels(layer: DatabaseLayer, fit: Fit) -> NewLabels:
    """The labels of a layer as the catalogue keeps them."""
    shaped = fit.r2[fit.kind == SHAPED]
    counts: dict[str, float | None] = {
        "n": fit.n,
        "n_constant": int(np.count_nonzero(fit.kind == CONSTANT_CLASS)),
        "n_zero": int(np.count_nonzero(fit.kind == ZERO_CLASS)),
        "mean_r2": float(shaped.mean(dtype=np.float64)) if len(shaped) else None,
    }
    for name, threshold in zip(COUNTED, THRESHOLDS, strict=True):
        counts[name] = int(np.count_nonzero(shaped >= threshold))
    return NewLabels(layer.key, layer.weights_hash, labels_of(fit), counts)


def _fit_of(labels: NDArray[np.void]) -> Fit:
    """Stored labels as fits; only filters with a shape have a key."""
    fit = fit_of(labels)
    if np.any((fit.key >= 0) != (fit.kind == SHAPED)) or not np.isin(fit.kind, CLASSES).all():
        raise DamagedStoreError(DAMAGED)
    return fit


def decoded(content: bytes) -> KeySet:
    """The set that the catalogue keeps as the bytes of its file.

    Raises
    ------
    DamagedStoreError
        They are not what was stored.
    """
    try:
        return decode_keys(content)
    except (KeySetError, ReadError) as error:
        msg = (
            "A key set in the catalogue is not as it was stored. `filterdb verify` names it; "
            "`filterdb keys label DB --forget ID` removes it with its labels; label again then."
        )
        raise DamagedStoreError(msg) from error


def stored_set(folder: Path, key_set: str) -> KeySet:
    """The key set of a database that has this id; else the last one of this name.

    Raises
    ------
    KeySetError
        There is none.
    """
    there = read_key_sets(folder)
    by_id = [found for found in there if found.id == key_set]
    by_name = [found for found in there if found.name == key_set]
    if by_id or by_name:
        return decoded((by_id or by_name)[-1].content)
    listed = ", ".join(f"{found.name} ({found.id})" for found in there) or "none"
    msg = f"The database has no labels by a key set {key_set!r}. It has labels by: {listed}."
    if is_known(key_set):
        command = shlex.join(["filterdb", "keys", "label", str(folder), "--set", key_set])
        msg += f" `{command}` makes them."
    raise KeySetError(msg)


def keys_for(folder: Path, name: str) -> KeySet:
    """A key set by its name or file; else by the id or the name of one that is in the database.

    Raises
    ------
    KeySetError
        There is no such set, or the file is none.
    """
    there = [] if is_known(name) else read_key_sets(folder)
    if any(name in (found.id, found.name) for found in there):
        return stored_set(folder, name)
    try:
        return load_keys(name)
    except KeySetError as error:
        if not there:
            raise
        listed = ", ".join(f"{found.name} ({found.id})" for found in there)
        msg = f"{error} The database has: {listed}."
        raise KeySetError(msg) from error.__cause__
