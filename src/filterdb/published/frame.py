"""The table of layers, as pandas wrote it to HDF5, read without pandas.

PyTables unpickles whatever a file holds, and a pickle can run code. What pandas pickles here are
lists of texts and numbers, so the machine for checkpoints that runs nothing reads them, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, UnsupportedFormatError
from filterdb.published.hdf5 import Part
from filterdb.readers.pytorch.inert_objects import Global, Opaque
from filterdb.readers.pytorch.inert_pickle import Budget, unpickle
from filterdb.readers.pytorch.numpy_pickle import RECONSTRUCT, is_shape, plain_dtype

Value = str | int | float | None
PLAIN = ("", "str", "string", "object")
"""Types that pandas notes of columns which need no further decoding."""
MAX_LEVELS = 32
MOST_INSTRUCTIONS = 2**23
"""Of the pickle of a block: the published table's texts take about a million."""
NUMPY_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


@dataclass(frozen=True, slots=True)
class Frame:
    """A data frame as lists.

    Attributes
    ----------
    rows
        Number of rows.
    columns
        Column -> values, the levels of the index first; what is missing is None.
    left_out
        Columns whose type is not read, with the reason.
    """

    rows: int
    columns: dict[str, list[Value]]
    left_out: dict[str, str]


def read_frame(attributes: Mapping[str, Any], parts: Mapping[str, Part]) -> Frame:
    """Decode a frame of either format of pandas, "fixed" or "table".

    Raises
    ------
    UnsupportedFormatError
        It is no data frame of pandas.
    CorruptFileError
        Its parts contradict one another.
    """
    kind = attributes.get("pandas_type")
    try:
        if kind == "frame":
            return _fixed(attributes, parts)
        if kind == "frame_table":
            return _table(attributes, parts["table"])
    except (LookupError, ValueError, TypeError) as error:
        msg = f"/meta is damaged ({type(error).__name__}: {error!s:.100}). Download the file again."
        raise CorruptFileError(msg) from error
    msg = f"/meta is no data frame of pandas (its pandas_type is {kind!r})."
    raise UnsupportedFormatError(msg)


def _fixed(attributes: Mapping[str, Any], parts: Mapping[str, Part]) -> Frame:
    """Index in levels and labels; the columns in blocks of one type."""
    columns: dict[str, list[Value]] = {}
    left_out: dict[str, str] = {}
    for level in range(min(int(attributes.get("axis1_nlevels", 0)), MAX_LEVELS)):
        part = parts[f"axis1_level{level}"]
        name = str(part.attributes.get("name", f"level{level}"))
        values = decoded(part)
        codes = np.asarray(parts[f"axis1_label{level}"].values).tolist()
        columns[name] = [values[code] if code >= 0 else None for code in codes]
    if not columns:
        msg = "its index has no levels"
        raise ValueError(msg)
    rows = len(next(iter(columns.values())))
    for block in range(int(attributes["nblocks"])):
        names = [str(name) for name in decoded(parts[f"block{block}_items"])]
        part = parts[f"block{block}_values"]
        if (reason := unreadable(part.attributes.get("value_type"))) is not None:
            left_out |= dict.fromkeys(names, reason)
            continue
        table = np.array(part.values if isinstance(part.values, np.ndarray) else unpickled(part))
        if not part.attributes.get("transposed", 1):
            table = table.T
        for name, column in zip(names, table.reshape(rows, len(names)).T, strict=True):
            columns[name] = plain(column)
    order = [str(name) for name in decoded(parts["axis0"])]
    first = [name for name in columns if name not in order]
    return _framed({name: columns[name] for name in [*first, *order] if name in columns}, left_out)


