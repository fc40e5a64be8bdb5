"""What is to be said of how the runs of an experiment were done, where they were not done alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from filterdb.transfer.book import LeftOut, Row
from filterdb.words import counted

CONDITIONS: dict[str, Callable[[Row], str]] = {
    "threads": lambda row: str(row.threads),
    "device": lambda row: str(row.device),
    "torch": lambda row: str(row.versions.get("torch")),
}
"""What decides, besides the settings, in which order numbers are added up, and how rounded."""

SHOWN = 6
"""Numbers of steps that a sentence has."""


def conditions(rows: Iterable[Row]) -> tuple[str, ...]:
    """Sentences on what the runs were done with, and on those that were done otherwise than others.

    Parameters
    ----------
    rows
        Of the experiment.
    """
    done = list({row.id: row for row in rows if row.status == "done"}.values())
    told = []
    for name, value in CONDITIONS.items():
        counts = Counter(map(value, done))
        if len(counts) > 1:
            told.append(f"{name} " + ", ".join(f"{key} ({n:,})" for key, n in counts.most_common()))
    found = []
    if told:
        found.append(
            f"The {len(done):,} runs were not all done under the same conditions: "
            f"{'; '.join(told)}. The same run comes out a little otherwise under others, by chance "
            "and not by its arm."
        )
    without = sum(row.digest is None for row in done)
    if without:
        found.append(
            f"{counted(without, 'run')} by an earlier filterdb: that the data are those of then "
            "is taken for granted."
        )
    return (*_steps(done), *_mirrored(done), *_left_out(done), *found)


def _steps(rows: Collection[Row]) -> Iterator[str]:
    """Where a budget of passes came to different numbers of steps."""
    arms: dict[int, list[str]] = {}
    for row in rows:
        if row.steps is not None and row.run.budget.steps is None:
            here = arms.setdefault(row.steps, [])
            if row.run.arm not in here:
                here.append(row.run.arm)
    if len(arms) > 1:
        told = []
        for steps, names in sorted(arms.items()):
            others = f" and {counted(len(names) - 1, 'other arm')}" if names[1:] else ""
            told.append(f"{names[0]}{others} took {counted(steps, 'step')}")
        more = f"; and {len(told) - SHOWN} more numbers of steps" if len(told) > SHOWN else ""
        yield f"The budget counts passes: {'; '.join(told[:SHOWN])}{more}."


def _mirrored(rows: Collection[Row]) -> Iterator[str]:
    """Which sets were mirrored, where images were augmented."""
    augmented = [row for row in rows if row.run.budget.augment and row.mirrored is not None]
    told = []
    for word, mirrored in (("with", True), ("without", False)):
        if sets := dict.fromkeys(_set(row) for row in augmented if row.mirrored is mirrored):
            told.append(f"{word} mirror images: {', '.join(sets)}")
    if told:
        yield f"Augmented by crops at random; {'; '.join(told)}."


def _left_out(rows: Collection[Row]) -> Iterator[str]:
    """What the files of a data set hold and no run has seen."""
    sets: dict[str, dict[str, LeftOut]] = {}
    for row in rows:
        sets.setdefault(row.run.data.spec, {}).update(row.left_out)
    for spec, reasons in sets.items():
        for reason, one in reasons.items():
            more = ", ..." if one.count > len(one.names) else ""
            yield f"{spec}: left out, {reason}: {one.count:,} ({', '.join(one.names)}{more})."


def _set(row: Row) -> str:
    """A data set with its group; a share of it is the same set."""
    return replace(row.run.data, share=1.0).name
