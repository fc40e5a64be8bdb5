"""How accuracies are judged: arms in a table, paired differences and their intervals. No training.

Runs that share a repeat (a seed) are paired: they have the same data, and arms that start from
filters of elsewhere the same random weights and order of images too. Training in full has other
random numbers than these (a network would else get back the surroundings in which its own filters
have grown): of its pairs only the data are shared, and pairing them takes out no noise of weights.

The intervals are Student's t over repeats: they speak of this network, these data and this budget,
with other random weights; not of other images, networks or budgets. A run that diverged, failed or
is missing is named, and its pair left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from filterdb.errors import TransferError
from filterdb.keys.search.claims import student_95
from filterdb.transfer.results import (
    Comparison,
    Coverage,
    Estimate,
    Missing,
    TableRow,
    Values,
    Verdict,
)

STUDENT = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216)
"""Quantiles .975 of Student's t for 1, 2, ... degrees of freedom: 4.30 for three seeds."""
SAME = 1e-9
"""Accuracies that differ by less do not differ."""
REPEAT = "repeat"
"""The label of a run that says with which others it is paired."""


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
        TableRow(arm, labels[arm], estimate_share(here.values()), here)
        for arm, here in values.items()
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


def estimate_share(shares: Iterable[float]) -> Estimate:
    """The same of shares, whose interval ends at 0 and 1; :attr:`Estimate.cut` says where it does.

    Student's t knows nothing of these ends. Differences are not cut: they are judged by the whole
    interval.
    """
    found = estimate(shares)
    if found.low is None or found.high is None or (found.low >= 0 and found.high <= 1):
        return found
    return Estimate(found.mean, max(found.low, 0.0), min(found.high, 1.0), found.n, cut=True)


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
