"""K-means on lines: the keys that explain as much of the filters as so many keys can.

A filter in normal form stands for a line through the origin, since ``a x + b`` of a key is the
same key for any ``a``. The mean of R² (the squared cosine with the best key) is what is made as
large as may be: diametrical clustering (Dhillon, Marcotte and Roshan 2003), k-means with the line
that is nearest to its members in place of their mean. A step never makes it
smaller, but for moves that lose taps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.fit import BLOCK, best_view
from filterdb.keys.normal import canonical

Unit = NDArray[np.float32]
Array = NDArray[np.float64]

POOL = 8192
"""Filters from which a start is drawn."""
MOST_STEPS = 100
ENOUGH, PATIENCE = 1e-6, 2
"""Gain of the mean R² below which a step was idle, and idle steps after which it ends."""
PLACED_BY, PLACING, WORTH = 512, 3, 1e-3
"""Filters by which keys are moved to their place, steps after each move, and gain to keep it."""
ROUNDS = 2
"""How often each key may be moved."""
LOST, RIDGE = 1e-6, 1e-9
"""Norm below which a move has lost a key, and what keeps the solution for a key well posed."""


@dataclass(slots=True, eq=False)
class Step:
    """Sums over filters from which the next keys follow; those of two blocks are added.

    Attributes
    ----------
    pull
        Sums of the filters that are nearest to each move of each key, weighed with their
        cosines, float64 of shape ``(K, V, k)``.
    explained
        Sums of their R², shape ``(K, V)``.
    members
        How many they are, shape ``(K, V)``.
    """

    pull: Array
    explained: Array
    members: NDArray[np.int64]

    def add(self, other: Step) -> None:
        """Add the sums over other filters."""
        self.pull += other.pull
        self.explained += other.explained
        self.members += other.members

    @property
    def mean_r2(self) -> float:
        """Of all filters with their best key."""
        return float(self.explained.sum()) / max(int(self.members.sum()), 1)

    def next_keys(self, keys: Array, transforms: Unit) -> Array:
        """The keys after the step, shape ``(K, k)``; one without members stays where it is.

        The explained share of a key ``x`` is a sum over its moves ``T`` of
        ``(x' T' S T x) / (x' T' P T x)``, with the members' second moments ``S`` and ``P`` that
        takes the mean away. Where its gradient is zero, ``D x = g`` with the pull ``g`` and
        ``D`` the sum of ``T' P T``, each weighed with what its move explains; that is solved for
        ``x``. Moves that lose nothing have ``D = P``, and ``x`` is the pull itself.
        """
        projected = transforms - transforms.mean(axis=1, keepdims=True)  # P T
        found = keys.astype(np.float64)
        for index in range(len(keys)):
            if not self.members[index].any():
                continue
            moved = projected @ keys[index]
            norms = np.linalg.norm(moved, axis=1)
            there = norms > LOST
            weight = np.where(there, 1 / np.where(there, norms, 1), 0)
            pull = np.einsum("v,vij,vi->j", weight, projected, self.pull[index])
            share = np.square(weight) * self.explained[index]
            resist = np.einsum("v,vij,vik->jk", share, projected, projected)
            ridge = RIDGE * np.trace(resist) / len(pull)
            key = np.linalg.solve(resist + ridge * np.eye(len(pull)), pull)
            key -= key.mean()
            norm = np.linalg.norm(key)
            if norm > 0:
                found[index] = key / norm
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Keys that k-means on lines has come to.

    Attributes
    ----------
    keys
        Mean 0, norm 1, float64 of shape ``(K, k)``; the one with the most filters first.
    mean_r2
        Of the filters, with their best key.
    members
        Number of filters of each key.
    steps
        How many it took.
    """

    keys: Array
    mean_r2: float
    members: NDArray[np.int64]
    steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Accumulator:
    """Adds up a step over blocks of filters.

    Parameters
    ----------
    keys
        Shape ``(K, k)``, mean 0 and norm 1.
    kernel
        Height and width.
    same
        What does not matter.
    """

    keys: Array
    kernel: Kernel
    same: Equivalence = field(default_factory=Equivalence)

    def step(self, blocks: Iterable[Unit]) -> Step:
        """Go through filters in normal form."""
        count, taps = self.keys.shape
        views = self.same.views(self.keys, self.kernel)
        moves = views.shape[1]
        flat = views.reshape(-1, taps)
        pulled = np.zeros((len(flat), taps))
        explained = np.zeros(len(flat))
        members = np.zeros(len(flat), np.int64)
        for block in blocks:
            best, cosine = best_view(block, flat, signed=self.same.signed)
            # One product instead of a sum for each key: a row has its cosine where its key is.
            weights = np.zeros((len(block), len(flat)), np.float32)
            weights[np.arange(len(block)), best] = cosine
            pulled += weights.T @ block
            explained += np.bincount(best, weights=np.square(cosine), minlength=len(flat))
            members += np.bincount(best, minlength=len(flat))
        shape = (count, moves)
        return Step(pulled.reshape(*shape, taps), explained.reshape(shape), members.reshape(shape))


