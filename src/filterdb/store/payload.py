"""The weights of a model: one immutable safetensors file, named by what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError
from filterdb.store.connection import DRAFT_SUFFIX, PAYLOAD, sync_folder, write_failure

ALIGNMENT = 64
CHUNK = 2**20
HASH = re.compile(r"[0-9a-f]{64}")
PAYLOAD_DRAFT = re.compile(r"[0-9a-f]{32}")
MAX_HEADER = 100 * 2**20
Shape = tuple[int, ...]


def layer_hash(weights: NDArray[np.float32]) -> str:
    """Identity of a layer: SHA-256 of its shape and its little-endian float32 values."""
    digest = hashlib.sha256(np.asarray(weights.shape, "<i8").tobytes())
    digest.update(_raw(weights))
    return digest.hexdigest()


def model_hash(layer_hashes: Iterable[str]) -> str:
    """Identity of a model's weights, whatever the names and the order of its layers."""
    return hashlib.sha256("".join(sorted(layer_hashes)).encode()).hexdigest()


def payload_path(folder: Path, weights_hash: str) -> Path:
    """Where the weights of that hash lie in a database."""
    return folder / PAYLOAD / weights_hash[:2] / f"{weights_hash}.safetensors"


def is_whole(path: Path, size: int) -> bool:
    """True where a payload file is there in its full size: a look, no check of its bytes."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def is_payload(folder: Path, path: Path) -> bool:
    """True where a path is one that only filterdb gives to a file."""
    return bool(HASH.fullmatch(path.stem)) and path == payload_path(folder, path.stem)


def drafts_folder(folder: Path) -> Path:
    """Where payload files are written before they are complete."""
    return folder / PAYLOAD / DRAFT_SUFFIX


def unique_names(names: Iterable[str]) -> list[str]:
    """Names that a safetensors file can hold side by side: repeated ones get a number."""
    taken = {"__metadata__"}
    result = []
    for name in names:
        clean = unique = name.encode("utf-8", "backslashreplace").decode()
        number = 1
        while unique in taken:
            number += 1
            unique = f"{clean}~{number}"
        taken.add(unique)
        result.append(unique)
    return result


@dataclass(frozen=True, slots=True)
class Draft:
    """A complete payload file that does not have its final name yet.

    Attributes
    ----------
    path
        Where it lies now.
    weights_hash
        Identity of the weights, and so its future name.
    sha256, size
        Of the whole file.
    tensors
        Tensor name -> layer hash, in the file's order.
    """

    path: Path
    weights_hash: str
    sha256: str
    size: int
    tensors: dict[str, str]

    def publish(self, folder: Path) -> Path:
        """Give the file its name, durably; for who holds the catalogue's write lock.

        Raises
        ------
        StoreError
            The disk is full, or cannot be written.
        """
        final = payload_path(folder, self.weights_hash)
        try:
            new_folder = not final.parent.is_dir()
            final.parent.mkdir(parents=True, exist_ok=True)
            self.path.replace(final)
            sync_folder(final.parent)
            if new_folder:
                sync_folder(final.parent.parent)
        except OSError as error:
            raise write_failure(error) from error
        return final

    def discard(self) -> None:
        """Remove the file if it still has its temporary name."""
        self.path.unlink(missing_ok=True)


class PayloadWriter:
    """Writes a payload layer by layer: one layer in memory at a time.

    Parameters
    ----------
    folder
        The database.
    shapes
        Tensor name -> shape, in the order in which :meth:`add` will bring the values.

    Examples
    --------
    ``with PayloadWriter(folder, shapes) as writer:`` then ``writer.add(values)`` for each
    shape, then ``draft = writer.finish()``. Left in any other way, nothing remains.
    """

    def __init__(self, folder: Path, shapes: Mapping[str, Shape]) -> None:
        self._expected = list(shapes.items())
        self._tensors: dict[str, str] = {}
        self._digest = hashlib.sha256()
        self._path = drafts_folder(folder) / token_hex(16)
        self._done = False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb", buffering=0)
        except OSError as error:
            raise write_failure(error) from error

    def __enter__(self) -> Self:
        try:
            self._write(header(dict(self._expected)))
        except BaseException:
            self.__exit__()  # a context that is not entered is not left, either
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        finally:
            if not self._done:
                self._path.unlink(missing_ok=True)

    def add(self, weights: NDArray[np.float32]) -> None:
        """Append the next layer.

        Raises
        ------
        StoreError
            The disk is full, or cannot be written.
        """
        name, shape = self._expected[len(self._tensors)]
        if weights.shape != shape or weights.dtype != np.float32:
            got = f"{weights.dtype} {weights.shape}"
            msg = f"tensor {name!r} was announced as float32 {shape}, not {got}"
            raise ValueError(msg)
        self._write(_raw(weights))
        self._tensors[name] = layer_hash(weights)

    def finish(self) -> Draft:
        """Sync the file and return it as a draft.

        Raises
        ------
        StoreError
            The disk is full, or cannot be written.
        """
        if len(self._tensors) != len(self._expected):
            msg = f"{len(self._tensors)} of {len(self._expected)} announced tensors were added"
            raise ValueError(msg)
        try:
            os.fsync(self._file.fileno())
            size = self._file.tell()
        except OSError as error:
            raise write_failure(error) from error
        self._done = True
        weights_hash = model_hash(self._tensors.values())
        return Draft(self._path, weights_hash, self._digest.hexdigest(), size, self._tensors)

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                written = self._file.write(view[:CHUNK])
                self._digest.update(view[:written])
                view = view[written:]
        except OSError as error:
            raise write_failure(error) from error


def header(shapes: Mapping[str, Shape]) -> bytes:
    """The head of a safetensors file of float32 tensors, so long that the data are aligned."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        end = start + 4 * prod(shape)
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def read_payload(path: Path) -> dict[str, NDArray[np.float32]]:
    """Map a payload file: tensor name -> read-only float32 array, in the file's order.

    Raises
    ------
    DamagedStoreError
        It is missing, or its header contradicts the file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(min(length, MAX_HEADER)))
        entries.pop("__metadata__", None)
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
        return {name: _view(data, entry) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"The payload {path} cannot be read ({error}). `filterdb verify` names what is "
            "damaged; remove those models and ingest their files again."
        )
        raise DamagedStoreError(msg) from error


def file_hash(path: Path) -> str:
    """SHA-256 of a whole file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _view(data: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray[np.float32]:
    start, end = map(int, entry["data_offsets"])
    if entry["dtype"] != "F32" or not 0 <= start <= end <= data.size:
        msg = "a tensor lies outside the file"
        raise ValueError(msg)
    return np.asarray(data[start:end]).view("<f4").reshape(entry["shape"])


def _raw(weights: NDArray[np.float32]) -> memoryview:
    little = np.ascontiguousarray(weights, dtype="<f4")
    return little.reshape(-1).view(np.uint8).data
