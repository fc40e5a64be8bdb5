"""The layers of a database that keys can be fitted to, and the message where there are none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filterdb.errors import KeySetError, QueryError
from filterdb.keys.equivalence import Kernel
from filterdb.keys.key_set import KeySet
from filterdb.keys.mismatch import other_sizes, size_of, tallied, tallied_sizes
from filterdb.keys.search.sample import ANY, DEPTHWISE
from filterdb.population.preset import KEY, LAYER
from filterdb.scan.parts import ScanLayer
from filterdb.store.key_labels import Key
from filterdb.store.query import select_values

COLUMNS = ("model", "name", "kind", "conv_depth_norm", "dtype", "n_invalid", "weights_hash")


@dataclass(frozen=True, slots=True)
class DatabaseLayer:
    """A layer as the catalogue knows it.

    Attributes
    ----------
    scan
        What a scan goes through.
    model, layer, kind, depth, dtype
        As :class:`~filterdb.keys.labels.labels.LayerLabels` has them; element type in the file.
    finite
        Whether all of its weights are finite.
    weights_hash
        Of the layer.
    """

    scan: ScanLayer
    model: str
    layer: str
    kind: str
    depth: float
    dtype: str
    finite: bool
    weights_hash: str

    @property
    def key(self) -> Key:
        """Number of the model, index of the layer."""
        return self.scan.model_id, self.scan.layer_index

    @property
    def kernel(self) -> Kernel:
        """Height and width of its filters."""
        return self.scan.kernel

    @property
    def place(self) -> tuple[str, str]:
        """Where its weights lie: the payload, and the tensor in it."""
        return self.scan.weights_hash, self.scan.tensor


def database_folder(source: Any) -> Path | None:
    """The folder of a database; None where the source is something else."""
    is_path = isinstance(source, str | os.PathLike)
    place = Path(source) if is_path else getattr(source, "path", None)
    return place if isinstance(place, Path) and place.is_dir() else None


def database_layers(folder: Path, where: str | None = None) -> list[DatabaseLayer]:
    """The selected layers of all kinds and sizes, model by model and in order.

    Raises
    ------
    QueryError
        The condition is not valid, or nothing meets it.
    DatabaseNotFoundError, SchemaVersionError, StoreError
        The database cannot be read.
    """
    rows = select_values(folder, (*KEY, *LAYER, *COLUMNS), where)
    if not rows and where:
        msg = (
            f"No layer matches the condition {where}, so nothing is left. (`name` is the layer's; "
            "the model's is `model`.)"
        )
        raise QueryError(msg)
    if not rows:
        msg = f"The database {folder} has no layers. Ingest some models first."
        raise QueryError(msg)
    layers = []
    for row in rows:
        scan = ScanLayer.of(dict(zip((*KEY, *LAYER), row, strict=False)))
        model, name, kind, depth, dtype, invalid, weights_hash = row[-len(COLUMNS) :]
        layers.append(
            DatabaseLayer(scan, model, name, kind, depth, dtype, not invalid, weights_hash)
        )
    return layers


def repeats(layers: Iterable[DatabaseLayer]) -> set[Key]:
    """The layers whose weights an earlier model has, too: totals count them once."""
    first: dict[tuple[str, str], int] = {}
    return {
        layer.key
        for layer in layers
        if first.setdefault(layer.place, layer.scan.model_id) != layer.scan.model_id
    }


def left_out(found: Sequence[tuple[str, Kernel]], keys: KeySet, kind: str) -> Counter[str]:
    """Why layers of some kinds and sizes cannot be labelled by a set -> how many.

    Parameters
    ----------
    found
        Kind and kernel size of each layer.
    keys
        The set.
    kind
        ``"depthwise"``, or ``"any"`` for all kinds.

    Raises
    ------
    KeySetError
        None can; the message says what there is, and the mend.
    """
    reasons: Counter[str] = Counter()
    for own, kernel in found:
        if kind != ANY and own != DEPTHWISE:
            reasons["not depthwise"] += 1
        elif kernel != keys.kernel:
            reasons["filters of another size than the keys"] += 1
    if reasons.total() == len(found):
        raise KeySetError(_why_none(found, keys, kind))
    return reasons


def _why_none(found: Sequence[tuple[str, Kernel]], keys: KeySet, kind: str) -> str:
    of_kind = [kernel for own, kernel in found if own == DEPTHWISE]
    everything = tallied(f"{own} {size_of(kernel)}" for own, kernel in found)
    if not of_kind and kind != ANY:
        return (
            f"There are no depthwise layers, which master key filters are about. There are: "
            f"{everything}. kind='any' (--kind any) takes the 2-D slices of layers of all kinds."
        )
    what, listed = "depthwise layer", tallied_sizes(of_kind)
    if kind == ANY:
        what, listed = "layer", everything
    return other_sizes(keys, what, listed)
