"""The constants of an ML program: plain, or made from codes, tables and masks when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.layer import Loader
from filterdb.readers import elements
from filterdb.readers.limits import MAX_DEPTH

TYPES = {
    1: "bool", 10: "float16", 11: "float32", 12: "float64", 13: "bfloat16",
    21: "int8", 22: "int16", 23: "int32", 24: "int64", 25: "int4",
    31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4", 36: "uint2",
    37: "uint1", 38: "uint6", 39: "uint3", 40: "float8_e4m3fn", 41: "float8_e5m2",
}  # fmt: skip
BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "int4": 4, "uint6": 6}
"""Types that share bytes, the lowest bit first."""
MAX_ELEMENTS = 2**40


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that the file holds, unread.

    Attributes
    ----------
    dtype, scheme
        As in :class:`~filterdb.layer.Tensor`.
    name
        Of what holds the numbers or the codes.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Loader = field(repr=False, compare=False)
    scheme: str = ""
    name: str = ""


Operand = Callable[[str], Constant | None]
"""Looks up an operand of an operation by its name."""


def stored_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes that a constant takes in the file."""
    if dtype in BITS:
        return (prod(shape) * BITS[dtype] + 7) // 8
    return elements.stored_bytes(dtype, shape)


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse shapes beyond any file before their product is used.

    Raises
    ------
    CorruptFileError
        It is such a shape.
    """
    sound = len(shape) <= elements.MAX_DIMENSIONS and all(n >= 0 for n in shape)
    if not sound or prod(shape) > MAX_ELEMENTS:
        msg = f"A constant has the impossible shape {shape!s:.200}: the file is damaged."
        raise CorruptFileError(msg)


def decode(stored: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values that bytes stand for; codes of fewer than eight bits as (u)int8.

    Raises
    ------
    CorruptFileError
        There are more or fewer than the shape needs.
    """
    if len(stored) != stored_bytes(dtype, shape):
        msg = (
            f"A constant of shape {shape} and type {dtype} takes {stored_bytes(dtype, shape):,} "
            f"bytes, but {len(stored):,} are there: the file is damaged."
        )
        raise CorruptFileError(msg)
    if dtype in BITS:
        codes = unpack_low_first(stored, BITS[dtype], prod(shape)).reshape(shape)
        return (codes ^ 8).astype(np.int8) - np.int8(8) if dtype == "int4" else codes
    return elements.decode(stored.view(elements.storage_dtype(dtype)), dtype, shape)