def find_lines(
    unit: Unit,
    count: int,
    kernel: Kernel,
    *,
    same: Equivalence | None = None,
    seed: int = 0,
    start: Array | None = None,
    steps: int = MOST_STEPS,
) -> Lines:
    """K-means on lines, from one start.

    Parameters
    ----------
    unit
        Filters in normal form, float32 of shape ``(n, k)``.
    count
        Number of keys.
    kernel
        Height and width.
    same
        What does not matter besides offset and strength; the sign if not given.
    seed
        Of the start: filters drawn one after the other, each with a chance in proportion to
        what those before leave unexplained (as k-means++).
    start
        Keys to start from instead.
    steps
        At most.

    Raises
    ------
    ValueError
        There are fewer filters than keys.
    """
    equivalence = same or Equivalence()
    if len(unit) < count:
        msg = f"{len(unit)} filters cannot give {count} keys"
        raise ValueError(msg)
    begin = start if start is not None else spread_start(unit, count, kernel, equivalence, seed)
    if equivalence.shifts:
        begin = _well_placed(np.asarray(begin, np.float64), unit, kernel, equivalence)
    found = _climb(np.asarray(begin, np.float64), unit, kernel, equivalence, steps)
    order = np.argsort(-found.members, kind="stable")
    keys = found.keys[order]
    if not equivalence.signed:
        keys = canonical(keys)
    return Lines(keys, found.mean_r2, found.members[order], found.steps)


def _climb(keys: Array, unit: Unit, kernel: Kernel, same: Equivalence, steps: int) -> Lines:
    """Steps from given keys until they bring no more; the best keys on the way."""
    transforms = same.transforms(kernel)
    best = Lines(keys, -1.0, np.zeros(len(keys), np.int64), 0)
    taken = idle = 0
    while taken < steps and idle < PATIENCE:
        taken += 1
        found = Accumulator(keys, kernel, same).step(blocks_of(unit))
        gain = found.mean_r2 - best.mean_r2
        # Moves that lose taps (shifts) may lose a little on the way; the best keys are kept.
        if gain > 0:
            best = Lines(keys, found.mean_r2, found.members.sum(axis=1), taken)
        idle = idle + 1 if gain < ENOUGH else 0
        keys = found.next_keys(keys, transforms)
    return best


def _well_placed(keys: Array, unit: Unit, kernel: Kernel, same: Equivalence) -> Array:
    """Keys moved by a pixel, one at a time, wherever that explains more.

    A key that starts at the rim of what it may be moved to explains half of its copies at most,
    and no step leads from there to the middle. Tried on a few filters.
    """
    some = unit[:: max(1, len(unit) // PLACED_BY)]
    shifts = Equivalence(shifts=True)
    best = _climb(keys, some, kernel, same, PLACING)
    for _ in range(ROUNDS):
        before = best.mean_r2
        for index in range(len(keys)):
            views = shifts.views(best.keys[index : index + 1], kernel)[0]
            for view in views[1:]:
                moved = best.keys.copy()
                moved[index] = view
                found = _climb(moved, some, kernel, same, PLACING)
                if view.any() and found.mean_r2 > best.mean_r2 + WORTH:
                    best = found
        if best.mean_r2 == before:
            break
    return best.keys


def spread_start(unit: Unit, count: int, kernel: Kernel, same: Equivalence, seed: int) -> Array:
    """Filters to start from: each likely to be one that those before it do not explain."""
    rng = np.random.default_rng(seed)
    pool = unit if len(unit) <= POOL else unit[rng.permutation(len(unit))[:POOL]]
    trials = 2 + int(np.log(count))
    chosen: list[int] = []
    left = np.ones(len(pool))
    while len(chosen) < count:
        if left.sum() > 1e-9 * len(pool):
            drawn = rng.choice(len(pool), size=trials, p=left / left.sum())
        else:  # copies of one another: any will do
            drawn = rng.choice(np.setdiff1d(np.arange(len(pool)), chosen), size=1)
        # The best of a few, as scikit-learn does it: bad starts become rare.
        rests = [np.minimum(left, _unexplained(pool, int(one), kernel, same)) for one in drawn]
        best = int(np.argmin([rest.sum() for rest in rests]))
        chosen.append(int(drawn[best]))
        left = rests[best]
        left[chosen] = 0
    return pool[chosen].astype(np.float64)


def _unexplained(pool: Unit, one: int, kernel: Kernel, same: Equivalence) -> Array:
    """Share of each filter that one of them does not explain."""
    _, cosine = best_view(pool, same.views(pool[one : one + 1], kernel)[0], signed=same.signed)
    left: Array = np.clip(1 - np.square(cosine, dtype=np.float64), 0, 1)
    return left


def blocks_of(unit: Unit) -> Iterable[Unit]:
    """Filters, a block that stays in the cache at a time."""
    for begin in range(0, len(unit), BLOCK):
        yield unit[begin : begin + BLOCK]
