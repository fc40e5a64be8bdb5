"""Find the keys of a population, and say what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.fit import nearest_keys
from filterdb.keys.key_set import KeySet
from filterdb.keys.naming.naming import name_keys
from filterdb.keys.search import controls
from filterdb.keys.search.agreement import agreement
from filterdb.keys.search.claims import claims_of
from filterdb.keys.search.coverage import curve_of, explained, explained_of, groups_of, networks_of
from filterdb.keys.search.crossing import (
    TRAINED_ON,
    Crossed,
    HeldOut,
    cross,
    held_out,
)
from filterdb.keys.search.found import (
    Agreement,
    Examples,
    Explained,
    FoundKeys,
    Searched,
)
from filterdb.keys.search.methods import Search, check_count, refined, search
from filterdb.keys.search.notes import notes_of, told_of
from filterdb.keys.search.passes import FitJob, as_rows
from filterdb.keys.search.runs import (
    UNTRAINED,
    untrained_filters,
    usual_hold_out,
    without_starts,
)
from filterdb.keys.search.sample import Sample, draw, of_kind, thinned
from filterdb.keys.search.settings import LADDER, MOST_K, Settings
from filterdb.population.preset import Scanning
from filterdb.threads import one_blas_thread

if TYPE_CHECKING:
    from filterdb.population.population import Population

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
    best = _best(sample, wanted, count, work)
    say("chance")
    _add_controls(held, chosen, wanted)
    curve = curve_of(held, wanted.equivalence)
    point = next(point for point in curve if point.k == count)
    claims = claims_of(held, point, seed=wanted.seed)
    searched = _searched(sample, hold_out, untrained)
    told = told_of(
        population, wanted, sample, searched=searched, fitted=best.fitted, point=point,
        claims=claims,
    )  # fmt: skip
    say("other seeds and methods")
    return FoundKeys(
        keys=name_keys(
            KeySet(
                name="found",
                filters=best.keys.reshape(count, *sample.kernel),
                equivalence=wanted.equivalence,
                metadata=told,
            )
        ),
        method=wanted.method,
        seeds=wanted.seeds,
        searched=searched,
        fitted=best.fitted,
        shares=best.members / max(best.members.sum(), 1),
        curve=curve,
        networks=networks_of(held, count),
        groups=groups_of(held, count),
        agreement=_agreements(best.keys, best.search.starts, sample, wanted),
        claims=claims,
        examples=_examples(sample, best.keys, wanted.equivalence),
        axis=best.search.axis,
        notes=notes_of(held, wanted, best.passes, hold_out=hold_out),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """The keys of all filters, those with the most filters first.

    Attributes
    ----------
    search
        What found them on the sample.
    keys, members
        After passes over all filters, and filters by key.
    fitted
        What they explain of the filters that they were found on.
    passes
        How many there were.
    """

    search: Search
    keys: Array
    members: NDArray[np.int64]
    fitted: Explained
    passes: int


def _best(sample: Sample, wanted: Settings, count: int, work: Scanning) -> _Best:
    """Find the keys of all filters: on the sample, then by passes over the weights."""
    same = wanted.equivalence
    first = search(
        sample.unit, count, sample.kernel, method=wanted.method, same=same, seeds=wanted.seeds,
        seed=wanted.seed,
    )  # fmt: skip
    keys, passes = first.keys, 0
    if wanted.method == "lines":
        keys, passes = refined(keys, sample, same=same, zero=wanted.zero, scanning=work)
    fitted, members = _fitted(keys, sample, wanted, work)
    order = np.argsort(-members, kind="stable")
    return _Best(first, keys[order], members[order], fitted, passes)


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
    found = [scanned.value for scanned in work.scan(sample.parts, job)]
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
    start = untrained_filters(population, sample, wanted, most)
    if start is not None:
        fold = rng.integers(2, size=len(start)).astype(np.int8)
        alone = np.full(len(start), int(held.group.max()) + 1, np.intp)
        held.controls["initialisation"] = Crossed(start, fold, alone)
    for control in held.controls.values():
        cross(
            control, list(held.r2), kernel, method=wanted.method, same=wanted.equivalence,
            seed=seed,
        )  # fmt: skip


def _agreements(
    keys: Array, starts: tuple[Array, ...], sample: Sample, wanted: Settings
) -> tuple[Agreement, ...]:
    """The other starts, and the other methods."""
    some = thinned(sample.unit, COMPARED, stream=(wanted.seed, 7))
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
    key_of, r2 = nearest_keys(sample.unit, keys, sample.kernel, same)
    order = np.argsort(-r2, kind="stable")
    # The best of every key in turn: else all of them may be of one.
    turn = np.zeros(len(r2), np.intp)
    for key in range(len(keys)):
        members = order[key_of[order] == key]
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
