"""Find the keys of a population, and say what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import FilterDBError, KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeySet
from filterdb.keys.naming.naming import name_keys
from filterdb.keys.search import controls
from filterdb.keys.search.agreement import agreement, label
from filterdb.keys.search.coverage import (
    FEWEST_GROUPS,
    TRAINED_ON,
    HeldOut,
    claims_of,
    curve_of,
    explained,
    explained_of,
    groups_of,
    held_out,
    networks_of,
    r2_of,
    thinned,
)
from filterdb.keys.search.found import (
    THRESHOLDS,
    Agreement,
    CurvePoint,
    Examples,
    Explained,
    FoundKeys,
    Searched,
)
from filterdb.keys.search.methods import check_count, refined, search
from filterdb.keys.search.passes import FitJob, as_rows
from filterdb.keys.search.sample import ANY, DEPTHWISE, Sample, draw, of_kind
from filterdb.keys.search.settings import LADDER, MOST_K, Settings
from filterdb.population.preset import Scanning
from filterdb.scan.executors import executor_for
from filterdb.scan.run import scan
from filterdb.threads import one_blas_thread

if TYPE_CHECKING:
    from filterdb.population.population import Population

EXAMPLES = 24
COMPARED = 20_000
"""Filters whose labels are compared between searches."""

Array = NDArray[np.float64]


def find(
    population: Population,
    settings: Settings | None = None,
    *,
    scanning: Scanning | None = None,
    progress: Callable[[str], None] | None = None,
) -> FoundKeys:
    """Find the few filters that all others are affine copies of, and say what they explain.

    Parameters
    ----------
    population
        What to search: :meth:`filterdb.Database.select`.
    settings
        How.
    scanning
        How to pass over the weights.
    progress
        Told what is being done, in words.

    Returns
    -------
    FoundKeys
        The keys were found on all filters; every share but ``fitted`` is of networks held out,
        with what as many keys explain of the controls beside it.

    Raises
    ------
    KeySetError
        There are no depthwise layers, or fewer distinct filters than keys; the wanted coverage
        is out of reach.
    QueryError, StoreError
        The selection is not valid or empty; a payload is missing or damaged.
    """
    wanted, work = settings or Settings(), scanning or Scanning()
    wanted.check()
    with one_blas_thread():
        return _find(population, wanted, work, progress or (lambda _: None))


def _find(
    population: Population, wanted: Settings, work: Scanning, say: Callable[[str], None]
) -> FoundKeys:
    """As :func:`find`, one step after the other."""
    chosen = of_kind(population, wanted.kind)
    hold_out = wanted.hold_out or usual_hold_out(chosen)
    say("reading filters")
    sample = draw(
        chosen, hold_out=hold_out, by=wanted.by, zero=wanted.zero, seed=wanted.seed, scanning=work
    )
    if wanted.coverage is None:
        check_count(sample.unit, wanted.k)
    say("held-out networks")
    held = _held(sample, wanted)
    count = wanted.k if wanted.coverage is None else _reaching(held, wanted)
    say(f"{count} keys")
    same, kernel = wanted.equivalence, sample.kernel
    first = search(
        sample.unit, count, kernel, method=wanted.method, same=same, seeds=wanted.seeds,
        seed=wanted.seed,
    )  # fmt: skip
    keys, passes = first.keys, 0
    if wanted.method == "lines":
        keys, passes = refined(keys, sample, same=same, zero=wanted.zero, scanning=work)
    say("what they explain")
    fitted, members = _fitted(keys, sample, wanted, work)
    order = np.argsort(-members, kind="stable")
    keys, members = keys[order], members[order]
    say("chance")
    chance = _controls(chosen, sample, wanted)
    curve = curve_of(held, chance, method=wanted.method, same=same, seed=wanted.seed)
    point = next(point for point in curve if point.k == count)
    say("other seeds and methods")
    networks = networks_of(held, count)
    searched = _searched(sample, hold_out)
    named = name_keys(
        KeySet(
            name="found",
            filters=keys.reshape(count, *kernel),
            equivalence=same,
            metadata=_metadata(population, wanted, searched, fitted, point),
        )
    )
    return FoundKeys(
        keys=named,
        method=wanted.method,
        seeds=wanted.seeds,
        searched=searched,
        fitted=fitted,
        shares=members / max(members.sum(), 1),
        curve=curve,
        networks=networks,
        groups=groups_of(held, count),
        agreement=_agreements(keys, first.starts, sample, wanted),
        claims=claims_of(held, point, seed=wanted.seed),
        examples=_examples(sample, keys, same),
        axis=first.axis,
        notes=_notes(sample, wanted, passes, chance),
    )


def usual_hold_out(population: Population) -> str:
    """``"model"``, or ``"layer"`` where there are too few models to hold some out."""
    sizes = [size for size in population.kernels if size.kernel == population.kernel]
    return "model" if sizes and sizes[0].models >= FEWEST_GROUPS else "layer"


def _held(sample: Sample, wanted: Settings) -> HeldOut:
    ladder = (
        {*wanted.ladder, wanted.k}
        if wanted.coverage is None
        else {*LADDER, *range(40, MOST_K + 1, 8)}
    )
    held = held_out(
        sample, sorted(ladder), method=wanted.method, same=wanted.equivalence, seed=wanted.seed
    )
    if wanted.coverage is None and wanted.k not in held.r2:
        groups = len(sample.group_names)
        msg = (
            f"Half of the selection ({groups} groups, {len(sample.unit):,} filters with a shape) "
            f"is too little to find {wanted.k} keys on and try them on the rest. Ask for fewer "
            "(--k), select more layers, or hold out by layer (--hold-out layer)."
        )
        raise KeySetError(msg)
    return held


def _reaching(held: HeldOut, wanted: Settings) -> int:
    """The fewest keys with which enough of the held-out filters are explained."""
    assert wanted.coverage is not None  # noqa: S101  (for the type checker)
    shares = {count: explained(r2).at(wanted.threshold) for count, r2 in held.r2.items()}
    enough = [count for count, share in shares.items() if share >= wanted.coverage]
    if not enough:
        most = max(shares)
        msg = (
            f"{most} keys explain {shares[most]:.1%} of the held-out filters with R² of at least "
            f"{wanted.threshold:g}, not {wanted.coverage:.1%}. Ask for a lower --coverage, or "
            "take a lower --threshold."
        )
        raise KeySetError(msg)
    below = max((count for count in shares if count < min(enough)), default=0)
    between = list(range(below + 1, min(enough)))
    if between:
        more = held_out(
            held.sample, between, method=wanted.method, same=wanted.equivalence, seed=wanted.seed
        )
        held.r2 |= more.r2
        held.keys |= more.keys
        enough += [
            count
            for count, r2 in more.r2.items()
            if explained(r2).at(wanted.threshold) >= wanted.coverage
        ]
    chosen = min(enough)
    kept = sorted(count for count in held.r2 if count in wanted.ladder or count == chosen)
    held.r2 = {count: held.r2[count] for count in kept}
    held.keys = {count: held.keys[count] for count in kept}
    return chosen


def _fitted(
    keys: Array, sample: Sample, wanted: Settings, work: Scanning
) -> tuple[Explained, NDArray[np.int64]]:
    """What keys explain of the filters that they were found on, and filters by key."""
    job = FitJob(as_rows(keys), sample.kernel, wanted.equivalence, wanted.zero)
    with executor_for(jobs=work.jobs, scheduler=work.scheduler) as executor:
        found = [
            scanned.value
            for scanned in scan(sample.parts, job, executor=executor, progress=work.progress)
        ]
    histogram = np.sum([one.histogram for one in found], axis=0)
    members: NDArray[np.int64] = np.sum([one.members for one in found], axis=0)
    return explained_of(histogram, sum(one.r2 for one in found)), members


def _controls(
    population: Population, sample: Sample, wanted: Settings
) -> dict[str, NDArray[np.float32]]:
    """Kernels of each control: as many for finding and for trying as a half of the networks."""
    count = max(2 * min(TRAINED_ON, len(sample.unit) // 2), 4)
    seed, kernel = wanted.seed, sample.kernel
    found = {
        "gaussian": controls.gaussian(count, kernel, seed=seed),
        "spectrum": controls.same_spectrum(sample.unit, count, kernel, seed=seed),
        "covariance": controls.same_covariance(sample.unit, count, seed=seed),
    }
    if sample.runs:
        runs = ", ".join("'" + run.replace("'", "''") + "'" for run in sample.runs)
        where = f"epoch = 0 AND run IN ({runs})"
        if wanted.kind == DEPTHWISE:
            where += f" AND kind = '{DEPTHWISE}'"
        before = type(population)(population.folder, where, kernel=kernel)
        try:
            unit = draw(before, hold_out="layer", zero=wanted.zero, most=count).unit
        except FilterDBError:  # none of the runs has its epoch 0 here
            return found
        rng = np.random.default_rng([seed, 8])
        found["initialisation"] = unit[rng.permutation(len(unit))]
    return found


def _agreements(
    keys: Array, starts: tuple[Array, ...], sample: Sample, wanted: Settings
) -> tuple[Agreement, ...]:
    """The other starts, and the other methods."""
    some = thinned(sample.unit, COMPARED, wanted.seed)
    same, kernel = wanted.equivalence, sample.kernel
    others = {f"seed {number}": found for number, found in enumerate(starts[1:], 2)}
    for method in wanted.compare:
        if method != wanted.method:
            found = search(some, len(keys), kernel, method=method, same=same, seed=wanted.seed)
            others[method] = found.keys
    return tuple(
        agreement(keys, other, some, kernel=kernel, same=same, name=name)
        for name, other in others.items()
    )


def _examples(sample: Sample, keys: Array, same: Equivalence) -> Examples:
    """The filters that the keys fit best and worst."""
    r2 = r2_of(sample.unit, keys, sample.kernel, same)
    order = np.argsort(-r2, kind="stable")
    # The best of every key in turn: else all of them may be of one.
    turn = np.zeros(len(r2), np.intp)
    own = label(sample.unit, keys, sample.kernel, same)[order]
    for key in range(len(keys)):
        members = order[own == key]
        turn[members] = np.arange(len(members))
    best, worst = np.lexsort((-r2, turn))[:EXAMPLES], order[::-1][:EXAMPLES]
    shape = (-1, *sample.kernel)
    return Examples(
        sample.unit[best].reshape(shape), r2[best], sample.unit[worst].reshape(shape), r2[worst]
    )


def _searched(sample: Sample, hold_out: str) -> Searched:
    shaped, constant, zero = map(int, sample.counts.sum(axis=0))
    return Searched(
        models=len(set(sample.models)),
        layers=len(sample.layers),
        filters=shaped + constant + zero,
        shaped=shaped,
        constant=constant,
        zero=zero,
        sampled=len(sample.unit),
        held_out_by=hold_out,
        groups=len(sample.group_names),
        left_out=sample.left_out,
    )


def _metadata(
    population: Population,
    wanted: Settings,
    searched: Searched,
    fitted: Explained,
    point: CurvePoint,
) -> dict[str, object]:
    """What a key set's file says of where it comes from."""
    where = " ".join((population.where or "the whole database").split())
    return {
        "source": f"{searched.models} models, {searched.layers} layers, {searched.shaped} filters "
        f"with a shape; {wanted.kind} layers; {where}",
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
    }


def _notes(
    sample: Sample, wanted: Settings, passes: int, chance: dict[str, NDArray[np.float32]]
) -> tuple[str, ...]:
    """What else to know, in sentences."""
    notes = []
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
        notes.append(f"{groups} groups are too few for an interval: no claim is made.")
    elif len(set(sample.models)) < FEWEST_GROUPS:
        notes.append(
            "Layers are held out, not networks: the intervals say nothing of other networks."
        )
    if "initialisation" not in chance:
        notes.append(
            "The database has no epoch 0 of these networks: there is no control by initialisation."
        )
    for name, unit in chance.items():
        if len(unit) < 1000:
            notes.append(f"The control {name!r} has only {len(unit):,} kernels.")
    return tuple(notes)
