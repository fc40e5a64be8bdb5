"""What a layer would take if its filters were stored as (key, a, b): only counted.

Packed, a layer of n filters would be, in this order and without gaps (little-endian):

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

from filterdb.keys.equivalence import Kernel
from filterdb.readers import elements

Scalar = Literal["float16", "float32"]


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
