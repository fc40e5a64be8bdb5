"""Pictures of a database's populations: their patterns, their quality, their training."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from filterdb.errors import QueryError
from filterdb.figures import cumulative_variance, eigenimages, quality_by_depth, training_curves
from filterdb.report.axes import AXES, Axis
from filterdb.report.pictures import picture
from filterdb.report.selection import Row, Selection, is_given, is_untrained
from filterdb.report.variance import alike
from filterdb.report.words import capital, listed, percent, several
from filterdb.stats.basis import Basis, fit_basis
from filterdb.stats.summary import Summary

if TYPE_CHECKING:
    from filterdb.report.page import Context

GROUPS_SHOWN = 8
LEAST_EPOCHS = 3
MOST_RUNS = 8
THIRDS = {
    "first third of the layers": "conv_depth_norm < 1.0 / 3",
    "middle third": "conv_depth_norm BETWEEN 1.0 / 3 AND 2.0 / 3",
    "last third": "conv_depth_norm > 2.0 / 3",
}


def main_axis(selection: Selection) -> tuple[Axis, list[Any]] | None:
    """The first axis of the metadata with two values or more, and its values by filters."""
    for axis in AXES[:5]:
        filters: Counter[Any] = Counter()
        for row in selection.compared:
            filters[selection.value(row, axis.name)] += row["n_filters"]
        values = [value for value, _ in filters.most_common() if is_given(value)]
        if len(values) > 1:
            return axis, values
    return None


def patterns(selection: Selection) -> Context:
    """Eigenimages of groups and of depths, and the variance they explain."""
    size = "{}×{}".format(*selection.kernel)
    whole = summary_of(selection)
    if same := alike(whole):
        return {"words": [same], "pictures": []}
    bases = {"all": fit_basis(whole.scaled, selection.kernel)}
    found = main_axis(selection)
    left = 0
    if found is not None:
        axis, values = found
        left = max(0, len(values) - GROUPS_SHOWN)
        for value in values[:GROUPS_SHOWN]:
            own = summary_of(selection, **{axis.name: value})
            if not alike(own):  # filters that are all the same have no patterns
                bases[str(value)] = fit_basis(own.scaled, selection.kernel)
    by_depth: dict[str, Basis] = {}
    for name, condition in THIRDS.items():
        try:
            own = summary_of(selection, condition)
        except QueryError:  # no layer lies there
            continue
        if not alike(own):
            by_depth[name] = fit_basis(own.scaled, selection.kernel)
    depths = [
        picture(
            partial(eigenimages, by_depth),
            caption="The same by depth in the network.",
            alt=first_shares(by_depth),
        )
    ] * bool(by_depth)
    first = bases["all"].explained_variance_ratio
    words = (
        f"Every filter of {size} is a mixture of {len(first)} patterns. The first one alone covers "
        f"{percent(float(first[0]))} of the differences between all filters, the first three "
        f"{percent(float(first[:3].sum()))}."
    )
    groups = f"{'the largest ' * bool(left)}{found[0].groups}" if found else "all networks"
    if left:
        words += f" Shown are {groups}; {left:,} smaller ones are left out."
    return {
        "words": [words],
        "pictures": [
            picture(
                partial(eigenimages, bases),
                caption=f"The patterns of {groups}, the most important first.",
                alt=words,
            ),
            *depths,
            picture(
                partial(cumulative_variance, bases),
                caption="How much the first patterns cover together. The closer to the dashed "
                "line, the more like noise.",
                alt=first_shares(bases),
            ),
        ],
    }


def first_shares(bases: dict[str, Basis]) -> str:
    """How much the first three patterns cover in each population, as a sentence."""
    shares = [
        f"{percent(float(basis.explained_variance_ratio[:3].sum()))} ({name})"
        for name, basis in bases.items()
    ]
    return f"The first three patterns cover {', '.join(shares)}."


def summary_of(selection: Selection, condition: str | None = None, **columns: Any) -> Summary:
    """Summary of the filters in a part of the selection."""
    both = [f"(\n{part}\n)" for part in (selection.where, condition) if part]
    population = selection.database.select(
        " AND ".join(both) or None, kernel=selection.kernel, **columns
    )
    return population.summary()


def quality(selection: Selection) -> Context:
    """Where in the networks the layers go bad."""
    judged = [row for row in selection.layers if row["sparsity"] is not None]
    if not judged:
        return {"words": ["No layer has filters whose shape can be judged."], "pictures": []}
    found = main_axis(selection)
    by = found[0].name if found else "model"
    rows: list[Row] = [row | {by: selection.value(row, by)} for row in judged]
    return {
        "words": [worst_depth(rows)],
        "pictures": [
            picture(
                partial(quality_by_depth, rows, by=by),
                caption="Each dot is a layer. Above: the share of its filters that are next to "
                "nothing (sparsity). Below: their irregularity (H / T_H).",
                alt=worst_depth(rows),
            )
        ],
    }


def worst_depth(rows: list[Row]) -> str:
    """In which third of the networks the most layers have a fault."""
    thirds: defaultdict[int, list[bool]] = defaultdict(list)
    for row in rows:
        bad = row["verdict"] in ("sparse", "low diversity", "random")
        thirds[min(2, int(row["conv_depth_norm"] * 3))].append(bad)
    shares = {place: float(np.mean(found)) for place, found in thirds.items()}
    names = ("first", "middle", "last")
    said = ", ".join(f"{percent(shares[place])} in the {names[place]}" for place in sorted(shares))
    return f"Layers with a fault, by third of their network: {said}."


def training(selection: Selection) -> Context | None:
    """What happened to the filters of runs with several epochs."""
    epochs: defaultdict[str, set[Any]] = defaultdict(set)
    for model in selection.models.values():
        if model.get("run") and isinstance(model.get("epoch"), int | float):
            epochs[str(model["run"])].add(model["epoch"])
    runs = sorted((run for run in epochs if len(epochs[run]) >= LEAST_EPOCHS),
                  key=lambda run: (-len(epochs[run]), run))  # fmt: skip
    if not runs:
        return None
    shown = runs[:MOST_RUNS]
    rows = [
        row | {name: selection.value(row, name) for name in ("run", "epoch")}
        for row in selection.layers
        if str(selection.value(row, "run")) in shown
    ]
    shifts = {run: to_the_last(selection, run) for run in shown}
    ways = [f"{run} from {max(curve.values()):.2g} to 0" for run, curve in shifts.items()]
    words = f"{capital(several(len(runs), 'training run'))} with three epochs or more."
    if len(runs) > len(shown):
        words += f" Shown are the {len(shown)} with the most epochs."
    if any(
        is_untrained(model) for model in selection.models.values() if str(model.get("run")) in shown
    ):
        words += " Epoch 0 is before the training: filters are meant to read as random there."
    return {
        "words": [words],
        "pictures": [
            picture(
                partial(training_curves, rows, shifts=shifts),
                caption="The layers' mean from epoch to epoch; on the right, how far the filters "
                "still are from those of the last epoch.",
                alt=f"Distance D of the filters from those of the last epoch: {listed(ways)}.",
            )
        ],
    }


def to_the_last(selection: Selection, run: str) -> dict[float, float]:
    """D between the filters of each epoch of a run and those of its last one."""
    population = selection.database.select(selection.where, kernel=selection.kernel, run=run)
    shift = population.shift("epoch", permutations=0)
    epochs = [float(group.name) for group in shift.groups]
    return {epoch: float(value) for epoch, value in zip(epochs, shift.matrix[:, -1], strict=True)}
