"""Pairs of groups beside what chance reaches: which are farther apart, and by what test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from filterdb.population.shift_matrix import ShiftMatrix

FEW_PAIRS = 10
"""Fewer pairs are told one by one; of these a count of those above their null says little."""
BY_CHANCE = 0.05
"""Share of pairs that lie above the 95th percentile of their null by chance."""
ACCIDENT = 0.01
"""Below this probability so many pairs above their null are taken for more than chance."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups, and whether they lie farther apart than chance.

    Attributes
    ----------
    a, b
        Their names.
    shift, low, high
        D and its interval; the latter None where there is none.
    chance
        What D has to exceed; None where there is nothing to compare with.
    test
        ``"networks"``: random groups of networks, the fair test; ``"layers"``: of layers, which
        are more alike than networks are; ``"few"``: a group has too few filters for any test;
        ``"none"``: too few layers to make random groups.
    above
        Whether D exceeds chance.
    """

    a: str
    b: str
    shift: float
    low: float | None
    high: float | None
    chance: float | None
    test: str
    above: bool

    @property
    def tested(self) -> bool:
        """Whether there is a test of it."""
        return self.test in ("networks", "layers")

    @property
    def named(self) -> str:
        """The two, as a sentence has them."""
        return f"{self.a} and {self.b}"

    @property
    def numbers(self) -> str:
        """D beside chance."""
        return f"D {self.shift:.3f}, chance {self.chance:.3f}"


def pairs(shift: ShiftMatrix) -> list[Pair]:
    """Pairs with a D: those above a fair null first, then the other ones above theirs."""
    found = []
    names = [group.name for group in shift.groups]
    few, null, above = shift.few, shift.null_p95, shift.distinguishable
    for i, j in combinations(range(len(names)), 2):
        if not np.isfinite(shift.matrix[i, j]):
            continue
        if few[i] or few[j]:
            test = "few"
        elif np.isfinite(shift.null_models_p95[i, j]):
            test = "networks"
        else:
            test = "layers" if np.isfinite(null[i, j]) else "none"
        found.append(
            Pair(
                names[i],
                names[j],
                float(shift.matrix[i, j]),
                known(shift.low[i, j]),
                known(shift.high[i, j]),
                known(null[i, j]),
                test,
                bool(above[i, j]) and test in ("networks", "layers"),
            )
        )
    order = ("networks", "layers", "none", "few")
    return sorted(found, key=lambda pair: (not pair.above, order.index(pair.test), -pair.shift))


def known(value: float) -> float | None:
    """A number, or None for NaN."""
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of groups by how they can be tested, and how many lie above their null.

    Attributes
    ----------
    pairs
        All of them.
    fair, fair_above
        Against random groups of networks.
    lenient, lenient_above
        Against random groups of layers only, which are more alike than networks are.
    """

    pairs: int
    fair: int
    fair_above: int
    lenient: int
    lenient_above: int

    @classmethod
    def of(cls, shift: ShiftMatrix) -> Pairs:
        """Count the pairs of a shift."""
        found = pairs(shift)
        groups = len(shift.groups)
        counts = [
            number
            for test in ("networks", "layers")
            for own in [[pair.above for pair in found if pair.test == test]]
            for number in (len(own), sum(own))
        ]
        return cls(groups * (groups - 1) // 2, *counts)

    @property
    def tested(self) -> tuple[int, int]:
        """Pairs and those above chance, by the fair test where there is one."""
        return (self.fair, self.fair_above) if self.fair else (self.lenient, self.lenient_above)

    @property
    def moved(self) -> bool:
        """Whether a fair test finds more than chance."""
        if not self.fair_above:
            return False
        return self.fair < FEW_PAIRS or by_accident(self.fair_above, self.fair) < ACCIDENT


def by_accident(above: int, total: int) -> float:
    """Probability of so many pairs above their null by chance, were they independent."""
    return sum(
        math.comb(total, k) * BY_CHANCE**k * (1 - BY_CHANCE) ** (total - k)
        for k in range(above, total + 1)
    )
