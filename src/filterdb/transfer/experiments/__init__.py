"""The experiments: which runs a plan asks for, and what these come to. No torch.

Each module has ``runs(plan)`` and ``result(plan, rows)``; an arm is a row of the result's table.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from filterdb.transfer.experiments import keys, layers, matrix, size
from filterdb.transfer.plan import Plan
from filterdb.transfer.results import Outcome, Result
from filterdb.transfer.run import Run

EXPERIMENTS: dict[str, ModuleType] = {
    "layers": layers, "matrix": matrix, "keys": keys, "size": size,
}  # fmt: skip
"""By the name that a plan gives."""


def runs_of(plan: Plan) -> list[Run]:
    """All runs of a plan, sources before those that need them.

    Raises
    ------
    TransferError
        The network and the experiment do not go together.
    """
    runs: list[Run] = EXPERIMENTS[plan.experiment].runs(plan)
    return runs


def result_of(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """What the rows of the book come to; runs that are not among them are named as missing."""
    result: Result = EXPERIMENTS[plan.experiment].result(plan, rows)
    return result
