"""How well keys fit filters in which there is nothing: those of networks that have not learnt."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.fit import fit_keys
from filterdb.keys.key_set import KeySet
from filterdb.threads import one_blas_thread

N = 10_000
"""Filters drawn of each distribution."""
ERRORS = 3.0
"""Standard errors above their mean R² up to which the mean of a layer may be theirs."""


def noise_level(keys: KeySet, same: Equivalence, n: int) -> float:
    """The mean R² that ``n`` filters of noise may reach.

    The noise is even or normal, as frameworks make weights at the start, whichever the keys fit
    better.

    Parameters
    ----------
    keys, same
        The keys, and what does not matter besides ``a`` and ``b``.
    n
        Number of filters in the layer; the fewer, the more their mean is left to chance.
    """
    mean, spread = _moments(keys.flat.tobytes(), keys.kernel, same)
    return min(mean + ERRORS * spread * float(np.sqrt(1 / n + 1 / N)), 1.0)


@lru_cache(maxsize=64)
def _moments(content: bytes, kernel: Kernel, same: Equivalence) -> tuple[float, float]:
    """Mean and standard deviation of R² over filters of noise, for the keys in these bytes."""
    taps = kernel[0] * kernel[1]
    keys = np.frombuffer(content).reshape(-1, taps)
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-1, 1, (N, taps)), rng.standard_normal((N, taps))
    with one_blas_thread():
        r2 = [fit_keys(filters, keys, kernel, equivalence=same).r2 for filters in drawn]
    return max((float(np.nanmean(row, dtype=float)), float(np.nanstd(row, dtype=float)))
               for row in r2)  # fmt: skip
