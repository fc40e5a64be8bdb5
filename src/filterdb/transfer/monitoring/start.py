"""Where a layer started from, and how far it has moved since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.comparing.change import compare_weights
from filterdb.stats.basis import Basis, reference_basis
from filterdb.stats.density import smooth_density
from filterdb.stats.shift import divergence, smoothed
from filterdb.stats.summary import COARSE_BINS, Summary, coarse, has_summary, summarise

DRAWS = 100
"""Pairs of populations that a null is taken from."""
BLOCK = 20  # of these pairs at a time: those of a 7x7 layer are 3 MB

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a layer is from its start; see :class:`~filterdb.transfer.monitoring.record.Record`.

    Nothing is known of a layer without a start, or of one that is not finite.
    """

    shift: float | None = None
    shift_null: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None


UNKNOWN = Moved()


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A layer at the start.

    Attributes
    ----------
    weights
        A copy, float32 of shape ``(C_out, C_in/groups, kh, kw)``.
    counts
        Histogram of the coefficients of its scaled filters, shape ``(k, COARSE_BINS)``; None for
        filters without a shape, or that are not finite.
    null
        See :func:`null_shift`.
    """

    weights: Weights
    counts: NDArray[np.int64] | None
    null: float | None

    @classmethod
    def of(cls, weights: Weights) -> Start:
        """Keep what later states are compared with."""
        kept = np.array(weights)  # those of a live network go on changing
        kernel = (kept.shape[2], kept.shape[3])
        if not has_summary(kernel) or not np.isfinite(kept).all():
            return cls(kept, None, None)
        basis = reference_basis(kernel)
        summary = summarise(kept, basis).all()
        return cls(kept, summary.coarse(), null_shift(summary, basis))

    def moved(self, weights: Weights) -> Moved:
        """How far weights of the same shape are from here."""
        if not (np.isfinite(weights).all() and np.isfinite(self.weights).all()):
            return UNKNOWN
        change = compare_weights(self.weights, weights)[0]
        if self.counts is None:
            return Moved(relative_l2=change.relative_l2, cosine=change.cosine)
        basis = reference_basis((weights.shape[2], weights.shape[3]))
        shift = float(shifts(self.counts, summarise(weights, basis).all().coarse(), basis))
        return Moved(shift, self.null, change.relative_l2, change.cosine)


def shifts(p: NDArray[Any], q: NDArray[Any], basis: Basis) -> NDArray[np.float64]:
    """D between histograms of shape ``(..., k, COARSE_BINS)``, of shape ``(...)``."""
    width = 2 * basis.reach / COARSE_BINS
    return divergence(
        smoothed(p, width=width), smoothed(q, width=width), basis.explained_variance_ratio
    )


def null_shift(summary: Summary, basis: Basis) -> float | None:
    """The D that two populations of one distribution hardly exceed (95th percentile).

    Both have as many filters as the layer, and its distribution: its histograms smoothed by
    Silverman's rule, since few filters leave bins empty that their likes would fill. Components
    are drawn apart from one another, as D takes them. Within a fifth of what fresh uniform, normal
    or trained-like filters have, from 8 to 10,000 of them, and rather above it.

    It is conservative: filters that have moved a little resemble their start more than fresh ones
    do. (``filterdb.diff`` exchanges before and after filter by filter, which finds smaller shifts
    and takes longer.)

    Parameters
    ----------
    summary
        Of the layer.
    basis
        That of the summary.

    Returns
    -------
    float or None
        None for no filters. Equal layers have equal nulls: the draws have a seed of their own.
    """
    if not summary.n:
        return None
    density = [smooth_density(row, -basis.reach, basis.reach) for row in summary.counts]
    shares = coarse(np.array(density))
    shares /= shares.sum(axis=-1, keepdims=True)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS // BLOCK):
        p, q = rng.multinomial(summary.n, shares, size=(2, BLOCK, len(shares)))
        found.append(shifts(p, q, basis))
    return float(np.quantile(np.concatenate(found), 0.95))
