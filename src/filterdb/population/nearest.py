"""The models that are nearest to one: by the shift between their filters, and by shared layers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from filterdb.errors import QueryError
from filterdb.population.selection import Selection
from filterdb.stats.basis import Kernel
from filterdb.stats.null import permutation_null
from filterdb.stats.shift import divergence, smoothed
from filterdb.stats.summary import COARSE_BINS
from filterdb.store.query import select_values

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 200


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A model, and how near it is to the one asked about.

    Attributes
    ----------
    model
        Its name.
    shift
        D between the filters of the two, in the database's basis; None where it has none of
        the kernel size.
    filters, layers
        How many of its filters and layers that compares.
    null_p95, p_value
        D between random splits of the layers of the two pooled (95th percentile), and the
        share of splits that are as far apart; None where they are too few.
    shared_layers, shared_share
        Layers, of any kernel size, with the very weights of a layer of the model asked about;
        and their share of that model's weights' layers.
    same_weights
        True where all weights are the same.
    """

    model: str
    shift: float | None
    filters: int
    layers: int
    null_p95: float | None
    p_value: float | None
    shared_layers: int
    shared_share: float
    same_weights: bool


@dataclass(frozen=True, slots=True, repr=False)
class Nearest:
    """The neighbours of a model, the nearest first.

    Attributes
    ----------
    model, kernel, filters
        The model asked about, the kernel size compared, and its filters of that size.
    neighbours
        The nearest by shift.
    sharing
        All models that share a layer with it, those with the most first.
    compared
        Number of models that were compared.
    """

    model: str
    kernel: Kernel
    filters: int
    neighbours: tuple[Neighbour, ...]
    sharing: tuple[Neighbour, ...]
    compared: int

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self) | {"kernel": list(self.kernel)}

    def to_pandas(self) -> pd.DataFrame:
        """One row a neighbour (needs the extra ``pandas``)."""
        from filterdb.extras import data_frame

        return data_frame([asdict(row) for row in self.neighbours])

    def __repr__(self) -> str:
        first = ", ".join(row.model for row in self.neighbours[:3])
        return f"<Nearest to {self.model!r} of {self.compared:,} models: {first} ...>"


def nearest(
    folder: Path, model: int, *, n: int = 10, kernel: Kernel | None = None, where: str | None = None
) -> Nearest:
    """Find the models nearest to one, from the catalogue alone.

    Parameters
    ----------
    folder
        The database.
    model
        Number of the model.
    n
        How many neighbours.
    kernel
        Size of the filters that are compared; the model's usual one if not given.
    where
        Only models (and layers) that meet this condition.

    Raises
    ------
    QueryError
        The model has no filters of that size, or nothing else has.
    """
    asked = Selection(folder, f"model_id = {model}", kernel=kernel)
    size = asked.kernel
    own = asked.table(columns=("model",), arrays=("coarse",))
    name = str(own.values[0][0])
    condition = f"model_id <> {model}" + (f" AND (\n{where}\n)" if where else "")
    others = Selection(folder, condition, kernel=size)
    try:
        table = others.table(columns=("model",), arrays=("coarse",), once=False)
    except QueryError as error:
        msg = f"No other model has {size[0]}x{size[1]} filters to compare. {error}"
        raise QueryError(msg) from error
    basis = own.basis
    if basis.id != table.basis.id:
        msg = "The basis of the database was changed meanwhile. Ask again."
        raise QueryError(msg)
    width = 2 * basis.reach / COARSE_BINS
    weights = basis.explained_variance_ratio
    numbers = np.array([number for number, _ in table.keys])
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    totals = np.add.reduceat(table.arrays["coarse"], starts, axis=0, dtype=np.float64)
    mine = own.arrays["coarse"].sum(axis=0, dtype=np.float64)
    shifts = divergence(smoothed(totals, width=width), smoothed(mine, width=width), weights)
    shared, layers = shared_layers(folder, model)
    ends = np.append(starts[1:], len(numbers))
    rows: dict[int, Neighbour] = {}
    order = np.argsort(shifts, kind="stable")
    for position in order:
        start, end = int(starts[position]), int(ends[position])
        number = int(numbers[start])
        judged = len(rows) < n or number in shared
        parts = np.concatenate([own.arrays["coarse"], table.arrays["coarse"][start:end]])
        first = np.arange(len(parts)) < len(own.keys)
        null = permutation_null(
            parts, parts, weights, width=width, in_p=first, in_q=~first, permutations=DRAWS,
            unit="layer",
        ) if judged else None  # fmt: skip
        rows[number] = Neighbour(
            model=str(table.values[start][0]),
            shift=float(shifts[position]),
            filters=int(table.n[start:end].sum()),
            layers=end - start,
            null_p95=null.p95 if null else None,
            p_value=null.p_value if null else None,
            shared_layers=shared.get(number, 0),
            shared_share=shared.get(number, 0) / max(1, layers),
            same_weights=table.weights[start][0] == own.weights[0][0],
        )
    neighbours = [rows[int(numbers[starts[position]])] for position in order[:n]]
    sharing = sorted(
        (row for row in rows.values() if row.shared_layers), key=lambda row: -row.shared_layers
    )
    return Nearest(name, size, int(own.n.sum()), tuple(neighbours), tuple(sharing), len(rows))


def shared_layers(folder: Path, model: int) -> tuple[dict[int, int], int]:
    """How many layers each other model has with weights of the model's, and how many that has."""
    holders: dict[str, set[int]] = defaultdict(set)
    alive = "peak > 0"  # layers of zeros are alike in all networks
    for number, weights in select_values(folder, ("model_id", "weights_hash"), alive):
        holders[weights].add(number)
    own = {weights for weights, numbers in holders.items() if model in numbers}
    shared: dict[int, int] = defaultdict(int)
    for weights in own:
        for number in holders[weights] - {model}:
            shared[number] += 1
    return dict(shared), len(own)