def _table(attributes: Mapping[str, Any], part: Part) -> Frame:
    """One table; its fields are columns, or several columns of one type."""
    records = part.values
    if not isinstance(records, np.ndarray) or records.dtype.names is None:
        msg = "its table has no fields"
        raise ValueError(msg)
    known = part.attributes
    columns: dict[str, list[Value]] = {}
    left_out: dict[str, str] = {}
    for field in records.dtype.names:
        if field == "index" or f"{field}_kind" not in known:
            continue
        listed = unpickled_list(known[f"{field}_kind"])
        names = [str(name) for name in listed] if isinstance(listed, list) else [field]
        reason = unreadable(known.get(f"{field}_meta")) or unreadable(known.get(f"{field}_dtype"))
        if reason is not None:
            left_out |= dict.fromkeys(names, reason)
            continue
        table = records[field].reshape(len(records), len(names))
        missing = known.get(f"{field}_nan_rep", attributes.get("nan_rep"))
        for name, column in zip(names, table.T, strict=True):
            columns[name] = plain(column, missing if missing not in (None, "N.") else "nan")
    levels = unpickled_list(attributes.get("levels", ""))
    first = [name for name in levels or () if name in columns]
    return _framed({name: columns[name] for name in dict.fromkeys([*first, *columns])}, left_out)


def _framed(columns: dict[str, list[Value]], left_out: dict[str, str]) -> Frame:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        msg = f"its columns have different lengths: {sorted(lengths)}"
        raise ValueError(msg)
    return Frame(lengths.pop(), columns, left_out)


def unreadable(kind: Any) -> str | None:
    """Why a type that pandas notes is not read; None where it is."""
    text = str(kind or "")
    if text in PLAIN or text == "N." or text.startswith(("int", "uint", "float", "bool", "bytes")):
        return None
    return f"a column of type {text[:40]}"


def decoded(part: Part) -> list[Value]:
    """The values of a one-dimensional part."""
    values = part.values if isinstance(part.values, np.ndarray) else unpickled(part)
    return plain(values.reshape(-1), str(part.attributes.get("nan_rep") or "nan"))


def plain(values: NDArray[Any], missing: str = "nan") -> list[Value]:
    """An array as texts and numbers; NaN, and the text that stands for it, as None."""
    if values.dtype.kind == "S":
        texts = [value.decode("utf-8", "replace") for value in values.tolist()]
        return [None if text == missing else text for text in texts]
    return [scalar(value) for value in values.tolist()]


def scalar(value: Any) -> Value:
    """A text, a finite number, or None."""
    if isinstance(value, Opaque) and str(value.function) in NUMPY_SCALAR and len(value.args) == 2:
        dtype, raw = plain_dtype(value.args[0]), value.args[1]
        sound = dtype is not None and isinstance(raw, bytes) and len(raw) == dtype.itemsize
        value = np.frombuffer(raw, dtype)[0].item() if sound else None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    return value if isinstance(value, str) else None


def unpickled(part: Part) -> NDArray[np.object_]:
    """The array of objects that a part's pickle stands for."""
    raw = part.values
    budget = Budget(instructions=MOST_INSTRUCTIONS)
    value = unpickle(memoryview(raw), 0, budget).value if isinstance(raw, bytes) else None
    if not isinstance(value, Opaque) or not is_array(value):
        msg = "a pickle that is no array"
        raise ValueError(msg)
    shape, items = value.state[1], value.state[4]
    if not is_shape(shape) or not isinstance(items, list) or math.prod(shape) != len(items):
        msg = "an array whose shape does not fit its values"
        raise ValueError(msg)
    result = np.empty(len(items), object)
    for position, item in enumerate(items):
        result[position] = scalar(item)
    return result.reshape(shape)


def is_array(value: Opaque) -> bool:
    """Whether a call is that of an array with its state."""
    called = str(value.function) if isinstance(value.function, Global) else ""
    stated = isinstance(value.state, tuple) and len(value.state) == 5
    return stated and RECONSTRUCT.fullmatch(called) is not None


def unpickled_list(text: str) -> Any:
    """An attribute that pandas pickled; None for one that is plain text."""
    raw = text.encode("latin-1", "replace")
    if not raw.endswith(b".") or not raw.startswith((b"(", b"\x80", b"]")):
        return None
    return unpickle(memoryview(raw)).value
