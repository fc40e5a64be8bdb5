"""The values of a TFLite tensor: dense or sparse, real or quantised."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Loader
from filterdb.readers import elements
from filterdb.readers.limits import check_expansion
from filterdb.readers.tflite.flatbuffer import Table
from filterdb.readers.tflite.model import OTHER_TYPES, Model, Quantisation, TensorInfo

AGAIN = "The file is damaged: download or copy it again."
SEGMENTS = {1: "<i4", 2: "<u2", 3: "u1"}
"""Element types of the index vectors of a sparse tensor, by their number in the union."""
INTEGERS = ("int", "uint")


class NotReadError(Exception):
    """A tensor cannot be read; the message is a clause for a skipped row."""


def loader_of(info: TensorInfo, model: Model) -> Loader:
    """What reads the values of a constant tensor, dequantised.

    Raises
    ------
    CorruptFileError
        It claims more (or less) than its buffer holds, or its scales do not fit.
    LimitError
        Written out it is out of proportion to the file.
    NotReadError
        Its values are of a kind that is not followed.
    """
    stored, dtype = model.buffers[info.buffer], info.dtype
    if dtype is None:
        what = OTHER_TYPES.get(info.type, f"of an unknown type ({info.type})")
        msg = f"its values are {what}, which cannot be read"
        raise NotReadError(msg)
    if any(extent < 0 for extent in info.shape):
        msg = f"Its shape {info.shape} is negative. {AGAIN}"
        raise CorruptFileError(msg)
    check_expansion(4 * prod(info.shape), model.size, "A tensor")
    if info.sparsity is None:
        needed = elements.stored_bytes(dtype, info.shape)
        if len(stored) != needed:
            msg = (
                f"Its shape {info.shape} needs {needed:,} bytes, but its buffer holds "
                f"{len(stored):,}. {AGAIN}"
            )
            raise CorruptFileError(msg)
        load: Loader = partial(load_dense, stored, dtype, info.shape)
    else:
        load = Sparse(info.sparsity, info.shape).loader(stored, dtype)
    if info.quantisation is None or not dtype.startswith(INTEGERS):
        return load
    check_scales(info.quantisation, info.shape)
    return partial(load_quantised, load, info.quantisation)


def load_dense(stored: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values that lie one behind the other."""
    return elements.decode(stored.view(elements.storage_dtype(dtype)), dtype, shape)


def check_scales(quantisation: Quantisation, shape: tuple[int, ...]) -> None:
    """Require one scale and zero point for all, or one for each index of the axis."""
    if quantisation.other:
        msg = "its values are quantised in blocks or by a custom rule, which is not followed"
        raise NotReadError(msg)
    scales, zeros, axis = len(quantisation.scale), len(quantisation.zero_point), quantisation.axis
    fits = scales == 1 or (0 <= axis < len(shape) and scales == shape[axis])
    if not fits or zeros not in {0, 1, scales}:
        msg = f"Its {scales} scales and {zeros} zero points do not fit its shape {shape}. {AGAIN}"
        raise CorruptFileError(msg)


def scheme_of(info: TensorInfo) -> str:
    """How quantised values stand for real ones; empty where they are real themselves."""
    quantisation = info.quantisation
    if quantisation is None or info.dtype is None or not info.dtype.startswith(INTEGERS):
        return ""
    extent = "per-channel" if len(quantisation.scale) > 1 else "per-tensor"
    return f"{extent}, {'affine' if quantisation.affine else 'symmetric'}"


def load_quantised(load: Loader, quantisation: Quantisation) -> NDArray[np.float32]:
    """Integers as the real values that they stand for: ``scale * (stored - zero_point)``."""
    stored = load()
    values: NDArray[np.float32] = stored.astype(np.float32)
    spread = np.ones(stored.ndim, int)
    spread[quantisation.axis if len(quantisation.scale) > 1 else 0 :][:1] = -1
    if quantisation.affine:
        values -= quantisation.zero_point.astype(np.float32).reshape(spread)
    values *= quantisation.scale.reshape(spread)
    return values


