"""Keys: networks whose depthwise filters are a few key filters, frozen (METHODS 3.3, item 5).

Against as many random filters used in the same way, which says whether it matters which few they
are; against the network's own learnt filters, frozen; against random filters, each another, and
random ones of the learnt filters' power spectra; and against training in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from filterdb.errors import TransferError
from filterdb.transfer.comparing import Outcome, Table, tabled
from filterdb.transfer.experiments.fitting import kernel_of, size
from filterdb.transfer.options import Keys
from filterdb.transfer.plan import Plan
from filterdb.transfer.results import FULL, OWN, RANDOM, Comparison, Result
from filterdb.transfer.run import Run, Start
from filterdb.words import counted

if TYPE_CHECKING:
    from filterdb.keys import KeySet

PART = "depthwise"
SPECTRUM = "matched spectrum"
FEW = "few random"
CONTROLS = {
    OWN: "own learnt ones, frozen",
    RANDOM: "random ones, frozen",
    SPECTRUM: "random ones of matched spectrum, frozen",
    FULL: "training in full",
}


def runs(plan: Plan) -> list[Run]:
    """Training in full, the frozen controls, as many random filters, and the keys of each set.

    Raises
    ------
    TransferError
        A set is for filters of another size, or has none of the numbers of keys asked for.
    """
    sets = _sets(plan)
    found: list[Run] = []
    for repeat in plan.seeds:
        full = plan.run(FULL, repeat, labels={"filters": FULL})
        starts: list[tuple[str, Start, dict[str, Any]]] = [
            (OWN, Start(PART, source=full.id), {"filters": OWN}),
            (RANDOM, Start(PART, filters="random"), {"filters": RANDOM}),
            (SPECTRUM, Start(PART, filters="spectrum", source=full.id), {"filters": SPECTRUM}),
        ]
        starts += [
            (random_arm(k), Start(PART, filters=f"random:{k}"), {"filters": FEW, "k": k})
            for k in sorted(set(plan.options.counts))
        ]
        starts += [
            (arm(name, k), start_of(name, keys, f"{k}"), {"filters": name, "k": k})
            for name, keys in sets.items()
            for k in _counts(plan, keys)
        ]
        found.append(full)
        found += [
            plan.run(one, repeat, starts=[start], labels=labels) for one, start, labels in starts
        ]
    return found


def start_of(name: str, keys: KeySet, which: str) -> Start:
    """Some keys of a set; of a file it is said what is in it, which may change."""
    from filterdb.keys.sets.set_file import shipped

    content = None if name in shipped() else keys.id
    return Start(PART, filters=f"keys:{name}:{which}", content=content)


def arm(name: str, k: int) -> str:
    """What a network with the keys of a set is called."""
    return f"{counted(k, 'key')} of {name}"


def random_arm(k: int) -> str:
    """What a network with k random filters in the place of keys is called."""
    return counted(k, "random filter")


def result(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """The keys of each set against each control, and the controls against one another."""
    table = tabled(runs(plan), rows)
    return plan.result(table, _comparisons(plan, table), notes=_notes(plan))


def _comparisons(plan: Plan, table: Table) -> Iterator[Comparison]:
    for name, keys in _sets(plan).items():
        counts = _counts(plan, keys)
        for k in counts:
            yield table.compare(
                arm(name, k), random_arm(k), f"keys of {name}, frozen, against as many random ones",
                filters=name, k=k,
            )  # fmt: skip
        for control, told in CONTROLS.items():
            for k in counts:
                yield table.compare(
                    arm(name, k), control, f"keys of {name}, frozen, against {told}",
                    filters=name, k=k,
                )  # fmt: skip
    for k in sorted(set(plan.options.counts)):
        question = f"a few random filters, frozen, against {CONTROLS[OWN]}"
        yield table.compare(random_arm(k), OWN, question, filters=FEW, k=k)
    for one, control in ((OWN, FULL), (OWN, RANDOM), (OWN, SPECTRUM), (RANDOM, FULL)):
        question = f"{CONTROLS[one]}, against {CONTROLS[control]}"
        yield table.compare(one, control, question, filters=one)


def _notes(plan: Plan) -> Iterator[str]:
    for name, keys in _sets(plan).items():
        left_out = [k for k in plan.options.counts if k > len(keys)]
        if left_out:
            many = ", ".join(map(str, left_out))
            yield (
                f"{name} has {len(keys)} keys: {many} of them could not be tried. Of so many "
                "filters there are random ones alone."
            )


def _counts(plan: Plan, keys: KeySet) -> list[int]:
    return [k for k in sorted(set(plan.options.counts)) if k <= len(keys)]


def _sets(plan: Plan) -> dict[str, KeySet]:
    from filterdb.keys.sets.set_file import load_keys

    options: Keys = plan.options
    sets = {name: load_keys(name) for name in options.sets}
    kernel = kernel_of((plan.network, plan.arguments), plan.data)
    for name, keys in sets.items():
        if keys.kernel != kernel:
            msg = (
                f"keys.sets: the keys of {name} are {size(keys.kernel)}, the filters of the "
                f"network {plan.network!r} {size(kernel)}. Choose a set of that size, or set "
                "network.kernel."
            )
            raise TransferError(msg)
        if not _counts(plan, keys):
            msg = f"keys.counts = {list(options.counts)}: {name} has no more than {len(keys)} keys."
            raise TransferError(msg)
    return sets
