"""What the same keys explain by chance: of controls made from the very filters that are labelled.

So the line of chance is that of these filters, these keys, this equivalence and this threshold,
whatever was measured when the set was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.fit import nearest_keys
from filterdb.keys.key_set import KeySet
from filterdb.keys.labels.labels import Labels, LayerLabels
from filterdb.keys.labels.sampling import SampledFilters, found_on, sampled_filters
from filterdb.keys.search.claims import at_most, bootstrap
from filterdb.keys.search.controls import gaussian, same_covariance, same_spectrum, same_weights
from filterdb.keys.search.coverage import TIE, reached
from filterdb.keys.search.found import MEAN, Claim
from filterdb.keys.search.sample import DEPTHWISE
from filterdb.population.preset import Scanning
from filterdb.threads import one_blas_thread

KERNELS = 20_000
"""Kernels of each control: a share of them is known to 0.7 points at worst."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Level:
    """What the keys explain of the kernels of a control.

    Attributes
    ----------
    kernels
        How many.
    coverage
        Share of them with R² of at least the threshold of the labels.
    mean_r2
        Mean of R².
    """

    kernels: int
    coverage: float
    mean_r2: float


@dataclass(frozen=True, slots=True)
class Chance:
    """Labels beside chance.

    Attributes
    ----------
    sampled
        Filters that the controls were made from.
    grouped_by, groups
        ``"run"``, ``"model"``, or ``"layer"`` of few models: over so many of them intervals are
        taken.
    controls
        Name (``"gaussian"``, ``"shuffled"``, ``"spectrum"``, ``"covariance"``) -> what the keys
        explain of it.
    copies, mean_r2
        What can be claimed of the share of copies, and of the mean of R²: above chance where the
        lower end of the interval is above the upper end of the hardest control's.
    models, found_on
        Number of models labelled; how many of them the set was found on, None where it does not
        say.
    """

    sampled: int
    grouped_by: str
    groups: int
    controls: Mapping[str, Level]
    copies: Claim
    mean_r2: Claim
    models: int
    found_on: int | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def chance_of(
    labels: Labels,
    source: Any,
    *,
    where: str | None = None,
    kind: str = DEPTHWISE,
    scanning: Scanning | None = None,
    seed: int = 0,
) -> Chance | None:
    """Label controls that are made of the labelled filters, by the same keys: what chance does.

    Parameters
    ----------
    labels
        What :func:`~filterdb.keys.labels.labelling.label` returned.
    source, where, kind, scanning
        As it was called.
    seed
        Of the controls, and of the bootstrap.

    Returns
    -------
    Chance, or None
        None where no filter has a shape.

    Raises
    ------
    ReadError, QueryError, StoreError
        The source cannot be read any more.
    """
    if labels.total.coverage is None:
        return None
    keys = labels.key_set
    some = sampled_filters(
        source, keys.kernel, where=where, kind=kind, seed=seed, scanning=scanning
    )
    with one_blas_thread():
        controls = levels(some, keys, threshold=labels.threshold, seed=seed)
    return beside(labels, controls, some, found_on=found_on(source, labels, where), seed=seed)


def levels(
    some: SampledFilters, keys: KeySet, *, threshold: float, n: int = KERNELS, seed: int = 0
) -> dict[str, Level]:
    """What keys explain of kernels in which there is nothing to find.

    Parameters
    ----------
    some
        Filters that the kernels resemble: in their weights, their spectra, their covariance.
    keys
        The set, whose equivalence holds.
    threshold
        R² from which a kernel counts as a copy.
    n, seed
        Number of kernels; of their draw.
    """
    unit, kernel = some.unit, keys.kernel
    controls = {
        "gaussian": gaussian(n, kernel, seed=seed),
        "shuffled": same_weights(unit, n, seed=seed),
        "spectrum": same_spectrum(unit, n, kernel, seed=seed),
        "covariance": same_covariance(unit, n, owners=(some.owner,), seed=seed),
    }
    found = {}
    for name, kernels in controls.items():
        if len(kernels):
            r2 = nearest_keys(kernels, keys.flat, kernel, keys.equivalence)[1]
            share = float(reached(r2, threshold).mean())
            found[name] = Level(len(r2), share, float(r2.mean(dtype=np.float64)))
    return found


def beside(
    labels: Labels,
    controls: Mapping[str, Level],
    some: SampledFilters,
    *,
    found_on: int | None,
    seed: int = 0,
) -> Chance:
    """Put labels beside what their keys explain of controls.

    Parameters
    ----------
    labels
        Of some filters with a shape.
    controls
        By the same keys, at the same threshold.
    some
        The filters that they were made from, and what is independent of them.
    found_on
        As :class:`Chance` has it.
    seed
        Of the bootstrap.
    """
    rows = [row for row in labels.counted if row.shaped]
    sums, sizes = _by_group(rows, some.groups)
    low, high = bootstrap(sums, sizes, seed=seed)
    values = sums.sum(axis=0) / sizes.sum()
    claims = []
    for place, measure in enumerate((f"R² >= {labels.threshold:g}", MEAN)):
        reach = {
            name: level.mean_r2 if place else level.coverage for name, level in controls.items()
        }
        hardest = max(reach, key=reach.__getitem__)
        ceiling = at_most(reach[hardest], controls[hardest].kernels, mean=bool(place))
        lower = None if low is None else float(low[place])
        claims.append(
            Claim(
                measure=measure,
                value=float(values[place]),
                low=lower,
                high=None if high is None else float(high[place]),
                chance=reach[hardest],
                control=hardest,
                excess_low=None if lower is None else lower - ceiling,
                excess_high=None if high is None else float(high[place]) - reach[hardest],
                above=None if lower is None else lower > ceiling + TIE,
            )
        )
    return Chance(
        sampled=len(some.unit),
        grouped_by=some.grouped_by,
        groups=len(sizes),
        controls=controls,
        copies=claims[0],
        mean_r2=claims[1],
        models=len(labels.models),
        found_on=found_on,
    )


def _by_group(rows: Iterable[LayerLabels], groups: Mapping[str, str]) -> tuple[Array, Array]:
    """Sums of copies and of R² over each group, shape ``(G, 2)``, and its filters, ``(G,)``."""
    found: dict[Any, Array] = {}
    for row in rows:
        group = groups.get(row.model, row.model) if groups else (row.model, row.layer_index)
        mean = row.mean_r2 or 0.0
        own = np.array([row.counts.sum(), mean * row.shaped, row.shaped], np.float64)
        found[group] = found.get(group, np.zeros(3)) + own
    table: Array = np.stack(list(found.values()))
    return table[:, :2], table[:, 2]
