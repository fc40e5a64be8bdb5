"""What comparisons say in words: no claim without its interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from filterdb.transfer.comparing import Table
from filterdb.transfer.results import Comparison
from filterdb.words import counted

LEVEL = 0.95
SHOWN = 10
"""Missing runs that are named in a sentence; the coverage names them all."""


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
            many = f"in {len(some)} of {len(sure)}, most " if len(sure) > 1 else ""
            told.append(f"a {name} is supported {many}for {most}")
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
        # What went wrong first: it must not be lost among the runs that are still to come.
        missing = sorted(table.coverage.missing, key=lambda run: run.status == "not run")
        names = "; ".join(map(str, missing[:SHOWN]))
        more = f"; and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        planned = counted(table.coverage.planned, "run")
        told.append(f"{len(missing)} of {planned} without an accuracy: {names}{more}.")
    return tuple(told)
