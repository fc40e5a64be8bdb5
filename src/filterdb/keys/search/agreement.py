"""Whether two searches found the same: keys matched one to one, and labellings compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.fit import nearest_keys
from filterdb.keys.search.found import Agreement
from filterdb.keys.search.greedy import r2_with_each

Array = NDArray[np.float64]

ALIKE = 0.95
"""Cosine from which two keys are taken for the same."""
CHANCE_DRAWS = 50


def agreement(
    keys: Array,
    others: Array,
    unit: NDArray[np.float32],
    *,
    kernel: Kernel,
    same: Equivalence,
    name: str,
) -> Agreement:
    """Compare two searches.

    Parameters
    ----------
    keys, others
        What they found, ``(K, k)`` and ``(L, k)`` in normal form.
    unit
        Filters that both label, in normal form.
    kernel, same
        Of the filters; what does not matter.
    name
        Of the other search.
    """
    matched = match(keys, others, kernel, same)
    labels = [nearest_keys(unit, found, kernel, same)[0] for found in (keys, others)]
    return Agreement(
        other=name,
        matched=float(matched.mean()),
        least=float(matched.min()),
        same=int((matched >= ALIKE).sum()),
        rand_index=adjusted_rand_index(*labels),
        chance_matched=chance_matched(len(keys), len(others), kernel, same),
    )


def matched_pairs(
    keys: Array, others: Array, kernel: Kernel, same: Equivalence
) -> list[tuple[int, int, float]]:
    """Keys matched one to one, the most alike first; as many pairs as the smaller set has keys.

    Returns
    -------
    list of tuple
        Index of the key, of its match, and their cosine (absolute, unless signed).
    """
    square = r2_with_each(keys.astype(np.float32), others, kernel, same=same)
    likeness = np.sqrt(square.astype(np.float64))
    found = []
    for _ in range(min(likeness.shape)):
        row, column = map(int, np.unravel_index(likeness.argmax(), likeness.shape))
        found.append((row, column, float(likeness[row, column])))
        likeness[row], likeness[:, column] = -1, -1
    return found


def match(keys: Array, others: Array, kernel: Kernel, same: Equivalence) -> Array:
    """Cosines of keys matched one to one, falling."""
    return np.array([cosine for _, _, cosine in matched_pairs(keys, others, kernel, same)])


def adjusted_rand_index(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Agreement of two labellings of the same things, beyond chance (Hubert and Arabie 1985).

    Returns
    -------
    float
        1 for the same partition, about 0 for unrelated ones; 1 where both have but one class.
    """
    table = np.zeros((int(first.max()) + 1, int(second.max()) + 1))
    np.add.at(table, (first, second), 1)
    together = _pairs(table)
    rows, columns = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    chance = rows * columns / max(_pairs(table.sum()), 1)
    most = (rows + columns) / 2
    return 1.0 if most == chance else float((together - chance) / (most - chance))


def chance_matched(count: int, others: int, kernel: Kernel, same: Equivalence) -> float:
    """Mean cosine of matched keys where both sets are random lines."""
    rng = np.random.default_rng(0)
    taps = kernel[0] * kernel[1]
    found = []
    for _ in range(CHANCE_DRAWS):
        sets = []
        for size in (count, others):
            drawn = rng.standard_normal((size, taps))
            drawn -= drawn.mean(axis=1, keepdims=True)
            sets.append(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
        found.append(match(sets[0], sets[1], kernel, same).mean())
    return float(np.mean(found))


def _pairs(counts: NDArray[np.floating] | float) -> float:
    """Number of pairs within groups of these sizes."""
    sizes = np.asarray(counts, np.float64)
    return float((sizes * (sizes - 1) / 2).sum())
