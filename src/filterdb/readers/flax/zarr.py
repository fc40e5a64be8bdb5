"""Arrays in the Zarr format (versions 2 and 3): a description in JSON, and chunks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.readers import elements
from filterdb.readers.flax.compression import unzlib, unzstd
from filterdb.readers.flax.stores import Store
from filterdb.readers.state_dict import Array

PLAIN = re.compile(r"[<>|]?(?:f[248]|[iu][1248]|b1)")
MAX_CHUNKS = 100_000
MAX_DESCRIPTION = 100_000
MOST_CODECS = 8
PADDING = 16
"""How many times its values a chunk may have, beyond some million."""
SMALL = 2**24
ABSENT = 2**64 - 1
INFLATE = {"gzip": unzlib, "zlib": unzlib, "zstd": unzstd}
CHECKSUM = 4


@dataclass(frozen=True, slots=True)
class Description:
    """What a description says, in the terms of version 3.

    ``codecs`` were applied from the first to the last when the array was written.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: str
    stored: np.dtype[Any]
    codecs: list[dict[str, Any]]
    fill: float
    prefix: str
    separator: str
    fortran: bool = False

    def parts(self) -> Iterator[tuple[tuple[int, ...], str]]:
        """Index and key of every chunk."""
        grid = [range(-(-n // size)) for n, size in zip(self.shape, self.chunk, strict=True)]
        for index in product(*grid):
            numbers = self.separator.join(map(str, index))
            parts = [part for part in (self.prefix, numbers) if part]
            yield index, self.separator.join(parts) or "0"


class NotReadError(Exception):
    """An array of a kind that is not read; the message says why, in a clause."""


def array_at(store: Store, name: str) -> Array | str:
    """The array of a name, unread, or why it cannot be.

    Raises
    ------
    CorruptFileError
        Its description is damaged.
    """
    newer = store.get(f"{name}/zarr.json")
    text = store.get(f"{name}/.zarray") if newer is None else newer
    try:
        told: Any = json.loads(text[:MAX_DESCRIPTION].tobytes()) if text is not None else None
        description = described(told) if newer is not None else described_before(told)
    except NotReadError as error:
        return str(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ReadError):
            raise
        msg = "The description of an array is damaged. Copy the folder again."
        raise CorruptFileError(msg).at(layer=name[:200]) from error
    load = partial(load_array, store, name, description)
    return Array(description.shape, description.dtype, load)


def described(told: dict[str, Any]) -> Description:
    """A ``zarr.json`` of version 3."""
    if told["node_type"] != "array" or told["chunk_grid"]["name"] != "regular":
        msg = "it is no array in regular chunks"
        raise NotReadError(msg)
    encoding = told.get("chunk_key_encoding", {})
    separator = encoding.get("configuration", {}).get("separator")
    default = encoding.get("name", "default") == "default"
    separator = separator or ("/" if default else ".")
    dtype, stored = dtype_of(told["data_type"])
    shape = extents(told["shape"])
    chunk = extents(told["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = told["codecs"]
    check_grid(shape, chunk)
    codecs = known_codecs(codecs, 0)
    return Description(
        shape, chunk, dtype, stored, codecs, number(told.get("fill_value")),
        "c" if default else "", separator,
    )  # fmt: skip


def described_before(told: dict[str, Any]) -> Description:
    """A ``.zarray`` of version 2."""
    if told.get("filters"):
        msg = "its filters are not undone"
        raise NotReadError(msg)
    dtype, stored = dtype_of(told["dtype"])
    compressor = told.get("compressor")
    codecs = [{"name": "bytes"}]
    if compressor:
        codecs.append({"name": str(compressor["id"])})
    shape, chunk = extents(told["shape"]), extents(told["chunks"])
    check_grid(shape, chunk)
    codecs = known_codecs(codecs, 0)
    return Description(
        shape, chunk, dtype, stored, codecs, number(told.get("fill_value")), "",
        str(told.get("dimension_separator", ".")), told.get("order") == "F",
    )  # fmt: skip


def check_grid(shape: tuple[int, ...], chunk: tuple[int, ...]) -> None:
    """Refuse grids that no array has."""
    if len(shape) != len(chunk) or 0 in chunk:
        msg = f"chunks of shape {chunk} for {shape}"
        raise ValueError(msg)
    count = prod(-(-n // size) for n, size in zip(shape, chunk, strict=True))
    wide = prod(chunk) > max(PADDING * prod(shape), SMALL)
    if count > MAX_CHUNKS or wide or prod(shape) > 2**40:
        msg = f"it has {count:,} chunks of {prod(chunk):,} values, as no weight has"
        raise NotReadError(msg)


def known_codecs(codecs: list[dict[str, Any]], depth: int) -> list[dict[str, Any]]:
    """The codecs, with nothing but the settings that matter.

    Raises
    ------
    NotReadError
        One of them is not undone here.
    """
    found: list[dict[str, Any]] = []
    for codec in codecs[: MOST_CODECS + 1]:
        name, settings = codec["name"], codec.get("configuration", {})
        kept: dict[str, Any] = {"endian": settings.get("endian") == "big"}
        if name == "sharding_indexed" and depth == 0:
            inner = known_codecs(settings["codecs"], 1)
            kept = {"chunk_shape": extents(settings["chunk_shape"]), "codecs": inner}
            kept["index_codecs"] = len(settings["index_codecs"])
            known = settings.get("index_location", "end") == "end" and kept["index_codecs"] <= 2
        else:
            known = name in INFLATE or name in {"bytes", "crc32c"}
        if not known or len(found) == MOST_CODECS:
            msg = f"its encoding {str(name)[:60]!r} is not undone"
            raise NotReadError(msg)
        found.append({"name": str(name), "configuration": kept})
    return found


def extents(shape: list[Any]) -> tuple[int, ...]:
    """A shape of plain integers."""
    found = tuple(shape)
    if len(found) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in found):
        msg = f"the shape {found!s:.100}"
        raise ValueError(msg)
    return found


def dtype_of(name: Any) -> tuple[str, np.dtype[Any]]:
    """Element type, and the dtype in which its elements lie in a chunk."""
    if isinstance(name, str) and name in elements.READABLE:
        wide = "int8" if name in elements.PACKED else name
        return name, elements.storage_dtype(wide)
    if isinstance(name, str) and PLAIN.fullmatch(name):
        found = np.dtype(name)
        return found.name, np.dtype("u1") if found.kind == "b" else found
    msg = f"its element type {str(name)[:60]!r} cannot be read"
    raise NotReadError(msg)


def number(value: Any) -> float:
    """The value of chunks that are not stored."""
    plain = isinstance(value, int | float) and abs(value) < 1e300
    return float(value) if plain else 0.0


def load_array(store: Store, name: str, told: Description) -> NDArray[Any]:
    """All chunks of an array, put together.

    Raises
    ------
    CorruptFileError
        A chunk is damaged.
    """
    whole: NDArray[Any] = np.full(told.shape, told.fill, told.stored)
    for index, key in told.parts():
        stored = store.get(f"{name}/{key}")
        if stored is None:
            continue
        chunk = decoded(stored, told.codecs, told.chunk, told)
        place = tuple(
            slice(i * size, min((i + 1) * size, n))
            for i, size, n in zip(index, told.chunk, told.shape, strict=True)
        )
        whole[place] = chunk[tuple(slice(0, s.stop - s.start) for s in place)]
    if told.dtype in elements.NATIVE or told.dtype == "bool" or told.dtype in elements.PACKED:
        return whole
    return elements.decode(whole.reshape(-1), told.dtype, told.shape)


def decoded(
    stored: NDArray[np.uint8],
    codecs: list[dict[str, Any]],
    shape: tuple[int, ...],
    told: Description,
) -> NDArray[Any]:
    """A chunk, from its bytes, with all codecs undone."""
    size, dtype = prod(shape) * told.stored.itemsize, told.stored
    for codec in reversed(codecs):
        name, settings = codec["name"], codec["configuration"]
        if name == "sharding_indexed":
            return unsharded(stored, settings, shape, told)
        if name == "crc32c":
            stored = stored[:-CHECKSUM]
        elif name in INFLATE:
            stored = INFLATE[name](stored, size + 64)
        elif settings["endian"]:
            dtype = dtype.newbyteorder(">")
    if len(stored) != size:
        raise wrong_chunk()
    flat = np.ascontiguousarray(stored).view(dtype)
    return flat.reshape(shape, order="F" if told.fortran else "C")


def unsharded(
    stored: NDArray[np.uint8], settings: dict[str, Any], shape: tuple[int, ...], told: Description
) -> NDArray[Any]:
    """A chunk that holds smaller ones, with an index of them at its end."""
    try:
        inner = settings["chunk_shape"]
        check_grid(shape, inner)
    except (ValueError, NotReadError) as error:
        raise wrong_chunk() from error
    counts = [-(-n // size) for n, size in zip(shape, inner, strict=True)]
    checked = settings["index_codecs"] == 2
    length = 16 * prod(counts)
    end = len(stored) - (CHECKSUM if checked else 0)
    if end < length:
        raise wrong_chunk()
    index = np.ascontiguousarray(stored[end - length : end]).view("<u8").reshape(-1, 2)
    whole: NDArray[Any] = np.full(shape, told.fill, told.stored)
    for number_, at in enumerate(product(*map(range, counts))):
        begin, size = (int(value) for value in index[number_])
        if begin == size == ABSENT:
            continue
        if begin + size > len(stored):
            raise wrong_chunk()
        part = decoded(stored[begin : begin + size], settings["codecs"], inner, told)
        place = tuple(
            slice(i * size_, min((i + 1) * size_, n))
            for i, size_, n in zip(at, inner, shape, strict=True)
        )
        whole[place] = part[tuple(slice(0, s.stop - s.start) for s in place)]
    return whole


def wrong_chunk() -> CorruptFileError:
    """The error for a chunk that is not as long as its array needs."""
    return CorruptFileError("A chunk of an array is damaged or cut short. Copy the folder again.")
