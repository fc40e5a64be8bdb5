"""Shift: how far the groups of a population lie apart, with a null and an interval for each pair.

D(P, Q) of METHODS 1.3 between all groups along an axis. D is biased upwards for small samples
and layers of a network are alike, so that a D alone says nothing: beside each stand the 95th
percentile of D between random splits of the pooled layers and of the pooled models, the share of
splits that lie as far apart (p), and a bootstrap interval over models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import QueryError
from filterdb.population import variants
from filterdb.population.axes import axis_of
from filterdb.population.choices import PRESETS, WEIGHTINGS, check_choice
from filterdb.population.grouping import Grouped, group_layers, join_tables
from filterdb.population.pairs import Pair, PairStatistics, Units, pair_statistics
from filterdb.population.preset import Histograms, Scanning, preset_histograms
from filterdb.population.shift_matrix import ShiftMatrix
from filterdb.stats.basis import Basis
from filterdb.stats.bootstrap import ROUGH
from filterdb.stats.shift import FEW_FILTERS, shift_matrix
from filterdb.stats.summary import COARSE_BINS

if TYPE_CHECKING:
    from filterdb.population.selection import Selection

Progress = Callable[[int, int, str], None]
DOMINANT = 0.5
"""Share of a group's filters from which on one model speaks for it."""
PERMUTATIONS, MANY_PAIRS, FEWER_PERMUTATIONS = 200, 1_000, 100


def shift(
    population: Selection,
    by: str | Sequence[str],
    *,
    preset: str = "reference",
    weighting: str = "filters",
    permutations: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    scanning: Scanning | None = None,
) -> ShiftMatrix:
    """Compare the groups of a population along an axis.

    Parameters
    ----------
    population
        What is grouped.
    by
        An axis: ``task``, ``visual_category``, ``training_dataset``, ``architecture``,
        ``model``, ``run``, ``epoch``, ``format``, ``kind``, ``layer_index``, ``depth_decile``,
        ``stage``, any column of yours; or a pair, ``"task,format"``.
    preset
        ``"reference"``: the database's fixed basis and bins, from the catalogue alone.
        ``"cvpr2022"``, ``"cvprw2022"``, ``"medneurips2022"``: the settings of the papers, which
        need a pass over the weights.
    weighting
        ``"filters"``: each filter counts once, so that large layers dominate. ``"layers"``:
        each layer counts once.
    permutations
        Random splits for each null, and replicates for each interval; 0 for neither. If not
        given, 200, or 100 where there are over 1,000 pairs of groups.
    seed
        Of the random splits.
    progress
        Called with the number of pairs done, their total and the last pair.
    scanning
        How to pass over the weights, for the presets that need it.

    Returns
    -------
    ShiftMatrix
        D of every pair, its nulls and interval, and what it covers.

    Raises
    ------
    QueryError
        The axis, preset or weighting is unknown, nothing is left, or there are too many groups.
    """
    check_choice("preset", preset, PRESETS)
    check_choice("weighting", weighting, WEIGHTINGS)
    axis = axis_of(population.folder, by)
    if preset == "reference":
        grouped = group_layers(population, axis, arrays=("coarse",))
        basis = grouped.table.basis
        width = 2 * basis.reach / COARSE_BINS
        weights = basis.explained_variance_ratio
        found = Histograms(grouped.table.arrays["coarse"], weights, width, basis)
    else:
        grouped, found = preset_histograms(population, axis, preset, scanning or Scanning())
    return compare(
        grouped,
        found,
        preset=preset,
        weighting=weighting,
        permutations=permutations,
        seed=seed,
        progress=progress,
    )