def unpack_low_first(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Codes one after the other, the lowest bit of each first: uint8, shape (count,)."""
    single = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    codes = np.zeros(count, np.uint8)
    for bit in range(bits):
        codes |= single[:, bit] << bit
    return codes


def computed(op: str, operand: Operand, depth: int) -> Constant | str:
    """The constant that an operation makes from others, or why it is not followed.

    Raises
    ------
    CorruptFileError
        Its operands do not fit each other.
    LimitError
        They are nested without end.
    """
    if depth > MAX_DEPTH:
        msg = f"Its constants are made from one another {MAX_DEPTH} times: not followed."
        raise LimitError(msg)
    rule = RULES.get(op)
    if rule is None:
        return f"its weight comes from the operation {op[:60]}, which is not followed"
    try:
        return rule(operand)
    except (KeyError, ValueError, IndexError) as error:
        if isinstance(error, ReadError):
            raise
        msg = f"The operands of {op[:60]} do not fit each other: the file is damaged."
        raise CorruptFileError(msg) from error


def needed(operand: Operand, name: str) -> Constant:
    """An operand that must be there."""
    found = operand(name)
    if found is None:
        raise KeyError(name)
    return found


def affine(operand: Operand) -> Constant:
    """``scale * (codes - zero point)``, both numbers along one axis."""
    codes, scale, zero = (needed(operand, n) for n in ("quantized_data", "scale", "zero_point"))
    axis = int(needed(operand, "axis").load().reshape(-1)[0])
    axis += len(codes.shape) if axis < 0 else 0
    along = [1] * len(codes.shape)
    if prod(scale.shape) > 1 or prod(zero.shape) > 1:
        along[axis] = codes.shape[axis]
    if any(prod(item.shape) not in (1, along[axis] if along else 1) for item in (scale, zero)):
        raise ValueError(axis)
    spread = "per-channel" if prod(along) > 1 else "per-tensor"

    def load() -> NDArray[Any]:
        parts = [item.load().astype(np.float32).reshape(-1) for item in (scale, zero)]
        shaped = [part.reshape(along if part.size > 1 else [1] * len(along)) for part in parts]
        with np.errstate(all="ignore"):  # a damaged scale may be no number, and is seen as such
            return (codes.load().astype(np.float32) - shaped[1]) * shaped[0]

    return Constant(codes.shape, codes.dtype, load, f"{spread}, affine", codes.name)


def shifted(operand: Operand, codes_name: str = "data") -> Constant:
    """``scale * (data - offset)``, both numbers for each block of the data."""
    codes, scale = needed(operand, codes_name), needed(operand, "scale")
    offset = operand("offset")
    check_blocks(codes.shape, scale.shape)
    if offset is not None and offset.shape != scale.shape:
        raise ValueError(offset.shape)
    spread = spread_of(codes.shape, scale.shape)

    def load() -> NDArray[Any]:
        values = codes.load().astype(np.float32)
        with np.errstate(all="ignore"):
            if offset is not None:
                values -= per_block(offset.load().astype(np.float32), codes.shape)
            values *= per_block(scale.load().astype(np.float32), codes.shape)
        return values

    kind = "symmetric" if offset is None else "affine"
    scheme = ", ".join(part for part in (f"{spread}, {kind}", codes.scheme) if part)
    return Constant(codes.shape, codes.dtype, load, scheme, codes.name)


def looked_up(operand: Operand) -> Constant:
    """Values from a lookup table; several tables, one for each block, since iOS 18."""
    codes, table, shape = needed(operand, "indices"), needed(operand, "lut"), operand("shape")
    if shape is not None:
        return looked_up_packed(codes, table, as_shape(shape))
    *blocks, entries, vector = table.shape
    check_blocks(codes.shape, tuple(blocks))
    if vector != 1:
        raise ValueError(vector)

    def load() -> NDArray[Any]:
        tables = table.load().astype(np.float32).reshape(-1, entries)
        which = per_block(np.arange(len(tables)).reshape(blocks), codes.shape)
        found = codes.load().astype(np.intp)
        if found.size and found.max() >= entries:
            raise beyond_table()
        values: NDArray[Any] = tables[which, found]
        return values

    scheme = f"{spread_of(codes.shape, tuple(blocks))}, lookup table"
    return Constant(codes.shape, codes.dtype, load, scheme, codes.name)


def looked_up_packed(codes: Constant, table: Constant, shape: tuple[int, ...]) -> Constant:
    """Values from one table; how many bits a code takes follows from its length."""
    bits = max((table.shape[0] - 1).bit_length(), 1) if len(table.shape) == 1 else 0
    if bits not in (1, 2, 4, 6, 8) or prod(codes.shape) != (prod(shape) * bits + 7) // 8:
        raise ValueError(bits)

    def load() -> NDArray[Any]:
        found = unpack_low_first(codes.load().view(np.uint8), bits, prod(shape))
        values = table.load().astype(np.float32)
        if found.size and found.max() >= len(values):
            raise beyond_table()
        return np.take(values, found).reshape(shape)

    return Constant(shape, f"uint{bits}", load, "per-tensor, lookup table", codes.name)


def sparse(operand: Operand) -> Constant:
    """The values that are not zero, put where a mask has its ones."""
    values, mask, shape = needed(operand, "nonzero_data"), needed(operand, "mask"), operand("shape")
    extents = mask.shape if shape is None else as_shape(shape)
    count = prod(extents)
    if len(values.shape) != 1 or (shape and prod(mask.shape) != (count + 7) // 8):
        raise ValueError(count)

    def load() -> NDArray[Any]:
        bits = mask.load().view(np.uint8).reshape(-1)
        if shape is not None:
            bits = np.unpackbits(bits, count=count, bitorder="little")
        there = np.flatnonzero(bits)
        kept = values.load()
        if len(there) != len(kept):
            msg = "A mask of its weights does not fit their number: the file is damaged."
            raise CorruptFileError(msg)
        dense = np.zeros(count, kept.dtype)
        dense[there] = kept
        return dense.reshape(extents)

    scheme = f"{values.scheme}, sparse".removeprefix(", ")
    return Constant(extents, values.dtype, load, scheme, values.name)


def cast(operand: Operand) -> Constant:
    """The same values in another type."""
    return needed(operand, "source_val")


RULES: dict[str, Callable[[Operand], Constant]] = {
    "constexpr_affine_dequantize": affine,
    "constexpr_blockwise_shift_scale": shifted,
    "constexpr_lut_to_dense": looked_up,
    "constexpr_sparse_to_dense": sparse,
    "constexpr_cast": cast,
}


def as_shape(constant: Constant) -> tuple[int, ...]:
    """The shape that a constant says."""
    shape = tuple(constant.load().reshape(-1)[: elements.MAX_DIMENSIONS + 1].tolist())
    check_shape(shape)
    return shape


def check_blocks(shape: tuple[int, ...], blocks: tuple[int, ...]) -> None:
    """Require that an array divides into so many blocks along each axis."""
    fits = len(shape) == len(blocks) and all(
        n > 0 and extent % n == 0 for extent, n in zip(shape, blocks, strict=True)
    )
    if not fits:
        raise ValueError(blocks)


def spread_of(shape: tuple[int, ...], blocks: tuple[int, ...]) -> str:
    """For how much of an array one scale or one table stands."""
    if prod(blocks) == 1:
        return "per-tensor"
    whole = all(n in (1, extent) for extent, n in zip(shape, blocks, strict=True))
    return "per-channel" if whole and sum(n > 1 for n in blocks) == 1 else "per-block"


def per_block(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Repeat the values of blocks until they have the shape."""
    for axis, extent in enumerate(shape):
        if 1 < values.shape[axis] < extent:
            values = np.repeat(values, extent // values.shape[axis], axis)
    return np.broadcast_to(values, shape)


def beyond_table() -> CorruptFileError:
    """The error for a code without an entry."""
    return CorruptFileError("A code of its weights is beyond its table: the file is damaged.")
