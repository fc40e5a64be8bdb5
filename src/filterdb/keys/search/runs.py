"""Training runs: their epochs are one network, and epoch 0 is what it was before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import FilterDBError
from filterdb.keys.search.claims import FEWEST_GROUPS
from filterdb.keys.search.sample import DEPTHWISE, Sample, draw
from filterdb.keys.search.settings import Settings
from filterdb.population.selection import literal
from filterdb.store.query import select_values

if TYPE_CHECKING:
    from filterdb.population.population import Population

UNTRAINED = "epoch 0 of a run, which is the control by initialisation"


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


def untrained_filters(
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
