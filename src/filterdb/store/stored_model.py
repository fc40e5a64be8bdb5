"""A model of a database as the network that it was: its layers, read from the payload."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError
from filterdb.layer import ConvLayer, ModelFile, Norm, Skipped
from filterdb.store.folded import scale_of
from filterdb.store.payload import payload_path, read_payload
from filterdb.store.query import Row, reading
from filterdb.store.schema import columns_of

NORM = "as the catalogue has it"
"""Name of a norm whose own is in the evidence."""


def stored_model(folder: Path, number: int) -> ModelFile:
    """Put a model together again; its weights are mapped when they are asked for.

    Parameters
    ----------
    folder
        The database.
    number
        The model's, as ``models`` has it.

    Raises
    ------
    DatabaseNotFoundError, SchemaVersionError, StoreError
        The database cannot be read.
    """
    with reading(folder) as connection:

        def rows(table: str, key: str, order: str) -> list[Row]:
            columns = columns_of(connection, table)
            query = f"SELECT * FROM {table} WHERE {key} = ? ORDER BY {order}"  # noqa: S608
            found = connection.execute(query, (number,))
            return [dict(zip(columns, row, strict=True)) for row in found]

        (model,) = rows("models", "id", "id")
        layers = rows("layers", "model_id", "layer_index")
        skipped = rows("skipped", "model_id", "position")
        scales = {
            row["layer_index"]: row["scale"] for row in rows("folded", "model_id", "layer_index")
        }
    path = payload_path(folder, model["weights_hash"])
    return ModelFile(
        source=model["name"],
        format=model["format"],
        layers=tuple(_layer(row, path, scales.get(row["layer_index"])) for row in layers),
        skipped=tuple(Skipped(row["name"], row["reason"]) for row in skipped),
        producer=model["producer"],
        notes=tuple(json.loads(model["notes"])),
    )


def _layer(row: Row, path: Path, scale: bytes | None) -> ConvLayer:
    return ConvLayer(
        name=row["name"],
        index=row["layer_index"],
        shape=(row["out_channels"], row["in_per_group"], row["kh"], row["kw"]),
        kind=row["kind"],
        kind_reason=row["kind_reason"],
        groups=row["groups"],
        stride=_pair(row["stride"]),
        dilation=_pair(row["dilation"]),
        dtype=row["dtype"],
        conv_depth=row["conv_depth"],
        conv_depth_norm=row["conv_depth_norm"],
        depth_source=row["depth_source"],
        load=partial(_weights, path, row["tensor"]),
        state=row["weight_state"] or "unknown",
        evidence=row["state_evidence"] or "",
        norm=None if scale is None else Norm(NORM, partial(scale_of, scale, row["out_channels"])),
        scheme=row["scheme"] or "",
    )


def _weights(path: Path, tensor: str) -> NDArray[np.float32]:
    weights = read_payload(path).get(tensor)
    if weights is None:
        msg = f"The payload {path} lacks the tensor {tensor!r}. `filterdb verify` tells more."
        raise DamagedStoreError(msg)
    return weights


def _pair(text: Any) -> tuple[int, int] | None:
    if text is None:
        return None
    height, width = map(int, text.split("x"))
    return height, width
