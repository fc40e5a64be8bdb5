"""The reference networks whose filters are nearest to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.reference.networks import Kernel, Network, Stored
from filterdb.stats.basis import reference_basis
from filterdb.stats.shift import divergence, smoothed

DRAWS = 200
"""Pairs of samples from which the 95th percentile of chance is taken."""


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
    chance
        95th percentile of D between two samples, of as many filters as the two networks have,
        that are drawn from both together one by one. Filters of a network are alike, so that it
        is the least that D has to exceed to mean anything.
    """

    model: Network
    shift: float
    filters: int
    chance: float


def nearest(
    stored: Stored, counts: NDArray[Any], kernel: Kernel, *, n: int | None = None, least: int = 0
) -> tuple[NearNetwork, ...]:
    """The networks with ``least`` filters of a size, the nearest first; all, or ``n`` of them."""
    size, basis = stored.sizes[kernel], reference_basis(kernel)
    width = 2 * basis.reach / size.counts.shape[-1]
    shifts = divergence(
        smoothed(size.counts, width=width),
        smoothed(counts, width=width),
        basis.explained_variance_ratio,
    )
    order = [i for i in np.argsort(shifts, kind="stable").tolist() if size.moments[i].n >= least]
    return tuple(
        NearNetwork(
            stored.networks[size.model[i]],
            float(shifts[i]),
            size.moments[i].n,
            chance(size.counts[i], counts, basis.explained_variance_ratio, width=width),
        )
        for i in order[:n]
    )


def chance(p: NDArray[Any], q: NDArray[Any], weights: NDArray[Any], *, width: float) -> float:
    """95th percentile of D between samples as large as two histograms, from both pooled.

    The components are drawn on their own, and the draws are the same from run to run.

    Parameters
    ----------
    p, q
        Histograms of shape ``(k, bins)``.
    weights, width
        As :func:`filterdb.stats.shift.shift_matrix` has them.
    """
    rng = np.random.default_rng(0)
    pooled = (p + q) / (p + q).sum(axis=-1, keepdims=True)
    one, other = (
        smoothed(rng.multinomial(int(side[0].sum()), pooled, size=(DRAWS, len(p))), width=width)
        for side in (p, q)
    )
    return float(np.quantile(divergence(one, other, weights), 0.95))
