"""How much keys explain: of filters that they were not found on, and beside what chance does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.fit import BLOCK, best_view
from filterdb.keys.search.found import (
    MEAN,
    THRESHOLDS,
    Claim,
    Control,
    CurvePoint,
    Explained,
    GroupCoverage,
    NetworkCoverage,
)
from filterdb.keys.search.methods import Method, nested_keys
from filterdb.keys.search.passes import R2_BINS
from filterdb.keys.search.sample import NOT_GIVEN, Sample

Array = NDArray[np.float64]
Unit = NDArray[np.float32]

TRAINED_ON = 20_000
"""Filters, at most, on which the keys of a curve are found: those of a control are as many."""
REPLICATES = 2000
FEWEST_GROUPS = 5
"""Groups without which an interval over groups says nothing."""
NORMAL_95 = 1.96
"""Standard errors on either side of a 95 % interval."""
TIE = 1e-6
"""Below a threshold that still counts as reaching it: what rounding to float32 does."""


@dataclass(slots=True, eq=False)
class HeldOut:
    """R² of every filter of a sample by keys that were found without its group.

    Attributes
    ----------
    sample
        The filters.
    fold
        Half that each filter is in, shape ``(n,)``.
    r2
        Number of keys -> R² of each filter, float32 of shape ``(n,)``.
    keys
        Number of keys -> those found without the first half, and without the second.
    """

    sample: Sample
    fold: NDArray[np.int8]
    r2: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    keys: dict[int, tuple[Array, Array]] = field(default_factory=dict)


def held_out(
    sample: Sample, ladder: Sequence[int], *, method: Method, same: Equivalence, seed: int
) -> HeldOut:
    """Find keys on either half of the groups, and try them on the other.

    Parameters
    ----------
    sample
        The filters.
    ladder
        Numbers of keys; those that a half has too few filters for are left out.
    method, same, seed
        As :func:`~filterdb.keys.search.methods.search` takes them.
    """
    result = HeldOut(sample, halves(sample.group_of_filter, seed))
    found = []
    for half in (0, 1):
        others = thinned(sample.unit[result.fold != half], TRAINED_ON, seed)
        found.append(
            nested_keys(others, ladder, sample.kernel, method=method, same=same, seed=seed)
        )
    for count in ladder:
        if all(count in keys for keys in found):
            result.keys[count] = (found[0][count], found[1][count])
            r2 = np.zeros(len(sample.unit), np.float32)
            for half in (0, 1):
                own = result.fold == half
                r2[own] = r2_of(sample.unit[own], found[half][count], sample.kernel, same)
            result.r2[count] = r2
    return result


def halves(groups: NDArray[np.intp], seed: int) -> NDArray[np.int8]:
    """Deal groups at random into two halves of about as many filters each.

    Parameters
    ----------
    groups
        Number of the group of each filter.
    seed
        Of the order in which they are dealt.

    Returns
    -------
    ndarray of int8, shape (n,)
        0 or 1 for each filter.
    """
    sizes = np.bincount(groups)
    side = np.zeros(len(sizes), np.int8)
    filled = [0, 0]
    for group in np.random.default_rng([seed, 5]).permutation(len(sizes)):
        side[group] = int(filled[1] < filled[0])
        filled[side[group]] += int(sizes[group])
    dealt: NDArray[np.int8] = side[groups]
    return dealt


def curve_of(
    held: HeldOut,
    controls: Mapping[str, Unit],
    *,
    method: Method,
    same: Equivalence,
    seed: int,
) -> tuple[CurvePoint, ...]:
    """What keys explain against their number, with chance beside it.

    Parameters
    ----------
    held
        Networks, explained by keys of other networks.
    controls
        Name -> kernels in normal form, of which one half finds keys and the other tries them.
    method, same, seed
        As for the networks.
    """
    kernel = held.sample.kernel
    chance: dict[str, dict[int, Array]] = {}
    tried: dict[str, Unit] = {}
    for name, unit in controls.items():
        half = len(unit) // 2
        chance[name] = nested_keys(
            unit[:half], list(held.r2), kernel, method=method, same=same, seed=seed
        )
        tried[name] = unit[half:]
    return tuple(
        CurvePoint(
            k=count,
            networks=explained(r2),
            layers=explained_layers(held.sample.layer, r2),
            controls={
                name: Control(
                    by_found=explained(r2_of(unit, held.keys[count][0], kernel, same)),
                    by_own=explained(r2_of(unit, chance[name][count], kernel, same)),
                )
                for name, unit in tried.items()
                if count in chance[name]
            },
        )
        for count, r2 in held.r2.items()
    )


def networks_of(held: HeldOut, count: int) -> tuple[NetworkCoverage, ...]:
    """Each network, explained by ``count`` keys of others, the best explained first."""
    sample, r2 = held.sample, held.r2[count]
    place = {name: number for number, name in enumerate(dict.fromkeys(sample.models))}
    of_layer = np.array([place[model] for model in sample.models])
    of_filter = of_layer[sample.layer]
    rows = []
    for name, number in place.items():
        layers = np.flatnonzero(of_layer == number)
        own = r2[of_filter == number]
        if len(own):
            group = sample.groups[layers[0]]
            shaped = int(sample.counts[layers, 0].sum())
            rows.append(NetworkCoverage(name, group, len(layers), shaped, explained(own)))
    return tuple(sorted(rows, key=lambda row: -row.explained.mean_r2))


def groups_of(held: HeldOut, count: int) -> tuple[GroupCoverage, ...]:
    """The layers of each group along each axis, explained by ``count`` keys of other networks."""
    sample, r2 = held.sample, held.r2[count]
    rows = []
    for axis, labels in sample.axes.items():
        given = sorted({label for label in labels if label != NOT_GIVEN}, key=lambda one: one[1])
        for label in [*given, NOT_GIVEN]:
            layers = np.array([own == label for own in labels])
            filters = r2[layers[sample.layer]]
            if len(filters):
                chosen = np.flatnonzero(layers)
                models = len({sample.models[layer] for layer in chosen})
                shaped = int(sample.counts[chosen, 0].sum())
                found = explained(filters)
                rows.append(GroupCoverage(axis, label[0], models, len(chosen), shaped, found))
    return tuple(rows)


def claims_of(held: HeldOut, point: CurvePoint, *, seed: int) -> tuple[Claim, ...]:
    """What is above chance: the interval over groups against the best of the controls."""
    sample, r2 = held.sample, held.r2[point.k]
    groups = sample.group_of_filter
    measures = [*(reached(r2, t).astype(np.float64) for t in THRESHOLDS), r2.astype(np.float64)]
    sums: Array = np.stack([np.bincount(groups, weights=one) for one in measures], axis=1)
    sizes: Array = np.bincount(groups).astype(np.float64)
    kept = sizes > 0
    low, high = bootstrap(sums[kept], sizes[kept], seed=seed)
    result = []
    for index, name in enumerate([*(f"R² >= {t:g}" for t in THRESHOLDS), MEAN]):
        by_control = {
            control: values_of(found.by_own)[index] for control, found in point.controls.items()
        }
        hardest = max(by_control, key=by_control.__getitem__)
        chance, tried = by_control[hardest], point.controls[hardest].by_own.filters
        lower = None if low is None else float(low[index])
        result.append(
            Claim(
                measure=name,
                value=values_of(point.networks)[index],
                low=lower,
                high=None if high is None else float(high[index]),
                chance=chance,
                control=hardest,
                above=None if lower is None else lower > at_most(chance, tried, mean=name == MEAN),
            )
        )
    return tuple(result)


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
        return chance + NORMAL_95 * 0.5 / math.sqrt(n)
    square = NORMAL_95**2
    error = NORMAL_95 * math.sqrt(chance * (1 - chance) / n + square / (4 * n * n))
    return (chance + square / (2 * n) + error) / (1 + square / n)


def values_of(found: Explained) -> tuple[float, ...]:
    """The shares, then the mean."""
    return (*found.shares, found.mean_r2)


def bootstrap(sums: Array, sizes: Array, *, seed: int) -> tuple[Array, Array] | tuple[None, None]:
    """95 % percentile interval of ratios of sums, with whole groups drawn anew.

    Parameters
    ----------
    sums
        Of each group, shape ``(G, M)``.
    sizes
        Filters of each group, shape ``(G,)``.
    seed
        Of the draws.

    Returns
    -------
    low, high : ndarray of float64, shape (M,)
        None where there are fewer than :data:`FEWEST_GROUPS` groups.
    """
    count = len(sizes)
    if count < FEWEST_GROUPS:
        return None, None
    rng = np.random.default_rng([seed, 6])
    found = []
    for _ in range(REPLICATES):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        found.append((drawn @ sums) / (drawn @ sizes))
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return low, high


def explained(r2: NDArray[np.floating]) -> Explained:
    """Shares and mean of R² of some filters."""
    shares = tuple(float(reached(r2, threshold).mean()) for threshold in THRESHOLDS)
    return Explained(len(r2), shares, float(r2.mean(dtype=np.float64)))


def explained_of(histogram: NDArray[np.int64], total: float) -> Explained:
    """The same from a histogram of R² and its sum."""
    filters = int(histogram.sum())
    above = [int(histogram[round(t * R2_BINS) :].sum()) for t in THRESHOLDS]
    return Explained(filters, tuple(n / filters for n in above), total / filters)


def explained_layers(layer: NDArray[np.intp], r2: NDArray[np.floating]) -> tuple[float, ...]:
    """Share of the layers of which at least half of the filters reach each threshold."""
    sizes = np.bincount(layer)
    some = sizes > 0
    result = []
    for threshold in THRESHOLDS:
        above = np.bincount(layer, weights=reached(r2, threshold), minlength=len(sizes))
        result.append(float((2 * above[some] >= sizes[some]).mean()))
    return tuple(result)


def reached(r2: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Which filters have R² of at least a threshold."""
    above: NDArray[np.bool_] = r2 >= threshold - TIE
    return above


def r2_of(unit: Unit, keys: Array, kernel: Kernel, same: Equivalence) -> NDArray[np.float32]:
    """R² of filters in normal form with their best key, float32 of shape ``(n,)``."""
    views = same.views(keys, kernel)
    flat = views.reshape(-1, views.shape[2])
    result = np.zeros(len(unit), np.float32)
    for begin in range(0, len(unit), BLOCK):
        _, cosine = best_view(unit[begin : begin + BLOCK], flat, signed=same.signed)
        np.minimum(np.square(cosine), 1, out=result[begin : begin + BLOCK])
    return result


def thinned(unit: Unit, most: int, seed: int) -> Unit:
    """At most so many of the filters, drawn at random."""
    if len(unit) <= most:
        return unit
    rng = np.random.default_rng([seed, 7])
    return unit[np.sort(rng.choice(len(unit), most, replace=False))]