class Sparse:
    """A sparse tensor: a tree with one level for each dimension, or block of one.

    Each level is dense (every index is there) or compressed (segments say which indices are
    there); the values are the leaves.

    Parameters
    ----------
    table
        The SparsityParameters.
    shape
        Shape of the tensor written out.
    """

    def __init__(self, table: Table, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.order, self.block_map = table.integers(0), table.integers(1)
        self.levels = list(table.children(2))
        rank = len(shape)
        blocks = len(self.block_map)
        if (
            sorted(self.order) != list(range(rank + blocks))
            or len(self.levels) != len(self.order)
            or len(set(self.block_map)) != blocks
            or any(not 0 <= dimension < rank for dimension in self.block_map)
        ):
            self.refuse("its levels do not fit its dimensions")

    def refuse(self, what: str) -> NoReturn:
        """Raise the error for a tree that does not add up."""
        msg = f"Its sparse tensor contradicts itself: {what}. {AGAIN}"
        raise CorruptFileError(msg)

    def loader(self, stored: NDArray[np.uint8], dtype: str) -> Loader:
        """What writes the tensor out; the number of values is checked now."""
        item = elements.storage_dtype(dtype).itemsize
        if dtype in elements.PACKED:
            msg = "its values are sparse and of 4 bits, which is not followed"
            raise NotReadError(msg)
        if len(stored) % item or len(stored) // item > prod(self.shape):
            self.refuse("it holds more values than its shape")
        return partial(self.load, stored, dtype)

    def load(self, stored: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
        """Write the tensor out; what is not stored is 0."""
        where = self.places()
        count = len(stored) // elements.storage_dtype(dtype).itemsize
        if len(where) != count:
            self.refuse(f"it has {len(where):,} places for {count:,} values")
        values = load_dense(stored, dtype, (count,))
        result = np.zeros(self.shape, values.dtype)
        result.reshape(-1)[where] = values
        return result

    def places(self) -> NDArray[np.int64]:
        """The place of each stored value among all, row by row."""
        extents, strides = self.expanded()
        paths: NDArray[np.int64] = np.zeros(1, np.int64)
        for dimension, level in zip(self.order, self.levels, strict=True):
            extent, stride = extents[dimension], strides[dimension]
            if level.integer(0, size=1) == 0:
                if level.integer(1) != extent or len(paths) * extent > prod(self.shape):
                    self.refuse("a dense level is of another length than its dimension")
                paths = (paths[:, None] + np.arange(extent) * stride).reshape(-1)
                continue
            segments, indices = self.vector(level, 2), self.vector(level, 4)
            counts = np.diff(segments)
            if (
                len(counts) != len(paths)
                or (counts < 0).any()
                or segments[:1].any()
                or segments[-1] != len(indices)
                or (len(indices) and not (0 <= indices.min() <= indices.max() < extent))
            ):
                self.refuse("the indices of a level reach outside it")
            paths = np.repeat(paths, counts) + indices * stride
        return paths

    def expanded(self) -> tuple[list[int], list[int]]:
        """Extent and stride of every level's dimension: those of the tensor, then the blocks."""
        strides = [prod(self.shape[i + 1 :]) for i in range(len(self.shape))]
        extents = list(self.shape)
        for block, dimension in enumerate(self.block_map, len(self.shape)):
            size = self.levels[self.order.index(block)].integer(1)
            if size < 1 or self.shape[dimension] % size:
                self.refuse(f"blocks of {size} do not divide {self.shape[dimension]}")
            extents[dimension] //= size
            extents.append(size)
            strides.append(strides[dimension])
            strides[dimension] *= size
        return extents, strides

    def vector(self, level: Table, number: int) -> NDArray[np.int64]:
        """The segments (field 2) or indices (field 4) of a level."""
        kind, held = level.unsigned(number, size=1), level.child(number + 1)
        found = None if held is None or kind not in SEGMENTS else held.vector(0, SEGMENTS[kind])
        if found is None:
            self.refuse("a level has no indices")
        return found.astype(np.int64)
