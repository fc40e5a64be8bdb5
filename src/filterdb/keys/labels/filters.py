"""The label of every single filter: key, ``a``, ``b``, R² and name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from filterdb.keys.fit import Fit
from filterdb.keys.key_set import THRESHOLD, KeySet
from filterdb.keys.labels.labels import check_threshold
from filterdb.keys.normal import CONSTANT_CLASS, SHAPED

OTHER, CONSTANT, ZERO = "other", "constant", "nearly zero"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFilters:
    """A layer with the fit of each of its filters.

    Attributes
    ----------
    model, layer, layer_index
        What it is.
    in_per_group
        Input channels that each output channel sees: 1 in a depthwise layer.
    keys
        The set.
    fit
        Key, move, ``a``, ``b`` and R² of each filter.
    """

    model: str
    layer: str
    layer_index: int
    in_per_group: int
    keys: KeySet
    fit: Fit

    def rows(self, *, threshold: float = THRESHOLD) -> Iterator[dict[str, Any]]:
        """A row a filter, as CSV has it.

        Parameters
        ----------
        threshold
            R² below which a filter's name is "other"; its best key is told all the same.

        Raises
        ------
        KeySetError
            The threshold is no share.
        """
        check_threshold(threshold)
        texts, fit = self.keys.texts, self.fit
        for place in range(fit.n):
            shaped = fit.kind[place] == SHAPED
            key, r2 = int(fit.key[place]), float(fit.r2[place])
            if shaped:
                name = texts[key] if r2 >= threshold else OTHER
            else:
                name = CONSTANT if fit.kind[place] == CONSTANT_CLASS else ZERO
            yield {
                "model": self.model,
                "layer": self.layer,
                "layer_index": self.layer_index,
                "out_channel": place // self.in_per_group,
                "in_channel": place % self.in_per_group,
                "name": name,
                "key": key + 1 if shaped else None,
                "view": int(fit.view[place]) if shaped else None,
                "a": float(fit.a[place]),
                "b": float(fit.b[place]),
                "r2": r2 if shaped else None,
            }
