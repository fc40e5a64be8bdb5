"""Safetensors: the file is copied, and the bytes of the changed tensors are written over."""

from __future__ import annotations

from pathlib import Path

from filterdb.keys.replacing.writers.slot import (
    Slot,
    Slots,
    as_read,
    stored_in_file,
    write_over_copy,
)
from filterdb.readers import safetensors as reader
from filterdb.readers.elements import storage_dtype
from filterdb.readers.mapping import map_file

FORMAT = reader.FORMAT
MISSING = "its weight is computed from parts (weight norm, a pruning mask, key offsets, ...)"
stored = stored_in_file
write = write_over_copy


def slots(path: Path) -> Slots:
    """The data range of each tensor, under its name without the prefixes of wrappers."""
    data = map_file(path)
    header = reader.parse_header(data)
    header.pop("__metadata__", None)
    body = 8 + int.from_bytes(data[:8].tobytes(), "little")
    found: dict[str, Slot] = {}
    for entry, value in header.items():
        name, code, _, begin, _ = reader.checked_entry(entry, value)
        if code in reader.DTYPES:
            dtype = reader.DTYPES[code]
            found[name] = Slot(body + begin, dtype, storage_dtype(dtype))
    return dict(zip(as_read(found), found.values(), strict=True))
