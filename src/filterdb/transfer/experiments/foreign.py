"""What the experiments with filters from outside share: ways of drawing, and their controls.

The channels of two networks have nothing to do with one another, so that filters from outside are
drawn at random. Own filters are a control only if they are drawn in the same way: copied into
place they would keep the order that they have grown in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from filterdb.errors import TransferError
from filterdb.transfer.comparing import Table
from filterdb.transfer.plan import Plan
from filterdb.transfer.results import FULL, OWN, RANDOM, Comparison
from filterdb.transfer.run import How, Run, Start

PART = "depthwise"
BY = {"depth": "by depth", "pool": "from the pool"}
LIKE = "drawn in the same way"


def arm(filters: str, how: str) -> str:
    """What a network with drawn filters is called."""
    return f"{filters} {BY[how]}"


def spectrum(filters: str) -> str:
    """What random filters with the power spectra of others are called."""
    return f"spectrum of {filters}"


def ways(plan: Plan) -> tuple[How, ...]:
    """How filters are drawn, each way once."""
    return tuple(dict.fromkeys(plan.options.how))


def references(plan: Plan, repeat: int) -> tuple[Run, Run]:
    """The network trained in full, and that with its own random filters, frozen."""
    full = plan.run(FULL, repeat, labels={"filters": FULL})
    chance = Start(PART, filters="random")
    return full, plan.run(RANDOM, repeat, starts=[chance], labels={"filters": RANDOM})


def check_names(names: Iterable[str], *, where: str) -> None:
    """Refuse sources that are called as a control is.

    Raises
    ------
    TransferError
        One is.
    """
    for name in names:
        if name in (FULL, OWN, RANDOM):
            msg = f"{where}.{name}: {name!r} is what a control is called. Name it otherwise."
            raise TransferError(msg)


def against(
    plan: Plan, table: Table, names: Iterable[str], control: str, question: str
) -> Iterator[Comparison]:
    """The filters of each source against a control that is drawn, or not, in the same way."""
    drawn = control not in (FULL, RANDOM)
    for name in names:
        for how in ways(plan):
            yield table.compare(
                arm(name, how), arm(control, how) if drawn else control, question,
                filters=name, how=how,
            )  # fmt: skip


def own_filters(plan: Plan, table: Table) -> Iterator[Comparison]:
    """The controls against one another."""
    told = f"own filters, {LIKE}, frozen"
    yield from against(plan, table, [OWN], RANDOM, f"{told}, against random ones")
    yield from against(plan, table, [OWN], FULL, f"{told}, against training in full")
