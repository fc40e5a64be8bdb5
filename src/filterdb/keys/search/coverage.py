"""How much keys explain: of filters that they were not found on, and beside what chance does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence
from filterdb.keys.search.crossing import HeldOut, crossed_r2
from filterdb.keys.search.found import (
    THRESHOLDS,
    Control,
    CurvePoint,
    Explained,
    GroupCoverage,
    NetworkCoverage,
)
from filterdb.keys.search.passes import R2_BINS
from filterdb.keys.search.sample import NOT_GIVEN

TIE = 1e-6
"""Below a threshold that still counts as reaching it: what rounding to float32 does."""


def curve_of(held: HeldOut, same: Equivalence) -> tuple[CurvePoint, ...]:
    """What keys explain against their number, with chance beside it.

    Parameters
    ----------
    held
        Networks and controls, explained by keys of the other half.
    same
        What does not matter.
    """
    kernel = held.sample.kernel
    return tuple(
        CurvePoint(
            k=count,
            networks=explained(r2),
            layers=explained_layers(held.sample.layer, r2),
            controls={
                name: Control(
                    by_found=explained(crossed_r2(control, held.keys[count], kernel, same)),
                    by_own=explained(control.r2[count]),
                )
                for name, control in held.controls.items()
                if count in control.r2
            },
        )
        for count, r2 in held.r2.items()
    )


def networks_of(held: HeldOut, count: int) -> tuple[NetworkCoverage, ...]:
    """Each network, explained by ``count`` keys of others, the best explained first."""
    sample, r2 = held.sample, held.r2[count]
    place = {name: number for number, name in enumerate(dict.fromkeys(sample.models))}
    of_layer = np.array([place[model] for model in sample.models])
    of_filter = of_layer[sample.layer]
    rows = []
    for name, number in place.items():
        layers = np.flatnonzero(of_layer == number)
        own = r2[of_filter == number]
        if len(own):
            group = sample.groups[layers[0]]
            shaped = int(sample.counts[layers, 0].sum())
            rows.append(NetworkCoverage(name, group, len(layers), shaped, explained(own)))
    return tuple(sorted(rows, key=lambda row: -row.explained.mean_r2))


def groups_of(held: HeldOut, count: int) -> tuple[GroupCoverage, ...]:
    """The layers of each group along each axis, explained by ``count`` keys of other networks."""
    sample, r2 = held.sample, held.r2[count]
    rows = []
    for axis, labels in sample.axes.items():
        given = sorted({label for label in labels if label != NOT_GIVEN}, key=lambda one: one[1])
        for label in [*given, NOT_GIVEN]:
            layers = np.array([own == label for own in labels])
            filters = r2[layers[sample.layer]]
            if len(filters):
                chosen = np.flatnonzero(layers)
                models = len({sample.models[layer] for layer in chosen})
                shaped = int(sample.counts[chosen, 0].sum())
                found = explained(filters)
                rows.append(GroupCoverage(axis, label[0], models, len(chosen), shaped, found))
    return tuple(rows)


def values_of(found: Explained) -> tuple[float, ...]:
    """The shares, then the mean."""
    return (*found.shares, found.mean_r2)


def explained(r2: NDArray[np.floating]) -> Explained:
    """Shares and mean of R² of some filters."""
    shares = tuple(float(reached(r2, threshold).mean()) for threshold in THRESHOLDS)
    return Explained(len(r2), shares, float(r2.mean(dtype=np.float64)))


def explained_of(histogram: NDArray[np.int64], total: float) -> Explained:
    """The same from a histogram of R² and its sum."""
    filters = int(histogram.sum())
    above = [int(histogram[round(t * R2_BINS) :].sum()) for t in THRESHOLDS]
    return Explained(filters, tuple(n / filters for n in above), total / filters)


def explained_layers(layer: NDArray[np.intp], r2: NDArray[np.floating]) -> tuple[float, ...]:
    """Share of the layers of which at least half of the filters reach each threshold."""
    sizes = np.bincount(layer)
    some = sizes > 0
    result = []
    for threshold in THRESHOLDS:
        above = np.bincount(layer, weights=reached(r2, threshold), minlength=len(sizes))
        result.append(float((2 * above[some] >= sizes[some]).mean()))
    return tuple(result)


def reached(r2: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Which filters have R² of at least a threshold."""
    above: NDArray[np.bool_] = r2 >= threshold - TIE
    return above
