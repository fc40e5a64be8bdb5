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
AXES = {"cut": "n = {}", "k": "k = {}", "share": "{}", "target": "{}",
        "how": "by {}"}  # fmt: skip
"""Label of a comparison -> what heads its column."""
DOWN = ("source", "filters")
"""Labels that become rows of their own where they differ within a question."""
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
        a column, None where there is none.
    """

    subject: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Comparison | None, ...]], ...]


def grids(comparisons: Sequence[Comparison]) -> list[Grid]:
    """The comparisons that have an axis, by subject, then by control, then along the axis.

    Where there are sources besides, each has a row with each control; with the first control
    alone where that would be more rows than can be read.
    """
    asked: dict[str, list[Comparison]] = {}
    for one in comparisons:
        asked.setdefault(one.question, []).append(one)
    found: dict[str, dict[tuple[str, str], dict[str, Comparison]]] = {}
    for question, mine in asked.items():
        if len(mine) == 1:
            continue
        subject, control = parted(question)
        several = {name for name in DOWN if len({one.labels.get(name) for one in mine}) > 1}
        rows = found.setdefault(subject, {})
        for one in mine:
            source = ", ".join(str(one.labels[name]) for name in DOWN if name in several)
            source = "" if source == one.labels.get("target") else source
            rows.setdefault((control, source), {})[column_of(one.labels)] = one
    return [_grid(subject, rows) for subject, rows in found.items()]


def _grid(subject: str, rows: Mapping[tuple[str, str], Mapping[str, Comparison]]) -> Grid:
    places = {name: one for by_place in rows.values() for name, one in by_place.items()}
    columns = tuple(sorted(places, key=lambda name: number_of(places[name].labels)))
    first = next(control for control, _ in rows)
    shown = {
        (control, source): by_place
        for (control, source), by_place in rows.items()
        if len(rows) <= MOST_ROWS or control == first
    }
    return Grid(
        subject,
        columns,
        tuple(
            (f"{source}, {control}" if source else control, tuple(map(by_place.get, columns)))
            for (control, source), by_place in shown.items()
        ),
    )


def alone(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons that answer their question alone."""
    many = Counter(one.question for one in comparisons)
    return [one for one in comparisons if many[one.question] == 1]


def parted(question: str) -> tuple[str, str]:
    """What is compared, and with what: ``"against random ones, frozen"``."""
    subject, against, control = question.partition(AGAINST)
    return subject.rstrip(","), f"against {control}" if against else ""


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

    Of each subject that stands against several controls it is the first, which is the strictest;
    it is all questions where there is no such subject.
    """
    questions = list(dict.fromkeys(one.question for one in comparisons))
    by_subject: dict[str, list[str]] = {}
    for question in questions:
        by_subject.setdefault(parted(question)[0], []).append(question)
    return [asked[0] for asked in by_subject.values() if len(asked) > 1] or questions
