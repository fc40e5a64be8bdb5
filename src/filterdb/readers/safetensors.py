"""The safetensors reader: a length, a JSON header, and the tensors end to end.

The header is parsed here rather than by the safetensors library, because its NumPy mode refuses
bfloat16 and float8, and because tensors are mapped: nothing is read until it is asked for.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Contents, Skipped, Tensor
from filterdb.readers import elements
from filterdb.readers.averages import without_averages
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.limits import check_expansion
from filterdb.readers.mapping import map_file
from filterdb.readers.name_order import natural_key
from filterdb.readers.state_dict import tidy
from filterdb.readers.statements import statements_in_any

FORMAT = Format(
    "safetensors",
    "safetensors",
    (".safetensors",),
    reads="every element type, bfloat16 and float8 too; mapped",
)

MAX_HEADER = 16_000_000
"""Bytes of JSON that we parse: room for 100,000 tensors. (The format allows 100 MB, which may
unfold into gigabytes.)"""

JSON_BYTES = {b"{": 250, b"[": 100, b",": 70}
"""Memory that an object, a list and a further value in it take once parsed, at most."""

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip

PRODUCERS = {"pt": "pytorch", "np": "numpy", "tf": "tensorflow", "flax": "flax", "mlx": "mlx"}


def matches(head: Head) -> bool:
    """A plausible length, then the opening of a JSON object."""
    length = int.from_bytes(head.start[:8], "little")
    opening = head.start[8:64].lstrip(b" \t\r\n{")
    return (
        len(head.start) > 9
        and 2 <= length <= MAX_HEADER
        and head.start[8:9] == b"{"
        and opening[:1] in (b'"', b"}", b"")
    )


def read(head: Head) -> Contents:
    """Map every tensor; validate every offset.

    Raises
    ------
    CorruptFileError
        The header is no JSON object of the format, or the offsets do not tile the data.
    LimitError
        The header is longer, or unfolds to more, than any network needs.
    """
    data = map_file(head.path)
    header = parse_header(data)
    metadata = header.pop("__metadata__", None)
    entries = [checked_entry(name, value) for name, value in header.items()]
    body = data[8 + int.from_bytes(data[:8].tobytes(), "little") :]
    # The order of the data is the order in which the tensors were written.
    entries.sort(key=lambda entry: entry[3:])
    check_tiling([(name, begin, end) for name, _, _, begin, end in entries], len(body))
    tensors: list[Tensor] = []
    skipped: list[Skipped] = []
    for name, code, shape, begin, end in entries:
        if code not in DTYPES:
            skipped.append(Skipped(name, f"its element type {code} cannot be read"))
            continue
        dtype = DTYPES[code]
        needed = elements.stored_bytes(dtype, shape)
        if end - begin != needed:
            msg = (
                f"Its shape {shape} of {code} needs {needed:,} bytes, but its offsets hold "
                f"{end - begin:,}. The file is damaged: download or copy it again."
            )
            raise CorruptFileError(msg).at(layer=name)
        load = partial(load_view, body[begin:end], dtype, shape)
        tensors.append(Tensor(name, shape, dtype, load))
    tensors, notes = in_natural_order(tensors)
    kept, averages, named = without_averages(tensors)
    tidied, further = tidy(kept)
    return Contents(
        format=FORMAT.name,
        tensors=tuple(tidied),
        skipped=(*skipped, *averages),
        producer=PRODUCERS.get(str(metadata.get("format"))) if isinstance(metadata, dict) else None,
        notes=(*notes, *named, *further),
        statements=statements_in_any(metadata, "__metadata__ of the file"),
    )


def parse_header(data: NDArray[np.uint8]) -> dict[str, Any]:
    """The JSON header as a dict; a name that stands twice is refused."""
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > MAX_HEADER:
        msg = f"Its header claims {length:,} bytes; no more than {MAX_HEADER:,} are read."
        raise LimitError(msg)
    if 8 + length > len(data):
        msg = (
            f"Its header claims {length:,} bytes, but the file has {len(data):,}: it is cut "
            "short. Download or copy it again."
        )
        raise CorruptFileError(msg)
    text = data[8 : 8 + length].tobytes()
    unfolded = sum(weight * text.count(sign) for sign, weight in JSON_BYTES.items())
    check_expansion(unfolded, len(data), "Its header")
    try:
        header = json.loads(text, object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        msg = f"Its header is not valid JSON ({error}). Download or copy the file again."
        raise CorruptFileError(msg) from error
    if not isinstance(header, dict):
        msg = "Its header is JSON, but not an object: this is not a safetensors file."
        raise CorruptFileError(msg)
    return header


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a dict, refusing a key that stands twice: which of the two counts is a guess."""
    result = dict(pairs)
    if len(result) != len(pairs):
        msg = "a name stands twice"
        raise ValueError(msg)
    return result


Entry = tuple[str, str, tuple[int, ...], int, int]


def checked_entry(name: str, value: Any) -> Entry:
    """Name, type code, shape, begin and end of one tensor, each of the type it should be."""
    if isinstance(value, dict):
        code, shape, offsets = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
        if (
            isinstance(code, str)
            and isinstance(shape, list)
            and isinstance(offsets, list)
            and len(offsets) == 2
            and len(shape) <= elements.MAX_DIMENSIONS
            and all(type(n) is int and 0 <= n < 2**63 for n in (*shape, *offsets))
        ):
            return name, code, tuple(shape), offsets[0], offsets[1]
    msg = "Its entry in the header is malformed. Download or copy the file again."
    raise CorruptFileError(msg).at(layer=name)


def check_tiling(spans: list[tuple[str, int, int]], size: int) -> None:
    """Require what the format does: the tensors fill the data without hole or overlap."""
    position = 0
    for name, begin, end in spans:
        if begin != position or end < begin:
            where = "overlap the tensor before" if begin < position else "leave a hole"
            msg = f"Its data offsets [{begin}, {end}] {where}. The file is damaged."
            raise CorruptFileError(msg).at(layer=name)
        position = end
    if position != size:
        msg = (
            f"Its tensors take {position:,} bytes, but {size:,} follow the header: the file is "
            "cut short or has something appended. Download or copy it again."
        )
        raise CorruptFileError(msg)


def in_natural_order(tensors: list[Tensor]) -> tuple[list[Tensor], tuple[str, ...]]:
    """Undo the writer's alphabet: ``layer.2`` before ``layer.10``.

    The library writes the names of each type in alphabetical order, so the order in the file
    says nothing of the network. An order that is not alphabetical is kept.
    """
    by_type: dict[str, list[str]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor.name)
    if any(names != sorted(names) for names in by_type.values()):
        return tensors, ()
    ordered = sorted(tensors, key=lambda tensor: natural_key(tensor.name))
    note = (
        "The order of the file is the alphabet and says nothing: layers are in that of their names."
    )
    return ordered, (note,)


def load_view(stored: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of one tensor; a view of the mapped file where NumPy has the type."""
    return elements.decode(stored.view(elements.storage_dtype(dtype)), dtype, shape)
