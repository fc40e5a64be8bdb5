"""Quantised values: integers, with a scale and a zero point for all or along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.readers.pytorch.inert_objects import is_number
from filterdb.readers.state_dict import Array


def listed(numbers: list[Any]) -> NDArray[np.float64]:
    """A list of plain numbers, float64."""
    if not all(map(is_number, numbers)):
        msg = "Its scales or zero points are no numbers: the file is damaged. Download it again."
        raise CorruptFileError(msg)
    return np.asarray(numbers, dtype=np.float64)


def dequantise(
    codes: Array, scale: Array | float, zero: Array | float, axis: int | None
) -> NDArray[np.float32]:
    """``(code - zero) * scale``, float32."""
    if 0 in codes.shape:
        return np.zeros(codes.shape, np.float32)

    def along_axis(given: Array | float) -> NDArray[np.float64]:
        if not isinstance(given, Array):
            return np.asarray(given, dtype=np.float64)
        values = np.asarray(given.load(), dtype=np.float64)
        return values.reshape([-1 if i == axis else 1 for i in range(len(codes.shape))])

    # A damaged scale may be infinite: that is for whoever measures the weights to say.
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = np.asarray(codes.load(), dtype=np.float64) - along_axis(zero)
        return (shifted * along_axis(scale)).astype(np.float32)