def shift_between(
    populations: Mapping[str, Selection],
    *,
    preset: str = "reference",
    weighting: str = "filters",
    permutations: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ShiftMatrix:
    """Compare populations with one another: of one database, or of several.

    Parameters
    ----------
    populations
        Name -> population; of one kernel size, in one basis.
    preset
        ``"reference"`` only: the others need all weights in one database.
    weighting, permutations, seed, progress
        As :func:`shift`.

    Raises
    ------
    QueryError
        A population is empty, or they differ in their kernel size or their basis; the message
        has the command that mends it.
    """
    check_choice("preset", preset, ("reference",))
    check_choice("weighting", weighting, WEIGHTINGS)
    tables = {name: one.table(arrays=("coarse",)) for name, one in populations.items()}
    (first, *_), (one, *_) = tables.values(), populations.values()
    for name, other in populations.items():
        check_comparable(one, other, first.basis, tables[name].basis)
    grouped = join_tables(tables, weights=one.weights)
    basis, width = first.basis, 2 * first.basis.reach / COARSE_BINS
    counts = grouped.table.arrays["coarse"]
    return compare(
        grouped,
        Histograms(counts, basis.explained_variance_ratio, width, basis),
        preset=preset,
        weighting=weighting,
        permutations=permutations,
        seed=seed,
        progress=progress,
    )


def check_comparable(one: Selection, other: Selection, basis: Basis, its: Basis) -> None:
    """Make sure that the histograms of two populations can be compared.

    Raises
    ------
    QueryError
        They differ in their kernel size or their basis; the message has the command that mends
        it.
    """
    if one.weights != other.weights:
        msg = f"{one.weights} weights cannot be compared with {other.weights} ones."
        raise QueryError(msg)
    if basis.kernel != its.kernel:
        sizes = "{}x{} and {}x{}".format(*basis.kernel, *its.kernel)
        msg = f"Filters of {sizes} cannot be compared. Name one size: --kernel 3x3."
        raise QueryError(msg)
    if basis.id != its.id:
        height, width = basis.kernel
        msg = (
            f"The {height}x{width} histograms of {one.folder} are in the basis {basis.id} "
            f"({basis.origin}), those of {other.folder} in {its.id} ({its.origin}): they cannot be "
            f"compared. Take the latter anew: filterdb basis {other.folder} --adopt {one.folder}"
        )
        raise QueryError(msg)


def compare(
    grouped: Grouped,
    found: Histograms,
    *,
    preset: str,
    weighting: str,
    permutations: int | None,
    seed: int,
    progress: Progress | None,
) -> ShiftMatrix:
    """D of every pair of groups, with its nulls and its interval."""
    counts = found.counts
    if weighting == "layers":
        counts = counts / counts.sum(axis=(1, 2), keepdims=True).clip(min=1)
    units = Units(
        counts, grouped.group, grouped.model, grouped.table.n, by_layers=weighting == "layers"
    )
    size = len(grouped.groups)
    totals = units.totals(size)
    pairs = list(combinations(range(size), 2))
    draws = permutations
    if draws is None:
        draws = PERMUTATIONS if len(pairs) <= MANY_PAIRS else FEWER_PERMUTATIONS
    statistics: list[PairStatistics] = []
    if draws:
        statistics = pair_statistics(
            units, pairs, found.weights, width=found.width, draws=draws, seed=seed,
            progress=progress,
        )  # fmt: skip
    return ShiftMatrix(
        by=grouped.axis.name,
        preset=preset,
        weighting=weighting,
        kernel=found.basis.kernel,
        basis=found.basis,
        groups=grouped.groups,
        ordered=grouped.axis.ordered,
        matrix=shift_matrix(totals, found.weights, width=found.width),
        weights=found.weights,
        null_layers_p95=spread(pairs, [pair.layers.usable.p95 for pair in statistics], size),
        null_models_p95=spread(pairs, [pair.models.usable.p95 for pair in statistics], size),
        null_filters_p95=spread(pairs, [pair.filters.p95 for pair in statistics], size),
        p_layers=spread(pairs, [pair.layers.usable.p_value for pair in statistics], size),
        p_models=spread(pairs, [pair.models.usable.p_value for pair in statistics], size),
        p_filters=spread(pairs, [pair.filters.p_value for pair in statistics], size),
        low=spread(pairs, [pair.interval.low for pair in statistics], size),
        high=spread(pairs, [pair.interval.high for pair in statistics], size),
        permutations=draws,
        counts=totals,
        coverage=grouped.coverage,
        notes=(*found.notes, *remarks(grouped, statistics)),
    )


def spread(pairs: Sequence[Pair], values: Sequence[float | None], size: int) -> NDArray[np.float64]:
    """Values of pairs as a symmetric matrix; NaN where there is none."""
    matrix = np.full((size, size), np.nan)
    for (i, j), value in zip(pairs, values, strict=False):
        if value is not None:
            matrix[i, j] = matrix[j, i] = value
    return matrix


def remarks(grouped: Grouped, statistics: Sequence[PairStatistics]) -> list[str]:
    """What to know of a result: groups that are too small, and nulls that cannot say much."""
    said = list(variants.remarks(grouped.coverage["weights"]))
    few = [group.name for group in grouped.groups if 0 < group.filters < FEW_FILTERS]
    if few:
        said.append(
            f"Below {FEW_FILTERS:,} filters: {named(few)}. A D of so few is mostly the bias of a "
            "small sample (two samples of 1,000 filters of one distribution have 0.14)."
        )
    single = [group.name for group in grouped.groups if group.models == 1]
    if single and statistics:
        said.append(
            f"Of one model, which cannot be permuted: {named(single)}. Such pairs are judged by "
            "the null of layers, which is too narrow, for layers of one network are alike."
        )
    dominated = [
        f"{group.name} ({group.largest_share:.0%})"
        for group in grouped.groups
        if group.models > 1 and group.largest_share >= DOMINANT
    ]
    if dominated:
        said.append(
            f"Mostly one model's filters: {named(dominated)}. Compare by layers, too "
            "(--weighting layers)."
        )
    powerless = [pair.models.reason for pair in statistics if pair.models.powerless]
    if powerless:
        said.append(
            f"{len(powerless):,} pairs have too few models for any p value below 0.05, however far "
            f"apart they are (for instance {powerless[0]}): they are judged by layers."
        )
    rough = sum(pair.interval.low is not None and bool(pair.interval.reason) for pair in statistics)
    if rough:
        said.append(
            f"{rough:,} intervals rest on fewer than {ROUGH} models: they are rough, and rather "
            "too narrow than too wide."
        )
    return said


def named(names: Sequence[str], *, most: int = 4) -> str:
    """``"a, b, c, d and 3 more"``."""
    listed = ", ".join(names[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed
