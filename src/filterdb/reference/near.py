"""The reference networks whose filters are nearest to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.reference.networks import Kernel, Network, Stored
from filterdb.stats.basis import reference_basis
from filterdb.stats.shift import divergence, smoothed


@dataclass(frozen=True, slots=True)
class NearNetwork:
    """A reference network, and how near its filters are.

    Attributes
    ----------
    model
        The network.
    shift
        D between its filters and those asked about, in the reference basis. That of few filters
        is mostly bias: about 2.6 of 100, 0.14 of 1,000 (METHODS 1.3).
    filters
        How many of its filters that compares.
    """

    model: Network
    shift: float
    filters: int


def nearest(stored: Stored, counts: NDArray[Any], kernel: Kernel) -> tuple[NearNetwork, ...]:
    """All networks that have enough filters of a size, the nearest first."""
    size, basis = stored.sizes[kernel], reference_basis(kernel)
    width = 2 * basis.reach / size.counts.shape[-1]
    shifts = divergence(
        smoothed(size.counts, width=width),
        smoothed(counts, width=width),
        basis.explained_variance_ratio,
    )
    return tuple(
        NearNetwork(stored.networks[size.model[i]], float(shifts[i]), size.moments[i].n)
        for i in np.argsort(shifts, kind="stable").tolist()
    )
