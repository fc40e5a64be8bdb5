"""Label the filters of a database, a file or a live network by a key set."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from filterdb.errors import KeySetError, StoreError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.fit import Fit, fit_keys
from filterdb.keys.key_set import THRESHOLD, KeySet
from filterdb.keys.labels.database_layers import (
    DatabaseLayer,
    database_folder,
    database_layers,
    left_out,
)
from filterdb.keys.labels.filters import LabelledFilters
from filterdb.keys.labels.jobs import LabelJob
from filterdb.keys.labels.labels import Labels, LayerLabels, Tally, check_threshold
from filterdb.keys.labels.stored_labels import (
    assembled,
    new_labels,
    stored_key_set,
    stored_tallies,
)
from filterdb.keys.search.sample import ANY, DEPTHWISE
from filterdb.keys.sets.set_file import load_keys
from filterdb.layer import ConvLayer, ModelFile
from filterdb.population.choices import check_choice
from filterdb.population.preset import Scanning
from filterdb.reading import read
from filterdb.scan.parts import split
from filterdb.store.connection import SCANS, open_to_write
from filterdb.store.key_labels import labelled_layers, put_labels

PathLike = str | os.PathLike[str]
NOT_FINITE = "weights that are not finite"
ALL_KINDS = (
    "Layers of all kinds were labelled. The master key hypothesis is about depthwise layers: what "
    "holds of the 2-D slices of dense ones neither supports nor contradicts it."
)


def label(
    source: Any,
    keys: KeySet | PathLike,
    *,
    where: str | None = None,
    kind: str = DEPTHWISE,
    threshold: float = THRESHOLD,
    equivalence: Equivalence | None = None,
    store: bool = True,
    force: bool = False,
    scanning: Scanning | None = None,
) -> Labels:
    """Say of every filter which key it is an affine copy of (METHODS 3.3).

    In a database the labels are kept: called again, only layers that came since are gone through.

    Parameters
    ----------
    source
        A database or its folder; or whatever :func:`filterdb.read` takes.
    keys
        A key set, the name of one that comes with the package, or the path of its file.
    where
        Only layers of a database that meet this condition.
    kind
        ``"depthwise"``, or ``"any"`` for the 2-D slices of layers of all kinds.
    threshold
        R² below which a filter is "other". Labels that are kept have R² itself, and serve any.
    equivalence
        What does not matter, if something else than the set says; that is another version of it.
    store
        Keep the labels in the database.
    force
        Label also the layers that have labels by this set.
    scanning
        How to pass over the weights of a database.

    Returns
    -------
    Labels
        Every layer of the set's kernel size, those labelled before included.

    Raises
    ------
    KeySetError
        There are no layers of this kind and of the keys' size.
    ReadError
        The file cannot be read.
    QueryError, StoreError
        The condition is not valid; a payload is missing or damaged; the database cannot be
        written.
    """
    check_choice("kind", kind, (DEPTHWISE, ANY))
    check_threshold(threshold)
    chosen = load_keys(keys)
    if equivalence is not None:
        chosen = chosen.alike(equivalence)
    folder = database_folder(source)
    if folder is not None:
        found = _of_database(
            folder, chosen, where=where, kind=kind, threshold=threshold, store=store,
            force=force, work=scanning or Scanning(),
        )  # fmt: skip
    elif where:
        msg = f"{source} is no database, so that there is nothing for the condition {where!r}."
        raise KeySetError(msg)
    else:
        found = _of_file(source, chosen, kind=kind, threshold=threshold)
    return replace(found, notes=(*found.notes, ALL_KINDS)) if kind == ANY else found


def label_filters(
    source: Any,
    keys: KeySet | PathLike,
    *,
    where: str | None = None,
    kind: str = DEPTHWISE,
    scanning: Scanning | None = None,
) -> Iterator[LabelledFilters]:
    """Every filter's key, ``a``, ``b`` and R², a layer at a time; nothing is stored.

    Parameters
    ----------
    source, keys, where, kind, scanning
        As :func:`label` takes them.

    Raises
    ------
    KeySetError, ReadError, QueryError, StoreError
        As :func:`label`.
    """
    check_choice("kind", kind, (DEPTHWISE, ANY))
    chosen = load_keys(keys)
    folder = database_folder(source)
    if folder is None:
        for layer, fit in _file_fits(read(source), chosen, kind, Counter()):
            yield LabelledFilters(
                str(source), layer.name, layer.index, layer.in_per_group, chosen, fit
            )
        return
    layers = _labelled_ones(folder, chosen, where=where, kind=kind)[0]
    for same, fit in _fits(folder, chosen, layers, scanning or Scanning()):
        for found in same:
            place = found.scan
            yield LabelledFilters(
                found.model, found.layer, place.layer_index, place.shape[1], chosen, fit
            )


def _of_file(source: Any, keys: KeySet, *, kind: str, threshold: float) -> Labels:
    file, reasons = read(source), Counter[str]()
    rows = tuple(
        LayerLabels.of_tally(
            Tally.of(fit, keys, threshold=threshold, dtype=layer.dtype),
            model=file.source,
            model_id=None,
            layer=layer.name,
            layer_index=layer.index,
            kind=layer.kind,
            depth=layer.conv_depth_norm,
        )
        for layer, fit in _file_fits(file, keys, kind, reasons)
    )
    return Labels(keys, threshold, rows, dict(reasons))


def _file_fits(
    file: ModelFile, keys: KeySet, kind: str, reasons: Counter[str]
) -> Iterator[tuple[ConvLayer, Fit]]:
    """Fits of a file's layers; why others are left out is added to ``reasons``."""
    reasons += left_out([(layer.kind, layer.kernel) for layer in file.layers], keys, kind)
    found = 0
    for layer in file.layers:
        if layer.kernel != keys.kernel or kind not in (ANY, layer.kind):
            continue
        filters = layer.weights.reshape(-1, keys.flat.shape[1])
        if not np.isfinite(filters).all():
            reasons[NOT_FINITE] += 1
            continue
        found += 1
        yield layer, fit_keys(filters, keys.flat, keys.kernel, equivalence=keys.equivalence)
    _check_any(found, keys)


