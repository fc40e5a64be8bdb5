"""The weights of a TensorFlow.js model: a list in JSON, and the shards that hold their bytes."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import isfinite, prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.layer import Loader
from filterdb.readers import elements
from filterdb.readers.limits import MAX_JSON
from filterdb.readers.mapping import map_file

SIZES = {"float32": 4, "int32": 4, "bool": 1, "complex64": 8, "float16": 2}
"""Bytes of an element of each type that is not quantised; text has a length of its own."""
CODES = {"uint8": 1, "uint16": 2}
"""Bytes of the types of quantised values."""
LARGEST = 1e300
"""Scales beyond this are damage."""
MAX_TEXTS = 100_000
"""Texts in one weight that are still walked."""
AGAIN = "Download or copy the model again."


@dataclass(frozen=True, slots=True)
class Weight:
    """One entry of the manifest.

    Attributes
    ----------
    dtype
        Element type in the file: that of the quantised values where they are.
    scheme
        How they are quantised; empty where they are not.
    load
        Returns the values as float32 (or as they are); None for text and complex numbers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scheme: str
    load: Loader | None = field(repr=False)

    def values(self) -> NDArray[Any]:
        """The values.

        Raises
        ------
        ReadError
            They are no real numbers.
        """
        if self.load is None:
            msg = f"Its values are of type {self.dtype}, which cannot be read."
            raise ReadError(msg)
        return self.load()


class Shards:
    """Files that are one sequence of bytes, mapped."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.parts = [map_file(path) for path in paths]
        self.begins = [0]
        for part in self.parts:
            self.begins.append(self.begins[-1] + len(part))

    @property
    def size(self) -> int:
        """Bytes in all of them."""
        return self.begins[-1]

    def slice(self, begin: int, end: int) -> NDArray[np.uint8]:
        """The bytes of a span: a view where it lies in one shard."""
        first = max(bisect_right(self.begins, begin) - 1, 0)
        pieces = []
        for part, (start, stop) in zip(
            self.parts[first:], pairwise(self.begins[first:]), strict=False
        ):
            if start >= end:
                break
            pieces.append(part[max(begin - start, 0) : min(end, stop) - start])
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate([np.zeros(0, np.uint8), *pieces])


def parse_json(path: Path) -> Any:
    """The content of a JSON file of a bearable length.

    Raises
    ------
    CorruptFileError
        It is no JSON.
    LimitError
        It is too long.
    """
    data = map_file(path)
    if len(data) > MAX_JSON:
        msg = f"{path.name} is longer than {MAX_JSON:,} bytes of JSON: no network needs that."
        raise LimitError(msg)
    try:
        return json.loads(data.tobytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        msg = f"{path.name} is no JSON ({error!s:.100}). {AGAIN}"
        raise CorruptFileError(msg) from error


def read_weights(manifest: Any, folder: Path) -> tuple[dict[str, Weight], tuple[Path, ...]]:
    """The weights that a manifest lists, by name and in its order, and the shards they lie in.

    Raises
    ------
    CorruptFileError
        The manifest contradicts itself or its shards.
    ReadError
        A shard is missing, or lies outside the folder.
    """
    weights: dict[str, Weight] = {}
    paths: list[Path] = []
    for group in manifest if isinstance(manifest, list) else [None]:
        if not (isinstance(group, dict) and is_texts(group.get("paths"))
                and isinstance(group.get("weights"), list)):  # fmt: skip
            msg = f"Its list of weights is not as TensorFlow.js writes it. {AGAIN}"
            raise CorruptFileError(msg)
        shards = Shards([shard_path(name, folder) for name in group["paths"]])
        paths += shards.paths
        for weight in weights_in(group["weights"], shards):
            if weight.name in weights:
                msg = f"The weight {weight.name[:100]!r} is listed twice. {AGAIN}"
                raise CorruptFileError(msg)
            weights[weight.name] = weight
    return weights, tuple(dict.fromkeys(paths))


def is_texts(value: Any) -> bool:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def shard_path(name: str, folder: Path) -> Path:
    """The file of a shard, which may not lie outside the model's folder."""
    relative = PurePosixPath(name)
    outside = (
        not name
        or any(sign in name for sign in ("\\", ":", "\0"))
        or relative.is_absolute()
        or ".." in relative.parts
    )
    try:
        path = folder / relative
        if outside or not path.resolve().is_relative_to(folder.resolve()):
            msg = (
                f"It names the shard {name[:200]!r}, outside its own folder, so that was not read. "
                "If you trust the model, put a copy of the shard beside it."
            )
            raise ReadError(msg)
        there = path.is_file()
    except (OSError, RuntimeError):  # a loop of links, an impossible name
        there = False
    if not there:
        msg = f"Its weights lie in the shard {name[:200]!r}, which is not there. Put it beside it."
        raise ReadError(msg)
    return path


