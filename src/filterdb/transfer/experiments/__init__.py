"""The experiments: which runs a plan asks for, and what these come to. No torch.

Each module has ``runs(plan)`` and ``result(plan, rows)``; an arm is a row of the result's table.
Where later runs depend on what earlier ones came to, it has ``more(plan, rows)`` as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType

from filterdb.errors import TransferError
from filterdb.transfer.comparing import REPEAT, Outcome
from filterdb.transfer.experiments import (
    architectures,
    donors,
    keys,
    layers,
    matrix,
    removal,
    size,
)
from filterdb.transfer.experiments.checking import check_data
from filterdb.transfer.experiments.sources import learnt_nothing
from filterdb.transfer.plan import Plan
from filterdb.transfer.results import Result
from filterdb.transfer.run import Run

__all__ = ["EXPERIMENTS", "check_data", "more_of", "result_of", "runs_of", "unfolds"]

EXPERIMENTS: dict[str, ModuleType] = {
    "layers": layers, "matrix": matrix, "architectures": architectures, "donors": donors,
    "keys": keys, "removal": removal, "size": size,
}  # fmt: skip
"""By the name that a plan gives."""


def runs_of(plan: Plan) -> list[Run]:
    """All runs of a plan that are known before any is done, sources before those that need them.

    Raises
    ------
    TransferError
        The network and the experiment do not go together.
    """
    runs: list[Run] = EXPERIMENTS[plan.experiment].runs(plan)
    arms: dict[tuple[str, int], str] = {}
    for run in runs:
        if arms.setdefault((run.arm, run.labels[REPEAT]), run.id) != run.id:
            msg = (
                f"Two networks of {plan.experiment} would both be called {run.arm!r}. Name the "
                "sets or sources otherwise."
            )
            raise TransferError(msg)
    return runs


def more_of(plan: Plan, rows: Iterable[Outcome]) -> list[Run]:
    """The runs that follow from what others came to, and are not among them; empty at the end."""
    if not unfolds(plan):
        return []
    runs: list[Run] = EXPERIMENTS[plan.experiment].more(plan, rows)
    return runs


def unfolds(plan: Plan) -> bool:
    """Whether there are runs that only become known as others are done."""
    return hasattr(EXPERIMENTS[plan.experiment], "more")


def result_of(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """What the rows of the book come to; runs that are not among them are named as missing."""
    rows = list(rows)
    result: Result = EXPERIMENTS[plan.experiment].result(plan, rows)
    return replace(result, sentences=(*result.sentences, *learnt_nothing(runs_of(plan), rows)))
