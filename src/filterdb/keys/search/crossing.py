"""Filters explained by keys of others: either half of the groups by keys found on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.fit import nearest_keys
from filterdb.keys.search.methods import Method, nested_keys
from filterdb.keys.search.sample import Sample, thinned

Array = NDArray[np.float64]
Unit = NDArray[np.float32]

TRAINED_ON = 20_000
"""Filters, at most, on which the keys of a curve are found: those of a control are as many."""


@dataclass(slots=True, eq=False)
class Crossed:
    """R² of filters by keys that were found without their half of the groups.

    Attributes
    ----------
    unit
        The filters in normal form, ``(n, k)``.
    fold
        Half that each filter is in, shape ``(n,)``.
    group
        What each was held out with, shape ``(n,)``.
    r2
        Number of keys -> R² of each filter, float32 of shape ``(n,)``.
    keys
        Number of keys -> those found without the first half, and without the second.
    """

    unit: Unit
    fold: NDArray[np.int8]
    group: NDArray[np.intp]
    r2: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    keys: dict[int, tuple[Array, Array]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class HeldOut(Crossed):
    """The filters of networks, by keys of others.

    Attributes
    ----------
    sample
        Where the filters are from.
    controls
        Name -> kernels in which there is less to find, gone about in the same way. Most stand
        for a filter of the networks each, in its half and its group.
    """

    sample: Sample = field(kw_only=True)
    controls: dict[str, Crossed] = field(default_factory=dict)


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
    groups = sample.group_of_filter
    result = HeldOut(sample.unit, halves(groups, seed), groups, sample=sample)
    cross(result, ladder, sample.kernel, method=method, same=same, seed=seed)
    return result


def cross(
    filters: Crossed,
    ladder: Sequence[int],
    kernel: Kernel,
    *,
    method: Method,
    same: Equivalence,
    seed: int,
) -> None:
    """Find keys of each number on either half, and take the R² of the other half by them."""
    found = []
    for half in (0, 1):
        others = thinned(filters.unit[filters.fold != half], TRAINED_ON, stream=(seed, 7))
        found.append(nested_keys(others, ladder, kernel, method=method, same=same, seed=seed))
    for count in ladder:
        if all(count in keys for keys in found):
            pair = (found[0][count], found[1][count])
            filters.keys[count] = pair
            filters.r2[count] = crossed_r2(filters, pair, kernel, same)


def crossed_r2(
    filters: Crossed, pair: tuple[Array, Array], kernel: Kernel, same: Equivalence
) -> NDArray[np.float32]:
    """R² of the first half by the first of two sets of keys, and of the second by the second."""
    r2 = np.zeros(len(filters.unit), np.float32)
    for half in (0, 1):
        own = filters.fold == half
        r2[own] = nearest_keys(filters.unit[own], pair[half], kernel, same)[1]
    return r2


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
