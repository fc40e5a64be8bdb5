"""What :func:`~filterdb.keys.torch.initialising.initialise` did to each layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class InitialisedLayer:
    """What became of one depthwise layer.

    Attributes
    ----------
    name, also
        Where it stands in the model (``""``: it is the model), and where else: a module that
        stands in several places, or a weight that several modules share, is one layer.
    kernel, channels
        Its kernel size, and the number of its filters.
    keys
        Index of the key of each filter from 0, int16 of shape ``(channels,)``; -1 where the
        filter was kept. Empty where the layer was left alone.
    counts
        How many filters each key has, int64 of shape ``(K,)``.
    r2
        Mean over the filters with a shape of the R² with which their keys fit what they were
        before; None where nothing was fitted.
    constant
        Number of filters without a shape, constant or nearly zero, which are kept.
    other
        Number of filters with a shape that no key is like at all (R² = 0; only where the sign
        matters), which are kept.
    frozen
        Whether the keys do not learn (``weight.requires_grad`` is False).
    offsets
        Number of learnt offsets, one a filter; 0 where there are none.
    note
        What to think of twice (one sentence), such as a fit no better than that of noise; or
        None.
    reason
        Why it was left alone (one clause); None where it was not.
    """

    name: str
    also: tuple[str, ...]
    kernel: tuple[int, ...]
    channels: int
    keys: NDArray[np.int16]
    counts: NDArray[np.int64]
    r2: float | None
    constant: int
    other: int
    frozen: bool
    offsets: int
    note: str | None = None
    reason: str | None = None
