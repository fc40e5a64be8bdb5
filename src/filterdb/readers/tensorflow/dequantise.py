"""TensorFlow's quantised types: integers between a lowest and a highest real value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Loader

STEPS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32}
"""Bits of the element types that may be quantised."""


def values(
    load: Loader, low: Loader, high: Loader, dtype: str, mode: str, shape: tuple[int, ...],
    *, narrow: bool = False,
) -> NDArray[np.float32]:  # fmt: skip
    """The real values of quantised ones, as TensorFlow's ``Dequantize`` is documented.

    Parameters
    ----------
    load
        Loads the stored integers.
    low, high
        Load the range, float32: one value, or one a channel.
    dtype
        Type of the integers.
    mode
        ``"MIN_COMBINED"``, ``"MIN_FIRST"`` or ``"SCALED"``.
    shape
        Shape of the range against the values, extents of 1 where it is the same.
    narrow
        Whether the lowest integer is not used.

    Raises
    ------
    CorruptFileError
        The range is not finite, or the mode unknown.
    """
    stored = load()
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    bottom, top = (np.asarray(one(), np.float32).astype(np.float64) for one in (low, high))
    if not (np.isfinite(bottom).all() and np.isfinite(top).all()):
        msg = "The range of its quantised weights is not finite. Download or copy the file again."
        raise CorruptFileError(msg)
    bottom, top = (spread(one, shape) for one in (bottom, top))
    if mode == "SCALED":
        scale = top / most
        if least < 0:
            scale = np.maximum(bottom / (least + narrow), scale)
        result: NDArray[np.float32] = stored.astype(np.float32) * np.float32(scale)
    elif mode in {"MIN_COMBINED", "MIN_FIRST"}:
        # As the operator is documented. TensorFlow's kernel for MIN_FIRST also moves the range,
        # by less than half a step, so that zero falls on one.
        step = np.float32((top - bottom) / (most - least))
        result = (stored.astype(np.float32) - np.float32(least)) * step + np.float32(bottom)
    else:
        msg = f"Its weights are quantised in the unknown mode {mode!r}."
        raise CorruptFileError(msg)
    return result


def spread(numbers: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A range along the axis that it belongs to."""
    return numbers.reshape(shape) if numbers.size > 1 else numbers.reshape(-1)[0]
