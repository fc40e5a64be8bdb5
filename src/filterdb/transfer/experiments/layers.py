"""Layers after Yosinski et al. 2014: how many can be taken from elsewhere, part by part.

Networks A and B learn two groups of classes. ``A3B`` has the first three layers of the part from
A, frozen, and learns the rest on B; ``B3B`` has them from B itself, ``R3B`` random ones; in
``A3B+`` and ``B3B+`` they learn on. (METHODS 3.1: depthwise filters do not fall with n, pointwise
and regular ones do.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from filterdb.errors import TransferError
from filterdb.transfer.comparing import Outcome, Table, comparison, less, tabled
from filterdb.transfer.data import parse_groups
from filterdb.transfer.data.choices import REST
from filterdb.transfer.networks.registry import NETWORKS, checked_arguments
from filterdb.transfer.options import PARTS, Layers
from filterdb.transfer.plan import Plan
from filterdb.transfer.results import Comparison, Result
from filterdb.transfer.run import HALVES, Data, Run, Start

QUARTERS = (0.25, 0.5, 0.75, 1.0)

Network = tuple[str, Mapping[str, Any]]


def runs(plan: Plan) -> list[Run]:
    """Bases A and B of each network, then the arms of each part and cut, seed by seed.

    Raises
    ------
    TransferError
        A network has no layers of a part, or fewer than a cut.
    """
    options: Layers = plan.options
    cuts = cuts_of(plan)
    first, second = groups(plan)
    found: list[Run] = []
    for repeat in plan.seeds:
        bases: dict[str, tuple[Run, Run]] = {}
        for part in options.parts:
            network = network_of(plan, part)
            called = base_arm(plan, part, "B")
            if called not in bases:
                a, b = (
                    plan.run(
                        base_arm(plan, part, side), repeat, data=data, network=network,
                        labels={"network": network[0], "base": side},
                    )
                    for side, data in (("A", first), ("B", second))
                )  # fmt: skip
                bases[called] = (a, b)
                found += [a, b]
            for share, cut in _once(cuts[part]):
                for name, start in _starts(options, part, cut, bases[called]):
                    labels = {"network": network[0], "part": part, "cut": cut, "share": share}
                    found.append(
                        plan.run(
                            f"{part} {name}", repeat, starts=[start], data=second,
                            network=network, labels={**labels, "kind": name.replace(str(cut), "n")},
                        )
                    )  # fmt: skip
    return found


def _starts(
    options: Layers, part: str, cut: int, bases: tuple[Run, Run]
) -> Iterator[tuple[str, Start]]:
    for side, base in zip("AB", bases, strict=True):
        yield f"{side}{cut}B", Start(part, first=cut, source=base.id)
    if options.fine_tuned:
        for side, base in zip("AB", bases, strict=True):
            yield f"{side}{cut}B+", Start(part, first=cut, source=base.id, frozen=False)
    if options.random:
        yield f"R{cut}B", Start(part, first=cut, filters="random")


def result(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """Each arm against its control at the same cut, and what depthwise layers lose less."""
    table = tabled(runs(plan), rows)
    return plan.result(table, [*_by_part(plan, table), *_between_parts(plan, table)])


def _by_part(plan: Plan, table: Table) -> Iterator[Comparison]:
    options: Layers = plan.options
    asked = [("A{n}B", "B{n}B", "filters from A, frozen, against B's own, frozen")]
    if options.random:
        asked.append(("A{n}B", "R{n}B", "filters from A, frozen, against random ones, frozen"))
    asked.append(("A{n}B", "B", "filters from A, frozen, against B trained in full"))
    asked.append(("B{n}B", "B", "filters of B's own, frozen, against B trained in full"))
    if options.fine_tuned:
        asked.append(("A{n}B+", "B{n}B+", "filters from A, learning on, against B's own"))
    for part, cuts in cuts_of(plan).items():
        base = base_arm(plan, part, "B")
        for arm, control, question in asked:
            for share, cut in _once(cuts):
                other = base if control == "B" else f"{part} {control.format(n=cut)}"
                yield table.compare(
                    f"{part} {arm.format(n=cut)}", other, f"{part} {question}",
                    part=part, cut=cut, share=share,
                )  # fmt: skip


def _between_parts(plan: Plan, table: Table) -> Iterator[Comparison]:
    """The fall from B in full to AnB, of depthwise layers less that of another part.

    Each cut of the depthwise layers stands against the nearest one of the other part.
    """
    cuts = cuts_of(plan)

    def fall(part: str, cut: int) -> dict[int, float]:
        base = base_arm(plan, part, "B")
        return less(table.values(f"{part} A{cut}B"), table.values(base))

    def shares(part: str) -> dict[int, float]:
        """The share of the layers that each cut really is, which is a whole number of them."""
        count = layers_in(network_of(plan, part), part) or cuts[part][-1][1]
        return {cut: cut / count for _, cut in cuts[part]}

    for part in [part for part in cuts if part != "depthwise" and "depthwise" in cuts]:
        real, others = shares("depthwise"), shares(part)
        for share, own in _once(cuts["depthwise"]):
            (_, cut) = min((abs(real[own] - other), cut) for cut, other in others.items())
            yield comparison(
                less(fall("depthwise", own), fall(part, cut)),
                arm=f"depthwise A{own}B less its B",
                control=f"{part} A{cut}B less its B",
                question=f"what frozen filters from A change, depthwise against {part}",
                labels={"part": part, "cut": own, "share": share},
            )


def groups(plan: Plan) -> tuple[Data, Data]:
    """The data of A and of B.

    Raises
    ------
    TransferError
        The split has three groups or more.
    """
    split = plan.options.split
    names = ["A", "B"] if split == HALVES else [*parse_groups(split)]
    if len(names) > 2:
        msg = f"layers.split has {len(names)} groups ({', '.join(names)}): it takes one or two."
        raise TransferError(msg)
    names = [*names, REST][:2]
    first, second = (replace(plan.data, split=split, group=name) for name in names)
    return first, second


def network_of(plan: Plan, part: str) -> Network:
    """The network in which a part is transferred: the contrast for regular filters."""
    options: Layers = plan.options
    if part == "regular":
        return options.contrast, options.contrast_arguments
    return plan.network, plan.arguments


def base_arm(plan: Plan, part: str, side: str) -> str:
    """What the base of a part is called; two networks of one name are told apart."""
    name, arguments = network_of(plan, part)
    own = checked_arguments(plan.network, plan.arguments)
    other = name == plan.network and checked_arguments(name, arguments) != own
    return f"{name} for {part} filters, {side}" if other else f"{name} {side}"


def cuts_of(plan: Plan) -> dict[str, tuple[tuple[float, int], ...]]:
    """Part -> share of its layers and number of layers, for each cut.

    Raises
    ------
    TransferError
        As of :func:`runs`.
    """
    options: Layers = plan.options
    counts = {part: layers_in(network_of(plan, part), part) for part in options.parts}
    for part, count in counts.items():
        if count == 0:
            network = network_of(plan, part)[0]
            msg = f"The network {network!r} has no {part} layers: leave them out of layers.parts."
            raise TransferError(msg)
    most = counts[options.parts[0]]
    if not most and not options.cuts:
        msg = (
            f"How many layers {plan.network!r} has is not known before it is built: "
            "say in layers.cuts how many are to be transferred."
        )
        raise TransferError(msg)
    if most and max(options.cuts, default=1) > most:
        msg = (
            f"layers.cuts = {list(options.cuts)}: there are {most} {options.parts[0]} layers, and "
            "no more can be transferred."
        )
        raise TransferError(msg)
    cuts = sorted(set(options.cuts))
    shares = [cut / (most or cuts[-1]) for cut in cuts] if cuts else QUARTERS
    return {
        part: tuple((share, max(round(share * (count or most or cuts[-1])), 1)) for share in shares)
        for part, count in counts.items()
    }


def _once(cuts: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """Each number of layers once: a network of few layers has no quarters."""
    return [(share, cut) for cut, share in {cut: share for share, cut in cuts}.items()]


def layers_in(network: Network, part: str) -> int | None:
    """Layers of a part in a built-in network, by its arguments; None for any other network."""
    name, given = network
    if name not in NETWORKS:
        return None
    told: dict[str, Any] = checked_arguments(name, given)
    counts: tuple[int, int, int]
    if name == "convmixer":
        plain = told["patch"] > 1  # a patch of one pixel is a pointwise layer
        counts = (told["depth"], told["depth"] + (not plain), int(plain))
    else:
        blocks = told["stages"] * told["blocks"]
        counts = {
            "convnext": (blocks, 2 * blocks + (told.get("patch") == 1),
                         told["stages"] - (told.get("patch") == 1)),
            "mobilenet": (blocks, 1 + blocks + (blocks - 1) * (told.get("expansion", 1) > 1), 1),
            "resnet": (2 * blocks, 2 * blocks, 1) if told.get("separable") else
                      (0, 0, 1 + 2 * blocks),
        }[name]  # fmt: skip
    by_part = dict(zip(PARTS, (*counts, sum(counts)), strict=True))
    return by_part[part]
