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
from filterdb.keys.search.claims import FEWEST_GROUPS, claims_of
from filterdb.keys.search.coverage import curve_of, explained, explained_of, groups_of, networks_of
from filterdb.keys.search.crossing import (
    TRAINED_ON,
    Crossed,
    HeldOut,
    cross,
    held_out,
    r2_of,
    thinned,
)
from filterdb.keys.search.found import (
    Agreement,
    Examples,
    Explained,
    FoundKeys,
    Searched,
)
from filterdb.keys.search.methods import check_count, refined, search
from filterdb.keys.search.notes import notes_of, told_of
from filterdb.keys.search.passes import FitJob, as_rows
from filterdb.keys.search.sample import DEPTHWISE, Sample, draw, of_kind
from filterdb.keys.search.settings import LADDER, MOST_K, Settings
from filterdb.population.preset import Scanning
from filterdb.population.selection import literal
from filterdb.scan.executors import executor_for
from filterdb.scan.run import scan
from filterdb.store.query import select_values
from filterdb.threads import one_blas_thread

if TYPE_CHECKING:
    from filterdb.population.population import Population

UNTRAINED = "epoch 0 of a run, which is the control by initialisation"
MOST_SHIFTED = 8
"""Keys of a curve, at most, where shifts are the same: each has to be put in its place."""
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
    chosen, untrained = without_starts(of_kind(population, wanted.kind))
    hold_out = wanted.hold_out or usual_hold_out(chosen)
    say("reading filters")
    sample = draw(
        chosen, hold_out=hold_out, by=wanted.by, zero=wanted.zero, seed=wanted.seed, scanning=work
    )
    if wanted.coverage is None:
        check_count(sample.unit, wanted.k, signed=wanted.equivalence.signed)
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
    _add_controls(held, chosen, wanted)
    curve = curve_of(held, same)
    point = next(point for point in curve if point.k == count)
    say("other seeds and methods")
    networks = networks_of(held, count)
    claims = claims_of(held, point, seed=wanted.seed)
    searched = _searched(sample, hold_out, untrained)
    named = name_keys(
        KeySet(
            name="found",
            filters=keys.reshape(count, *kernel),
            equivalence=same,
            metadata=told_of(
                population,
                wanted,
                sample,
                searched=searched,
                fitted=fitted,
                point=point,
                claims=claims,
            ),
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
        claims=claims,
        examples=_examples(sample, keys, same),
        axis=first.axis,
        notes=notes_of(held, wanted, passes, hold_out=hold_out),
    )


def without_starts(population: Population) -> tuple[Population, int]:
    """A population without the epochs 0 of runs that it has later epochs of, too.

    They are the control by initialisation, and in nothing else.

    Returns
    -------
    population : Population
    layers : int
        How many were left out.
    """
    told = select_values(population.folder, ("run", "epoch"), population.where)
    begun = {run for run, epoch in told if run not in (None, "") and epoch == 0}
    both = sorted({run for run, epoch in told if run in begun and epoch not in (None, 0)})
    if not both:
        return population, 0
    starts = f"epoch = 0 AND run IN ({', '.join(map(literal, both))})"
    where = f"NOT coalesce({starts}, 0) AND (\n{population.where or 'TRUE'}\n)"
    trained = type(population)(
        population.folder, where, kernel=population.asked, drop_sparse=population.drop_sparse
    )
    return trained, sum(run in both and epoch == 0 for run, epoch in told)


def usual_hold_out(population: Population) -> str:
    """What is held out together: training runs, else models; layers where these are few.

    Epochs of one run are one network, and no more independent than copies of it.
    """
    height, width = population.kernel
    where = f"kh = {height} AND kw = {width} AND (\n{population.where or 'TRUE'}\n)"
    told = select_values(population.folder, ("run", "model"), where)
    groups = {model if run in (None, "") else run for run, model in told}
    if len(groups) < FEWEST_GROUPS:
        return "layer"
    return "run" if any(run not in (None, "") for run, _ in told) else "model"


def _held(sample: Sample, wanted: Settings) -> HeldOut:
    ladder = {*wanted.ladder, wanted.k}
    if wanted.coverage is not None:
        ladder = {*LADDER, *range(40, MOST_K + 1, 8)}
    if wanted.equivalence.shifts:
        ladder = {count for count in ladder if count <= MOST_SHIFTED or count == wanted.k}
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


def _add_controls(held: HeldOut, population: Population, wanted: Settings) -> None:
    """Kernels of each control, explained by keys of the other half of them, as networks are.

    Each stands for a filter of the networks, in its half and its group, but for those of the
    networks at initialisation.
    """
    sample, seed, kernel = held.sample, wanted.seed, held.sample.kernel
    rng = np.random.default_rng([seed, 8])
    most = 2 * TRAINED_ON
    chosen = np.arange(len(sample.unit))
    if len(chosen) > most:
        chosen = np.sort(rng.choice(len(chosen), most, replace=False))
    unit, count = sample.unit[chosen], len(chosen)
    owners = (sample.layer[chosen], sample.model_of_filter[chosen])
    kernels = {
        "gaussian": controls.gaussian(count, kernel, seed=seed),
        "shuffled": controls.same_weights(unit, count, seed=seed),
        "spectrum": controls.same_spectrum(unit, count, kernel, seed=seed),
        "covariance": controls.same_covariance(unit, count, owners=owners, seed=seed),
    }
    for name, drawn in kernels.items():
        held.controls[name] = Crossed(drawn, held.fold[chosen], held.group[chosen])
    start = _untrained(population, sample, wanted, most)
    if start is not None:
        fold = rng.integers(2, size=len(start)).astype(np.int8)
        alone = np.full(len(start), int(held.group.max()) + 1, np.intp)
        held.controls["initialisation"] = Crossed(start, fold, alone)
    for control in held.controls.values():
        cross(
            control, list(held.r2), kernel, method=wanted.method, same=wanted.equivalence,
            seed=seed,
        )  # fmt: skip


def _untrained(
    population: Population, sample: Sample, wanted: Settings, most: int
) -> NDArray[np.float32] | None:
    """Filters of the epochs 0 of the networks' runs; None where there are none."""
    if not sample.runs:
        return None
    where = f"epoch = 0 AND run IN ({', '.join(map(literal, sample.runs))})"
    if wanted.kind == DEPTHWISE:
        where += f" AND kind = '{DEPTHWISE}'"
    before = type(population)(population.folder, where, kernel=sample.kernel)
    try:
        return draw(before, hold_out="layer", zero=wanted.zero, most=most).unit
    except FilterDBError:  # they are not here, or have no shape
        return None


def _agreements(
    keys: Array, starts: tuple[Array, ...], sample: Sample, wanted: Settings
) -> tuple[Agreement, ...]:
    """The other starts, and the other methods."""
    some = thinned(sample.unit, COMPARED, wanted.seed)
    same, kernel = wanted.equivalence, sample.kernel
    others = {f"seed {number}": found for number, found in enumerate(starts[1:], 2)}
    for method in wanted.compared:
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


def _searched(sample: Sample, hold_out: str, untrained: int) -> Searched:
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
        left_out=sample.left_out | ({UNTRAINED: untrained} if untrained else {}),
    )
