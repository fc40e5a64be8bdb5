"""What is above chance: shares of held-out filters less those of each control, with intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.search.coverage import reached, values_of
from filterdb.keys.search.crossing import Crossed, HeldOut
from filterdb.keys.search.found import MEAN, THRESHOLDS, Claim, CurvePoint

Array = NDArray[np.float64]

REPLICATES = 2000
FEWEST_GROUPS = 5
"""Groups without which an interval over groups says nothing."""
NORMAL_95 = 1.96
"""Standard errors on either side of a 95 % interval."""
LEAST_EXCESS = 0.005
"""Above chance, at the lower end of the interval, below which nothing is claimed: half a point is
of no use to anybody, and about what numbers of keys found by search can differ by."""


def claims_of(held: HeldOut, point: CurvePoint, *, seed: int) -> tuple[Claim, ...]:
    """What is above chance: networks less each control, with an interval over groups.

    The kernels of most controls stand for a filter each, so that the two are drawn together: a
    network whose filters are smoother than others' has a control that is.
    """
    count = point.k
    own = _sums(held, count, groups=int(held.group.max()) + 1)
    low, high = bootstrap(*own, seed=seed)
    above: dict[str, tuple[Array, Array] | tuple[None, None]] = {}
    for name in point.controls:
        control = held.controls[name]
        if control.group.size and control.group.max() < len(own[1]):
            other = _sums(control, count, groups=len(own[1]))
        else:  # groups of its own: a constant
            chance = np.array(values_of(point.controls[name].by_own))
            other = (own[1][:, None] * chance, own[1])
        above[name] = bootstrap(*own, *other, seed=seed)
    result = []
    for index, measure in enumerate([*(f"R² >= {t:g}" for t in THRESHOLDS), MEAN]):
        by_control = {
            name: values_of(found.by_own)[index] for name, found in point.controls.items()
        }
        least = {name: float(ends[0][index]) for name, ends in above.items() if ends[0] is not None}
        # The highest; but where another is not exceeded, that one.
        hardest = max(by_control, key=by_control.__getitem__)
        if min(least.values(), default=1.0) <= LEAST_EXCESS < least.get(hardest, 1.0):
            hardest = min(least, key=least.__getitem__)
        ends = above[hardest]
        result.append(
            Claim(
                measure=measure,
                value=values_of(point.networks)[index],
                low=None if low is None else float(low[index]),
                high=None if high is None else float(high[index]),
                chance=by_control[hardest],
                control=hardest,
                excess_low=least.get(hardest),
                excess_high=None if ends[1] is None else float(ends[1][index]),
                above=min(least.values()) > LEAST_EXCESS if least else None,
            )
        )
    return tuple(result)


def _sums(filters: Crossed, count: int, *, groups: int) -> tuple[Array, Array]:
    """Sums over the filters of each group of what is claimed of them, and their numbers."""
    r2 = filters.r2[count]
    measures = [*(reached(r2, t).astype(np.float64) for t in THRESHOLDS), r2.astype(np.float64)]
    sums = [np.bincount(filters.group, weights=one, minlength=groups) for one in measures]
    sizes = np.bincount(filters.group, minlength=groups).astype(np.float64)
    return np.stack(sums, axis=1), sizes


def at_most(chance: float, n: int, *, mean: bool) -> float:
    """Upper end of the 95 % interval of what a control came to, of which ``n`` kernels were tried.

    Parameters
    ----------
    chance
        A share, or a mean of R².
    n
        Number of kernels.
    mean
        Whether it is a mean: its error is at most that of numbers between 0 and 1. A share has
        the interval of Wilson (1927).
    """
    if mean:
        return min(chance + NORMAL_95 * 0.5 / math.sqrt(n), 1.0)
    square = NORMAL_95**2
    error = NORMAL_95 * math.sqrt(chance * (1 - chance) / n + square / (4 * n * n))
    return min((chance + square / (2 * n) + error) / (1 + square / n), 1.0)


def bootstrap(
    sums: Array,
    sizes: Array,
    other_sums: Array | None = None,
    other_sizes: Array | None = None,
    *,
    seed: int,
) -> tuple[Array, Array] | tuple[None, None]:
    """95 % interval of ratios of sums, or of their differences, with whole groups drawn anew.

    Percentiles of few groups are too narrow (five cover the truth in 80 of 100 cases), and are
    widened as Student's t interval is wider than the normal one.

    Parameters
    ----------
    sums
        Of each group, shape ``(G, M)``.
    sizes
        Filters of each group, shape ``(G,)``; a group without any is left out.
    other_sums, other_sizes
        Of the same groups, to be taken away.
    seed
        Of the draws.

    Returns
    -------
    low, high : ndarray of float64, shape (M,)
        None where there are fewer than :data:`FEWEST_GROUPS` groups.
    """
    kept = sizes > 0
    count = int(kept.sum())
    if count < FEWEST_GROUPS:
        return None, None
    tables = [(sums[kept], sizes[kept])]
    if other_sums is not None and other_sizes is not None:
        tables.append((other_sums[kept], other_sizes[kept]))

    def value(weights: Array) -> Array:
        ratios = [(weights @ part) / max(float(weights @ size), 1.0) for part, size in tables]
        total: Array = ratios[0] - ratios[1] if len(ratios) == 2 else ratios[0]
        return total

    rng = np.random.default_rng([seed, 6])
    found = [
        value(np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64))
        for _ in range(REPLICATES)
    ]
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    middle = value(np.ones(count))
    wider = student_95(count - 1) / NORMAL_95 * math.sqrt(count / (count - 1))
    least = -1.0 if len(tables) == 2 else 0.0
    return (
        np.clip(middle - wider * (middle - low), least, middle),
        np.clip(middle + wider * (high - middle), middle, 1.0),
    )


def student_95(freedom: int) -> float:
    """Quantile .975 of Student's t, to 1 % from four degrees of freedom on (Cornish and Fisher)."""
    z, f = 1.959964, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + terms[0] / f + terms[1] / f**2 + terms[2] / f**3
