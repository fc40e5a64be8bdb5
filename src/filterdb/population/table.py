"""The layers of a population, with what was read of their summaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.basis import Basis


@dataclass(frozen=True, slots=True, eq=False)
class LayerTable:
    """The layers of a population with what was read of their summaries.

    Attributes
    ----------
    keys
        ``(model_id, layer_index)`` of each layer.
    weights
        What tells its weights: the hash of its model's, and the name of its tensor in these.
    values
        The columns asked for, one tuple a layer.
    n
        Filters of each layer that are in the population, int64 of shape ``(L,)``.
    arrays
        What was asked for, a row a layer: ``"coarse"`` counts float32 ``(L, k, 70)``,
        ``"fine"`` counts int64 ``(k, 560)`` already added up, ``"scaled"`` and ``"raw"``
        moments float64 ``(L, k + k (k + 1) / 2)``.
    basis
        What the histograms are in, as the same moment had it.
    left_out
        Why layers of the selection are not in it -> how many.
    states
        State of each layer's stored weights: ``"raw"``, ``"folded"``, ...; None where the
        catalogue does not say.
    scales
        What each layer is multiplied by, as the catalogue has it; None where it is as stored.
    """

    keys: list[tuple[int, int]]
    weights: list[tuple[str, str]]
    values: list[tuple[Any, ...]]
    n: NDArray[np.int64]
    arrays: dict[str, NDArray[Any]]
    basis: Basis
    left_out: dict[str, int] = field(default_factory=dict)
    states: list[str | None] = field(default_factory=list)
    scales: list[bytes | None] = field(default_factory=list)

    def take(self, chosen: Sequence[int]) -> LayerTable:
        """Some of the layers; fine histograms, which are added up, cannot be divided."""
        return replace(
            self,
            keys=[self.keys[index] for index in chosen],
            weights=[self.weights[index] for index in chosen],
            values=[self.values[index] for index in chosen],
            n=self.n[chosen],
            states=[self.states[index] for index in chosen],
            scales=[self.scales[index] for index in chosen],
            arrays={name: array[chosen] for name, array in self.arrays.items() if name != "fine"},
        )


def without_empty(table: LayerTable) -> LayerTable:
    """Leave out layers that have no filter left (all of them sparse)."""
    kept = np.flatnonzero(table.n).tolist()
    if len(kept) == len(table.keys):
        return table
    left_out = table.left_out | {"sparse filters only": len(table.keys) - len(kept)}
    whole = {name: array for name, array in table.arrays.items() if name == "fine"}
    taken = table.take(kept)
    return replace(taken, arrays=taken.arrays | whole, left_out=left_out)
