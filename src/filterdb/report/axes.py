"""What the networks of a database can be grouped by, and how far the groups lie apart."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures import shift_matrix
from filterdb.report.pictures import picture
from filterdb.report.words import capital, counted, listed

if TYPE_CHECKING:
    from filterdb.population.shift_matrix import ShiftMatrix
    from filterdb.report.page import Context
    from filterdb.report.selection import Selection

MOST_GROUPS = 30
PAIRS_SHOWN = 6
BY_CHANCE = 0.05
"""Share of pairs that lie above the 95th percentile of their null by chance."""
ACCIDENT = 0.01
"""Below this probability so many pairs above their null are taken for more than chance."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A way to group the layers.

    Attributes
    ----------
    name
        As :meth:`filterdb.Database.shift` knows it.
    title
        Heading of its part of the page.
    group, groups
        What one group is called, and several.
    """

    name: str
    title: str
    group: str
    groups: str


AXES = (
    Axis("task", "By task", "task", "tasks"),
    Axis("visual_category", "By kind of picture", "kind of picture", "kinds of pictures"),
    Axis("training_dataset", "By training data", "data set", "data sets"),
    Axis("architecture", "By architecture", "architecture", "architectures"),
    Axis("format", "By file format", "format", "formats"),
    Axis("depth_decile", "By depth in the network", "tenth", "tenths of the depth"),
    Axis("kind", "By kind of layer", "kind of layer", "kinds of layers"),
    Axis("run", "By training run", "run", "runs"),
    Axis("epoch", "By epoch of the training", "epoch", "epochs"),
)
MADE = ("depth_decile",)
"""Axes that are no column: they have few groups, whatever the database."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of an axis that are compared.

    Attributes
    ----------
    axis
        The axis.
    chosen
        The values compared; None for all.
    left_out
        What was left out, as a sentence, or empty.
    reason
        Why nothing is compared, or None.
    """

    axis: Axis
    chosen: tuple[Any, ...] | None = None
    left_out: str = ""
    reason: str | None = None


def grouping(axis: Axis, selection: Selection) -> Grouping:
    """Which groups of an axis to compare: all, or those that say most where there are many."""
    if axis.name in MADE:
        return Grouping(axis)
    filters: defaultdict[Any, int] = defaultdict(int)
    weights: defaultdict[Any, set[str]] = defaultdict(set)
    for row in selection.compared:
        value = selection.value(row, axis.name)
        if value is not None and value != "":
            filters[value] += row["n_filters"]
            weights[value].add(selection.models[row["model_id"]]["weights_hash"])
    if not filters:
        return Grouping(axis, reason="not given for any network")
    if len(filters) == 1:
        return Grouping(axis, reason="the same for all")
    if len(filters) <= MOST_GROUPS:
        return Grouping(axis)
    # Groups of one network say something of that network, not of the axis.
    several = [value for value in filters if len(weights[value]) > 1]
    ranked = sorted(several if len(several) > 1 else filters, key=lambda value: -filters[value])
    chosen = tuple(ranked[:MOST_GROUPS])
    rest = sorted(filters.keys() - set(chosen), key=lambda value: -filters[value])
    single = sum(len(weights[value]) == 1 for value in rest)
    left_out = (
        f"{len(chosen)} of {len(filters):,} {axis.groups} are compared. Left out are "
        f"{len(rest):,} with {sum(filters[value] for value in rest):,} filters, {single:,} of them "
        f"of one network: {listed([str(value) for value in rest], most=6)}."
    )
    return Grouping(axis, chosen, left_out)


def compare(chosen: Grouping, selection: Selection) -> ShiftMatrix:
    """The shift along an axis.

    Raises
    ------
    QueryError
        There is nothing to compare.
    """
    columns: dict[str, Any] = {}
    if chosen.chosen is not None:
        columns[chosen.axis.name] = list(chosen.chosen)
    population = selection.database.select(selection.where, kernel=selection.kernel, **columns)
    return population.shift(chosen.axis.name)


def described(chosen: Grouping, shift: ShiftMatrix) -> Context:
    """What the part of the page on an axis is filled with."""
    far, said = ranked(shift), sentences(chosen.axis, shift)
    return {
        "axis": chosen.axis,
        "answer": said[0],
        "sentences": said[1:],
        "left_out": [chosen.left_out] if chosen.left_out else [],
        "notes": shift.notes,
        "picture": picture(
            partial(shift_matrix, shift),
            caption=caption(shift),
            alt=" ".join(said),
        ),
        "groups": shift.groups,
        "pairs": far[:PAIRS_SHOWN],
        "n_pairs": len(far),
        "few": dict(zip((group.name for group in shift.groups), shift.few, strict=True)),
        "coverage": shift.coverage,
    }


def caption(shift: ShiftMatrix) -> str:
    """What stands below a matrix."""
    text = "How far each group lies from each other one: D, with its scale on the right."
    if (~shift.distinguishable & known(shift)).any():
        text += " Hatched: no farther apart than random groups."
    return text


def known(shift: ShiftMatrix) -> NDArray[np.bool_]:
    """Pairs that have a null, bool of shape ``(G, G)``."""
    return np.isfinite(shift.null_p95) & np.isfinite(shift.matrix)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of groups by how they can be tested, and how many lie above their null.

    Attributes
    ----------
    pairs
        All of them.
    fair, fair_above
        Against random groups of networks.
    lenient, lenient_above
        Against random groups of layers only, which are more alike than networks are.
    """

    pairs: int
    fair: int
    fair_above: int
    lenient: int
    lenient_above: int

    @classmethod
    def of(cls, shift: ShiftMatrix) -> Pairs:
        """Count the pairs of a shift."""
        upper = np.triu_indices(len(shift.groups), 1)
        fair = np.isfinite(shift.null_models_p95[upper])
        lenient = known(shift)[upper] & ~fair
        above = shift.distinguishable[upper]
        counts = [int(chosen.sum()) for chosen in (fair, fair & above, lenient, lenient & above)]
        return cls(len(upper[0]), *counts)


