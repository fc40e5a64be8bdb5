"""What the networks of a database can be grouped by, and how far the groups lie apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from filterdb.figures import shift_matrix
from filterdb.report.pairs import ACCIDENT, BY_CHANCE, FEW_PAIRS, Pair, Pairs, by_accident, pairs
from filterdb.report.pictures import picture
from filterdb.report.selection import UNTRAINED, is_given, is_untrained
from filterdb.report.words import capital, listed
from filterdb.words import counted

if TYPE_CHECKING:
    from filterdb.population.shift_matrix import ShiftMatrix
    from filterdb.report.page import Context
    from filterdb.report.selection import Selection

MOST_GROUPS = 30
PAIRS_SHOWN = 6
TENTHS = (
    "[0.0,0.1] is the first tenth of the depth, (0.1,0.2] the second, and so on: 0 is a network's "
    "first layer, 1 its last."
)


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
METADATA = ("task", "visual_category", "training_dataset", "architecture")
"""Axes of which the metadata may say that nothing is known."""
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
        return Grouping(axis, left_out=TENTHS)
    filters: defaultdict[Any, int] = defaultdict(int)
    weights: defaultdict[Any, set[str]] = defaultdict(set)
    unknown: set[int] = set()
    given: set[int] = set()
    for row in selection.compared:
        value = selection.value(row, axis.name)
        if axis.name in METADATA and not is_given(value):
            unknown.add(row["model_id"])
        elif value is not None and value != "":
            given.add(row["model_id"])
            filters[value] += row["n_filters"]
            weights[value].add(selection.models[row["model_id"]]["weights_hash"])
    if not filters:
        return Grouping(axis, reason="not given for any network")
    without = ""
    if unknown:
        verb = "is" if len(unknown) == 1 else "are"
        without = (
            f"{counted(len(unknown), 'network')} whose {axis.title.removeprefix('By ')} is not "
            f"known {verb} left out."
        )
    if len(filters) == 1:
        networks = {row["model_id"] for row in selection.compared}
        return Grouping(axis, reason=same_for_all(len(networks - given), len(networks)))
    if len(filters) <= MOST_GROUPS:
        return Grouping(axis, tuple(filters) if unknown else None, without)
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
    return Grouping(axis, chosen, f"{left_out} {without}".strip())


def same_for_all(without: int, networks: int) -> str:
    """Why an axis with one group is not compared, and how many networks have no value at all."""
    if not without:
        return "the same for all"
    verb = "has" if without == 1 else "have"
    rest = ", the same for all others" * (networks - without > 1)
    return f"{without:,} of {counted(networks, 'network')} {verb} none{rest}"


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
    shift = population.shift(chosen.axis.name)
    untrained = {str(value) for value in untrained_groups(chosen.axis, selection)}
    groups = tuple(
        replace(group, name=f"{group.name} (untrained)") if group.name in untrained else group
        for group in shift.groups
    )
    return replace(shift, groups=groups)


def untrained_groups(axis: Axis, selection: Selection) -> set[Any]:
    """The values "none" of the metadata that only networks have that were not trained."""
    models: defaultdict[Any, set[int]] = defaultdict(set)
    if axis.name in METADATA:
        for row in selection.compared:
            value = selection.value(row, axis.name)
            if str(value).strip().casefold() == UNTRAINED:
                models[value].add(row["model_id"])
    return {
        value
        for value, own in models.items()
        if all(is_untrained(selection.models[number]) for number in own)
    }


def described(chosen: Grouping, shift: ShiftMatrix) -> Context:
    """What the part of the page on an axis is filled with."""
    far, said = pairs(shift), sentences(chosen.axis, shift)
    return {
        "axis": chosen.axis,
        "answer": said[0],
        "sentences": said[1:],
        "left_out": [chosen.left_out] if chosen.left_out else [],
        "notes": shift.notes,
        "picture": picture(
            partial(shift_matrix, shift),
            caption="How far each group lies from each other one: D, with its scale on the right.",
            alt=" ".join(said),
        ),
        "groups": shift.groups,
        "pairs": far[:PAIRS_SHOWN],
        "n_pairs": len(far),
        "few": dict(zip((group.name for group in shift.groups), shift.few, strict=True)),
        "coverage": shift.coverage,
    }


def sentences(axis: Axis, shift: ShiftMatrix) -> list[str]:
    """What can be told apart and what cannot, the answer first."""
    found, rows = Pairs.of(shift), pairs(shift)
    tested = [pair for pair in rows if pair.test == ("networks" if found.fair else "layers")]
    if 0 < len(tested) < FEW_PAIRS:
        said = [pair_by_pair(axis, tested)]
    else:
        said = [answer(axis, found)]
        said += [
            f"Farthest apart are {pair.named} ({pair.numbers})."
            for pair in tested[:1]
            if pair.above
        ]
    if found.fair and found.lenient:
        verb = "lies" if found.lenient_above == 1 else "lie"
        said.append(
            f"{counted(found.lenient, 'further pair')} can only be tested against random groups of "
            f"layers, which is too lenient: {found.lenient_above:,} {verb} farther apart."
        )
    untested = found.pairs - found.fair - found.lenient
    if untested and found.fair + found.lenient:
        said.append(f"{counted(untested, 'pair')} cannot be tested: too few filters or layers.")
    return said


def pair_by_pair(axis: Axis, tested: Sequence[Pair]) -> str:
    """Which of a few pairs differ; of so few, a count would say little."""
    fair = tested[0].test == "networks"
    above = [pair for pair in tested if pair.above]
    rest = len(tested) - len(above)
    by = "" if fair else ", by a lenient test (random groups of layers, not of networks)"
    if not above:
        what = f"none of the {rest} pairs lies" if rest > 1 else "the one pair does not lie"
        of = "" if len(tested) > 1 else f" ({tested[0].numbers})"
        return (
            f"{capital(axis.groups)} cannot be told apart by their filters: {what} farther apart "
            f"than random groups of {'networks' if fair else 'layers'}{of}."
        )
    if len(above) == 1:
        text = f"{above[0].named} differ by more than chance ({above[0].numbers}){by}"
    else:
        named = [f"{pair.named} ({pair.numbers})" for pair in above]
        text = f"These differ by more than chance{by}: {'; '.join(named)}"
    if rest:
        others = "the other pair does" if rest == 1 else f"the other {rest} pairs do"
        text += f"; {others} not"
    return f"{capital(text)}."


def answer(axis: Axis, found: Pairs) -> str:
    """Whether the groups of an axis differ, of many pairs, by the fair test if there is one."""
    total, above = found.tested
    if not total:
        return f"Whether {axis.groups} differ cannot be told: they have too few filters or layers."
    chance = BY_CHANCE * total
    by_chance = "less than one" if chance < 1 else f"about {chance:.0f}"
    if above and by_accident(above, total) < ACCIDENT:
        verdict = f"Some {axis.groups} differ by more than chance"
    elif above:
        verdict = f"Hardly more than chance tells {axis.groups} apart"
    else:
        verdict = f"{capital(axis.groups)} cannot be told apart by their filters"
    how = "fairly" if found.fair else "at all"
    units = "networks" if found.fair else "layers, which is a lenient test"
    return (
        f"{verdict}: {above or 'none'} of the {total:,} pairs that can be tested {how} "
        f"{'lie' if above > 1 else 'lies'} farther apart than random groups of {units}; "
        f"{by_chance} would by chance."
    )


def in_short(shifts: Mapping[str, ShiftMatrix]) -> list[str]:
    """What moves the filters by more than chance, what does not, and what cannot be told."""
    moved: list[str] = []
    single: list[str] = []
    not_moved: list[str] = []
    untold: list[str] = []
    for axis in AXES:
        if axis.name not in shifts:
            continue
        found = Pairs.of(shifts[axis.name])
        if not found.fair:
            untold.append(axis.groups)
            continue
        few = found.fair < FEW_PAIRS
        kept = not_moved if not found.moved else single if few else moved
        kept.append(f"{axis.groups} ({found.fair_above:,} of {counted(found.fair, 'pair')})")
    said = [
        f"Filters differ by more than chance between {listed(moved, most=9)}." * bool(moved),
        f"Where only few pairs can be tested, single ones differ: between {listed(single, most=9)}."
        * bool(single),
        f"Filters differ no more than by chance between {listed(not_moved, most=9)}."
        * bool(not_moved),
        f"There are too few networks to tell for {listed(untold, most=9)}." * bool(untold),
    ]
    return [sentence for sentence in said if sentence]
