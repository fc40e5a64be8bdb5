"""The phenotype of a layer: what its filters look like on the plane of the first two components.

The papers tell four apart by eye and publish no rule (METHODS 1.4). These rules are this
project's own. They read nothing but the counts of max-abs-scaled filters on that plane, whose
unit is the largest weight of a filter. The first that holds decides:

========= ======================================================================================
undecided fewer than 500 filters
point     at least half of them lie within 0.25 of where an all-zero filter lies ("zero")
symbols   several modes, at zero at most half the density of the highest, and less than half of
          the filters in hot spots: broad clouds beside an empty centre
spikes    at least 10 % lie in hot spots: places that are 1.75 times as dense as what surrounds
          them
sun       one mode, at zero at least 0.65 of its density, less than 5 % in hot spots, and
          Gaussian but for 0.1 nats
undecided none of these
========= ======================================================================================

A mode or a hot spot counts only if it stands out from the Poisson noise of a kernel estimate by
four standard deviations, and a mode only if the saddle to a higher one is at most 3/4 as high.

The numbers were set on 3x3 filters in the reference basis (version 1) by looking at pictures, and
then measured on the same: the 488 different layers of at least 500 filters of 86 networks, public
ones and those of the demonstration. 406 are suns, 38 undecided (23 of them for 5 to 10 % in hot
spots), 30 spikes, 14 symbols. None is a point: no layer has more than 22 % of its filters near
zero, where 6 % of Gaussian ones lie; a point takes layers with filters that are exactly zero.

The 376 layers of at least 1,000 filters were cut into random halves, ten times. Two halves had
the same name in 93 % (89 % below 2,000 filters, 96 % from 4,000), contradicted one another in
0.1 %, and else one of them was undecided. A half was called what the whole layer is in 98 % of
the suns, 95 % of the symbols, 82 % of the spikes and 69 % of the undecided: whether there are
enough hot spots is a matter of degree. 600 samples of 500 to 4,000 Gaussian filters, and 20 of
30,000 and 300,000, were all suns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Name = Literal["sun", "spikes", "symbols", "point", "undecided"]

FEWEST = 500
CORE, CORE_SHARE = 0.25, 0.5
EMPTY, FULL = 0.5, 0.65  # density at zero, as a share of the highest
HOT, HOT_SHARE, COOL_SHARE = 1.75, 0.1, 0.05
MOST = 0.5
DEPTH = 0.75
GAUSSIAN = 0.1
DEVIATIONS = 4.0

# Bandwidths, as shares of the spread, which counts as no less than LEAST_SPREAD: filters that
# differ by little of their largest weight are alike.
FINE, AROUND, BROAD = 0.15, 0.5, 0.4
LEAST_SPREAD = 0.5
FINE_BIN, BROAD_BIN = 0.06, 0.12  # what is wide enough for them


@dataclass(frozen=True, slots=True)
class Measures:
    """What the rules look at.

    Attributes
    ----------
    spread
        Fourth root of the covariance's determinant: the standard deviation of a round cloud.
    near_zero
        Share of the filters within 0.25 of an all-zero filter.
    hot
        Share of the filters in hot spots.
    modes
        Number of significant modes of the density, smoothed by 0.4 of the spread.
    zero_density
        That density where an all-zero filter lies, as a share of its maximum.
    negentropy
        How much less entropy it has than the Gaussian of its covariance, in nats: 0.08 for a
        uniform disc.
    """

    spread: float
    near_zero: float
    hot: float
    modes: int
    zero_density: float
    negentropy: float


@dataclass(frozen=True, slots=True)
class Phenotype:
    """What a layer looks like, and why it is called so.

    Attributes
    ----------
    name
        One of the four, or ``"undecided"``.
    n
        Number of filters.
    measures
        None for fewer than 500 filters.
    reason
        A clause with the figures that decided.
    """

    name: Name
    n: int
    measures: Measures | None
    reason: str


def phenotype(
    counts: NDArray[Any], *, reach: float = 3.3, zero: tuple[float, float] = (0.0, 0.0)
) -> Phenotype:
    """Tell which of the four phenotypes filters have, by the rules above.

    Parameters
    ----------
    counts
        Filters by their coefficients in the first two components, shape ``(bins, bins)``, over
        equal bins of ``[-reach, reach]`` that are at most 0.06 wide.
    reach
        Ends of the range of either coefficient.
    zero
        Where an all-zero filter lies: ``-mean @ components[:2].T``. It is less than 0.02 from the
        origin in the reference basis of 3x3 filters.

    Raises
    ------
    ValueError
        The counts are not square, or their bins too wide.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or len(set(counts.shape)) > 1 or 2 * reach > FINE_BIN * len(counts):
        msg = (
            f"A phenotype needs square counts with bins of at most {FINE_BIN}, "
            f"not {counts.shape} over {2 * reach:g}."
        )
        raise ValueError(msg)
    n = int(counts.sum())
    if n < FEWEST:
        return Phenotype("undecided", n, None, f"{n:,} filters are too few to tell")
    measures = measure(counts, reach=reach, zero=zero)
    return Phenotype(*judge(n, measures))


