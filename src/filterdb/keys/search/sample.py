"""The filters that a search works on: all of a population, or so many that no more is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError, QueryError
from filterdb.keys.equivalence import Kernel
from filterdb.keys.normal import ZERO
from filterdb.keys.search.passes import SampleJob
from filterdb.population.axes import NO_AXES, axis_of
from filterdb.population.preset import LAYER, Scanning, scan_layers
from filterdb.scan.parts import Part, split
from filterdb.store.query import axis_columns, select_kernels, select_values

if TYPE_CHECKING:
    from filterdb.population.population import Population

MOST = 131_072
"""Filters with which a search works at most: shares are then known to 0.3 points."""
NOT_GIVEN = ("not given", None)
"""Group of the layers that have no value along an axis."""
DEPTHWISE = "depthwise"
ANY = "any"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Filters of a population in normal form, and where they come from.

    Attributes
    ----------
    unit
        Float32 of shape ``(n, k)``.
    layer
        Of each, as an index into the lists below, shape ``(n,)``.
    models, layers, groups
        Of each layer: its model's name, its own, and the value of the column by which it is
        held out.
    counts
        Of each layer: filters with a shape, constant, nearly zero; int64 of shape ``(L, 3)``.
    parts
        What a pass over all of the weights goes through.
    left_out
        Why layers of the selection are not in it -> how many.
    axes
        Name of an axis -> the group of each layer along it, and what groups are sorted by.
    whole
        Whether every filter with a shape is in it.
    runs
        Training runs that the models belong to, for their initialisation.
    """

    unit: NDArray[np.float32]
    layer: NDArray[np.intp]
    models: tuple[str, ...]
    layers: tuple[str, ...]
    groups: tuple[str, ...]
    counts: NDArray[np.int64]
    parts: tuple[Part, ...]
    kernel: Kernel
    left_out: dict[str, int]
    axes: dict[str, tuple[tuple[str, Any], ...]]
    whole: bool
    runs: tuple[str, ...] = ()

    @property
    def shaped(self) -> int:
        """Filters of the population that have a shape."""
        return int(self.counts[:, 0].sum())

    @property
    def weights(self) -> set[str]:
        """What tells the networks: the first 16 digits of the hash of each one's weights."""
        return {layer.weights_hash[:16] for part in self.parts for layer in part.layers}

    @property
    def model_of_filter(self) -> NDArray[np.intp]:
        """Number of the model of each filter, shape ``(n,)``."""
        names = {name: number for number, name in enumerate(dict.fromkeys(self.models))}
        return np.array([names[model] for model in self.models], np.intp)[self.layer]

    @property
    def group_of_filter(self) -> NDArray[np.intp]:
        """Number of the group of each filter, by :attr:`group_names`, shape ``(n,)``."""
        names = {name: number for number, name in enumerate(self.group_names)}
        return np.array([names[group] for group in self.groups], np.intp)[self.layer]

    @property
    def group_names(self) -> list[str]:
        """The groups, in the order in which they occur."""
        return list(dict.fromkeys(self.groups))


def draw(
    population: Population,
    *,
    hold_out: str,
    by: Sequence[str] = (),
    zero: float = ZERO,
    seed: int = 0,
    most: int = MOST,
    scanning: Scanning | None = None,
) -> Sample:
    """Take filters of a population: one pass over its weights.

    Parameters
    ----------
    population
        Of one kernel size.
    hold_out
        Column of the catalogue whose values are held out together; ``"layer"`` for each layer
        by itself.
    by
        Axes along which layers are told apart (:mod:`filterdb.population.axes`).
    zero
        Filters whose weights are all at most this are nearly zero.
    seed
        Of the draw.
    most
        Filters to take at most, about; of more, each layer gives its share.
    scanning
        How to pass over the weights.

    Raises
    ------
    QueryError, StoreError
        Nothing is left, there is no such column, or a payload is missing or damaged.
    KeySetError
        No filter has a shape.
    """
    work = scanning or Scanning()
    column = () if hold_out == "layer" else (held_out_column(population.folder, hold_out),)
    axes = [axis_of(population.folder, name) for name in by]
    told = ("model", "name", "run", "epoch", *column)
    further = [name for axis in axes for name in axis.columns]
    table = population.table(columns=(*LAYER, *told, *further))
    filters = int(table.n.sum())
    job = SampleJob(share=min(1.0, most / max(filters, 1)), zero=zero, seed=seed)
    parts = tuple(split(population.folder, scan_layers(table)))
    found = [scanned.value for scanned in work.scan(parts, job)]
    own = [values[len(LAYER) :] for values in table.values]
    labels: dict[str, tuple[tuple[str, Any], ...]] = {}
    start = len(told)
    for axis in axes:
        end = start + len(axis.columns)
        labels[axis.name] = tuple(axis.label(row[start:end]) or NOT_GIVEN for row in own)
        start = end
    counts = np.array([[one.shaped, one.constant, one.zero] for one in found], np.int64)
    unit = np.concatenate([one.unit for one in found])
    if not len(unit):
        size = "{}x{}".format(*population.kernel)
        msg = (
            f"None of the {filters:,} {size} filters has a shape: {counts[:, 1].sum():,} are "
            f"constant and {counts[:, 2].sum():,} nearly zero (all weights at most {zero:g}). "
            "Choose other layers with --where, or a lower --zero."
        )
        raise KeySetError(msg)
    return Sample(
        unit=unit,
        layer=np.repeat(np.arange(len(found)), [len(one.unit) for one in found]),
        models=tuple(str(values[0]) for values in own),
        layers=tuple(str(values[1]) for values in own),
        groups=tuple(_groups(own, hold_out)),
        counts=counts,
        parts=parts,
        kernel=population.kernel,
        left_out=dict(table.left_out),
        axes=labels,
        whole=job.share >= 1,
        runs=_trained_runs(own),
    )


