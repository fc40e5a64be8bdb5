"""The helper process of an import: the only place that touches libhdf5, which damage can crash.

It holds one published file open and answers one JSON line on its standard input with one on its
standard output, followed by as many bytes as that line says. It follows no link and opens no
other file, and what pandas pickled it hands over as bytes.
"""

from __future__ import annotations

import json
import signal
import sys
from math import prod
from typing import Any

from filterdb.readers.keras.hdf5_worker import limit_memory, readable

FILTERS = ("filters", "filter")
META = "meta"
TABLE_PARTS = ("table", "axis", "block")
"""What the names of the datasets of a pandas frame begin with; the rest are indexes of PyTables."""
MAX_META = 2**28
"""Bytes of the table of layers: the published one has some 21,000 rows of a few hundred each."""
MAX_CELLS = 2**23
"""Values in that table: ten times as many as the published one has."""
MAX_ATTRIBUTES = 2**24
MAX_BLOCK = 2**26
"""Bytes of filters in one answer."""


def describe(file: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Shape, type and place of the filters, and every part of the table of layers."""
    import h5py

    name = next((name for name in FILTERS if is_own(file, name)), None)
    if name is None or not isinstance(file[name], h5py.Dataset):
        return {"missing": "/filters or /filter, the data set with the filters"}, []
    if not is_own(file, META) or not isinstance(file[META], h5py.Group):
        return {"missing": "/meta, the table of layers"}, []
    filters = file[name]
    layout = filters.id.get_create_plist()
    if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
        return {"missing": f"the values of /{name}: they lie in other files"}, []
    contiguous = layout.get_layout() == h5py.h5d.CONTIGUOUS and layout.get_nfilters() == 0
    parts, contents = describe_meta(file[META])
    about = {
        "name": name,
        "shape": list(filters.shape or ()),
        "dtype": filters.dtype.str,
        "offset": filters.id.get_offset() if contiguous else None,
        "stored": filters.id.get_storage_size(),
        "attributes": attributes(file[META]),
        "parts": parts,
    }
    return about, contents


def describe_meta(group: Any) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The datasets of a pandas frame, with their attributes and their bytes."""
    import h5py

    parts, contents, total, cells = [], [], 0, 0
    for name in group:
        if not name.startswith(TABLE_PARTS) or not is_own(group, name):
            continue
        dataset = group[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            continue
        layout = dataset.id.get_create_plist()
        if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
            continue
        total += int(dataset.size) * dataset.dtype.itemsize
        cells += int(dataset.size) * len(dataset.dtype.names or ("",))
        if total > MAX_META or cells > MAX_CELLS:
            msg = f"its table of layers claims more than {MAX_META:,} bytes or {MAX_CELLS:,} values"
            raise ValueError(msg)
        content, dtype = values_of(dataset)
        total += len(content)
        parts.append(
            {
                "name": name,
                "shape": list(dataset.shape),
                "dtype": dtype,
                "bytes": len(content),
                "attributes": attributes(dataset),
            }
        )
        contents.append(content)
    return parts, contents


def values_of(dataset: Any) -> tuple[bytes, Any]:
    """The bytes of a dataset, and their type as NumPy describes it; ``"pickle"`` for an object."""
    if dataset.dtype.kind == "O":  # PyTables keeps an object as one row of bytes of any number
        rows = dataset[:1]
        return (rows[0].tobytes() if len(rows) else b""), "pickle"
    return dataset[()].tobytes(), described(dataset.dtype)


def described(dtype: Any) -> Any:
    """A type as JSON holds it: a string, or a list of fields."""
    if dtype.fields is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        base, shape = dtype.fields[name][0].base, dtype.fields[name][0].shape
        fields.append([readable(name), base.str, list(shape), dtype.fields[name][1]])
    return {"fields": fields, "itemsize": dtype.itemsize}


def attributes(item: Any) -> dict[str, Any]:
    """Attributes that are one text or one number. Bytes become text of as many characters."""
    import h5py
    import numpy as np

    found: dict[str, Any] = {}
    size = 0
    for name in item.attrs:
        stored = item.attrs.get_id(name)
        if stored.shape is None or prod(stored.shape) != 1 or stored.dtype.itemsize > MAX_META:
            continue
        value = item.attrs[name]
        value = value.ravel()[0] if isinstance(value, np.ndarray) else value
        if isinstance(value, h5py.Empty):
            continue
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        elif isinstance(value, np.bool_ | np.integer):
            value = int(value)
        elif not isinstance(value, str):
            continue
        size += len(str(value))
        if size > MAX_ATTRIBUTES:
            msg = f"more than {MAX_ATTRIBUTES:,} characters of attributes"
            raise ValueError(msg)
        found[readable(name)] = readable(value) if isinstance(value, str) else value
    return found


def is_own(group: Any, name: str) -> bool:
    """Whether there is such an object in the file itself, and no link to elsewhere."""
    import h5py

    return name in group and isinstance(group.get(name, getlink=True), h5py.HardLink)


def filters_between(file: Any, request: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """The filters from ``start`` to before ``stop``, in the byte order of their type."""
    dataset = file[request["name"]]
    start, stop = request["start"], request["stop"]
    wanted = (stop - start) * prod(dataset.shape[1:]) * dataset.dtype.itemsize
    if wanted > MAX_BLOCK:
        msg = f"{wanted:,} bytes at a time"
        raise ValueError(msg)
    return {}, [dataset[start:stop].tobytes()]


def answer(path: str, opened: list[Any], request: dict[str, Any]) -> bytes:
    """One reply: a line of JSON, and the bytes that follow it."""
    import h5py

    try:
        if not opened:
            opened.append(h5py.File(path, "r"))
        work = filters_between if "start" in request else lambda file, _: describe(file)
        reply, contents = work(opened[0], request)
    except Exception as error:  # h5py raises nearly every kind of error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        reply, contents = {"error": readable(first)}, []
    reply["bytes"] = sum(map(len, contents))
    return json.dumps(reply).encode() + b"\n" + b"".join(contents)


def serve(path: str, memory: int) -> None:
    """Answer until the caller goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    limit_memory(memory)
    opened: list[Any] = []
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(answer(path, opened, json.loads(line)))
        sys.stdout.buffer.flush()
