"""Image Parquet as Hugging Face data sets have it: struct(bytes, path), and a label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from filterdb.errors import TransferError
from filterdb.extras import require
from filterdb.transfer.data.pictures import Record
from filterdb.transfer.data.raw import check_bytes, reading

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels")
MAX_JSON = 6_000_000
BATCH = 256
"""Rows at a time; fewer where a row may be large: one value may stand for all rows."""
BATCH_BYTES = 256 * 2**20


def _column(schema: Any, known: tuple[str, ...], path: Path) -> str:
    for name in known:
        if name in schema.names:
            return name
    msg = (
        f"{path}: there is no column {known[0]!r} among {', '.join(schema.names[:20])}. Images are "
        "in a column 'image' (a struct of bytes and path), their classes in 'label'."
    )
    raise TransferError(msg)


def _open(path: Path) -> Any:
    """A Parquet file, once its footer claims nothing out of proportion."""
    parquet = require("pyarrow.parquet", extra="transfer")
    file = parquet.ParquetFile(path)
    metadata = file.metadata
    claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    check_bytes(claimed, path, compressed=path.stat().st_size)
    return file


def _columns(schema: Any, path: Path) -> tuple[str, str]:
    """Names of the columns of images and labels, whose types are looked at."""
    types = require("pyarrow", extra="transfer").types
    image, label = _column(schema, IMAGE_COLUMNS, path), _column(schema, LABEL_COLUMNS, path)
    kind = schema.field(image).type
    inner = kind.field("bytes").type if _has_bytes(types, kind) else kind
    if not (types.is_binary(inner) or types.is_large_binary(inner)):
        msg = f"{path}: the column {image!r} is {kind}; images are a struct of bytes and path."
        raise TransferError(msg)
    kind = schema.field(label).type
    if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
        msg = f"{path}: the column {label!r} is {kind}; labels are integers or strings."
        raise TransferError(msg)
    return image, label


def _has_bytes(types: Any, kind: Any) -> bool:
    return bool(types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def class_names(path: Path) -> tuple[str, ...] | None:
    """Names of the classes, where the file's Hugging Face metadata has them.

    Raises
    ------
    TransferError
        The file is damaged, or has no columns of images and labels.
    """
    with reading(path), _open(path) as file:
        schema = file.schema_arrow
        _, label = _columns(schema, path)
        text = (schema.metadata or {}).get(b"huggingface", b"")
    try:
        names = json.loads(text)["info"]["features"][label]["names"] if len(text) < MAX_JSON else []
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # written by something else: it is only the names that are missed
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names) or None


def records(path: Path, part: str) -> Iterator[Record]:
    """The rows of a file, a batch in memory at a time.

    Raises
    ------
    TransferError
        The file is damaged, or its columns are of other types.
    """
    with reading(path), _open(path) as file:
        image, label = _columns(file.schema_arrow, path)
        metadata, row = file.metadata, 0
        largest = max(
            (metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)),
            default=0,
        )
        rows = min(max(BATCH_BYTES // max(largest, 1), 1), BATCH)
        for batch in file.iter_batches(rows, columns=[image, label], use_threads=False):
            pictures, labels = batch.column(image).to_pylist(), batch.column(label).to_pylist()
            for cell, value in zip(pictures, labels, strict=True):
                yield _record(cell, value, row, path.name, part)
                row += 1


def _record(cell: Any, label: Any, row: int, file: str, part: str) -> Record:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    inner = cell.get("path") if isinstance(cell, dict) else None
    name = f"{file} row {row}" + (f" ({inner})" if inner else "")
    # Where classes have no labels, -1 is what data sets write.
    label = None if isinstance(label, int) and label < 0 else label
    parts = PurePosixPath(inner or "").parts
    return Record(name, data, label, part, parts[0] if len(parts) > 1 else "")
