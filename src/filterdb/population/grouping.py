"""The layers of a population, sorted into groups along an axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import QueryError
from filterdb.population.axes import Axis
from filterdb.population.table import LayerTable
from filterdb.population.variants import measured

if TYPE_CHECKING:
    from filterdb.population.selection import Selection

MOST_GROUPS = 300
SAME_WEIGHTS = "the same weights as another model's in the group"


@dataclass(frozen=True, slots=True)
class Group:
    """A group along an axis, and what it holds.

    Attributes
    ----------
    name
        Its value of the axis.
    models, layers, filters
        How many of each; models with the same weights count once.
    largest_share
        Share of the filters that its largest model has.
    """

    name: str
    models: int
    layers: int
    filters: int
    largest_share: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Layers with the group that each is in.

    Attributes
    ----------
    axis
        What they are grouped by.
    table
        The layers that are in a group.
    group
        Position in :attr:`groups`, intp of shape ``(L,)``.
    model
        A number for each layer's model, int64 of shape ``(L,)``: models with the same weights
        have the same one, since they say nothing that one of them does not.
    groups
        The groups in their order.
    left_out
        Why layers of the population are in no group -> how many.
    weights
        ``"stored"``, ``"raw"`` or ``"folded"``.
    """

    axis: Axis
    table: LayerTable
    group: NDArray[np.intp]
    model: NDArray[np.int64]
    groups: tuple[Group, ...]
    left_out: dict[str, int]
    weights: str = "stored"

    @property
    def coverage(self) -> dict[str, Any]:
        """How many models, layers and filters are compared, and why layers are left out."""
        return {
            "models": int(np.unique(self.model).size),
            "layers": len(self.table.keys),
            "filters": int(self.table.n.sum()),
            "left_out": dict(sorted(self.left_out.items(), key=lambda item: -item[1])),
            "weights": measured(self.table.states, weights=self.weights),
        }

    def with_filters(self, n: NDArray[np.int64]) -> Grouped:
        """The same with other numbers of filters: of a scan that left some out."""
        names = [group.name for group in self.groups]
        table = replace(self.table, n=n)
        groups = sizes(names, self.group, self.model, n)
        return replace(self, table=table, groups=groups)


def group_layers(
    population: Selection,
    axis: Axis,
    *,
    columns: tuple[str, ...] = (),
    arrays: tuple[str, ...] = (),
) -> Grouped:
    """Sort the layers of a population into groups.

    Weights that several models share count once in each group: the same network in two formats
    is a network of either.

    Parameters
    ----------
    population, axis
        What is grouped by what.
    columns
        Further columns to read, first in each of the table's values.
    arrays
        What to read of the summaries, as :meth:`Selection.table` takes it.

    Raises
    ------
    QueryError
        No layer is in a group, or there are too many groups.
    """
    table = population.table(columns=(*columns, *axis.columns), arrays=arrays, once=False)
    left_out = dict(table.left_out)
    names: dict[str, Any] = {}
    first: dict[tuple[str, tuple[str, str]], int] = {}
    labels: list[str | None] = []
    without = f"no value of {axis.name}"
    for (model, _), weights, values in zip(table.keys, table.weights, table.values, strict=True):
        found = axis.label(values[len(columns) :])
        reason = without if found is None else None
        if found is not None and first.setdefault((found[0], weights), model) != model:
            reason = SAME_WEIGHTS
        if reason or found is None:
            left_out[reason or without] = left_out.get(reason or without, 0) + 1
            labels.append(None)
            continue
        names[found[0]] = found[1]
        labels.append(found[0])
    _check_number(axis, names)
    order = sorted(names, key=lambda name: names[name])
    position = {name: index for index, name in enumerate(order)}
    kept = [index for index, label in enumerate(labels) if label is not None]
    chosen = table if len(kept) == len(labels) else table.take(kept)
    group = np.array([position[label] for label in labels if label is not None], np.intp)
    models = numbered(chosen)
    groups = sizes(order, group, models, chosen.n)
    return Grouped(axis, chosen, group, models, groups, left_out, population.weights)


def join_tables(tables: Mapping[str, LayerTable], *, weights: str = "stored") -> Grouped:
    """Tables with coarse histograms as groups; the same weights are one unit, wherever they are."""
    left_out = Counter[str]()
    for name, table in tables.items():
        left_out.update({f"{why} ({name})": count for why, count in table.left_out.items()})
    every = list(tables.values())
    joined = LayerTable(
        keys=[key for table in every for key in table.keys],
        weights=[weights for table in every for weights in table.weights],
        values=[],
        n=np.concatenate([table.n for table in every]),
        arrays={"coarse": np.concatenate([table.arrays["coarse"] for table in every])},
        basis=every[0].basis,
        states=[state for table in every for state in table.states],
        scales=[scale for table in every for scale in table.scales],
    )
    group = np.repeat(np.arange(len(every)), [len(table.keys) for table in every])
    models = numbered(joined)
    axis = Axis("population", (), lambda _: None, ordered=False)
    groups = sizes(list(tables), group, models, joined.n)
    return Grouped(axis, joined, group, models, groups, dict(left_out), weights)


def sizes(
    names: Sequence[str],
    group: NDArray[np.intp],
    model: NDArray[np.int64],
    filters: NDArray[np.int64],
) -> tuple[Group, ...]:
    """What each group holds, from the group, model and filters of each layer."""
    found = []
    for position, name in enumerate(names):
        chosen = group == position
        own = np.bincount(np.unique(model[chosen], return_inverse=True)[1], filters[chosen])
        total = int(filters[chosen].sum())
        share = float(own.max(initial=0)) / total if total else 1.0
        found.append(Group(name, own.size, int(np.count_nonzero(chosen)), total, share))
    return tuple(found)


def numbered(table: LayerTable) -> NDArray[np.int64]:
    """A number for each layer's model, int64 of shape ``(L,)``: the same for the same weights."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(weights, len(numbers)) for weights, _ in table.weights]
    return np.array(found, np.int64)


def _check_number(axis: Axis, names: dict[str, Any]) -> None:
    if not names:
        msg = (
            f"No layer of the selection has a value of {axis.name!r}. Metadata come with "
            "`filterdb ingest --metadata CSV`, also for models that are there already."
        )
        raise QueryError(msg)
    if len(names) > MOST_GROUPS:
        msg = (
            f"The axis {axis.name!r} has {len(names):,} values in the selection; at most "
            f"{MOST_GROUPS} can be compared. Select fewer (--where), or take a coarser axis."
        )
        raise QueryError(msg)
