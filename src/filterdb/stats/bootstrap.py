"""How sure a shift is: an interval from resampling the units that two groups are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.null import BLOCK, Array, Flags, Times, Units
from filterdb.stats.shift import divergence, smoothed

LEVEL = 0.95
FEWEST = 3
"""Two units a group cover 66 % instead of 95 %: that is no interval."""
ROUGH = 10
"""Intervals of groups of fewer units are called rough; their coverage may be below 90 %."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of the shift between the populations that the groups are samples of.

    Attributes
    ----------
    low, high
        Its ends, not negative; None where there is no interval. The observed shift may lie above
        ``high``: it is biased upwards, and the interval is not.
    replicates
        Number of resamples.
    reason
        A clause that says why there is none, or why it is a rough one; else None.
    """

    low: float | None
    high: float | None
    replicates: int
    reason: str | None


def bootstrap_interval(
    p_parts: NDArray[Any],
    q_parts: NDArray[Any],
    weights: NDArray[Any],
    *,
    width: float,
    in_p: Flags,
    in_q: Flags,
    replicates: int = 200,
    seed: int = 0,
    unit: str = "model",
) -> Interval:
    """Estimate the shift between two populations, of which the units are samples.

    Units in P alone, in Q alone, and in both are resampled each among themselves; those in both
    keep their two parts together.

    Parameters
    ----------
    p_parts, q_parts, weights, width, in_p, in_q, seed, unit
        As in :func:`filterdb.stats.null.permutation_null`.
    replicates
        Number of resamples.

    Raises
    ------
    ValueError
        The shapes do not match, or ``replicates`` is not positive.

    Notes
    -----
    A shift between samples is too large on average, and that between resamples of them is so
    twice over. So the interval goes from the 2.5th to the 97.5th percentile of the resampled
    ``D*``, less ``2 b``, where ``b = mean(D*) - D`` is the bias (Efron & Tibshirani 1993, chapter
    10), and is cut off at 0. ``n`` units are resampled by ``n - 1`` draws that count
    ``n / (n - 1)`` each (Rao & Wu 1988): with ``n`` draws the interval of five models covers
    90 % in place of 96 %.

    That was the best of what was compared by simulation: models with distributions of their own
    around their group's (location and scale of each component), of 20,000 filters, or of sizes
    that differ by the factor e, and true shifts of 0.004 to 0.19. Coverage, on average and at
    worst, with 20 and 100 models a group:

    ================================= ============= ====================
    interval                          true D > 0    true D = 0, average
    ================================= ============= ====================
    percentile                        0.38 (0.00)   0.00
    bias-corrected percentile (BC)    0.49 (0.00)   0.00
    basic                             0.95 (0.88)   1.00
    basic, of log D                   0.61 (0.00)   0.00
    basic, of the root of D           0.86 (0.52)   0.38
    D less bias +- 1.96 s, jackknife  0.94 (0.89)   0.98
    percentile less 2 b (this)        0.97 (0.92)   0.99
    ================================= ============= ====================

    With ten models it is 0.95 (0.88), with five 0.96 (0.90); with ten that are in both groups
    0.94 (0.89); with six of which two are, 0.89 (0.83).
    """
    if replicates < 1:
        msg = f"An interval needs at least one replicate, not {replicates}."
        raise ValueError(msg)
    units = Units.of(p_parts, q_parts, in_p=in_p, in_q=in_q)
    only_p, only_q, both = units.numbers
    if units.fewest < FEWEST:
        return Interval(None, None, 0, f"a group of fewer than {FEWEST} {unit}s is not resampled")
    too_few = f"too few {unit}s to be resampled"
    if both < 2 and min(only_p, only_q) < 2:
        return Interval(None, None, 0, too_few)
    p, q = (smoothed(side, width=width) for side in units.observed())
    shift = float(divergence(p, q, weights))
    if math.isnan(shift):
        return Interval(None, None, 0, "a group without filters has no shift")
    drawn = np.concatenate(
        [
            divergence(
                smoothed(units.sums(times_p), width=width),
                smoothed(units.sums(times_q), width=width),
                weights,
            )
            for times_p, times_q in resamples(units, replicates, seed)
        ]
    )
    drawn = drawn[~np.isnan(drawn)]  # a side may get nothing but units without filters
    if not drawn.size:
        return Interval(None, None, 0, too_few)
    bias = float(drawn.mean()) - shift
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - 2 * bias
    rough = f"an interval from {units.fewest} {unit}s is a rough one"
    return Interval(
        max(0.0, float(low)),
        max(0.0, float(high)),
        drawn.size,
        rough if units.fewest < ROUGH else None,
    )


def resamples(units: Units, replicates: int, seed: int) -> Iterator[tuple[Times, Times]]:
    """How many times each part is in P, and in Q; block by block."""
    rng = np.random.default_rng(seed)
    height = max(1, BLOCK // max(sum(units.numbers), units.columns))
    for start in range(0, replicates, height):
        number = min(height, replicates - start)
        only_p, only_q, both = (drawn_times(n, number, rng) for n in units.numbers)
        none = np.zeros((number, 0))
        yield (only_p, none, both, none), (none, only_q, none, both)


def drawn_times(n: int, number: int, rng: np.random.Generator) -> Array:
    """How many times each of ``n`` units counts in a resample; shape ``(number, n)``, mean 1.

    One draw less than there are units, and each counts for more by as much: drawing all ``n``
    would show a share ``1/n`` too little of the variance and of the bias.
    """
    if n < 2:
        return np.ones((number, n))
    picks = rng.integers(0, n, (number, n - 1)) + np.arange(number)[:, None] * n
    times = np.bincount(picks.reshape(-1), minlength=number * n).reshape(number, n)
    return np.multiply(times, n / (n - 1), dtype=np.float64)
