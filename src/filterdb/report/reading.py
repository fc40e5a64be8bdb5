"""A network read once, with all that a page shows of each layer; one is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from filterdb.checking import Check, check_model
from filterdb.layer import ConvLayer
from filterdb.reading import Source, read
from filterdb.report.page import Progress
from filterdb.stats.basis import Kernel, reference_basis
from filterdb.stats.moments import Moments
from filterdb.stats.summary import Summary, has_summary, summarise

STRENGTH_BINS = 24
WEAKEST = 1e-4
"""Share of the layer's peak where the spark of strengths begins; below, all is in one bin."""


@dataclass(frozen=True, slots=True)
class Spark:
    """The small pictures of a layer.

    Attributes
    ----------
    spectrum
        Share of the variance of each principal component of its unscaled filters, falling.
    strengths
        Filters by the share of the layer's peak that they reach, in bins of equal ratio.
    """

    spectrum: tuple[float, ...]
    strengths: tuple[int, ...]


@dataclass(slots=True)
class Gathered:
    """What is kept of the layers while they pass by."""

    total: int
    progress: Progress | None
    sparks: dict[int, Spark] = field(default_factory=dict)
    sums: dict[Kernel, Summary] = field(default_factory=dict)

    def __call__(self, layer: ConvLayer, weights: NDArray[np.float32]) -> None:
        """Take a layer's part; what is not finite, and filters without a shape, have none."""
        if self.progress is not None:
            self.progress(layer.index, self.total, layer.name)
        if not has_summary(layer.kernel) or not weights.size:
            return
        filters = weights.reshape(-1, prod(layer.kernel))
        strengths = np.maximum(filters.max(axis=1), -filters.min(axis=1))
        if not np.isfinite(strengths).all():
            return
        summary = summarise(weights, reference_basis(layer.kernel)).all()
        before = self.sums.get(layer.kernel)
        self.sums[layer.kernel] = summary if before is None else before + summary
        self.sparks[layer.index] = Spark(spectrum_of(summary.raw), binned(strengths))


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network, read.

    Attributes
    ----------
    check
        Its measures and verdicts, and the file.
    sparks
        By the layer's index, for those whose filters have a shape.
    sums
        Kernel size -> the summary of all its filters, in the package's basis.
    """

    check: Check
    sparks: dict[int, Spark]
    sums: dict[Kernel, Summary]

    @property
    def sizes(self) -> list[Kernel]:
        """Kernel sizes with a summary, the one with the most filters first."""
        return sorted(self.sums, key=lambda kernel: -self.sums[kernel].n)


def read_network(source: Source, *, progress: Callable[[int, int, str], None] | None) -> Network:
    """Read a network and measure it.

    Raises
    ------
    ReadError
        It, or the weights of a layer, cannot be read.
    """
    file = read(source)
    gathered = Gathered(len(file.layers), progress)
    check = check_model(file, visit=gathered)
    return Network(check, gathered.sparks, gathered.sums)


def spectrum_of(raw: Moments) -> tuple[float, ...]:
    """Shares of the variance along the principal components, falling; zeros for none."""
    variances = np.linalg.eigvalsh(raw.covariance)[::-1].clip(min=0)
    total = float(variances.sum())
    return tuple((variances / total).tolist() if total > 0 else [0.0] * variances.size)


def binned(strengths: NDArray[np.float32]) -> tuple[int, ...]:
    """Filters by their share of the strongest, from ``WEAKEST`` to 1 in bins of equal ratio."""
    peak = float(strengths.max())
    shares = strengths.astype(np.float64) / (peak or 1.0)
    places = np.log(shares.clip(WEAKEST, 1) / WEAKEST) / np.log(1 / WEAKEST)
    bins = np.minimum((places * STRENGTH_BINS).astype(int), STRENGTH_BINS - 1)
    return tuple(np.bincount(bins, minlength=STRENGTH_BINS).tolist())
