"""What the runs of an experiment come to: means, paired differences, sentences. No training.

Runs that share a repeat (a seed) are paired. The intervals are Student's t over repeats: they
speak of this network, these data and this budget, with other random weights; not of other images,
networks or budgets. A run that diverged, failed or is missing is named, and its pair left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from filterdb.errors import TransferError
from filterdb.keys.search.claims import student_95
from filterdb.words import counted

LEVEL = 0.95
STUDENT = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216)
"""Quantiles .975 of Student's t for 1, 2, ... degrees of freedom: 4.30 for three seeds."""
SHOWN = 10
"""Missing runs that are named in a sentence; the coverage names them all."""
SAME = 1e-9
"""Accuracies that differ by less do not differ."""
REPEAT = "repeat"
"""The label of a run that says with which others it is paired."""

Verdict = Literal["better", "worse", "not told apart"]
Values = Mapping[int, float]
"""Repeat -> accuracy, or a difference of accuracies."""


class Planned(Protocol):
    """What is asked of a run: :class:`~filterdb.transfer.run.Run` has it."""

    @property
    def id(self) -> str:
        """Hash of its settings."""

    @property
    def arm(self) -> str:
        """The row of the table that it belongs to."""

    @property
    def labels(self) -> Mapping[str, Any]:
        """Its values on the axes of the experiment, and its repeat."""


class Outcome(Protocol):
    """What is asked of a row of the book."""

    @property
    def id(self) -> str:
        """Of the run."""

    @property
    def status(self) -> str:
        """``"done"``, ``"diverged"`` or ``"failed"``."""

    @property
    def reason(self) -> str | None:
        """Why it was not done."""

    @property
    def accuracy(self) -> float | None:
        """Share of the test images, of a run that was done."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes
    ----------
    mean
        None where there is no value at all.
    low, high
        None where there are fewer than two values, or all are the same: a spread of nothing is no
        measure of how sure they are.
    n
        Number of values.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class TableRow:
    """One arm: its accuracies, by repeat, and what they come to."""

    arm: str
    labels: Mapping[str, Any]
    accuracy: Estimate
    values: Values


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm less its control, over the pairs of runs that have both.

    Attributes
    ----------
    arm, control
        As in the table; or, for a difference of differences, what is compared.
    question
        What the comparison answers, the same words for all that answer it together.
    difference, low, high
        Mean of the differences of accuracy and its 95 % interval; None as in :class:`Estimate`.
    n
        Number of pairs.
    verdict
        ``"better"`` or ``"worse"`` where the interval leaves out the null.
    null
        The difference if the arm is no other than its control.
    labels
        Values on the axes of the experiment, for figures.
    """

    arm: str
    control: str
    question: str
    difference: float | None
    low: float | None
    high: float | None
    n: int
    verdict: Verdict
    null: float = 0.0
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.arm} against {self.control}: {points(self)}"


