"""A selection: the filters of one size in the layers that a condition chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import QueryError
from filterdb.population.choices import WEIGHTS, check_choice
from filterdb.population.table import LayerTable, without_empty
from filterdb.population.variants import measured, why_not
from filterdb.stats.basis import Basis, Kernel, reference_basis
from filterdb.stats.summary import FINE_BINS, MOST_TAPS, has_summary
from filterdb.store.folded import folded_measures
from filterdb.store.query import Row, select_kernels, select_layers, select_summaries
from filterdb.store.schema import quoted
from filterdb.store.summaries import (
    basis_of,
    inflated,
    read_bases,
    stacked_counts,
    stacked_moments,
)

if TYPE_CHECKING:
    pass

OWN = ("model_id", "layer_index", "model_weights_hash", "tensor", "weight_state")
"""The columns that every table reads for itself."""
ALL_PARTS = ("clean", "sparse")
SAME_WEIGHTS = "the same weights as another model's"
USUAL = (3, 3)
"""The papers' kernel size: that of a population unless another is asked for or it has none."""


@dataclass(frozen=True, slots=True)
class KernelSize:
    """How much of a selection is of one kernel size."""

    kernel: Kernel
    models: int
    layers: int
    filters: int


class Selection:
    """The filters of one kernel size in the layers that a condition selects; nothing is read yet.

    Weights that several models share are counted once (the first model that has them counts).

    Parameters
    ----------
    folder
        The database.
    where
        SQL expression over the columns of layers and models; None for all.
    kernel
        Height and width. If not given, 3x3 where there are such filters, else the size with
        the most.
    drop_sparse
        Leave out the filters that are sparse within their layer (METHODS 1.4), as the
        workshop's analyses do.
    weights
        ``"stored"``; ``"raw"``: without the layers that a batch normalisation is folded into;
        ``"folded"``: layers that one follows are multiplied by its scale. Conditions are on
        the stored weights in any case.

    Raises
    ------
    QueryError
        From every question: the condition is not valid, or nothing is left; the message says
        which condition removed everything.
    """

    def __init__(
        self,
        folder: Path,
        where: str | None = None,
        *,
        kernel: Kernel | None = None,
        drop_sparse: bool = False,
        weights: str = "stored",
    ) -> None:
        check_choice("kind of weights", weights, WEIGHTS)
        self.folder = folder
        self.weights = weights
        self.where = where
        self.drop_sparse = drop_sparse
        self.asked = kernel

    @cached_property
    def kernel(self) -> Kernel:
        """Height and width of its filters."""
        if self.asked is not None:
            return self.asked
        sizes = list(filter(_has_shape, self.kernels))
        if not sizes:
            raise QueryError(self._why_empty())
        usual = [size for size in sizes if size.kernel == USUAL]
        return (usual or sizes)[0].kernel

    @cached_property
    def kernels(self) -> list[KernelSize]:
        """The kernel sizes in the selection, that with the most filters first."""
        return [
            KernelSize((height, width), models, layers, filters)
            for height, width, models, layers, filters in select_kernels(self.folder, self.where)
        ]

    @property
    def reference(self) -> Basis:
        """The basis that the database's histograms of this kernel size are in, as of now."""
        return read_bases(self.folder).get(self.kernel) or reference_basis(self.kernel)

    @cached_property
    def measured(self) -> dict[str, Any]:
        """Which weights were asked for, and how many layers are measured in each state."""
        return measured(self.table().states, weights=self.weights)

    def layers(self) -> list[Row]:
        """The layers, as :meth:`filterdb.Database.layers` gives them, of this kernel size.

        Their measures are those of the weights that were asked for.
        """
        height, width = self.kernel
        where = f"kh = {height} AND kw = {width} AND (\n{self.where or 'TRUE'}\n)"
        rows = select_layers(self.folder, where)
        folded = folded_measures(self.folder) if self.weights == "folded" else {}
        keys = [(row["model_id"], row["layer_index"]) for row in rows]
        return [
            row | folded.get(key, {})
            for key, row in zip(keys, rows, strict=True)
            if not (self.weights == "raw" and row["weight_state"] == "folded")
            and not (folded and row["weight_state"] == "raw" and key not in folded)
        ]

    def table(
        self, *, columns: Sequence[str] = (), arrays: Sequence[str] = (), once: bool = True
    ) -> LayerTable:
        """Read its layers, with columns of the catalogue and arrays of their summaries.

        Parameters
        ----------
        columns
            Of the layers and models joined.
        arrays
            ``"coarse"``, ``"fine"``, ``"scaled"``, ``"raw"``.
        once
            Leave out layers of models whose weights an earlier model has. A grouping that
            counts weights once a group does that itself.

        Raises
        ------
        QueryError
            Nothing is left.
        """
        needed = (*OWN, *columns)
        rows, basis = select_summaries(
            self.folder,
            self.where,
            needed,
            kernel=self.kernel,
            arrays=arrays,
            folded=self.weights == "folded",
        )
        width = len(needed)
        first: dict[tuple[str, str], int] = {}
        keys: list[tuple[int, int]] = []
        weights: list[tuple[str, str]] = []
        values: list[tuple[Any, ...]] = []
        states: list[str | None] = []
        scales: list[bytes | None] = []
        n: list[int] = []
        parts: list[tuple[int, tuple[Any, ...]]] = []  # layer's position, its arrays
        left_out: dict[str, int] = {}
        refused = None  # the layer that was left out last: it may have a second row
        for row in rows:
            key, scale, part = (row[0], row[1]), row[width], row[width + 1]
            if key == refused:
                continue
            if not keys or keys[-1] != key:
                own = row[2], row[3]
                reason = why_not(self.weights, row[4], scale)
                if reason is None and once and first.setdefault(own, row[0]) != row[0]:
                    reason = SAME_WEIGHTS
                elif reason is None and part is None:
                    reason = "no summary: weights that are not finite, or none at all"
                if reason:
                    left_out[reason] = left_out.get(reason, 0) + 1
                    refused = key
                    continue
                keys.append(key)
                weights.append(own)
                values.append(row[len(OWN) : width])
                states.append(row[4])
                scales.append(scale)
                n.append(0)
            if part == "sparse" and self.drop_sparse:
                continue
            n[-1] += row[width + 2]
            parts.append((len(keys) - 1, row[width + 3 :]))
        if not sum(n) or basis is None:
            raise QueryError(self._why_empty())
        counts = np.array(n, np.int64)
        table = LayerTable(
            keys, weights, values, counts, {}, basis_of(basis), left_out, states, scales
        )
        places = np.array([place for place, _ in parts])
        for position, name in enumerate(arrays):
            blobs = [part[position] for _, part in parts]
            table.arrays[name] = self._stacked(name, blobs, places, len(keys))
        return without_empty(table)

    def _stacked(
        self, name: str, blobs: list[bytes], places: NDArray[np.intp], layers: int
    ) -> NDArray[Any]:
        """Arrays of the layers, their parts added; fine histograms are added over all layers."""
        if name == "fine":
            total = np.zeros((_taps(self.kernel), FINE_BINS), np.int64)
            for start in range(0, len(blobs), 256):  # a few at a time: they are large
                some = inflated(blobs[start : start + 256], self.kernel)
                total += stacked_counts(some, self.kernel, bins=FINE_BINS, dtype=np.int64).sum(
                    axis=0
                )
            return total
        if name == "coarse":
            stacked = stacked_counts(blobs, self.kernel)
        else:
            stacked = stacked_moments(blobs, self.kernel)
        if len(places) == layers:
            return stacked
        first = np.diff(places, prepend=-1) != 0  # of the two parts that a layer may have
        result = np.zeros((layers, *stacked.shape[1:]), stacked.dtype)
        result[places[first]] = stacked[first]
        result[places[~first]] += stacked[~first]
        return result

    def _why_empty(self) -> str:
        """Which condition removed everything, in a sentence."""
        whole = Selection(self.folder).kernels
        if not whole:
            return f"The database {self.folder} has no layers. Ingest some models first."
        if not self.kernels:
            return (
                f"No layer matches the condition {self.where}, so nothing is left. (`name` is the "
                "layer's; the model's is `model`.)"
            )
        sizes = ", ".join(f"{h}x{w} ({size.filters:,} filters)" for size in self.kernels[:12]
                          for h, w in [size.kernel])  # fmt: skip
        if self.asked is None and not any(map(_has_shape, self.kernels)):
            return (
                f"The selection has no filters with a shape: 1x1 kernels have none, and those "
                f"above {MOST_TAPS} taps have no summary. It has {sizes}."
            )
        height, width = self.kernel
        if self.kernel not in [size.kernel for size in self.kernels]:
            return f"No filter of the selection is {height}x{width}. It has {sizes}."
        if self.drop_sparse:
            return f"All {height}x{width} filters of the selection are sparse: nothing is left."
        return (
            f"No {height}x{width} layer of the selection has a summary: kernels of 1x1 and above "
            f"{MOST_TAPS} taps have none, nor have weights that are not finite."
        )

    def __repr__(self) -> str:
        condition = f" where {self.where}" if self.where else ""
        size = "" if self.asked is None else " of {}x{} filters".format(*self.asked)
        sparse = ", sparse ones left out" if self.drop_sparse else ""
        kind = "" if self.weights == "stored" else f", {self.weights} weights"
        return f"<{type(self).__name__}{size} in {str(self.folder)!r}{condition}{sparse}{kind}>"


