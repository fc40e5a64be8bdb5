"""Two groups at a time: the nulls of their shift, and its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.bootstrap import Interval, bootstrap_interval
from filterdb.stats.null import Null, permutation_null
from filterdb.stats.sampling import effective_number, sampling_null
from filterdb.threads import map_in_threads

Pair = tuple[int, int]
SAMPLES, FEWER_SAMPLES, MANY_FILTERS = 100, 40, 100_000
"""Samples of as few filters as a group has: where it has many, they lie near one another."""


@dataclass(frozen=True, slots=True)
class PairStatistics:
    """What stands beside the shift of two groups.

    Attributes
    ----------
    layers, models
        Its nulls under permutations of either.
    filters
        Its null for samples of so few filters.
    interval
        Bootstrap interval over models.
    """

    layers: Null
    models: Null
    filters: Null
    interval: Interval


class Units:
    """Layers in groups, and the models that they are parts of: what is permuted.

    Parameters
    ----------
    counts
        Histograms of the layers, shape ``(L, k, bins)``.
    group, model
        Group and model of each layer, shape ``(L,)``; groups are numbered from 0.
    n
        Filters of each layer, shape ``(L,)``.
    by_layers
        Whether each layer counts once, whatever its filters.
    """

    def __init__(
        self,
        counts: NDArray[np.float32],
        group: NDArray[np.intp],
        model: NDArray[np.int64],
        n: NDArray[np.int64],
        *,
        by_layers: bool = False,
    ) -> None:
        self._n, self._of_group, self._by_layers = n, group, by_layers
        order = np.lexsort((model, group))
        self.counts, self.group, self.model = counts[order], group[order], model[order]
        # The part that each model has in each group, in the same order.
        starts = np.flatnonzero(
            (np.diff(self.group, prepend=-1) != 0) | (np.diff(self.model, prepend=-1) != 0)
        )
        self.part_group, self.part_model = self.group[starts], self.model[starts]
        self.parts: NDArray[np.float64] = np.add.reduceat(
            self.counts, starts, axis=0, dtype=np.float64
        )

    def totals(self, groups: int) -> NDArray[np.float64]:
        """Histograms of the groups, float64 of shape ``(groups, k, bins)``."""
        totals = np.zeros((groups, *self.counts.shape[1:]))
        np.add.at(totals, self.part_group, self.parts)
        return totals

    def statistics(
        self, pair: Pair, weights: NDArray[np.float64], *, width: float, draws: int, seed: int
    ) -> PairStatistics:
        """Nulls and interval of two groups."""
        p, q = pair
        setting: dict[str, Any] = {"width": width, "seed": seed}
        layers = permutation_null(
            self.counts,
            self.counts,
            weights,
            in_p=self.group == p,
            in_q=self.group == q,
            permutations=draws,
            unit="layer",
            **setting,
        )
        models = np.union1d(self._models_of(p), self._models_of(q))
        p_parts, in_p = self._parts_of(p, models)
        q_parts, in_q = self._parts_of(q, models)
        n_p, n_q = self._filters_of(p), self._filters_of(q)
        filters = sampling_null(
            p_parts.sum(axis=0),
            q_parts.sum(axis=0),
            weights,
            n_p=n_p,
            n_q=n_q,
            draws=SAMPLES if min(n_p, n_q) < MANY_FILTERS else FEWER_SAMPLES,
            **setting,
        )
        setting |= {"in_p": in_p, "in_q": in_q}
        return PairStatistics(
            layers,
            permutation_null(p_parts, q_parts, weights, permutations=draws, **setting),
            filters,
            bootstrap_interval(p_parts, q_parts, weights, replicates=draws, **setting),
        )

    def _filters_of(self, group: int) -> float:
        n = self._n[self._of_group == group]
        return effective_number(n) if self._by_layers else float(n.sum())

    def _models_of(self, group: int) -> NDArray[np.int64]:
        models: NDArray[np.int64] = self.part_model[self.part_group == group]
        return models

    def _parts_of(
        self, group: int, models: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What each model gives to a group, zeros where nothing, and whether it is in it."""
        mine = self.part_group == group
        inside = np.isin(models, self.part_model[mine])
        parts = np.zeros((models.size, *self.parts.shape[1:]))
        parts[inside] = self.parts[mine]  # both are sorted by model
        return parts, inside


def pair_statistics(
    units: Units,
    pairs: Sequence[Pair],
    weights: NDArray[np.float64],
    *,
    width: float,
    draws: int,
    seed: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[PairStatistics]:
    """Nulls and interval of every pair, side by side in threads.

    Parameters
    ----------
    units
        What is permuted.
    pairs
        Numbers of two groups each.
    weights, width
        As :func:`filterdb.stats.shift.shift_matrix` takes them.
    draws
        Random splits for each null, and replicates of each interval.
    seed
        Of the first pair; each pair has its own random numbers.
    progress
        Called with the number of pairs done, their total, and nothing.
    """
    done = 0

    def one(position: int) -> PairStatistics:
        nonlocal done
        found = units.statistics(
            pairs[position], weights, width=width, draws=draws, seed=seed + position
        )
        done += 1
        if progress is not None:
            progress(done, len(pairs), "")
        return found

    return map_in_threads(one, range(len(pairs)))
