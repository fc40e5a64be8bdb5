"""A matrix: the frozen filters of every source in every target (METHODS 3.1, item 2).

Rows of reference: the target's own filters, which are the diagonal; random ones; and the target
trained in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from filterdb.transfer.comparing import Outcome, Table, comparison, less, mean_of, tabled
from filterdb.transfer.experiments.foreign import check_names
from filterdb.transfer.options import Matrix
from filterdb.transfer.plan import Plan, data_with
from filterdb.transfer.results import FULL, RANDOM, Comparison, Result
from filterdb.transfer.run import Run, Start


def runs(plan: Plan) -> list[Run]:
    """Each set in full, then every source and random filters into every target, seed by seed.

    Raises
    ------
    TransferError
        A set is called as a control is.
    """
    options: Matrix = plan.options
    check_names(options.sets, where="matrix.sets")
    sets = {
        name: data_with(plan.data, told, where=f"matrix.sets.{name}")
        for name, told in options.sets.items()
    }
    found: list[Run] = []
    for repeat in plan.seeds:
        full = {
            name: plan.run(
                arm(FULL, name), repeat, data=data, labels={"source": FULL, "target": name}
            )
            for name, data in sets.items()
        }
        found += full.values()
        starts = {name: Start(options.part, source=run.id) for name, run in full.items()}
        starts[RANDOM] = Start(options.part, filters="random")
        found += [
            plan.run(
                arm(source, target), repeat, starts=[start], data=data,
                labels={"source": source, "target": target},
            )
            for target, data in sets.items()
            for source, start in starts.items()
        ]  # fmt: skip
    return found


def arm(source: str, target: str) -> str:
    """What the network of a source and a target is called."""
    return f"{target} {source}" if source == FULL else f"{source} -> {target}"


def result(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """Over all pairs at once, then pair by pair."""
    table = tabled(runs(plan), rows)
    return plan.result(table, [*_overall(plan, table), *_pairs(plan, table)])


def _overall(plan: Plan, table: Table) -> Iterator[Comparison]:
    options: Matrix = plan.options
    part, sets = options.part, list(options.sets)
    pairs = [(source, target) for target in sets for source in sets if source != target]

    def average(cells: Iterable[tuple[str, str]]) -> dict[int, float]:
        return mean_of([table.values(arm(*cell)) for cell in cells])

    foreign, own = average(pairs), average((target, target) for _, target in pairs)
    chance = average((RANDOM, target) for _, target in pairs)
    full = average((FULL, target) for _, target in pairs)
    told = "on average over all pairs"
    for name, values, control, others in (
        (f"{part} filters of another set", foreign, "own", own),
        (f"{part} filters of another set", foreign, "random", chance),
        (f"{part} filters of another set", foreign, "trained in full", full),
        (f"own {part} filters", own, "random", chance),
    ):
        yield comparison(
            less(values, others), arm=name, control=control,
            question=f"{name}, frozen, against {control}, {told}",
        )  # fmt: skip


def _pairs(plan: Plan, table: Table) -> Iterator[Comparison]:
    options: Matrix = plan.options
    sets, part = list(options.sets), options.part
    for control, told in ((None, "own"), (RANDOM, "random ones"), (FULL, "training in full")):
        for target in sets:
            for source in sets:
                if source == target:
                    continue
                yield table.compare(
                    arm(source, target), arm(control or target, target),
                    f"{part} filters of another set, frozen, against {told}, pair by pair",
                    source=source, target=target,
                )  # fmt: skip
    for control, told in ((RANDOM, "random ones"), (FULL, "training in full")):
        for target in sets:
            yield table.compare(
                arm(target, target), arm(control, target),
                f"own {part} filters, frozen, against {told}, set by set",
                source=target, target=target,
            )  # fmt: skip
