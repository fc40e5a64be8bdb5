"""Summaries and bases as rows: arrays are blobs, little-endian, each with a digest."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError
from filterdb.stats.basis import Basis, Kernel
from filterdb.stats.moments import Moments
from filterdb.stats.summary import COARSE_BINS, FINE_BINS, LayerSummary
from filterdb.store import blobs as deflated
from filterdb.store.digest import digest_of
from filterdb.store.query import reading

Row = dict[str, Any]
FLOATS = np.dtype("<f8")
COUNTS = {size: np.dtype(f"<u{size}") for size in (1, 2, 4, 8)}
FOLDED = "folded_"
"""What the parts of folded weights begin with."""
QUICK = 1  # of deflate's levels: the better ones save a tenth and take five times as long


def summary_rows(layer: LayerSummary, *, folded: bool = False) -> list[Row]:
    """Columns of ``summaries`` for the parts of a layer that hold filters."""
    parts = {"clean": layer.clean, "sparse": layer.sparse}
    return [
        {
            "part": FOLDED + name if folded else name,
            "n": part.n,
            "basis_id": part.basis_id,
            "peak": part.peak,
            "scaled": packed_moments(part.scaled),
            "raw": packed_moments(part.raw),
            "coarse": packed_counts(part.coarse()),
            "fine": zlib.compress(packed_counts(part.counts), QUICK),
        }
        for name, part in parts.items()
        if part.n
    ]


def packed_moments(moments: Moments) -> bytes:
    """Sums, then the upper triangle of the sums of products."""
    upper = moments.second[np.triu_indices(moments.first.size)]
    return np.concatenate([moments.first, upper]).astype(FLOATS).tobytes()


def packed_counts(counts: NDArray[np.int64]) -> bytes:
    """Counts in the narrowest unsigned integers that hold them; their width is in the length."""
    most = int(counts.max(initial=0))
    width = next(size for size in COUNTS if most < 256**size)
    return counts.astype(COUNTS[width]).tobytes()


def moments_of(n: int, sums: NDArray[np.float64], kernel: Kernel) -> Moments:
    """Moments from ``n`` and what :func:`packed_moments` wrote, added up over layers."""
    taps = kernel[0] * kernel[1]
    second = np.zeros((taps, taps))
    second[np.triu_indices(taps)] = sums[taps:]
    second += np.triu(second, 1).T
    return Moments(n, sums[:taps].copy(), second)


def stacked_moments(blobs: Sequence[bytes], kernel: Kernel) -> NDArray[np.float64]:
    """Moments of many layers as they are stored, float64, one row a layer.

    Raises
    ------
    DamagedStoreError
        A row is not of the right length.
    """
    taps = kernel[0] * kernel[1]
    width = taps + taps * (taps + 1) // 2
    data = b"".join(blobs)
    if any(len(blob) != width * FLOATS.itemsize for blob in blobs):
        raise DamagedStoreError(DAMAGED)
    return np.frombuffer(data, FLOATS).reshape(len(blobs), width)


def stacked_counts(
    blobs: Sequence[bytes], kernel: Kernel, *, bins: int = COARSE_BINS, dtype: Any = np.float32
) -> NDArray[Any]:
    """Histograms of many layers, shape ``(len(blobs), k, bins)`` and of ``dtype``.

    Raises
    ------
    DamagedStoreError
        A row is not of the right length.
    """
    taps = kernel[0] * kernel[1]
    widths = np.array([len(blob) for blob in blobs]) // (taps * bins)
    result: NDArray[Any] = np.zeros((len(blobs), taps, bins), dtype)
    for width in np.unique(widths):
        chosen = np.flatnonzero(widths == width)
        data = b"".join([blobs[index] for index in chosen.tolist()])
        if width not in COUNTS or len(data) != chosen.size * width * taps * bins:
            raise DamagedStoreError(DAMAGED)
        values = np.frombuffer(data, COUNTS[int(width)]).reshape(-1, taps, bins)
        if chosen.size == len(blobs):
            return values.astype(dtype)
        result[chosen] = values
    return result


def inflated(blobs: Iterable[bytes], kernel: Kernel) -> list[bytes]:
    """Fine histograms of filters of a size as they were before they were deflated.

    Raises
    ------
    DamagedStoreError
        One cannot be inflated, or is longer than counts of such filters are.
    """
    most = kernel[0] * kernel[1] * FINE_BINS * max(COUNTS)
    try:
        return [deflated.inflated(blob, most) for blob in blobs]
    except ValueError as error:
        raise DamagedStoreError(DAMAGED) from error


def read_bases(folder: Path) -> dict[Kernel, Basis]:
    """The basis of each kernel size that a database has histograms of."""
    with reading(folder) as connection:
        return chosen_bases(connection)


def chosen_bases(connection: sqlite3.Connection) -> dict[Kernel, Basis]:
    """As :func:`read_bases`, over a connection."""
    columns = ("kh", "kw", "n", "origin", "mean", "components", "ratios")
    found = connection.execute(f"SELECT {', '.join(columns)} FROM bases")  # noqa: S608
    bases = (basis_of(dict(zip(columns, row, strict=True))) for row in found)
    return {basis.kernel: basis for basis in bases}


def basis_of(row: Row) -> Basis:
    """A row of ``bases`` as the :class:`Basis` that it was."""
    kernel = (row["kh"], row["kw"])
    taps = kernel[0] * kernel[1]
    try:
        return Basis(
            kernel=kernel,
            mean=np.frombuffer(row["mean"], FLOATS).reshape(taps),
            components=np.frombuffer(row["components"], FLOATS).reshape(taps, taps),
            explained_variance_ratio=np.frombuffer(row["ratios"], FLOATS).reshape(taps),
            n=row["n"],
            origin=row["origin"],
        )
    except ValueError as error:
        raise DamagedStoreError(DAMAGED) from error


def put_basis(connection: sqlite3.Connection, basis: Basis) -> None:
    """Record a basis, unless it is there."""
    row: Row = {
        "id": basis.id,
        "kh": basis.kernel[0],
        "kw": basis.kernel[1],
        "n": basis.n,
        "origin": basis.origin,
        "mean": basis.mean.astype(FLOATS).tobytes(),
        "components": basis.components.astype(FLOATS).tobytes(),
        "ratios": basis.explained_variance_ratio.astype(FLOATS).tobytes(),
    }
    _put(connection, "bases", row)


def put_summary(
    connection: sqlite3.Connection,
    layer: tuple[int, int],
    summary: LayerSummary,
    *,
    folded: bool = False,
) -> None:
    """Record the summary of a layer, named by its model's number and its index.

    ``folded``: of its weights times the batch normalisation that follows.
    """
    for row in summary_rows(summary, folded=folded):
        _put(connection, "summaries", {"model_id": layer[0], "layer_index": layer[1]} | row)


def _put(connection: sqlite3.Connection, table: str, row: Row) -> None:
    row = row | {"digest": digest_of(row)}
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    query = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})"  # noqa: S608
    connection.execute(query, list(row.values()))


DAMAGED = (
    "A summary in the catalogue is not as it was stored. `filterdb verify` names its model; remove "
    "that one and ingest its file again."
)
