"""What an experiment came to: arms, comparisons, sentences, coverage; as JSON and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from filterdb.errors import TransferError
from filterdb.transfer.stored import made
from filterdb.words import counted

FULL, OWN, RANDOM = "in full", "own", "random"
"""What the arms that others are compared with are labelled, and are called in part."""
Verdict = Literal["better", "worse", "not told apart"]
Values = Mapping[int, float]
"""Repeat -> accuracy, or a difference of accuracies."""


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
    cut
        Whether an end would lie beyond 0 or 1, where no accuracy can, and was put there.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    cut: bool = False


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

    @classmethod
    def from_dict(cls, told: object) -> Self:
        """The result that :meth:`to_dict` told of; keys that it does not have are passed over.

        Raises
        ------
        TransferError
            Something is missing or is of another kind; the key is named.
        """
        result: Self = made(cls, told, where="")
        _check(result)
        return result


def points(found: Comparison) -> str:
    """``"-0.4 points (-1.2 to +0.3, 3 pairs)"``: hundredths of accuracy."""
    if found.difference is None:
        return "no pair of runs has both"
    pairs = counted(found.n, "pair")
    if found.low is None or found.high is None:
        return f"{100 * found.difference:+.1f} points (no interval, {pairs})"
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.difference:+.1f} points ({low:+.1f} to {high:+.1f}, {pairs})"


def read_result(path: str | os.PathLike[str]) -> Result:
    """Read the ``result.json`` of an experiment.

    Raises
    ------
    TransferError
        The file cannot be read, is damaged, or is no result; it is named.
    """
    path = Path(path)
    try:
        return Result.from_dict(json.loads(path.read_bytes()))
    except OSError as error:
        msg = f"{path}: the result cannot be read ({error.strerror})."
    except TransferError as error:
        msg = (
            f"{path}: this is no result of filterdb transfer, or a damaged one. {error} In the "
            "folder of its runs the same command writes it anew."
        )
    except (ValueError, RecursionError) as error:
        msg = f"{path}: this is no JSON, or half of it ({error})."
    raise TransferError(msg)


def _check(result: Result) -> None:
    """What the parts of a result say together."""
    arms = [row.arm for row in result.table]
    if len(set(arms)) < len(arms):
        msg = "An arm stands in the table twice."
        raise TransferError(msg)
    for row in result.table:
        if row.accuracy.n != len(row.values) or not all(0 <= v <= 1 for v in row.values.values()):
            msg = f"The accuracies of {row.arm!r} are not {row.accuracy.n} shares in 0..1."
            raise TransferError(msg)
    for number, found in enumerate(result.comparisons):
        if (found.low is None) != (found.high is None) or (found.difference is None) != (
            found.n == 0
        ):
            msg = (
                f"comparisons[{number}] has half an interval, or no difference of {found.n} pairs."
            )
            raise TransferError(msg)
