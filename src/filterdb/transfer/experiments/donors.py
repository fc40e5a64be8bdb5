"""Donors: depthwise filters of any checkpoint, or of a selection from a database, frozen.

Drawn by relative depth or from all layers together. Controls: the network's own filters from
another seed, drawn in the same way; random ones of the power spectra of either; random ones; and
training in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from filterdb.errors import FilterDBError, TransferError
from filterdb.transfer.comparing import Outcome, Table, tabled
from filterdb.transfer.donors import Donor, donor
from filterdb.transfer.experiments.fitting import kernel_of
from filterdb.transfer.experiments.foreign import (
    LIKE,
    PART,
    against,
    arm,
    check_names,
    own_filters,
    references,
    spectrum,
    ways,
)
from filterdb.transfer.options import DonorFile, Donors
from filterdb.transfer.plan import Plan, filled
from filterdb.transfer.results import FULL, OWN, RANDOM, Comparison, Result
from filterdb.transfer.run import Run, Start


def runs(plan: Plan) -> list[Run]:
    """The network in full, the controls, and the filters of each donor in the network.

    Raises
    ------
    TransferError
        No donor is named, or one has no depthwise filters of the network's size.
    """
    options: Donors = plan.options
    donors = donors_of(plan)
    found: list[Run] = []
    for repeat in plan.seeds:
        full, random = references(plan, repeat)
        starts: list[tuple[str, str, Start]] = []
        for how in ways(plan):
            own, matched = (
                Start(PART, source=full.id, filters=filters, how=how)
                for filters in (None, "spectrum")
            )
            starts += [(OWN, how, own), (spectrum(OWN), how, matched)]
            for name, given in donors.items():
                kinds = {name: "donor"}
                if options.scrambled:
                    kinds[spectrum(name)] = "donor-spectrum"
                starts += [
                    (called, how, Start(PART, filters=f"{kind}:{given.spec}", how=how,
                                        content=given.content))
                    for called, kind in kinds.items()
                ]  # fmt: skip
        found += [full, random]
        found += [
            plan.run(arm(name, how), repeat, starts=[start], labels={"filters": name, "how": how})
            for name, how, start in starts
        ]
    return found


def result(plan: Plan, rows: Iterable[Outcome]) -> Result:
    """The filters of each donor against each control, and the controls against one another."""
    table = tabled(runs(plan), rows)
    notes = [f"{name}: {given}." for name, given in donors_of(plan).items()]
    return plan.result(table, _comparisons(plan, table), notes=notes)


def _comparisons(plan: Plan, table: Table) -> Iterator[Comparison]:
    names, told = list(donors_of(plan)), "filters of a donor, frozen, against"
    yield from against(plan, table, names, OWN, f"{told} the network's own, {LIKE}")
    yield from against(plan, table, names, RANDOM, f"{told} random ones")
    question = f"{told} random ones of the spectra of the network's own"
    yield from against(plan, table, names, spectrum(OWN), question)
    if plan.options.scrambled:
        for name in names:
            question = f"{told} random ones of the donor's own spectra"
            yield from against(plan, table, [name], spectrum(name), question)
    yield from against(plan, table, names, FULL, f"{told} training in full")
    yield from own_filters(plan, table)


def donors_of(plan: Plan) -> dict[str, Donor]:
    """Name -> filters of each donor.

    Raises
    ------
    TransferError
        As of :func:`runs`.
    """
    options: Donors = plan.options
    if not options.sources:
        msg = (
            "donors.sources names no donor. Give a checkpoint or a database: --donor PATH, or "
            "donors.sources.NAME = PATH in a plan."
        )
        raise TransferError(msg)
    check_names(options.sources, where="donors.sources")
    kernel = kernel_of((plan.network, plan.arguments), plan.data)
    found: dict[str, Donor] = {}
    for name, told in options.sources.items():
        where = f"donors.sources.{name}"
        told = {"path": told} if isinstance(told, str) else told
        file: DonorFile = filled(DonorFile, told, where=where)
        try:
            found[name] = donor(file.spec, kernel)
        except FilterDBError as error:
            msg = f"{where}: {error}"
            raise TransferError(msg) from error
        for other, given in found.items():
            if name != other and given.spec == found[name].spec:
                msg = f"{where} and donors.sources.{other} are the same filters."
                raise TransferError(msg)
    return found
