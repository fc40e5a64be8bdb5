"""Size: filters of a source that was trained on more or less data (METHODS 3.1, item 4).

All sources are trained for equally many steps, so that it is the number of different images that
differs, not the training. What is in a share is drawn anew for each seed; a smaller share is part
of a larger one. What a set is tested on stays the same throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from filterdb.errors import TransferError
from filterdb.transfer.comparing import Outcome, Table, comparison, tabled
from filterdb.transfer.options import Size
from filterdb.transfer.plan import Plan, data_with
from filterdb.transfer.results import FULL, OWN, RANDOM, Comparison, Result
from filterdb.transfer.run import Run, Start


def runs(plan: Plan) -> list[Run]:
    """The target in full, own and random filters; each source, and its filters in the target."""
    options: Size = plan.options
    source = data_with(plan.data, options.source, where="size.source")
    found: list[Run] = []
    for repeat in plan.seeds:
        full = plan.run(FULL, repeat, labels={"filters": FULL})
        own = Start(options.part, source=full.id)
        chance = Start(options.part, filters="random")
        found += [
            full,
            plan.run(OWN, repeat, starts=[own], labels={"filters": OWN}),
            plan.run(RANDOM, repeat, starts=[chance], labels={"filters": RANDOM}),
        ]
        for share in _shares(plan):
            teacher = plan.run(
                f"source at {_told(share)}", repeat,
                data=replace(
                    source, share=share * source.share, share_seed=source.seed + repeat
                ),
                labels={"filters": FULL, "source_share": share},
            )  # fmt: skip
            start = Start(options.part, source=teacher.id)
            labels = {"filters": "source", "share": share}
            found += [teacher, plan.run(arm(share), repeat, starts=[start], labels=labels)]
    return found


def arm(share: float) -> str:
    """What a network with the filters of a source is called."""
    return f"filters of {_told(share)} of the source"


def _told(share: float) -> str:
    told = Fraction(share).limit_denominator(1000)
    return f"{told.numerator}/{told.denominator}" if told else f"{share:g}"


def _shares(plan: Plan) -> list[float]:
    shares = sorted(set(plan.options.shares))
    for one, other in pairwise(shares):
        if _told(one) == _told(other):
            msg = f"size.shares: {one:g} and {other:g} are both {_told(one)} in a table. Give one."
            raise TransferError(msg)
    return shares


def result(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """The trend over sizes, then each size against the largest and against the references."""
    table = tabled(runs(plan), rows)
    return plan.result(table, _comparisons(plan, table))


def _comparisons(plan: Plan, table: Table) -> Iterator[Comparison]:
    part, shares = plan.options.part, _shares(plan)
    filters = f"{part} filters, frozen"
    if len(shares) > 1:
        yield comparison(
            _slopes(plan, table),
            arm="each doubling of the source",
            control="no change",
            question=f"accuracy with each doubling of the source of the {filters}",
        )
    for control, told, some in (
        (arm(shares[-1]), "those of the largest source", shares[:-1]),
        (RANDOM, "random ones", shares),
        (OWN, "the target's own", shares),
        (FULL, "training in full", shares),
    ):
        for share in some:
            question = f"a source's {filters}, against {told}"
            yield table.compare(arm(share), control, question, share=share)


def _slopes(plan: Plan, table: Table) -> dict[int, float]:
    """Least-squares slope of accuracy over log2 of the share, of repeats that have every size."""
    shares = _shares(plan)
    values = [table.values(arm(share)) for share in shares]
    doublings = [math.log2(share) for share in shares]
    return {
        repeat: float(np.polyfit(doublings, [one[repeat] for one in values], 1)[0])
        for repeat in values[0]
        if all(repeat in one for one in values)
    }
