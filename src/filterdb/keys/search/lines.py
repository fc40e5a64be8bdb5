"""K-means on lines: the keys that explain as much of the filters as so many keys can.

A filter in normal form stands for a line through the origin, since ``a x + b`` of a key is the
same key for any ``a``. The mean of R² (the squared cosine with the best key) is what is made as
large as may be: diametrical clustering (Dhillon, Marcotte and Roshan 2003), k-means with the line
that is nearest to its members in place of their mean. A step never makes it smaller.
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
ENOUGH = 1e-6
"""Gain of the mean R² below which another step is not worth it."""


@dataclass(slots=True)
class Step:
    """Sums over filters from which the next keys follow; those of two blocks are added.

    Attributes
    ----------
    pull
        Sums of the members of each key, each weighed with its cosine and moved back to where
        the key lies, float64 of shape ``(K, k)``.
    explained
        Sum of R².
    members
        Number of filters of each key, shape ``(K,)``.
    n
        Number of filters.
    """

    pull: Array
    members: NDArray[np.int64]
    explained: float = 0.0
    n: int = 0

    @classmethod
    def of(cls, count: int, taps: int) -> Step:
        """No filters yet."""
        return cls(np.zeros((count, taps)), np.zeros(count, np.int64))

    def next_keys(self, keys: Array) -> Array:
        """The keys after the step, shape ``(K, k)``; one without members stays where it is."""
        norms = np.linalg.norm(self.pull, axis=1, keepdims=True)
        return np.where(norms > 0, self.pull / np.where(norms > 0, norms, 1), keys)


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
        transforms = self.same.transforms(self.kernel)
        moves = len(transforms)
        flat = views.reshape(-1, taps)
        total = Step.of(count, taps)
        pulled = np.zeros((len(flat), taps))
        members = np.zeros(len(flat), np.int64)
        for block in blocks:
            best, cosine = best_view(block, flat, signed=self.same.signed)
            # One product instead of a sum for each key: a row has its cosine where its key is.
            weights = np.zeros((len(block), len(flat)), np.float32)
            weights[np.arange(len(block)), best] = cosine
            pulled += weights.T @ block
            members += np.bincount(best, minlength=len(flat))
            total.explained += float(np.dot(cosine, cosine))
            total.n += len(block)
        # What lies along a moved key pulls the key itself by the move undone.
        back = np.einsum("vij,kvi->kj", transforms, pulled.reshape(count, moves, taps))
        total.pull += back - back.mean(axis=1, keepdims=True)
        total.members += members.reshape(count, moves).sum(axis=1)
        return total


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
    keys = start if start is not None else spread_start(unit, count, kernel, equivalence, seed)
    keys = np.asarray(keys, np.float64)
    best = (keys, -1.0, np.zeros(count, np.int64))
    taken = 0
    while taken < steps:
        taken += 1
        found = Accumulator(keys, kernel, equivalence).step(blocks_of(unit))
        explained = found.explained / found.n
        gain = explained - best[1]
        # Moves that lose taps (shifts) may lose a little on the way; the best keys are kept.
        if gain > 0:
            best = (keys, explained, found.members)
        if gain < ENOUGH:
            break
        keys = found.next_keys(keys)
    order = np.argsort(-best[2], kind="stable")
    chosen = best[0][order]
    if not equivalence.signed:
        chosen = canonical(chosen)
    return Lines(chosen, best[1], best[2][order], taken)


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
    start = pool[chosen].astype(np.float64)
    return _centred(start, kernel, same) if same.shifts else start


def _centred(keys: Array, kernel: Kernel, same: Equivalence) -> Array:
    """Keys moved so that most of their weight is in the middle: shifts then reach both ways."""
    views = same.views(keys, kernel).astype(np.float64)
    grid = np.indices(kernel).reshape(2, -1) - (np.array(kernel)[:, None] - 1) / 2
    weight = np.square(views)
    centre = (
        np.einsum("kvi,di->kvd", weight, grid) / np.maximum(weight.sum(axis=2), 1e-12)[..., None]
    )
    away = np.where(weight.any(axis=2), np.square(centre).sum(axis=2), np.inf)
    middle: Array = views[np.arange(len(keys)), away.argmin(axis=1)]
    return middle


def _unexplained(pool: Unit, one: int, kernel: Kernel, same: Equivalence) -> Array:
    """Share of each filter that one of them does not explain."""
    _, cosine = best_view(pool, same.views(pool[one : one + 1], kernel)[0], signed=same.signed)
    left: Array = np.clip(1 - np.square(cosine, dtype=np.float64), 0, 1)
    return left


def blocks_of(unit: Unit) -> Iterable[Unit]:
    """Filters, a block that stays in the cache at a time."""
    for begin in range(0, len(unit), BLOCK):
        yield unit[begin : begin + BLOCK]
