"""Parquet: one row a filter, a file for each kernel size, and the catalogue beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from filterdb.extras import require
from filterdb.published.selection import Kernel, Selection

ROWS = 2**17
"""Filters in a row group: some megabytes."""


def write_parquet(chosen: Selection, folder: Path, *, done: Callable[[str], None]) -> None:
    """Write ``filters_3x3.parquet`` and so on, ``models.parquet`` and ``layers.parquet``.

    The filters' columns are ``model``, ``layer``, ``layer_index``, ``filter`` (its number in the
    layer), ``kernel`` and ``values``, a list of ``kh * kw`` float32.

    Raises
    ------
    MissingExtraError
        pyarrow is not installed.
    """
    require("pyarrow.parquet", extra="parquet")
    folder.mkdir()
    for kernel in chosen.kernels:
        name = f"filters_{kernel[0]}x{kernel[1]}.parquet"
        _write_filters(chosen.of_kernel(kernel), kernel, folder / name, done)
    _write_rows([model.row for model in chosen.models], folder / "models.parquet")
    layers = [row for model in chosen.models for row in model.layers]
    _write_rows(layers, folder / "layers.parquet")


def _write_filters(
    chosen: Selection, kernel: Kernel, path: Path, done: Callable[[str], None]
) -> None:
    """One kernel size, a row group at a time, however small the layers are."""
    arrow = require("pyarrow", extra="parquet")
    parquet = require("pyarrow.parquet", extra="parquet")
    taps = kernel[0] * kernel[1]
    text = arrow.dictionary(arrow.int32(), arrow.string())
    schema = arrow.schema(
        {
            "model": text,
            "layer": text,
            "layer_index": arrow.int32(),
            "filter": arrow.int64(),
            "kernel": text,
            "values": arrow.list_(arrow.float32(), taps),
        }
    )

    def constant(value: str, count: int) -> Any:
        indices = arrow.array(np.zeros(count, np.int32))
        return arrow.DictionaryArray.from_arrays(indices, [value])

    with parquet.ParquetWriter(path, schema) as writer:
        waiting: list[Any] = []
        for model, row, weights in chosen.weights():
            filters = weights.reshape(-1, taps)
            for start in range(0, len(filters), ROWS):
                part = filters[start : start + ROWS]
                n = len(part)
                values = arrow.array(part.reshape(-1))
                columns = [
                    constant(model.row["name"], n),
                    constant(row["name"], n),
                    arrow.array(np.full(n, row["layer_index"], np.int32)),
                    arrow.array(np.arange(start, start + n)),
                    constant(f"{kernel[0]}x{kernel[1]}", n),
                    arrow.FixedSizeListArray.from_arrays(values, taps),
                ]
                waiting.append(arrow.RecordBatch.from_arrays(columns, schema=schema))
                if sum(batch.num_rows for batch in waiting) >= ROWS:
                    writer.write_table(_joined(waiting, schema), row_group_size=2 * ROWS)
                    waiting = []
            done(model.row["name"])
        if waiting:
            writer.write_table(_joined(waiting, schema), row_group_size=2 * ROWS)


def _joined(batches: Sequence[Any], schema: Any) -> Any:
    arrow = require("pyarrow", extra="parquet")
    return arrow.Table.from_batches(batches, schema).unify_dictionaries()


def _write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Rows of the catalogue; a column that mixes texts and numbers becomes text."""
    arrow = require("pyarrow", extra="parquet")
    parquet = require("pyarrow.parquet", extra="parquet")

    def column(name: str) -> Any:
        values = [row[name] for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float}:
            return arrow.array(values, arrow.float64() if float in kinds else arrow.int64())
        return arrow.array([None if value is None else str(value) for value in values])

    parquet.write_table(arrow.table({name: column(name) for name in rows[0]}), path)
