"""Whether the sources have learnt anything: filters of one that has not may be as random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from filterdb.transfer.comparing import Outcome
from filterdb.transfer.run import Run

MARGIN = 0.05
"""So much more than guessing a source gets right that has learnt something; or half as much again,
where there are many classes and guessing gets less."""


class Tested(Outcome, Protocol):
    """What is asked of a row besides: those of an earlier filterdb do not have all of it."""

    @property
    def classes(self) -> int | None:
        """How many classes are told apart."""

    @property
    def guess(self) -> float | None:
        """Share of the test images that are of their largest class."""


def learnt_nothing(runs: Sequence[Run], rows: Iterable[Outcome]) -> Iterator[str]:
    """A sentence for each source that tells its classes apart no better than a guess would.

    Parameters
    ----------
    runs
        Of the experiment.
    rows
        What came of them.
    """
    sources = {key for run in runs for key in run.sources}
    outcomes = {row.id: row for row in rows}
    poor: dict[str, list[tuple[float, float]]] = {}
    repeats = Counter(run.arm for run in runs)
    for run in runs:
        row = outcomes.get(run.id)
        if run.id not in sources or row is None or row.status != "done" or row.accuracy is None:
            continue
        guess = guess_of(row)
        if guess is not None and row.accuracy <= guess + min(MARGIN, guess / 2):
            poor.setdefault(run.arm, []).append((row.accuracy, guess))
    for arm, found in poor.items():
        right, guessed = np.mean(found, axis=0)
        name = arm if arm.startswith("source ") else f"source {arm}"
        yield (
            f"The {name} learnt next to nothing in {len(found)} of {repeats[arm]} repeats: "
            f"{right:.0%} where guessing has {guessed:.0%}. Its filters may be no better than "
            "random ones."
        )


def guess_of(row: Outcome) -> float | None:
    """Share of the test images that whoever always names the largest class gets right."""
    guess, classes = (getattr(row, name, None) for name in ("guess", "classes"))
    if guess is None and classes:
        guess = 1 / classes  # a row of an earlier filterdb: as if all classes were equally large
    return guess
