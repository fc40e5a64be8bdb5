"""The search for keys by each method: lines, greedy removal, and the papers' autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.extras import require
from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.normal import canonical
from filterdb.keys.search.found import CodeAxis
from filterdb.keys.search.greedy import remove_greedily
from filterdb.keys.search.lines import find_lines
from filterdb.keys.search.passes import StepJob, as_rows
from filterdb.keys.search.sample import Sample, thinned
from filterdb.population.preset import Scanning
from filterdb.scan.executors import executor_for
from filterdb.scan.run import scan
from filterdb.threads import map_in_threads
from filterdb.words import counted

Array = NDArray[np.float64]
Unit = NDArray[np.float32]
Method = Literal["lines", "autoencoder", "greedy"]
METHODS: tuple[Method, ...] = ("lines", "autoencoder", "greedy")

CANDIDATES = 50
"""From which greedy removal starts [METHODS 3.3, step 2]."""
GREEDY_SAMPLE = 20_000
"""Filters by which candidates are judged."""
PASSES = 6
"""Over all filters, at most, to refine what was found on a sample."""
ENOUGH = 1e-5
CURVE_STEPS = 40
"""Of k-means where the exact optimum does not matter."""


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What one method found.

    Attributes
    ----------
    keys
        ``(K, k)``, mean 0 and norm 1.
    starts
        What each seed came to, the one that became :attr:`keys` first.
    axis
        Of the autoencoder.
    """

    keys: Array
    starts: tuple[Array, ...]
    axis: CodeAxis | None = None


def search(
    unit: Unit, count: int, kernel: Kernel, *, method: Method, same: Equivalence, seeds: int = 1,
    seed: int = 0,
) -> Search:  # fmt: skip
    """Find keys by one of the methods, from several starts.

    Parameters
    ----------
    unit
        Filters in normal form, ``(n, k)``.
    count
        Number of keys.
    kernel
        Height and width.
    method
        ``"lines"``: k-means on lines. ``"greedy"``: 50 lines, and greedy removal down to
        ``count``. ``"autoencoder"``: 50 filters decoded along its one code, and the same.
    same
        What does not matter.
    seeds
        Number of starts; the best becomes the result.
    seed
        Of the first start.

    Raises
    ------
    KeySetError
        There are fewer distinct filters than keys.
    MissingExtraError
        The autoencoder was asked for, and torch is not installed.
    """
    check_count(unit, count, signed=same.signed)
    start = partial(
        _start, first=seed, unit=unit, count=count, kernel=kernel, method=method, same=same
    )
    # torch has threads, and a state, of its own.
    threads = 1 if method == "autoencoder" else None
    found = map_in_threads(start, range(seed, seed + seeds), threads=threads)
    found.sort(key=lambda result: -result[1])
    return Search(found[0][0], tuple(keys for keys, _, _ in found), found[0][2])


def check_count(unit: Unit, count: int, *, signed: bool) -> None:
    """Make sure that there can be so many keys.

    Raises
    ------
    KeySetError
        There are fewer distinct filters than keys.
    """
    distinct = distinct_filters(unit, count, signed=signed)
    if distinct < count:
        msg = (
            f"{count:,} keys were asked for, but the selection has {counted(distinct, 'filter')} "
            "that are no copies of one another. Ask for fewer (--k), or select more layers."
        )
        raise KeySetError(msg)


def distinct_filters(unit: Unit, enough: int, *, signed: bool) -> int:
    """How many filters are no copies of one another; no more are counted than is enough."""
    found = 0
    for some in (unit[: max(4096, 8 * enough)], unit):
        found = len(np.unique(np.round(some if signed else canonical(some), 3), axis=0))
        if found >= enough:
            break
    return found


def refined(
    keys: Array, sample: Sample, *, same: Equivalence, zero: float, scanning: Scanning
) -> tuple[Array, int]:
    """Keys that were found on a sample, after some steps over all filters of the population.

    Returns
    -------
    keys : ndarray of float64, shape (K, k)
    passes : int
        How many steps; 0 where the sample was all.
    """
    if sample.whole:
        return keys, 0
    best, reached, passes = keys, -1.0, 0
    transforms = same.transforms(sample.kernel)
    with executor_for(jobs=scanning.jobs, scheduler=scanning.scheduler) as executor:
        while passes < PASSES:
            passes += 1
            job = StepJob(as_rows(keys), sample.kernel, same, zero)
            found = (
                scanned.value
                for scanned in scan(
                    sample.parts, job, executor=executor, progress=scanning.progress
                )
            )
            step = next(found)
            for part in found:
                step.add(part)
            gain = step.mean_r2 - reached
            if gain > 0:
                best, reached = keys, step.mean_r2
            if gain < ENOUGH:
                break
            keys = step.next_keys(keys, transforms)
    return best, passes