def sentences(axis: Axis, shift: ShiftMatrix) -> list[str]:
    """What can be told apart and what cannot, the answer first."""
    found = Pairs.of(shift)
    said = [answer(axis, found)]
    others = found.pairs - found.fair
    if found.fair and others:
        if found.lenient == others:
            rest = f"The other {counted(others, 'pair')}"
        else:
            rest = f"Of the other {counted(others, 'pair')}, {found.lenient:,}"
        if found.lenient:
            said.append(
                f"{rest} can only be tested against random groups of layers, which is too lenient: "
                f"{found.lenient_above:,} {'lies' if found.lenient_above == 1 else 'lie'} farther "
                "apart."
            )
    untested = others - found.lenient
    if untested and found.fair + found.lenient:
        said.append(f"{counted(untested, 'pair')} cannot be tested: too few layers.")
    return [*said, *farthest(shift, fair=found.fair > 0)]


def answer(axis: Axis, found: Pairs) -> str:
    """Whether the groups of an axis differ, by the fair test where there is one."""
    fair = found.fair > 0
    total, above = (found.fair, found.fair_above) if fair else (found.lenient, found.lenient_above)
    if not total:
        return f"Whether {axis.groups} differ cannot be told: they have too few layers."
    chance = BY_CHANCE * total
    by_chance = "less than one" if chance < 1 else f"about {chance:.0f}"
    if above and by_accident(above, total) < ACCIDENT:
        verdict = f"Some {axis.groups} differ by more than chance"
    elif above:
        verdict = f"Hardly more than chance tells {axis.groups} apart"
    else:
        verdict = f"{capital(axis.groups)} cannot be told apart by their filters"
    how = "fairly" if fair else "at all"
    units = "networks" if fair else "layers, which is a lenient test"
    if total == 1:
        verb = "lies" if above else "does not lie"
        return (
            f"{verdict}: the one pair that can be tested {how} {verb} farther apart than random "
            f"groups of {units}."
        )
    return (
        f"{verdict}: {above or 'none'} of the {total:,} pairs that can be tested {how} "
        f"{'lie' if above > 1 else 'lies'} farther apart than random groups of {units}; "
        f"{by_chance} would by chance."
    )


def by_accident(above: int, total: int) -> float:
    """Probability of so many pairs above their null by chance, were they independent."""
    return sum(
        math.comb(total, k) * BY_CHANCE**k * (1 - BY_CHANCE) ** (total - k)
        for k in range(above, total + 1)
    )


def farthest(shift: ShiftMatrix, *, fair: bool) -> list[str]:
    """The farthest pair that is above its null, of those tested fairly where there are any."""
    for pair in ranked(shift):
        if pair["distinguishable"] and (pair["null_models_p95"] is not None or not fair):
            null = pair["null_models_p95"] if fair else pair["null_layers_p95"]
            return [
                f"Farthest apart are {pair['a']} and {pair['b']}: D = {pair['shift']:.3f}, where "
                f"random groups reach {null:.3f}."
            ]
    return []


def ranked(shift: ShiftMatrix) -> list[dict[str, Any]]:
    """Pairs with a D: those above a fair null first, then the other ones above theirs."""
    pairs = [pair for pair in shift.pairs() if pair["shift"] is not None]
    return sorted(
        pairs,
        key=lambda pair: (
            not pair["distinguishable"],
            pair["null_models_p95"] is None,
            -pair["shift"],
        ),
    )
