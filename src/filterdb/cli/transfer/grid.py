"""The comparisons of an experiment in a grid: what is compared down, its axis across."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filterdb.transfer.results import Comparison

AGAINST = " against "
AXES = {"cut": "n = {}", "k": "k = {}", "share": "{}", "target": "on {}",
        "how": "by {}"}  # fmt: skip
"""Label of a comparison -> what heads its column."""
DOWN = {"source": "from {}", "filters": "{}"}
"""Label that has rows of its own where it differs within a question -> how a row is called."""
MOST_ROWS = 12
"""Of a grid; one that would have more shows its first control alone."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What is said of one subject.

    Attributes
    ----------
    subject
        What all of its rows compare: ``"depthwise filters from A, frozen"``.
    columns
        Places on the axis.
    rows
        Name of the control, with the source before it where there are several; and a comparison
        a column, None where there is none. A control that all sources share is in the subject.
    left_out
        Controls that would be too many rows.
    """

    subject: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Comparison | None, ...]], ...]
    left_out: tuple[str, ...] = ()


def grids(comparisons: Sequence[Comparison]) -> list[Grid]:
    """The comparisons that have an axis, by subject, then by control, then along the axis.

    Where there are sources besides, each has a row with each control; with the first control
    alone where that would be more rows than can be read. No two comparisons have one cell: the
    questions of which they would are told in single rows, see :func:`alone`.
    """
    single = {id(one) for one in alone(comparisons)}
    found: dict[str, list[Comparison]] = {}
    for one in comparisons:
        if id(one) not in single:
            found.setdefault(parted(one.question)[0], []).append(one)
    return [_grid(subject, mine) for subject, mine in found.items()]


def alone(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons that answer their question alone, or that would share a cell of a grid."""
    many = Counter(one.question for one in comparisons)
    cells = Counter(map(_cell, comparisons))
    crowded = {one.question for one in comparisons if cells[_cell(one)] > 1}
    return [one for one in comparisons if many[one.question] == 1 or one.question in crowded]


def _cell(one: Comparison) -> tuple[object, ...]:
    """Subject, control, sources, and place on the axis."""
    return *parted(one.question), *(str(one.labels.get(name)) for name in DOWN), place_of(one)


def _grid(subject: str, comparisons: Sequence[Comparison]) -> Grid:
    """The grid of one subject."""
    places = {place_of(one): one for one in comparisons}
    targets = list(dict.fromkeys(one.labels.get("target") for one in comparisons))
    rows: dict[tuple[str, str], dict[str, Comparison]] = {}
    for one in comparisons:
        control = parted(one.question)[1]
        rows.setdefault((control, _source(one, comparisons)), {})[place_of(one)] = one
    controls = list(dict.fromkeys(control for control, _ in rows))
    left_out = tuple(controls[1:] if len(rows) > MOST_ROWS else ())
    known = [control for control in controls if control not in left_out]
    columns = tuple(sorted(places, key=lambda name: number_of(places[name].labels)))
    called = {f"from {target}": place for place, target in enumerate(targets)}
    shown = sorted(
        (key for key in rows if key[0] in known),
        key=lambda key: (known.index(key[0]), called.get(key[1], len(called))),
    )
    shared = len(known) == 1 and all(source for _, source in shown)
    return Grid(
        f"{subject}, {known[0]}" if shared else subject,
        columns,
        tuple(
            (
                source if shared else f"{source}, {control}" if source else control,
                tuple(map(rows[control, source].get, columns)),
            )
            for control, source in shown
        ),
        left_out,
    )


def _source(one: Comparison, others: Sequence[Comparison]) -> str:
    """What tells the rows of a control apart: its labels that differ within the question."""
    mine = [other.labels for other in others if other.question == one.question]
    told = [
        form.format(one.labels[name])
        for name, form in DOWN.items()
        if name in one.labels
        and len({labels.get(name) for labels in mine}) > 1
        and one.labels[name] != one.labels.get("target")
    ]
    return ", ".join(told)


def parted(question: str) -> tuple[str, str]:
    """What is compared, and with what: ``"against random ones, frozen"``."""
    subject, against, control = question.partition(AGAINST)
    return subject.rstrip(","), f"against {control}" if against else ""


def place_of(one: Comparison) -> str:
    """What heads its column."""
    return column_of(one.labels)


def column_of(labels: Mapping[str, Any]) -> str:
    """The place of a comparison on its axis."""
    for name, form in AXES.items():
        if name in labels:
            value = labels[name]
            if isinstance(value, float):
                value = Fraction(value).limit_denominator(1000)
            return form.format(value)
    return ", ".join(str(value) for value in labels.values())


def number_of(labels: Mapping[str, Any]) -> float:
    """What columns are ordered by; all the same where their axis has no numbers."""
    return next((float(labels[name]) for name in ("cut", "k", "share") if name in labels), 0.0)


def leading(comparisons: Sequence[Comparison]) -> list[str]:
    """The questions to be told in words first.

    The very first, which an experiment is about; and of each subject that stands against several
    controls the first, which is the strictest. All questions where there is no such subject.
    """
    questions = list(dict.fromkeys(one.question for one in comparisons))
    by_subject: dict[str, list[str]] = {}
    for question in questions:
        by_subject.setdefault(parted(question)[0], []).append(question)
    strictest = [asked[0] for asked in by_subject.values() if len(asked) > 1]
    return list(dict.fromkeys([*questions[:1], *strictest])) if strictest else questions