def nested_keys(
    unit: Unit, counts: Sequence[int], kernel: Kernel, *, method: Method, same: Equivalence,
    seed: int = 0,
) -> dict[int, Array]:  # fmt: skip
    """Keys for several numbers of keys, from few starts each; numbers that cannot be are left out.

    Greedy removal goes through all numbers on its way down, so its candidates are found once.

    Parameters
    ----------
    unit, kernel, method, same, seed
        As :func:`search` takes them.
    counts
        Numbers of keys.
    """
    if method == "lines":
        possible = [count for count in counts if count <= len(unit)]
        if not possible:
            return {}
        starts = nested_keys(unit, possible, kernel, method="greedy", same=same, seed=seed)
        lines = partial(_from_greedy, unit=unit, kernel=kernel, same=same, seed=seed, starts=starts)
        # The longest first: no thread is left with it at the end.
        order = sorted(possible, reverse=True)
        return dict(zip(order, map_in_threads(lines, order), strict=True))
    some = thinned(unit, GREEDY_SAMPLE, stream=(seed, 4))
    candidates, _ = candidates_of(
        some, kernel, most=max(counts), method=method, same=same, seed=seed
    )
    least = min(*counts, len(candidates))
    removed = remove_greedily(some, candidates, least, kernel=kernel, same=same).removed
    result = {}
    for count in counts:
        if count <= len(candidates):
            gone = set(removed[: len(candidates) - count])
            kept = [index for index in range(len(candidates)) if index not in gone]
            result[count] = candidates[kept]
    return result


def candidates_of(
    some: Unit, kernel: Kernel, *, most: int, method: Method, same: Equivalence, seed: int
) -> tuple[Array, NDArray[np.int64]]:
    """What greedy removal starts from, and how many filters are nearest to each.

    Parameters
    ----------
    some
        Filters in normal form.
    most
        Keys that are wanted of them: greedy removal starts from twice as many, and from 50.
    kernel, method, same, seed
        As :func:`search` takes them.
    """
    if method == "autoencoder":
        require("torch", extra="torch")
        from filterdb.keys.torch.autoencoder import train_autoencoder

        trained = train_autoencoder(some, kernel, seed=seed, signed=same.signed)
        return trained.decoded.reshape(len(trained.decoded), -1), trained.counts
    wanted = max(CANDIDATES, 2 * most)
    many = min(wanted, distinct_filters(some, wanted, signed=same.signed))
    found = find_lines(some, many, kernel, same=same, seed=seed, steps=CURVE_STEPS)
    return found.keys, found.members


def _from_greedy(
    count: int,
    *,
    unit: Unit,
    kernel: Kernel,
    same: Equivalence,
    seed: int,
    starts: Mapping[int, Array],
) -> Array:
    """Lines that start from what greedy removal leaves: rarely worse than the best of many."""
    return find_lines(
        unit, count, kernel, same=same, seed=seed, start=starts.get(count), steps=CURVE_STEPS
    ).keys


Found = tuple[Array, float, CodeAxis | None]


def _start(
    seed: int,
    *,
    first: int,
    unit: Unit,
    count: int,
    kernel: Kernel,
    method: Method,
    same: Equivalence,
) -> Found:
    """Keys from one start, their mean R², and the axis of codes where there is one."""
    if method == "lines":
        begin = None
        if seed == first:  # greedy removal starts well, others show what else there is
            begin = nested_keys(unit, [count], kernel, method="greedy", same=same, seed=seed)
        start = begin.get(count) if begin else None
        found = find_lines(unit, count, kernel, same=same, seed=seed, start=start)
        return found.keys, found.mean_r2, None
    some = thinned(unit, GREEDY_SAMPLE, stream=(seed, 4))
    candidates, members = candidates_of(
        some, kernel, most=count, method=method, same=same, seed=seed
    )
    if count > len(candidates):
        msg = (
            f"The method {method!r} draws {len(candidates)} candidates and cannot give {count} "
            "keys. Ask for fewer (--k), or take the method lines."
        )
        raise KeySetError(msg)
    kept = remove_greedily(some, candidates, count, kernel=kernel, same=same)
    keys = candidates[list(kept.indices)]
    axis = None
    if method == "autoencoder":
        axis = CodeAxis(candidates.reshape(-1, *kernel), members, kept.indices)
    return (keys if same.signed else canonical(keys)), kept.mean_r2[-1], axis
