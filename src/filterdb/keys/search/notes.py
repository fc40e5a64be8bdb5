"""What a search says of itself: notes for its reader, and what its key set's file tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from filterdb.keys.search.claims import FEWEST_GROUPS
from filterdb.keys.search.crossing import HeldOut
from filterdb.keys.search.found import THRESHOLDS, Claim, CurvePoint, Explained, Searched
from filterdb.keys.search.sample import ANY, Sample
from filterdb.keys.search.settings import Settings
from filterdb.words import counted

if TYPE_CHECKING:
    from filterdb.population.population import Population

FEW_KERNELS = 1000


def told_of(
    population: Population,
    wanted: Settings,
    sample: Sample,
    *,
    searched: Searched,
    fitted: Explained,
    point: CurvePoint,
    claims: Sequence[Claim],
) -> dict[str, object]:
    """What a key set's file tells of where it comes from, and of what can be claimed for it."""
    where = " ".join((population.where or "the whole database").split())
    return {
        "source": f"{counted(searched.models, 'model')}, {counted(searched.layers, 'layer')}, "
        f"{counted(searched.shaped, 'filter')} with a shape; {wanted.kind} layers; {where}",
        "method": wanted.method,
        "seeds": wanted.seeds,
        "thresholds": list(THRESHOLDS),
        "fitted": {"shares": list(fitted.shares), "mean_r2": fitted.mean_r2},
        "held_out": {
            "by": searched.held_out_by,
            "groups": searched.groups,
            "shares": list(point.networks.shares),
            "mean_r2": point.networks.mean_r2,
        },
        "chance": {
            name: {"shares": list(control.by_own.shares), "mean_r2": control.by_own.mean_r2}
            for name, control in point.controls.items()
        },
        "claims": [asdict(claim) for claim in claims],
        "networks_found_on": sorted(sample.weights),
    }


def notes_of(held: HeldOut, wanted: Settings, passes: int, *, hold_out: str) -> tuple[str, ...]:
    """What else to know, in sentences."""
    notes, sample = [], held.sample
    if wanted.kind == ANY:
        notes.append(
            "Layers of all kinds: the slices of dense layers are not what the master key filters "
            "hypothesis is about."
        )
    if not sample.whole:
        notes.append(
            f"The search worked on {len(sample.unit):,} filters drawn from {sample.shaped:,}"
            + (f", and {passes} passes over all of them refined it." if passes else ".")
        )
    groups = len(sample.group_names)
    if groups < FEWEST_GROUPS:
        few = counted(groups, "group")
        notes.append(f"{few} held out together: too few for an interval, and no claim is made.")
    elif hold_out == "layer":
        notes.append(
            "Layers are held out, not networks: the intervals say nothing of other networks."
        )
    elif hold_out == "model":
        notes.append(
            "Models are held out one by one. Where some are kin (an author, a family, epochs), "
            "hold them out together (--hold-out COLUMN): the interval is too narrow else."
        )
    if wanted.equivalence.shifts:
        notes.append("With shifts the curve ends where placing the keys would take too long.")
    if wanted.coverage is not None:
        notes.append(
            "The number of keys was chosen by the held-out filters that it is judged by: its "
            "coverage is a little too good."
        )
    if "initialisation" not in held.controls:
        notes.append(
            "No run of the selection has its epoch 0 here: there is no control by initialisation."
        )
    scarce = [name for name, found in held.controls.items() if len(found.unit) < FEW_KERNELS]
    if scarce:
        least = min(len(held.controls[name].unit) for name in scarce)
        notes.append(f"Controls have only {least:,} kernels: {', '.join(scarce)}.")
    return tuple(notes)