def condition(
    where: str | None, columns: dict[str, Any], *, known: Sequence[str] | None = None
) -> str | None:
    """A condition with ``column = value`` for each keyword; a list is any of its values.

    Parameters
    ----------
    where
        An SQL expression that has to hold, too.
    columns
        Name -> value, values, or None.
    known
        The columns that there are: SQLite takes the name of any other for a text.

    Raises
    ------
    QueryError
        There is no such column.
    """
    if not columns:
        return where
    for name in columns:
        if known is not None and name.lower() not in map(str.lower, known):
            close = get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            msg = f"There is no column {name!r}.{hint} The columns are: {', '.join(known)}."
            raise QueryError(msg)
    parts = [f"(\n{where}\n)"] if where else []
    for name, value in columns.items():
        if value is None:
            parts.append(f"{quoted(name)} IS NULL")
        elif isinstance(value, list | tuple | set):
            parts.append(f"{quoted(name)} IN ({', '.join(map(literal, value))})")
        else:
            parts.append(f"{quoted(name)} = {literal(value)}")
    return " AND ".join(parts) or None


def literal(value: Any) -> str:
    """A value as SQL writes it.

    Raises
    ------
    QueryError
        It is NaN or infinite.
    """
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        msg = f"No value of a column is {value}: undefined numbers are NULL (None)."
        raise QueryError(msg)
    if isinstance(value, bool | int | float | np.number):
        return repr(float(value)) if isinstance(value, float | np.floating) else str(int(value))
    return "'" + str(value).replace("'", "''") + "'"


def _has_shape(size: KernelSize) -> bool:
    return has_summary(size.kernel)


def _taps(kernel: Kernel) -> int:
    return kernel[0] * kernel[1]
