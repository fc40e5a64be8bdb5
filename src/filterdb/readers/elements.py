"""Element types: what the bytes of a tensor mean, including those NumPy has no dtype for.

Names are those of NumPy and ml_dtypes (``"float32"``, ``"bfloat16"``, ``"float8_e4m3fn"``,
``"int4"``). Stored bytes are little-endian in every format that uses this module.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

NATIVE = frozenset(
    {
        "float16", "float32", "float64",
        "int8", "int16", "int32", "int64",
        "uint8", "uint16", "uint32", "uint64",
    }
)  # fmt: skip
MINIFLOATS: dict[str, tuple[int, int, int, Literal["ieee", "fn", "fnuz"]]] = {
    # name: exponent bits, mantissa bits, bias, which codes are infinite or not a number
    "float8_e4m3fn": (4, 3, 7, "fn"),
    "float8_e4m3fnuz": (4, 3, 8, "fnuz"),
    "float8_e5m2": (5, 2, 15, "ieee"),
    "float8_e5m2fnuz": (5, 2, 16, "fnuz"),
}
PACKED = frozenset({"int4", "uint4"})
MAX_DIMENSIONS = 64
"""As in NumPy. A longer shape is refused before its product is taken."""
READABLE = NATIVE | frozenset(MINIFLOATS) | PACKED | {"bfloat16", "bool"}


def storage_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype in which elements of type ``name`` lie in a file."""
    if name in NATIVE:
        return np.dtype(name).newbyteorder("<")
    return np.dtype("<u2") if name == "bfloat16" else np.dtype("u1")


def stored_bytes(name: str, shape: tuple[int, ...]) -> int:
    """Bytes that a tensor takes in a file; two 4-bit integers share a byte."""
    count = prod(shape)
    return (count + 1) // 2 if name in PACKED else count * storage_dtype(name).itemsize


def decode(stored: NDArray[Any], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of a tensor.

    Parameters
    ----------
    stored
        One-dimensional, of :func:`storage_dtype`, exactly as long as ``shape`` needs.
    name
        Element type, one of :data:`READABLE`.
    shape
        Shape of the result.

    Returns
    -------
    ndarray
        A view of ``stored`` where NumPy has the type (bool as uint8); bfloat16 and float8
        widened to float32, 4-bit integers to (u)int8.
    """
    if name == "bfloat16":
        return widen_bfloat16(stored).reshape(shape)
    if name in MINIFLOATS:
        return np.take(minifloat_values(name), stored).reshape(shape)
    if name in PACKED:
        return unpack_nibbles(stored, name)[: prod(shape)].reshape(shape)
    return stored.reshape(shape)


def widen_bfloat16(bits: NDArray[Any]) -> NDArray[np.float32]:
    """bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round float32 to the nearest bfloat16, ties to even, and widen it again."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    result: NDArray[np.float32] = np.where(np.isnan(values), values, rounded.view(np.float32))
    return result


@cache
def minifloat_values(name: str) -> NDArray[np.float32]:
    """The 256 values of an 8-bit float type, by code; float32, shape (256,)."""
    exponent_bits, mantissa_bits, bias, special = MINIFLOATS[name]
    code = np.arange(256)
    mantissa = code & (2**mantissa_bits - 1)
    exponent = (code >> mantissa_bits) & (2**exponent_bits - 1)
    fraction = mantissa / 2**mantissa_bits
    normal = np.ldexp(1 + fraction, exponent - bias)
    values = np.where(exponent > 0, normal, np.ldexp(fraction, 1 - bias))
    values = np.where(code >= 128, -values, values)
    if special == "ieee":
        top = exponent == 2**exponent_bits - 1
        values = np.where(top, np.where(mantissa > 0, np.nan, np.copysign(np.inf, values)), values)
    elif special == "fn":
        values[(code & 0x7F) == 0x7F] = np.nan
    else:
        values[0x80] = np.nan
    result: NDArray[np.float32] = values.astype(np.float32)
    return result


def unpack_nibbles(packed: NDArray[Any], name: str) -> NDArray[Any]:
    """Two 4-bit integers a byte, the lower nibble first."""
    nibbles = np.stack([packed & 0x0F, packed >> 4], axis=-1).reshape(-1)
    return nibbles if name == "uint4" else (nibbles ^ 8).astype(np.int8) - np.int8(8)
