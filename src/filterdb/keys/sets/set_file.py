"""Key sets as files: safetensors with one tensor, ``keys``, and what is known of it beside.

Any safetensors library reads the keys. The metadata of the format are strings: ``name``, ``kernel``
and ``normalisation`` as text, ``names``, ``equivalence`` and ``metadata`` as JSON. A file is not
trusted: what it says is checked before it is used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError, ReadError
from filterdb.figures.saving import write_whole
from filterdb.keys.key_set import MOST_KEYS, KeySet
from filterdb.keys.sets.set_metadata import key_set, strings, told_of
from filterdb.readers.mapping import map_file
from filterdb.readers.safetensors import check_tiling, checked_entry, load_view, parse_header

SUFFIX = ".safetensors"
FOLDER = Path(__file__).parent
TENSOR = "keys"
TYPES = {"F32": "float32", "F64": "float64"}

MOST_TAPS = 255 * 255
MOST_WEIGHTS = 4_194_304
"""32 MB of float64: room for 4,096 keys of 32x32, and more than anybody can look at."""


def shipped() -> tuple[str, ...]:
    """Names of the key sets that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}")))


def is_known(name: str) -> bool:
    """Whether :func:`load_keys` finds a set of this name: shipped, or a file."""
    return name in shipped() or os.path.lexists(name)


def load_keys(keys: KeySet | str | os.PathLike[str]) -> KeySet:
    """A key set: by its name where it comes with the package, else from its file.

    Parameters
    ----------
    keys
        ``"published8"`` or another of :func:`shipped`; a path (``"./published8"`` for a file of
        such a name); or a key set, which is handed back.

    Raises
    ------
    KeySetError
        There is no such set, or the file is none.
    """
    if isinstance(keys, KeySet):
        return keys
    if not isinstance(keys, str | os.PathLike):
        msg = (
            f"Keys were given as {type(keys).__name__}, which is no key set. "
            "`filterdb.keys.KeySet('mine', array)` makes one of an array of shape (K, kh, kw)."
        )
        raise KeySetError(msg)
    name = os.fspath(keys)
    if name in shipped():
        return read_keys(FOLDER / f"{name}{SUFFIX}")
    if os.path.lexists(name):
        return read_keys(Path(name))
    suffix = Path(name).suffix
    near = get_close_matches(name.removesuffix(suffix), shipped(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    msg = (
        f"There is no key set {name!r}: neither a file, nor one that comes with filterdb "
        f"({', '.join(shipped())}).{hint}"
    )
    raise KeySetError(msg)


def save_keys(keys: KeySet, path: str | os.PathLike[str]) -> Path:
    """Write a key set, complete or not at all; a file of that name is replaced.

    Parameters
    ----------
    keys
        Float64 in the file, so that its id stays the same. Tuples in its metadata become lists.
    path
        Ends in ``.safetensors``.

    Raises
    ------
    KeySetError
        The path ends otherwise or cannot be written, or the metadata are not of JSON's kinds.
    """
    target = Path(path)
    if target.suffix.lower() != SUFFIX:
        msg = f"{os.fspath(path)!r} is no name for a key set: let it end in {SUFFIX}."
        raise KeySetError(msg)
    try:
        write_whole(encode_keys(keys), target)
    except OSError as error:
        msg = f"{target}: The key set cannot be written: {error.strerror or error}."
        raise KeySetError(msg) from error
    return target


def read_keys(path: Path) -> KeySet:
    """The key set in a file.

    Raises
    ------
    KeySetError
        It is no key set, is damaged, or asks for more than any key set needs.
    """
    try:
        return _read(path)
    except ReadError as error:
        msg = f"{path}: {error.reason}"
        raise KeySetError(msg) from error
    except KeySetError as error:
        msg = f"{path}: {error}"
        raise KeySetError(msg) from error.__cause__


def _read(path: Path) -> KeySet:
    """As :func:`read_keys`; errors do not name the file yet."""
    if not path.is_file():
        msg = "It is no file. A key set is a safetensors file with a tensor `keys`."
        raise KeySetError(msg)
    return _decoded(map_file(path), path.stem)


def encode_keys(keys: KeySet) -> bytes:
    """The bytes of a key set's file.

    Raises
    ------
    KeySetError
        The metadata are not of JSON's kinds.
    """
    values = np.ascontiguousarray(keys.filters, "<f8").tobytes()
    entry = {"dtype": "F64", "shape": keys.filters.shape, "data_offsets": [0, len(values)]}
    text = json.dumps(
        {"__metadata__": told_of(keys), TENSOR: entry}, separators=(",", ":")
    ).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + values


def decode_keys(content: bytes) -> KeySet:
    """The key set that :func:`encode_keys` wrote.

    Raises
    ------
    KeySetError, ReadError
        The bytes are damaged.
    """
    return _decoded(np.frombuffer(content, np.uint8), "stored")


def _decoded(data: NDArray[np.uint8], name: str) -> KeySet:
    """The key set in the bytes of a file; errors do not name the file yet."""
    if data[8:9].tobytes() != b"{":
        msg = (
            "It is no safetensors file, and key sets are nothing else. Keys in an array of shape "
            "(K, kh, kw) become one with `filterdb.keys.save(filterdb.keys.KeySet('mine', array), "
            f"'mine{SUFFIX}')`."
        )
        raise KeySetError(msg)
    header = parse_header(data)
    told = strings(header.pop("__metadata__", {}))
    return key_set(_tensor(data, header), told, name)


def _tensor(data: NDArray[np.uint8], header: Mapping[str, Any]) -> NDArray[np.float64]:
    """The keys, their sizes checked before anything is read."""
    entries = [checked_entry(name, value) for name, value in header.items()]
    body = data[8 + int.from_bytes(data[:8].tobytes(), "little") :]
    if [entry[0] for entry in entries] != [TENSOR]:
        msg = (
            f"It holds {len(entries):,} tensors, not the one, `{TENSOR}`, of a key set. Is it a "
            "network? Then `filterdb keys find` finds its keys, once it is ingested."
        )
        raise KeySetError(msg)
    _, code, shape, begin, end = entries[0]
    check_tiling([(TENSOR, begin, end)], len(body))
    if code not in TYPES:
        msg = f"Its keys are of type {code}; write them as F32 or F64."
        raise KeySetError(msg)
    count, taps = (shape[0], prod(shape[1:])) if len(shape) == 3 else (0, 0)
    if not (1 <= count <= MOST_KEYS and 2 <= taps <= MOST_TAPS and count * taps <= MOST_WEIGHTS):
        msg = (
            f"Its keys are of shape {list(shape)}; a key set has (K, kh, kw), with 1 to "
            f"{MOST_KEYS:,} keys of two taps or more, and {MOST_WEIGHTS:,} weights at most."
        )
        raise KeySetError(msg)
    if end - begin != count * taps * np.dtype(TYPES[code]).itemsize:
        msg = f"Its keys of shape {list(shape)} do not fill their {end - begin:,} bytes: damaged."
        raise KeySetError(msg)
    values = load_view(body[begin:end], TYPES[code], shape)
    return np.asarray(values, np.float64)
