"""The filters of a layer, scaled, a block at a time: memory does not grow with the layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.sparsity import is_clean
from filterdb.stats.summary import BLOCK, largest

Array = NDArray[np.float64]


class Blocks:
    """Blocks of max-abs-scaled filters (METHODS 1.3, step 1), float64 of shape ``(k, n)``.

    A filter is a column, so that every operation runs along the memory. A block is overwritten
    by the next one.

    Parameters
    ----------
    filters
        Shape ``(n, k)``; not changed.
    drop_sparse
        Leave sparse filters out (METHODS 1.4): those whose weights all stay below 1 % of the
        layer's peak.

    Attributes
    ----------
    seen
        Number of filters gone through so far, those that were left out included.

    Raises
    ------
    ValueError
        A weight is not finite.
    """

    def __init__(self, filters: NDArray[np.floating], *, drop_sparse: bool = False) -> None:
        self.seen = 0
        self._filters = filters
        self._drop_sparse = drop_sparse

    def __iter__(self) -> Iterator[Array]:
        filters = self._filters
        peak = largest(filters) if self._drop_sparse else 1.0
        block = np.empty((filters.shape[1], min(len(filters), BLOCK)))
        sizes = np.empty_like(block)
        for start in range(0, len(filters), BLOCK):
            part = filters[start : start + BLOCK]
            columns = block[:, : len(part)]
            columns[...] = part.T
            peaks = np.abs(columns, out=sizes[:, : len(part)]).max(axis=0)
            if not np.isfinite(peaks).all():
                msg = "a weight is NaN or infinite"
                raise ValueError(msg)
            self.seen += len(part)
            if self._drop_sparse:
                alive = is_clean(peaks, peak, dtype=filters.dtype)
                if not alive.all():
                    columns, peaks = columns[:, alive], peaks[alive]
            if peaks.size:
                yield np.divide(columns, np.where(peaks > 0, peaks, 1), out=columns)
