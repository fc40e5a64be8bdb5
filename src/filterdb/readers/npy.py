"""One array in NumPy's ``.npy`` layout: a header, then the values. Pickled objects stay inert."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.readers.elements import MAX_DIMENSIONS

MAGIC = b"\x93NUMPY"
HEADER_BYTES = 16384
"""Enough for any header that NumPy itself would read (10,000 characters)."""


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What the header of a ``.npy`` array says.

    Attributes
    ----------
    shape, dtype, fortran
        As stored; ``fortran`` for column-major order.
    offset
        Where the values begin, in bytes from the magic.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes that the values take."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def unreadable(self) -> str | None:
        """Why the values are not taken, as a clause, or None."""
        if self.dtype.hasobject:
            return "pickled Python objects, which are never loaded"
        if self.dtype.names is not None or self.dtype.kind == "V":
            return "a structured or raw type, not plain numbers"
        if self.dtype.kind not in "fiub":
            return f"its type {self.dtype.name} is not real numbers"
        return None

    def view(self, stored: NDArray[np.uint8]) -> NDArray[Any]:
        """The values, given exactly their bytes: a view of them (bool as uint8)."""
        dtype = np.dtype("u1") if self.dtype.kind == "b" else self.dtype
        return stored.view(dtype).reshape(self.shape, order="F" if self.fortran else "C")


def parse_header(start: bytes) -> ArrayHeader:
    """Parse the header at the beginning of ``start`` (:data:`HEADER_BYTES` suffice).

    Raises
    ------
    CorruptFileError
        It is cut short, or not a header that NumPy would accept.
    """
    file = io.BytesIO(start)
    try:
        with warnings.catch_warnings():
            # Files of Python 2, and escapes in damaged ones, only make NumPy warn.
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
            else:
                # Version 3 exists for field names beyond Latin-1: structured, so not numbers.
                return ArrayHeader((), np.dtype("V"), fortran=False, offset=len(start))
    except Exception as error:
        # NumPy hands the text to Python's own parsers, and on to np.dtype: any of their errors.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"Its array header cannot be read ({reason}). Download or copy the file again."
        raise CorruptFileError(msg) from error
    if len(shape) > MAX_DIMENSIONS or any(n < 0 for n in shape):
        msg = f"Its array header has an impossible shape of {len(shape)} dimensions."
        raise CorruptFileError(msg)
    return ArrayHeader(tuple(map(int, shape)), dtype, fortran, file.tell())