def judge(n: int, found: Measures) -> tuple[Name, int, Measures, str]:
    """The rules: the first that holds."""
    at_zero = f"{found.zero_density:.0%} of the peak at zero"
    hot = f"{found.hot:.0%} of the filters in hot spots"
    modes = f"{found.modes} mode{'s' * (found.modes > 1)}"
    gaussian = f"Gaussian but for {found.negentropy:.2f} nats"
    name: Name = "undecided"
    reason = f"{modes}, {at_zero}, {hot}, {gaussian}"
    if found.near_zero >= CORE_SHARE:
        name, reason = "point", f"{found.near_zero:.0%} of the filters near zero"
    elif found.modes > 1 and found.zero_density <= EMPTY and found.hot < MOST:
        name, reason = "symbols", f"{modes}, {at_zero}"
    elif found.hot >= HOT_SHARE:
        name, reason = "spikes", hot
    elif (
        found.modes == 1
        and found.zero_density >= FULL
        and found.hot < COOL_SHARE
        and found.negentropy <= GAUSSIAN
    ):
        name, reason = "sun", f"{modes}, {gaussian}"
    return name, n, found, reason


def measure(counts: NDArray[Any], *, reach: float, zero: tuple[float, float]) -> Measures:
    """What the rules look at; arguments as in :func:`phenotype`."""
    fine, broad = merged(counts, reach, FINE_BIN), merged(counts, reach, BROAD_BIN)
    x, y = np.meshgrid(centres(len(fine), reach), centres(len(fine), reach), indexing="ij")
    near = np.hypot(x - zero[0], y - zero[1]) <= CORE

    places = centres(len(broad), reach)
    covariance = covariance_of(broad, places)
    spread = spread_of(covariance)
    unit = max(spread, LEAST_SPREAD)
    width, bandwidth = 2 * reach / len(broad), BROAD * unit
    density = smoothed(broad, width, bandwidth)
    to_zero = gaussian_of(np.subtract.outer(np.asarray(zero), places), width, bandwidth)
    at_zero = float(to_zero[0] @ broad @ to_zero[1])
    shares = density[density > 0] / density.sum()
    entropy = -float(shares @ np.log(shares / width**2))
    blurred = covariance + np.eye(2) * bandwidth**2
    gaussian = math.log(2 * math.pi * math.e) + 0.5 * math.log(np.linalg.det(blurred))
    return Measures(
        spread=spread,
        near_zero=float(fine[near].sum() / fine.sum()),
        hot=hot_share(fine, 2 * reach / len(fine), unit),
        modes=number_of_modes(density, noise=noise_of(width, bandwidth)),
        zero_density=at_zero / max(at_zero, float(density.max())),
        negentropy=gaussian - entropy,
    )


