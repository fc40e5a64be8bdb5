"""The keys of two sets, matched one to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filterdb.keys.agreement import chance_matched
from filterdb.keys.greedy import r2_with_each
from filterdb.keys.key_set import KeySet


@dataclass(frozen=True, slots=True)
class Pair:
    """A key, and the key of the other set that is its match.

    Attributes
    ----------
    first, second
        Their indices.
    cosine
        Between them, absolute unless the first set is signed; the best of the moves that the
        first set takes for the same.
    """

    first: int
    second: int
    cosine: float


@dataclass(frozen=True, slots=True)
class Matching:
    """How the keys of two sets match.

    Attributes
    ----------
    pairs
        As many as the smaller set has keys, the most alike first.
    chance
        What the mean cosine is for as many random keys.
    """

    pairs: tuple[Pair, ...]
    chance: float

    @property
    def mean(self) -> float:
        """Mean cosine of the pairs."""
        return float(np.mean([pair.cosine for pair in self.pairs]))


def match_sets(first: KeySet, second: KeySet) -> Matching:
    """Match the keys of two sets, the most alike first.

    Raises
    ------
    KeySetError
        They are of different kernel sizes.
    """
    first.cosines(second)  # refuses other sizes
    same, kernel = first.equivalence, first.kernel
    likeness = np.sqrt(
        r2_with_each(first.flat.astype(np.float32), second.flat, kernel, same=same), dtype=float
    )
    pairs = []
    for _ in range(min(likeness.shape)):
        row, column = map(int, np.unravel_index(likeness.argmax(), likeness.shape))
        pairs.append(Pair(row, column, float(likeness[row, column])))
        likeness[row], likeness[:, column] = -1, -1
    return Matching(tuple(pairs), chance_matched(len(first), len(second), kernel, same))