def thinned(
    unit: NDArray[np.float32], most: int, *, stream: tuple[int, ...]
) -> NDArray[np.float32]:
    """At most so many of the filters, in their order, drawn by the random numbers of a stream."""
    if len(unit) <= most:
        return unit
    rng = np.random.default_rng(stream)
    return unit[np.sort(rng.choice(len(unit), most, replace=False))]


def of_kind(population: Population, kind: str) -> Population:
    """The layers of a population that are depthwise, or all of them.

    Parameters
    ----------
    population
        What the user selected.
    kind
        ``"depthwise"`` or ``"any"``.

    Raises
    ------
    KeySetError
        There are no such layers; the message says what there is.
    QueryError
        The selection's condition is not valid.
    """
    if kind == ANY:
        return population
    where = f"kind = '{DEPTHWISE}' AND (\n{population.where or 'TRUE'}\n)"
    chosen = type(population)(
        population.folder, where, kernel=population.asked, drop_sparse=population.drop_sparse
    )
    sizes = [(height, width) for height, width, *_ in select_kernels(population.folder, where)]
    if population.asked in (None, *sizes) and sizes:
        return chosen
    raise KeySetError(_what_there_is(population, sizes))


def _what_there_is(population: Population, depthwise: list[Kernel]) -> str:
    """Why there is nothing to find, and what there is instead."""
    if depthwise and population.asked:
        listed = ", ".join("{}x{}".format(*size) for size in depthwise)
        asked = "{}x{}".format(*population.asked)
        return (
            f"No depthwise layer of the selection is {asked}. There are depthwise ones of {listed}."
        )
    kinds: dict[str, int] = {}
    for (found,) in select_values(population.folder, ("kind",), population.where):
        kinds[str(found)] = kinds.get(str(found), 0) + 1
    listed = ", ".join(f"{count:,} {name}" for name, count in sorted(kinds.items()))
    if not kinds:
        where = " ".join((population.where or "").split())
        return (
            f"Nothing is left of the database: no layer meets the condition {where}. Change it "
            "(--where, where=); `filterdb layers` lists what there is."
            if where
            else "The database has no layers. Ingest some models first."
        )
    return (
        f"No layer of the selection is depthwise: it has {listed}. The master key filters are "
        "about depthwise layers; --kind any (kind='any') takes the 2-D slices of all layers."
    )


def _groups(rows: Sequence[tuple[Any, ...]], hold_out: str) -> list[str]:
    """What each layer is held out with; one without a value is a group of its model."""
    if hold_out == "layer":
        return [f"{row[0]}: {row[1]}" for row in rows]
    return [str(row[0]) if row[4] in (None, "") else str(row[4]) for row in rows]


def held_out_column(folder: Path, name: str) -> str:
    """A column of the catalogue by whose values layers can be held out.

    Raises
    ------
    QueryError
        There is none of that name; the message lists those that there are.
    """
    known = axis_columns(folder)
    folded = {column.lower(): column for column in known}
    if name.lower() in folded:
        return folded[name.lower()]
    names = ["layer", "model", *(column for column in known if column not in {*NO_AXES, "model"})]
    near = get_close_matches(name.lower(), names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    msg = (
        f"There is no column {name!r} to hold out by (--hold-out, hold_out=).{hint} "
        f"There are: {', '.join(names)}."
    )
    raise QueryError(msg)


def _trained_runs(rows: Sequence[tuple[Any, ...]]) -> tuple[str, ...]:
    """Training runs of the models that are past their first epoch."""
    runs = [str(row[2]) for row in rows if row[2] is not None and row[3] not in (None, 0)]
    return tuple(dict.fromkeys(runs))