@dataclass(frozen=True, slots=True)
class Missing:
    """A run without an accuracy: ``status`` is ``"diverged"``, ``"failed"`` or ``"not run"``."""

    id: str
    arm: str
    repeat: int
    status: str
    reason: str | None

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.arm}, repeat {self.repeat} (run {self.id}) {self.status}{why}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the planned runs the result rests on, and which are not among them."""

    planned: int
    done: int
    missing: tuple[Missing, ...]

    def count(self, status: str) -> int:
        """Missing runs of a status."""
        return sum(run.status == status for run in self.missing)


@dataclass(frozen=True, slots=True)
class Result:
    """What an experiment came to.

    Attributes
    ----------
    experiment
        Its name.
    settings
        The effective plan, as :meth:`filterdb.transfer.plan.Plan.to_dict` writes it.
    budget
        A sentence: what every arm was given.
    table
        A row an arm, in the order of the runs.
    comparisons
        Each against its control, in the order in which they are told.
    sentences
        What is supported at this size and noise, and what is not.
    coverage
        Of the planned runs.
    """

    experiment: str
    settings: Mapping[str, Any]
    budget: str
    table: tuple[TableRow, ...]
    comparisons: tuple[Comparison, ...]
    sentences: tuple[str, ...]
    coverage: Coverage

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        told = asdict(self)
        for row in told["table"]:
            row["values"] = {str(repeat): value for repeat, value in row["values"].items()}
        return told


@dataclass(frozen=True, slots=True)
class Table:
    """The arms of an experiment, filled from the book."""

    rows: tuple[TableRow, ...]
    coverage: Coverage

    def values(self, arm: str) -> Values:
        """Accuracies of an arm by repeat.

        Raises
        ------
        TransferError
            The experiment has no such arm.
        """
        for row in self.rows:
            if row.arm == arm:
                return row.values
        msg = f"There is no arm {arm!r}. There are: {', '.join(row.arm for row in self.rows)}."
        raise TransferError(msg)

    def compare(self, arm: str, control: str, question: str, **labels: object) -> Comparison:
        """One arm less another, pair by pair."""
        differences = less(self.values(arm), self.values(control))
        return comparison(differences, arm=arm, control=control, question=question, labels=labels)


def tabled(runs: Sequence[Planned], rows: Iterable[Outcome]) -> Table:
    """Put what the book has of the runs in a table, an arm a row.

    Parameters
    ----------
    runs
        Of the experiment. Arm and labels are taken from here: the book's row may come from
        another experiment that had the same run.
    rows
        Of the book; those of other runs are passed over.
    """
    found = {row.id: row for row in rows}
    values: dict[str, dict[int, float]] = {}
    labels: dict[str, dict[str, Any]] = {}
    missing = []
    for run in runs:
        repeat = int(run.labels[REPEAT])
        here = values.setdefault(run.arm, {})
        labels.setdefault(run.arm, {k: v for k, v in run.labels.items() if k != REPEAT})
        row = found.get(run.id)
        accuracy = None if row is None or row.status != "done" else row.accuracy
        if accuracy is not None and math.isfinite(accuracy):
            here[repeat] = float(accuracy)
            continue
        status = "not run" if row is None else "failed" if row.status == "done" else row.status
        reason = None if row is None else row.reason
        missing.append(Missing(run.id, run.arm, repeat, status, reason))
    table = tuple(
        TableRow(arm, labels[arm], estimate(here.values()), here) for arm, here in values.items()
    )
    return Table(table, Coverage(len(runs), len(runs) - len(missing), tuple(missing)))


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and 95 % interval by Student's t, as is honest for three seeds.

    A bootstrap of three values has only ten different outcomes, and covers the truth far less
    often than it says.
    """
    array = np.array(list(values), dtype=np.float64)
    n = len(array)
    if not n:
        return Estimate(None, None, None, 0)
    mean = float(array.mean())
    if n < 2 or np.ptp(array) < SAME:
        return Estimate(mean, None, None, n)
    half = _student(n - 1) * float(array.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def _student(freedom: int) -> float:
    """Quantile .975 of Student's t; the series of :func:`student_95` is too rough for few."""
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else student_95(freedom)


def less(first: Values, second: Values) -> dict[int, float]:
    """Differences of the repeats that both have."""
    return {repeat: first[repeat] - second[repeat] for repeat in first if repeat in second}


def mean_of(values: Sequence[Values]) -> dict[int, float]:
    """Means over several arms, of the repeats that all of them have."""
    repeats = [repeat for repeat in values[0] if all(repeat in one for one in values)]
    return {repeat: float(np.mean([one[repeat] for one in values])) for repeat in repeats}


def comparison(
    differences: Values,
    *,
    arm: str,
    control: str,
    question: str,
    labels: Mapping[str, Any] | None = None,
) -> Comparison:
    """Judge paired differences by their interval; without one, nothing is told apart."""
    found = estimate(differences.values())
    verdict: Verdict = "not told apart"
    if found.low is not None and found.low > 0:
        verdict = "better"
    elif found.high is not None and found.high < 0:
        verdict = "worse"
    return Comparison(
        arm, control, question, found.mean, found.low, found.high, found.n, verdict,
        labels=labels or {},
    )  # fmt: skip


def points(found: Comparison) -> str:
    """``"-0.4 points (-1.2 to +0.3, 3 pairs)"``: hundredths of accuracy."""
    if found.difference is None:
        return "no pair of runs has both"
    pairs = counted(found.n, "pair")
    if found.low is None or found.high is None:
        return f"{100 * found.difference:+.1f} points (no interval, {pairs})"
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.difference:+.1f} points ({low:+.1f} to {high:+.1f}, {pairs})"


def sentence(question: str, comparisons: Iterable[Comparison]) -> str:
    """What the comparisons that answer one question say together, each with its interval.

    That two arms are not told apart does not make them equal: what cannot be ruled out is said.
    """
    mine = [found for found in comparisons if found.question == question]
    sure = [found for found in mine if found.low is not None and found.high is not None]
    if not sure:
        return (
            f"{question}: nothing can be said without an interval, for want of two pairs of runs "
            "whose differences vary."
        )
    told = []
    for verdict, name, furthest in (("worse", "loss", min), ("better", "gain", max)):
        some = [found for found in sure if found.verdict == verdict]
        if some:
            most = furthest(some, key=lambda found: found.difference or 0.0)
            told.append(f"a {name} is supported in {len(some)} of {len(sure)}, most for {most}")
    rest = [found for found in sure if found.verdict == "not told apart"]
    if len(rest) == 1:
        told.append(f"neither loss nor gain is supported for {rest[0]}")
    elif rest:
        low = 100 * min(found.low or 0.0 for found in rest)
        high = 100 * max(found.high or 0.0 for found in rest)
        told.append(
            f"neither loss nor gain is supported in {len(rest)} of {len(sure)}, where a loss of "
            f"up to {-low:.1f} points and a gain of up to {high:.1f} are not ruled out"
        )
    if len(sure) < len(mine):
        told.append(f"{len(mine) - len(sure)} without an interval")
    return f"{question}: {'; '.join(told)}."


def sentences(table: Table, comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """A sentence a question, then how far they reach, then the runs that are missing."""
    told = [sentence(one, comparisons) for one in dict.fromkeys(c.question for c in comparisons)]
    judged = sum(found.low is not None for found in comparisons)
    if judged:
        told.append(
            f"{counted(judged, 'comparison')} at 95 % each: of arms that do not differ at all, "
            f"about {judged * (1 - LEVEL):.1f} would be told apart by chance. The intervals are "
            "over seeds, for this network, these data (the same test images throughout) and this "
            "budget alone."
        )
    if table.coverage.missing:
        missing = table.coverage.missing
        names = "; ".join(map(str, missing[:SHOWN]))
        more = f"; and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        planned = counted(table.coverage.planned, "run")
        told.append(f"{len(missing)} of {planned} without an accuracy: {names}{more}.")
    return tuple(told)
