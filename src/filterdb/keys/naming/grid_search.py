"""The greatest value of a function of one or two numbers: a grid, then finer ones around its best.

The measures of this package have their best where a grid of 33 points sees it; nothing more is
needed, and SciPy is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Objective = Callable[..., Array]
"""Takes one array for each number, and gives a value for each combination of them."""

FINER = 9
SHRINK = 1 / 3
ROUNDS = 14


def best_on(objective: Objective, axes: Sequence[Array]) -> tuple[tuple[float, ...], float]:
    """The best point of a grid.

    Parameters
    ----------
    objective
        Called once, with ``axes``; values of shape ``(len(axes[0]), ...)``.
    axes
        Candidates for each number.

    Returns
    -------
    point : tuple of float
    value : float
    """
    values = objective(*axes)
    index = np.unravel_index(int(values.argmax()), values.shape)
    point = tuple(float(axis[i]) for axis, i in zip(axes, index, strict=True))
    return point, float(values[index])


def refined(
    objective: Objective, axes: Sequence[Array], point: Sequence[float]
) -> tuple[tuple[float, ...], float]:
    """The best point near the best one of a grid, within the grid's ends.

    Each round looks at nine points a side around the best so far, over a third of the width of the
    round before; after fourteen, the points are a millionth of the first grid's steps apart.
    """
    steps = [float(np.diff(axis).max(initial=0)) for axis in axes]
    best, value = tuple(point), -np.inf
    for _ in range(ROUNDS):
        around = [
            np.unique(np.clip(middle + np.linspace(-step, step, FINER), axis.min(), axis.max()))
            for axis, middle, step in zip(axes, best, steps, strict=True)
        ]
        found, reached = best_on(objective, around)
        if reached > value:
            best, value = found, reached
        steps = [step * SHRINK for step in steps]
    return best, value


def maximum(objective: Objective, axes: Sequence[Array]) -> tuple[tuple[float, ...], float]:
    """The best point of a grid, refined: :func:`best_on`, then :func:`refined`."""
    point, _ = best_on(objective, axes)
    return refined(objective, axes, point)
