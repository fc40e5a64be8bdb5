"""Removal: keys of a set are taken out one by one, each time that whose absence costs least.

In each round networks are trained with every one of the keys left out, frozen, and told apart on
training images that are held out. The networks that are reported learn anew, from all training
images, and are tested on images that had no part in the choice. What a round is about depends on
the one before: :func:`more` gives the runs that have become known. (METHODS 3.3, item 4, by
accuracy.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from filterdb.errors import TransferError
from filterdb.transfer.comparing import SAME, Outcome, Table, comparison, less, tabled
from filterdb.transfer.experiments.fitting import kernel_of, size
from filterdb.transfer.experiments.keys import FEW, PART, random_arm, start_of
from filterdb.transfer.options import Removal
from filterdb.transfer.plan import Plan
from filterdb.transfer.results import FULL, OWN, Comparison, Result, points
from filterdb.transfer.run import Run, Start
from filterdb.words import counted

if TYPE_CHECKING:
    from filterdb.keys import KeySet

KEPT, DRAWN = "kept", "drawn"
WITHOUT = "without"
"""The label of the runs that a round is decided by."""

Numbers = tuple[int, ...]
"""Of keys, from 1 on."""


@dataclass(frozen=True, slots=True)
class Round:
    """One key less.

    Attributes
    ----------
    left
        Numbers of the keys before.
    runs
        With each one of them left out, seed by seed.
    values
        Key -> accuracy without it by seed, of the seeds that all have that were done at all; on
        images held out.
    scores
        The means of these.
    seeds
        How many seeds these are.
    removed
        The key that is left out from now on; None where it cannot be decided (yet).
    """

    left: Numbers
    runs: tuple[Run, ...]
    values: Mapping[int, Mapping[int, float]]
    scores: Mapping[int, float]
    seeds: int
    removed: int | None

    @property
    def next(self) -> int | None:
        """The key that would have gone in the place of the one that goes; None without another."""
        others = [key for key in self.scores if key != self.removed]
        return max(others, key=lambda key: (self.scores[key], key), default=None)


def runs(plan: Plan) -> list[Run]:
    """What is known before anything is done: references, controls and the first round.

    Raises
    ------
    TransferError
        The keys do not fit the network, or are too few.
    """
    return _planned(plan, ())


def more(plan: Plan, rows: Iterable[Outcome]) -> list[Run]:
    """The runs that have become known by these rows and are not among them."""
    rows = list(rows)
    there = {row.id for row in rows}
    return [run for run in _planned(plan, rows) if run.id not in there]


def rounds(plan: Plan, rows: Iterable[Outcome]) -> list[Round]:
    """The rounds so far; the last one may be undecided."""
    outcomes = {row.id: row for row in rows}
    left, keys = _first(plan), _keys(plan)
    found: list[Round] = []
    while len(left) > plan.options.down_to:
        one = _round(plan, keys, left, outcomes)
        found.append(one)
        if one.removed is None:
            break
        left = _less(left, one.removed)
    return found


def _round(plan: Plan, keys: KeySet, left: Numbers, outcomes: Mapping[str, Outcome]) -> Round:
    options: Removal = plan.options
    data = replace(plan.data, held_out=options.held_out)
    tried = {
        (key, repeat): plan.run(
            f"{options.set} {_told(_less(left, key))}, held out", repeat, data=data,
            starts=[_start(plan, keys, _less(left, key))],
            labels={WITHOUT: key, "k": len(left) - 1},
        )
        for key in left
        for repeat in plan.seeds
    }  # fmt: skip
    values: dict[int, dict[int, float]] = {}
    for (key, repeat), run in tried.items():
        row = outcomes.get(run.id)
        if row is not None and row.status == "done" and row.accuracy is not None:
            values.setdefault(key, {})[repeat] = row.accuracy
    common = [seed for seed in plan.seeds if values and all(seed in one for one in values.values())]
    scores = {
        key: float(np.mean([one[seed] for seed in common])) for key, one in values.items() if common
    }
    settled = bool(scores) and all(run.id in outcomes for run in tried.values())
    removed = max(scores, key=lambda key: (scores[key], key)) if settled else None
    shared = {key: {seed: one[seed] for seed in common} for key, one in values.items() if common}
    return Round(left, tuple(tried.values()), shared, scores, len(common), removed)


def _planned(plan: Plan, rows: Sequence[Outcome]) -> list[Run]:
    """All runs that are known by now."""
    keys, first, few = _keys(plan), _first(plan), plan.options.down_to
    found: list[Run] = []
    for repeat in plan.seeds:
        full = plan.run(FULL, repeat, labels={"filters": FULL})
        own = plan.run(OWN, repeat, starts=[Start(PART, source=full.id)], labels={"filters": OWN})
        found += [full, own, _kept(plan, keys, first, repeat)]
        order = np.random.default_rng(repeat).permutation(first).tolist()
        for k in range(few, len(first)):
            start = _start(plan, keys, tuple(sorted(order[:k])))
            chance = Start(PART, filters=f"random:{k}")
            found += [
                plan.run(drawn(k), repeat, starts=[start], labels={"filters": DRAWN, "k": k}),
                plan.run(random_arm(k), repeat, starts=[chance], labels={"filters": FEW, "k": k}),
            ]
    for one in rounds(plan, rows):
        found += one.runs
        if one.removed is not None:
            left = _less(one.left, one.removed)
            found += [_kept(plan, keys, left, repeat) for repeat in plan.seeds]
    return found


def _kept(plan: Plan, keys: KeySet, left: Numbers, repeat: int) -> Run:
    return plan.run(
        kept(len(left)), repeat, starts=[_start(plan, keys, left)],
        labels={"filters": KEPT, "k": len(left)},
    )  # fmt: skip


def kept(k: int) -> str:
    """What a network with the keys that are left is called."""
    return f"{counted(k, 'key')} kept"


def drawn(k: int) -> str:
    """What a network with as many keys of the set, drawn at random, is called."""
    return f"{counted(k, 'key')} drawn"


def result(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """What is left after each round against all keys, and against as many drawn or random."""
    rows = list(rows)
    table = tabled(_planned(plan, rows), rows)
    shown = tuple(row for row in table.rows if WITHOUT not in row.labels)
    table = replace(table, rows=shown)
    return plan.result(table, _comparisons(plan, table), notes=_notes(plan, rows))


def _comparisons(plan: Plan, table: Table) -> Iterator[Comparison]:
    name, most = plan.options.set, len(_first(plan))
    counts = [row.labels["k"] for row in table.rows if row.labels["filters"] == KEPT]
    for told, control, some in (
        ("all of them", lambda _: kept(most), [k for k in counts if k < most]),
        ("as many drawn from the set", drawn, [k for k in counts if k < most]),
        ("as many random filters", random_arm, [k for k in counts if k < most]),
        ("own learnt ones, frozen", lambda _: OWN, counts),
        ("training in full", lambda _: FULL, counts),
    ):
        for k in sorted(some):
            question = f"the keys of {name} that are kept, frozen, against {told}"
            yield table.compare(kept(k), control(k), question, filters=KEPT, k=k)


def _notes(plan: Plan, rows: Sequence[Outcome]) -> Iterator[str]:
    options: Removal = plan.options
    keys, left = _keys(plan), _first(plan)
    for one in rounds(plan, rows):
        if one.removed is None:
            if rows:
                yield f"Which of {_told(one.left)} is to go is not decided: its runs are not done."
            break
        left = _less(one.left, one.removed)
        others = sorted(score for key, score in one.scores.items() if key != one.removed)
        told = f", without another one {others[0]:.1%} to {others[-1]:.1%}" if others else ""
        yield (
            f"Of {counted(len(one.left), 'key')}, number {one.removed} "
            f"({keys.names[one.removed - 1].text}) goes: without it "
            f"{one.scores[one.removed]:.1%} of the images held out are told right{told} (means "
            f"over {counted(one.seeds, 'seed')}).{_ahead(one)}"
        )
    yield f"Kept of {options.set}: {_told(left)}."
    yield (
        f"The keys were chosen by {options.held_out:.0%} of the training images, held out; the "
        "best of several is there better than it is, by chance. The accuracies in the table are "
        "of networks that learnt anew from all training images, on test images that had no part "
        "in the choice. With other seeds other keys may go."
    )


def _ahead(one: Round) -> str:
    """By how much the key that goes is ahead of the next."""
    if one.removed is None or one.next is None:
        return ""
    if one.scores[one.removed] - one.scores[one.next] < SAME:
        tied = sum(one.scores[one.removed] - score < SAME for score in one.scores.values())
        return f" {tied} keys tie: of these that of the highest number goes."
    differences = less(one.values[one.removed], one.values[one.next])
    found = comparison(differences, arm="", control="", question="")
    return f" Against leaving out number {one.next}, the next, that is {points(found)}."


def _start(plan: Plan, keys: KeySet, numbers: Numbers) -> Start:
    return start_of(plan.options.set, keys, f"[{','.join(map(str, numbers))}]")


def _told(numbers: Numbers) -> str:
    return f"key{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def _less(numbers: Numbers, one: int) -> Numbers:
    return tuple(number for number in numbers if number != one)


def _first(plan: Plan) -> Numbers:
    """The keys to begin with."""
    options: Removal = plan.options
    keys = _keys(plan)
    most = options.start or len(keys)
    if not options.down_to < most <= len(keys):
        msg = (
            f"removal: from {most} down to {options.down_to} keys cannot be gone; {options.set} "
            f"has {len(keys)}. Give removal.down_to below removal.start."
        )
        raise TransferError(msg)
    return tuple(range(1, most + 1))


def _keys(plan: Plan) -> KeySet:
    from filterdb.keys.sets.set_file import load_keys

    keys = load_keys(plan.options.set)
    kernel = kernel_of((plan.network, plan.arguments), plan.data)
    if keys.kernel != kernel:
        msg = (
            f"removal.set: the keys of {plan.options.set} are {size(keys.kernel)}, the filters of "
            f"the network {plan.network!r} {size(kernel)}. Choose a set of that size, or set "
            "network.kernel."
        )
        raise TransferError(msg)
    return keys
