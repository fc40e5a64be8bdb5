"""How the variance entropy falls out by chance: for filters of noise, and for trained ones.

The published threshold of randomness (METHODS 1.4) covers 3x3. For every other size the same
Monte Carlo stands in ``randomness_table.npz``, which ``scripts/make_randomness_table.py`` makes:
statistics of ``H`` by number of taps ``k`` and degrees of freedom ``n - 1``, for Gaussian
filters and for filters with the published spectrum of trained ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Population = Literal["random", "trained"]

# Sigmoid in log2 n fitted to the least H of about 1,000 draws of n x 9 standard normal values.
# The paper prints them rounded (1.26, 2.30, 0.89, -0.31), which moves the asymptote by 0.0013.
HEIGHT, MIDPOINT, STEEPNESS, FLOOR = 1.2618047, 2.30436435, 0.88767525, -0.31050834
SIGMOID_TAPS = 9

QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
LEAST_FILTERS = 3
"""Two filters differ along one direction only: H is 0 whatever they are."""


def threshold(n: int, taps: int) -> float | None:
    """``T_H``, the least variance entropy to expect of noise (CNN Filter DB, supplement).

    Parameters
    ----------
    n
        Number of filters.
    taps
        Weights a filter, ``kh * kw``. The published sigmoid for 9; for other sizes the least
        of 1,000 simulated layers.

    Returns
    -------
    float or None
        None where there is nothing below noise: up to two filters, and for 1x1.

    Examples
    --------
    >>> round(threshold(1024, 9), 4)
    0.9499
    """
    if n < LEAST_FILTERS or taps < 2:
        return None
    if taps == SIGMOID_TAPS:
        return HEIGHT / (1 + math.exp(-STEEPNESS * (math.log2(n) - MIDPOINT))) + FLOOR
    return entropy_statistic("random", "least", n, taps) or None


def quantile(population: Population, q: float, n: int, taps: int) -> float:
    """Quantile of the variance entropy of n filters by chance.

    Parameters
    ----------
    population
        ``"random"``: standard normal weights. ``"trained"``: Gaussian weights whose components
        have the published explained-variance ratios of all 3x3 filters, stretched to other
        sizes.
    q
        One of :data:`QUANTILES`.
    n, taps
        Number of filters, and weights a filter.
    """
    return entropy_statistic(population, f"q{q}", n, taps)


def filters_to_decide(h: float, taps: int) -> int | None:
    """Filters from which on so low an entropy is no accident of a trained layer.

    The least n of which 99 of 100 trained layers have a variance entropy above ``h``; None if
    ordinary trained layers of any size may have it.
    """
    return first(lambda n: quantile("trained", 0.01, n, taps) > h)


def filters_to_tell_noise(margin: float, taps: int) -> int | None:
    """Filters from which on trained layers stay clear of noise.

    The least n of which 99 of 100 trained layers have a variance entropy below
    ``T_H - margin``; None if there is none.
    """
    return first(lambda n: quantile("trained", 0.99, n, taps) < (threshold(n, taps) or 0) - margin)


def first(decisive: Callable[[int], bool]) -> int | None:
    """Least number of filters, of those that a layer may have, at which a test is decisive."""
    counts = range(LEAST_FILTERS, 2**12)
    return next((n for n in counts if decisive(n)), None)


@dataclass(frozen=True)
class Table:
    """The simulated statistics, as deficits ``log10 k - H``.

    Attributes
    ----------
    taps, freedom
        The grid, ascending: K numbers of taps, M degrees of freedom (filters - 1).
    deficits
        By population and statistic (``"least"``, ``"q0.01"``, ..., ``"mean"``), shape ``(K, M)``.
    """

    taps: NDArray[np.int32]
    freedom: NDArray[np.int32]
    deficits: dict[tuple[str, str], NDArray[np.float64]]

    def deficit(self, population: Population, statistic: str, row: int, freedom: float) -> float:
        """Deficit in one row of the grid, log-log between its columns.

        Beyond the last column the deficit of noise goes on falling as 1/m, its asymptote,
        while that of trained filters has reached its limit.
        """
        column = self.deficits[population, statistic][row]
        last = float(self.freedom[-1])
        value = np.interp(math.log(max(1.0, freedom)), np.log(self.freedom), np.log(column))
        tail = last / freedom if population == "random" and freedom > last else 1.0
        return math.exp(value) * tail


@cache
def load_table() -> Table:
    """Load the table that comes with the package."""
    with (
        (files("filterdb.stats") / "randomness_table.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        deficits = {
            (population, str(name)): data[population][:, :, i].astype(np.float64)
            for population in ("random", "trained")
            for i, name in enumerate(data["statistics"])
        }
        return Table(data["taps"], data["freedom"], deficits)


@cache
def entropy_statistic(population: Population, statistic: str, n: int, taps: int) -> float:
    """One statistic of the variance entropy of n filters by chance.

    Between two tabulated kernel sizes both are looked up at the same *ratio* of filters to
    taps: there the mean deficit hardly depends on the size (Marchenko-Pastur), and what a
    statistic departs from the mean shrinks as 1/k.

    Raises
    ------
    ValueError
        Fewer than one filter or two taps, or a statistic that the table does not have.
    """
    table = load_table()
    if n < 1 or taps < 2 or (population, statistic) not in table.deficits:
        msg = f"No {statistic!r} of H is known for {n} {population} filters of {taps} taps."
        raise ValueError(msg)
    if n < LEAST_FILTERS:
        return 0.0
    above = int(np.searchsorted(table.taps, taps))
    if above < len(table.taps) and table.taps[above] == taps:
        deficit = table.deficit(population, statistic, above, n - 1)
    else:
        rows = [row for row in (above - 1, above) if 0 <= row < len(table.taps)]
        values = [stretched(table, population, statistic, row, n - 1, taps) for row in rows]
        deficit = float(np.interp(math.log(taps), np.log(table.taps[rows]), values))
    return min(max(0.0, math.log10(taps) - deficit), math.log10(min(n - 1, taps)))


def stretched(
    table: Table, population: Population, statistic: str, row: int, freedom: int, taps: int
) -> float:
    """Deficit for ``taps`` taps, from the row of another kernel size."""
    scale = float(table.taps[row]) / taps
    mean = table.deficit(population, "mean", row, freedom * scale)
    return mean + scale * (table.deficit(population, statistic, row, freedom * scale) - mean)
