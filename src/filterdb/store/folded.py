"""What layers are with the batch normalisation that follows them: rows of ``folded``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError
from filterdb.stats.folding import STORED_SCALE
from filterdb.stats.summary import LayerSummary
from filterdb.store.digest import digest_of
from filterdb.store.query import reading
from filterdb.store.schema import MEASURES, quoted
from filterdb.store.summaries import put_summary

Row = dict[str, Any]
MEASURED = (*MEASURES, "verdict", "reason")
"""The columns that a layer has of its stored weights, and again of the folded ones."""


@dataclass(frozen=True, slots=True, eq=False)
class FoldedLayer:
    """A layer's weights times the norm that follows.

    Attributes
    ----------
    scale
        Of each output channel, little-endian float64.
    measures
        The columns :data:`MEASURED`.
    summary
        None where it has none.
    """

    scale: bytes
    measures: Row
    summary: LayerSummary | None


def put_folded(connection: sqlite3.Connection, key: tuple[int, int], layer: FoldedLayer) -> None:
    """Record what a layer, named by its model's number and its index, is as folded."""
    row: Row = {"model_id": key[0], "layer_index": key[1], "scale": layer.scale}
    row |= {name: layer.measures[name] for name in MEASURED}
    row["digest"] = digest_of(row)
    columns, places = ", ".join(map(quoted, row)), ", ".join("?" * len(row))
    query = f"INSERT INTO folded ({columns}) VALUES ({places})"  # noqa: S608
    connection.execute(query, list(row.values()))
    if layer.summary is not None:
        put_summary(connection, key, layer.summary, folded=True)


def scale_of(blob: bytes, channels: int) -> NDArray[np.float64]:
    """A scale as it was stored.

    Raises
    ------
    DamagedStoreError
        It is of another length than the layer has output channels.
    """
    if len(blob) != channels * STORED_SCALE.itemsize:
        msg = (
            "The scale of a batch normalisation in the catalogue is not as it was stored. "
            "`filterdb verify` names its model; remove that one and ingest its file again."
        )
        raise DamagedStoreError(msg)
    return np.frombuffer(blob, STORED_SCALE).astype(np.float64)


def folded_measures(folder: Path) -> dict[tuple[int, int], Row]:
    """Number of the model and index of the layer -> its measures as folded, where it has them."""
    names = ", ".join(MEASURED)
    with reading(folder) as connection:
        query = f"SELECT model_id, layer_index, {names} FROM folded"  # noqa: S608
        return {
            (row[0], row[1]): dict(zip(MEASURED, row[2:], strict=True))
            for row in connection.execute(query)
        }


def weight_states(folder: Path) -> dict[int, dict[str, int]]:
    """Number of a model -> state of its stored weights -> number of layers."""
    query = (
        "SELECT model_id, coalesce(weight_state, 'unknown'), count(*) FROM layers "
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
    )
    found: dict[int, dict[str, int]] = {}
    with reading(folder) as connection:
        for number, state, count in connection.execute(query):
            found.setdefault(number, {})[state] = count
    return found
