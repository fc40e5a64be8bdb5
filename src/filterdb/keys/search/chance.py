"""What given keys explain by chance: of kernels in which there is nothing to find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from filterdb.keys.key_set import KeySet
from filterdb.keys.search.controls import gaussian
from filterdb.keys.search.coverage import r2_of, reached
from filterdb.keys.search.found import THRESHOLDS

KERNELS = 50_000
"""Kernels that are drawn: their share is known to half a point at worst."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What keys explain of kernels of independent Gaussian weights.

    Attributes
    ----------
    kernels
        How many were drawn.
    coverage
        Share of them with R² of at least the threshold.
    mean_r2
        Mean of R².
    """

    kernels: int
    coverage: float
    mean_r2: float


def chance_of(keys: KeySet, *, threshold: float, n: int = KERNELS) -> Chance:
    """Label random kernels by a key set; the same ones whenever it is called.

    Parameters
    ----------
    keys
        The set, whose equivalence holds.
    threshold
        R² from which a kernel counts as a copy.
    n
        Number of kernels.
    """
    r2 = r2_of(gaussian(n, keys.kernel), keys.flat, keys.kernel, keys.equivalence)
    return Chance(len(r2), float(reached(r2, threshold).mean()), float(r2.mean(dtype=float)))


def hardest(metadata: Mapping[str, Any], threshold: float) -> tuple[float | None, float] | None:
    """The most that as many keys reached on a control when a set was found, from its metadata.

    Returns
    -------
    tuple of float, or None
        Share at the threshold (None where it is none of those that were tried), and mean R²;
        None where the metadata say nothing of the kind.
    """
    told = metadata.get("chance")
    controls = [] if not isinstance(told, Mapping) else [
        one for one in told.values() if isinstance(one, Mapping) and _is_number(one.get("mean_r2"))
    ]  # fmt: skip
    if not controls:
        return None
    share = None
    if threshold in THRESHOLDS:
        place = THRESHOLDS.index(threshold)
        shares = [one.get("shares") for one in controls]
        known = [found[place] for found in shares if isinstance(found, list | tuple)
                 and len(found) == len(THRESHOLDS) and _is_number(found[place])]  # fmt: skip
        share = max(known, default=None)
    return share, max(one["mean_r2"] for one in controls)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