def weights_in(entries: list[Any], shards: Shards) -> Iterator[Weight]:
    """The weights of one group: their bytes follow one another."""
    begin = 0
    for entry in entries:
        name, shape, dtype, rule = checked(entry)
        stored = rule["dtype"] if rule else dtype
        if dtype == "string":
            begin = behind_texts(shards, begin, prod(shape))
            yield Weight(name, shape, dtype, "", None)
            continue
        end = begin + prod(shape) * (CODES | SIZES)[stored]
        if end > shards.size:
            names = ", ".join(path.name for path in shards.paths)[:300] or "no shard"
            msg = (
                f"Its weight {name[:100]!r} ends at byte {end:,}, but its shards ({names}) hold "
                f"{shards.size:,}. One is cut short, or is another model's: download them again."
            )
            raise CorruptFileError(msg)
        load = loader_of(partial(shards.slice, begin, end), shape, dtype, rule)
        scheme = "per-tensor, affine" if stored in CODES else ""
        yield Weight(name, shape, stored, scheme, load)
        begin = end


def checked(entry: Any) -> tuple[str, tuple[int, ...], str, Mapping[str, Any] | None]:
    """Name, shape, type and quantisation of one entry, each of them possible."""
    known = entry if isinstance(entry, dict) else {}
    name, shape, dtype = (known.get(key) for key in ("name", "shape", "dtype"))
    rule = known.get("quantization")
    valid = (
        isinstance(name, str)
        and isinstance(dtype, str)
        and (dtype in SIZES or dtype == "string")
        and isinstance(shape, list)
        and len(shape) <= elements.MAX_DIMENSIONS
        and all(type(extent) is int and 0 <= extent < 2**40 for extent in shape)
        and (rule is None or (dtype in {"float32", "int32"} and is_rule(rule)))
    )
    if not valid:
        msg = f"The entry {str(name)[:100]!r} in its list of weights is impossible. {AGAIN}"
        raise CorruptFileError(msg)
    return str(name), tuple(shape or ()), str(dtype), rule


def is_rule(rule: Any) -> bool:
    """Whether a quantisation is one of TensorFlow.js's three."""
    if not isinstance(rule, dict) or not isinstance(rule.get("dtype"), str):
        return False
    real = all(
        isinstance(n, int | float) and isfinite(n) and abs(n) < LARGEST
        for n in (rule.get("scale", ""), rule.get("min", ""))
    )
    return rule["dtype"] == "float16" or (rule["dtype"] in CODES and real)


def behind_texts(shards: Shards, begin: int, count: int) -> int:
    """Where a weight of texts ends: each has its length before it."""
    if count > MAX_TEXTS:
        msg = f"A weight of more than {MAX_TEXTS:,} texts is in it, as in no network."
        raise LimitError(msg)
    for _ in range(count):
        begin += 4 + int.from_bytes(shards.slice(begin, begin + 4).tobytes(), "little")
        if begin > shards.size:
            msg = f"A weight of texts reaches beyond its shards. {AGAIN}"
            raise CorruptFileError(msg)
    return begin


def loader_of(
    stored: Loader, shape: tuple[int, ...], dtype: str, rule: Mapping[str, Any] | None
) -> Loader | None:
    """What reads a weight's values; None where they are no real numbers."""
    if dtype == "complex64":
        return None
    if rule is None or rule["dtype"] == "float16":
        return partial(load_plain, stored, rule["dtype"] if rule else dtype, shape)
    return partial(load_quantised, stored, rule, shape, whole=dtype == "int32")


def load_plain(stored: Loader, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values as they are stored."""
    return elements.decode(stored().view(elements.storage_dtype(dtype)), dtype, shape)


def load_quantised(
    stored: Loader, rule: Mapping[str, Any], shape: tuple[int, ...], *, whole: bool
) -> NDArray[np.float32]:
    """Codes as the values that they stand for: ``scale * code + min``, in float64, rounded."""
    codes = stored().view(elements.storage_dtype(rule["dtype"]))
    meant = np.arange(256 ** CODES[rule["dtype"]]) * float(rule["scale"]) + float(rule["min"])
    with np.errstate(over="ignore"):
        table = (np.rint(meant) if whole else meant).astype(np.float32)
    return np.take(table, codes).reshape(shape)
