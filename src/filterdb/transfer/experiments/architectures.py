"""Architectures: depthwise filters that another architecture has learnt (METHODS 3.1, item 3).

Each source learns the same images in full; its filters are frozen in the plan's network, drawn by
relative depth or from all its layers together. Controls: the network's own filters from another
seed, drawn in the same way; random ones; and training in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from filterdb.errors import TransferError
from filterdb.transfer.comparing import Outcome, Table, tabled
from filterdb.transfer.experiments.fitting import Network, kernel_of, size
from filterdb.transfer.experiments.foreign import (
    LIKE,
    PART,
    against,
    arm,
    check_names,
    own_filters,
    references,
    ways,
)
from filterdb.transfer.networks.registry import NETWORKS, checked_arguments
from filterdb.transfer.options import Architectures
from filterdb.transfer.plan import Plan
from filterdb.transfer.results import FULL, OWN, RANDOM, Comparison, Result
from filterdb.transfer.run import Run, Start

SEPARABLE = ("convmixer", "convnext", "mobilenet")
"""Built-in networks with a kernel to choose: the sources if none are named."""


def runs(plan: Plan) -> list[Run]:
    """The network in full, its controls, each source, and the filters of each in the network.

    Raises
    ------
    TransferError
        A source has no depthwise filters, or of another size than the network.
    """
    sources = sources_of(plan)
    found: list[Run] = []
    for repeat in plan.seeds:
        full, random = references(plan, repeat)
        teachers = {
            name: plan.run(
                in_full(name), repeat, network=network, labels={"filters": FULL, "source": name}
            )
            for name, network in sources.items()
        }
        found += [full, *teachers.values(), random]
        found += [
            plan.run(
                arm(name, how), repeat, starts=[Start(PART, source=teacher.id, how=how)],
                labels={"filters": name, "how": how},
            )
            for name, teacher in {OWN: full, **teachers}.items()
            for how in ways(plan)
        ]  # fmt: skip
    return found


def in_full(name: str) -> str:
    """What a source is called while it learns."""
    return f"{name} {FULL}"


def result(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """The filters of each source against each control, and the controls against one another."""
    table = tabled(runs(plan), rows)
    return plan.result(table, _comparisons(plan, table), notes=_notes(plan))


def _comparisons(plan: Plan, table: Table) -> Iterator[Comparison]:
    told, sources = "filters of another architecture, frozen, against", list(sources_of(plan))
    yield from against(plan, table, sources, OWN, f"{told} the network's own, {LIKE}")
    yield from against(plan, table, sources, RANDOM, f"{told} random ones")
    yield from against(plan, table, sources, FULL, f"{told} training in full")
    yield from own_filters(plan, table)


def _notes(plan: Plan) -> Iterator[str]:
    for name, (network, arguments) in sources_of(plan).items():
        told = ", ".join(f"{key} {value}" for key, value in arguments.items())
        yield f"The source {name} is a {network}{f' ({told})' if told else ''}."


def sources_of(plan: Plan) -> dict[str, Network]:
    """Name -> network of each source.

    Raises
    ------
    TransferError
        As of :func:`runs`.
    """
    options: Architectures = plan.options
    kernel = kernel_of((plan.network, plan.arguments), plan.data)
    told = options.sources or {name: {} for name in SEPARABLE if name != plan.network}
    check_names(told, where="architectures.sources")
    found: dict[str, Network] = {}
    for key, given in told.items():
        where = f"architectures.sources.{key}"
        if not isinstance(given, dict):
            msg = f"{where} = {given!r} is no table of a network's arguments, such as {{}}."
            raise TransferError(msg)
        name = str(given.get("name", key))
        arguments = {one: value for one, value in given.items() if one != "name"}
        if name in NETWORKS and "kernel" in NETWORKS[name].arguments:
            arguments.setdefault("kernel", kernel[0])
        try:
            network: Network = (name, checked_arguments(name, arguments))
            own = kernel_of(network, plan.data)
        except TransferError as error:
            msg = f"{where}: {error}"
            raise TransferError(msg) from error
        if own != kernel:
            msg = (
                f"{where}: its depthwise filters are {size(own)}, those of the network "
                f"{plan.network!r} {size(kernel)}. Give both the same kernel."
            )
            raise TransferError(msg)
        if network == (plan.network, plan.arguments):
            msg = f"{where} is the network itself, whose own filters are a control already."
            raise TransferError(msg)
        found[key] = network
    return found
