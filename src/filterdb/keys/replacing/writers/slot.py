"""Where the values of a tensor lie in a file, and the copy of a file with other values there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import Tensor
from filterdb.readers import elements
from filterdb.readers.format import Format
from filterdb.readers.mapping import map_file
from filterdb.readers.state_dict import without_wrappers

FLOATS = ("float16", "bfloat16", "float32", "float64")
"""Element types that hold ``a x + b`` well enough to be written."""
WEIGHT_SUFFIX = re.compile(r"[./](weight|kernel|W|w)(:0)?$")


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the values of a tensor lie.

    Attributes
    ----------
    begin
        Of its first byte, in the file or in the member of an archive.
    dtype
        Element type, by name.
    layout
        The NumPy type of the stored elements, with its byte order.
    fortran
        Whether the first axis runs fastest.
    member
        Of the archive; empty for the file itself.
    """

    begin: int
    dtype: str
    layout: np.dtype[Any]
    fortran: bool = False
    member: str = ""

    def encode(self, values: NDArray[Any]) -> bytes:
        """The bytes of values that the element type holds exactly."""
        if self.dtype == "bfloat16":
            bits = np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16
            return bits.astype(self.layout).tobytes()
        return values.astype(self.layout).tobytes(order="F" if self.fortran else "C")


Slots = Mapping[str, Slot | str]
"""Name of a stored tensor -> where it lies, or the reason (a clause) why it is left alone."""
Changes = Mapping[Slot, bytes]


class Writer(Protocol):
    """What the module of a format has."""

    FORMAT: Format
    MISSING: str
    """Why a layer that the reader finds may be no tensor of the file, as a clause."""

    def slots(self, path: Path, /) -> Slots:
        """Where the tensors of a file lie, under the names that its reader gives them."""

    def stored(self, path: Path, slot: Slot, count: int, /) -> bytes:
        """Up to ``count`` bytes of a slot, as they are in the file."""

    def write(self, path: Path, out: Path, changes: Changes, /) -> None:
        """Write a copy with other bytes in some slots; all else stays."""


def rounded(values: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    """Values rounded to an element type of :data:`FLOATS`, to the nearest, ties to even.

    Returns
    -------
    ndarray
        Of that type; bfloat16 kept as float32. Infinite where the type is too narrow.
    """
    with np.errstate(over="ignore", under="ignore"):
        if dtype == "bfloat16":
            with np.errstate(invalid="ignore"):
                return elements.round_to_bfloat16(values.astype(np.float32))
        return values.astype(dtype)


def by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of layers -> the stored tensors that may be meant: ``conv1`` is ``conv1.weight``."""
    result: dict[str, list[str]] = {}
    for name in names:
        for layer in dict.fromkeys((name, WEIGHT_SUFFIX.sub("", name))):
            result.setdefault(layer, []).append(name)
    return result


def as_read(names: Iterable[str]) -> list[str]:
    """The names of a state dict's tensors as the readers give them, without wrappers' prefixes."""
    tensors, _ = without_wrappers([Tensor(name, (), "", _unread) for name in names])
    return [tensor.name for tensor in tensors]


def _unread() -> NDArray[Any]:
    """Nothing: only the names of these tensors matter."""
    return np.empty(())


def stored_in_file(path: Path, slot: Slot, count: int) -> bytes:
    """:meth:`Writer.stored` for tensors that lie in the file as they are."""
    return map_file(path)[slot.begin : slot.begin + count].tobytes()


def write_over_copy(path: Path, out: Path, changes: Changes) -> None:
    """:meth:`Writer.write` for tensors that lie in the file as they are."""
    shutil.copyfile(path, out)
    with out.open("r+b") as file:
        for slot, content in changes.items():
            file.seek(slot.begin)
            file.write(content)
