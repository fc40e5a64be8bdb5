"""What a layer takes when its filters are stored as (key, a, b): counted, and really packed.

Packed, a layer of n filters is, in this order and without gaps (little-endian):

1. a flag a filter, packed eight to a byte: 1 for "other", whose R² is below the threshold;
2. of the filters that are no others, the index of the key (times the moves of the equivalence,
   plus the move) in ``ceil(log2(K V))`` bits each, packed, the highest bit first;
3. their ``a``, and 4. their ``b``, in float16 or float32;
5. the weights of the others, as they are.

The table of the keys, float32, is stored once, however many layers refer to it. Constant filters
need no key (``a`` is 0); nearly zero ones become constant ones with their mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Kernel
from filterdb.keys.fit import Fit
from filterdb.readers import elements

Scalar = Literal["float16", "float32"]
OTHER = 0.8
"""R² below which a filter is "other"."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes of filters, as they are and by keys.

    Attributes
    ----------
    raw
        As they are stored now.
    keyed
        By keys: flags, indices, scalars, and the filters that are "other".
    table
        Of the table of keys, which is stored once.
    """

    raw: int
    keyed: int
    table: int

    @property
    def saved(self) -> int:
        """Bytes saved; negative where the table costs more than it saves."""
        return self.raw - self.keyed - self.table

    def to_dict(self) -> dict[str, int]:
        """As JSON has it."""
        return {**asdict(self), "saved": self.saved}


def storage(
    n_filters: int,
    kernel: Kernel,
    n_keys: int,
    *,
    others: int = 0,
    moves: int = 1,
    dtype: str = "float32",
    scalar: Scalar = "float16",
) -> Storage:
    """Bytes of a layer as it is, and by keys (the head of this module has the layout).

    Parameters
    ----------
    n_filters, kernel
        Of the layer.
    n_keys
        In the set.
    others
        How many of the filters are kept as they are.
    moves
        Moves of the equivalence that each key stands for.
    dtype
        Element type of the layer.
    scalar
        Type of ``a`` and ``b``.
    """
    taps = kernel[0] * kernel[1]
    keyed = n_filters - others
    flags, indices = -(-n_filters // 8), -(-keyed * index_bits(n_keys * moves) // 8)
    scalars = 2 * keyed * np.dtype(scalar).itemsize
    return Storage(
        raw=elements.stored_bytes(dtype, (n_filters, taps)),
        keyed=flags + indices + scalars + elements.stored_bytes(dtype, (others, taps)),
        table=4 * n_keys * taps,
    )


def together(parts: Iterable[Storage]) -> Storage:
    """The bytes of several layers that share one table."""
    found = list(parts)
    return Storage(
        sum(part.raw for part in found),
        sum(part.keyed for part in found),
        max((part.table for part in found), default=0),
    )


def index_bits(count: int) -> int:
    """Bits of an index into ``count`` things, ``ceil(log2 count)``."""
    return (count - 1).bit_length()


def pack(
    filters: NDArray[np.floating],
    fit: Fit,
    views: NDArray[np.float32],
    *,
    least_r2: float = OTHER,
    dtype: str = "float32",
    scalar: Scalar = "float16",
) -> bytes:
    """Pack a layer as the head of this module says.

    Parameters
    ----------
    filters
        Shape ``(n, k)``.
    fit
        Their fit by the keys.
    views
        Moves of the keys, shape ``(K, V, k)`` (:meth:`Equivalence.views`).
    least_r2
        Filters below it are "other"; so are those whose ``a`` or ``b`` the scalar cannot hold.
    dtype
        Element type of the layer: ``"float16"``, ``"bfloat16"``, ``"float32"`` or ``"float64"``.
    scalar
        Type of ``a`` and ``b``.
    """
    with np.errstate(over="ignore", under="ignore"):
        scalars = np.stack([fit.a, fit.b]).astype(np.dtype(scalar).newbyteorder("<"))
    other = (fit.r2 < least_r2) | ~np.isfinite(scalars).all(axis=0)
    index = np.maximum(fit.key, 0).astype(np.uint32) * views.shape[1] + fit.view
    parts = (
        np.packbits(other).tobytes(),
        _packed(index[~other], index_bits(views.shape[0] * views.shape[1])),
        scalars[:, ~other].tobytes(),
        _raw(np.asarray(filters)[other], dtype),
    )
    return b"".join(parts)


def unpack(
    packed: bytes,
    views: NDArray[np.float32],
    *,
    n_filters: int,
    dtype: str = "float32",
    scalar: Scalar = "float16",
) -> NDArray[np.float64]:
    """The filters that :func:`pack` packed, float64 of shape ``(n, k)``: ``a key + b``.

    Raises
    ------
    ValueError
        The bytes are not as many as the flags say.
    """
    keys, moves, taps = views.shape
    data = np.frombuffer(packed, np.uint8)
    flags, rest = np.split(data, [-(-n_filters // 8)])
    other = np.unpackbits(flags)[:n_filters].astype(bool)
    count, bits = int((~other).sum()), index_bits(keys * moves)
    ends = np.cumsum([-(-count * bits // 8), 2 * count * np.dtype(scalar).itemsize])
    others = elements.stored_bytes(dtype, (n_filters - count, taps))
    if len(rest) != ends[-1] + others:
        msg = f"{len(packed):,} bytes are not {n_filters:,} filters with {count:,} keys"
        raise ValueError(msg)
    indices, scalars, raw = np.split(rest, ends)
    a, b = scalars.view(np.dtype(scalar).newbyteorder("<")).astype(np.float64).reshape(2, count)
    key = views.reshape(-1, taps)[_unpacked(indices, count, bits)]
    result = np.empty((n_filters, taps))
    result[~other] = a[:, None] * key + b[:, None]
    result[other] = _values(raw, dtype).reshape(-1, taps)
    return result


def _packed(index: NDArray[np.uint32], bits: int) -> bytes:
    """The low bits of integers, one after the other."""
    wide = np.unpackbits(index.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    return np.packbits(wide[:, 32 - bits :]).tobytes()


def _unpacked(packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.intp]:
    """The integers of :func:`_packed`."""
    found = np.unpackbits(packed)[: count * bits].reshape(count, bits)
    return found.astype(np.intp) @ (1 << np.arange(bits)[::-1])


def _raw(filters: NDArray[np.floating], dtype: str) -> bytes:
    """Weights as their element type stores them."""
    if dtype == "bfloat16":
        exact = elements.round_to_bfloat16(filters.astype(np.float32))
        return (exact.view(np.uint32) >> 16).astype("<u2").tobytes()
    return filters.astype(np.dtype(dtype).newbyteorder("<")).tobytes()


def _values(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.floating]:
    """The weights of :func:`_raw`."""
    if dtype == "bfloat16":
        return elements.widen_bfloat16(raw.view("<u2"))
    stored: NDArray[np.floating] = raw.view(np.dtype(dtype).newbyteorder("<"))
    return stored
