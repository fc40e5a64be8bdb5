"""The keys of two sets, matched one to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filterdb.keys.key_set import KeySet
from filterdb.keys.search.agreement import chance_matched, matched_pairs


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
    found = matched_pairs(first.flat, second.flat, kernel, same)
    pairs = (Pair(*one) for one in found)
    return Matching(tuple(pairs), chance_matched(len(first), len(second), kernel, same))