def _of_database(
    folder: Path,
    keys: KeySet,
    *,
    where: str | None,
    kind: str,
    threshold: float,
    store: bool,
    force: bool,
    work: Scanning,
) -> Labels:
    layers, reasons = _labelled_ones(folder, keys, where=where, kind=kind)
    there = set() if force else labelled_layers(folder, keys.id)
    missing = [layer for layer in layers if layer.key not in there]
    if missing and store:
        _keep(folder, keys, missing, work)
        missing = []
    gone_through = {layer.key for layer in missing}
    known = [layer for layer in layers if layer.key not in gone_through]
    tallies = stored_tallies(folder, keys, known, threshold=threshold)
    for same, fit in _fits(folder, keys, missing, work):
        for layer in same:
            tallies[layer.key] = Tally.of(fit, keys, threshold=threshold, dtype=layer.dtype)
    return assembled(keys, tallies, layers, threshold=threshold, left_out=reasons)


def _labelled_ones(
    folder: Path, keys: KeySet, *, where: str | None, kind: str
) -> tuple[list[DatabaseLayer], Counter[str]]:
    """Layers of a database that the keys fit, and why others are left out."""
    everything = database_layers(folder, where)
    reasons = left_out([(layer.kind, layer.kernel) for layer in everything], keys, kind)
    fitting = [layer for layer in everything
               if layer.kernel == keys.kernel and kind in (ANY, layer.kind)]  # fmt: skip
    layers = [layer for layer in fitting if layer.finite]
    _check_any(len(layers), keys)
    return layers, reasons + Counter({NOT_FINITE: len(fitting) - len(layers)})


def _keep(folder: Path, keys: KeySet, layers: Sequence[DatabaseLayer], work: Scanning) -> None:
    """Label layers in the catalogue: all of them, or none.

    The weights are gone through first, resumably, and what is found is kept beside the catalogue;
    the transaction then only takes it in, so that nobody else waits long for the write lock.
    """
    try:
        with closing(open_to_write(folder)):
            pass
    except StoreError as error:
        msg = f"{error} To label without keeping the labels, give store=False (--no-store)."
        raise StoreError(msg) from error
    for _ in _fits(folder, keys, layers, work, checkpoint=folder / SCANS, keep=True):
        pass
    again = replace(work, progress=None, jobs=1, scheduler=None)
    fits = _fits(folder, keys, layers, again, checkpoint=folder / SCANS)
    news = (new_labels(layer, fit) for same, fit in fits for layer in same)
    put_labels(folder, stored_key_set(keys), news)


def _fits(
    folder: Path,
    keys: KeySet,
    layers: Sequence[DatabaseLayer],
    work: Scanning,
    *,
    checkpoint: Path | None = None,
    keep: bool = False,
) -> Iterator[tuple[list[DatabaseLayer], Fit]]:
    """Fits of layers, each with all the layers that have these weights."""
    if not layers:
        return
    same: dict[tuple[str, str], list[DatabaseLayer]] = defaultdict(list)
    for layer in layers:
        same[layer.place].append(layer)
    parts = split(folder, [found[0].scan for found in same.values()])
    for scanned in work.scan(parts, LabelJob.of(keys), checkpoint=checkpoint, keep=keep):
        (gone_through,) = scanned.layers
        yield same[gone_through.weights_hash, gone_through.tensor], scanned.value


def _check_any(found: int, keys: KeySet) -> None:
    if not found:
        msg = "All {}x{} layers hold weights that are NaN or infinite: there is nothing to label."
        raise KeySetError(msg.format(*keys.kernel))