def hot_share(counts: Array, width: float, unit: float) -> float:
    """Share of the counts where a narrow estimate of their density exceeds a wide one by far."""
    density = smoothed(counts, width, FINE * unit)
    around = smoothed(counts, width, math.hypot(FINE, AROUND) * unit)
    noise = noise_of(width, FINE * unit)
    hot = (density >= HOT * around) & stands_out(density - around, around, noise)
    return float(density[hot].sum() / density.sum())


def number_of_modes(density: Array, *, noise: float) -> int:
    """Number of maxima that stand out, by their topological persistence.

    The places come in by falling density. One without a neighbour is a new maximum; one between
    two is the saddle at which the lower of them ends (Edelsbrunner et al. 2002).
    """
    height = np.pad(density, 1).ravel()
    row = len(density) + 2
    neighbours = [-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1]
    parent: dict[int, int] = {}

    def top(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    pairs = []
    order = np.argsort(-height, kind="stable")
    for place in order[: np.count_nonzero(height)].tolist():
        tops = {top(place + step) for step in neighbours if place + step in parent}
        highest, *others = sorted(tops, key=lambda peak: -height[peak]) or [place]
        parent[place] = highest
        for peak in others:
            parent[peak] = highest
            pairs.append((height[peak], height[place]))
    peaks, saddles = np.array(pairs).reshape(-1, 2).T
    lasting = stands_out(peaks - saddles, peaks + saddles, noise) & (saddles <= DEPTH * peaks)
    return 1 + int(np.count_nonzero(lasting))


def stands_out(excess: Array, expected: Array, noise: float) -> NDArray[np.bool_]:
    """Whether a density exceeds what is expected by more than chance."""
    result: NDArray[np.bool_] = excess > DEVIATIONS * np.sqrt(noise * (expected + noise))
    return result


def noise_of(width: float, bandwidth: float) -> float:
    """Variance of a smoothed count, as a share of its mean: the kernel's sum of squares."""
    return width**2 / (4 * math.pi * bandwidth**2)


def smoothed(counts: Array, width: float, bandwidth: float) -> Array:
    """Counts spread by a round Gaussian; what leaves the range is lost."""
    steps = np.arange(len(counts)) * width
    kernel = gaussian_of(np.subtract.outer(steps, steps), width, bandwidth)
    result: Array = kernel @ counts @ kernel
    return result


def gaussian_of(distances: Array, width: float, bandwidth: float) -> Array:
    """Share of a Gaussian that falls into a bin at a distance from its centre."""
    scale = width / (bandwidth * math.sqrt(2 * math.pi))
    result: Array = scale * np.exp(-0.5 * (distances / bandwidth) ** 2)
    return result


def covariance_of(counts: Array, places: Array) -> Array:
    """Covariance of two coordinates, of which counts say how often each pair occurs."""
    shares = counts / counts.sum()
    x = places - shares.sum(axis=1) @ places
    y = places - shares.sum(axis=0) @ places
    both = x @ shares @ y
    return np.array([[shares.sum(axis=1) @ x**2, both], [both, shares.sum(axis=0) @ y**2]])


def spread_of(covariance: Array) -> float:
    """Standard deviation of the round cloud that has the same determinant."""
    return math.sqrt(math.sqrt(max(0.0, float(np.linalg.det(covariance)))))


def merged(counts: NDArray[Any], reach: float, widest: float) -> Array:
    """As few bins as are no wider than asked, by adding up neighbours."""
    bins = len(counts)
    fits = [step for step in range(1, bins + 1)
            if bins % step == 0 and 2 * reach * step <= widest * bins]  # fmt: skip
    step = max(fits, default=1)
    parts = counts.reshape(bins // step, step, bins // step, step)
    result: Array = parts.sum(axis=(1, 3), dtype=np.float64)
    return result


def centres(bins: int, reach: float) -> Array:
    """Centres of equal bins of ``[-reach, reach]``."""
    result: Array = (np.arange(bins, dtype=np.float64) + 0.5) * (2 * reach / bins) - reach
    return result
