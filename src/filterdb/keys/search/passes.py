"""Passes over the weights of a population: a sample of normal forms, steps of k-means, fits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.fit import BLOCK, best_view
from filterdb.keys.normal import CONSTANT_CLASS, SHAPED, ZERO_CLASS, normal_form
from filterdb.keys.search.lines import Accumulator, Step
from filterdb.scan.job import SEEN, Arrays, Job
from filterdb.scan.parts import ScanLayer

Unit = NDArray[np.float32]

R2_BINS = 200
"""Of a histogram of R²; all thresholds of a coverage are edges of its bins."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerSample:
    """Some filters of a layer.

    Attributes
    ----------
    unit
        Normal forms of those that were drawn and have a shape, ``(m, k)``.
    shaped, constant, zero
        Numbers of the layer's filters by class.
    """

    unit: Unit
    shaped: int
    constant: int
    zero: int


@dataclass(frozen=True, slots=True)
class SampleJob(Job[LayerSample]):
    """Normal forms of a share of each layer's filters, drawn at random.

    Attributes
    ----------
    share
        Of the filters that are drawn; 1 takes all.
    zero
        Filters whose weights are all at most this are nearly zero.
    seed
        Of the draw, which depends on the layer alone besides.
    """

    share: float
    zero: float
    seed: int = 0

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:
        """Draw from a layer."""
        name = f"{layer.weights_hash} {layer.tensor} {self.seed}"
        rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()[:16]))
        counts = np.zeros(3, np.int64)
        chosen = []
        for block in _blocks(filters):
            normal = normal_form(block, zero=self.zero)
            counts += np.bincount(normal.kind, minlength=3)
            taken = normal.kind == SHAPED
            if self.share < 1:
                taken &= rng.random(len(block)) < self.share
            chosen.append(normal.unit[taken])
        unit = np.concatenate(chosen) if chosen else np.zeros((0, layer.taps), np.float32)
        return {SEEN: np.asarray(counts.sum()), "unit": unit, "counts": counts}

    def value(self, arrays: Arrays) -> LayerSample:
        """The layer's sample."""
        counts = arrays["counts"].tolist()
        return LayerSample(
            arrays["unit"], counts[SHAPED], counts[CONSTANT_CLASS], counts[ZERO_CLASS]
        )


@dataclass(frozen=True, slots=True)
class StepJob(Job[Step]):
    """One step of k-means on lines over all filters.

    Attributes
    ----------
    keys
        As rows of numbers, ``(K, k)``.
    kernel, same
        Of the filters; what does not matter.
    zero
        As :class:`SampleJob` has it.
    """

    per_layer: ClassVar[bool] = False
    keys: tuple[tuple[float, ...], ...]
    kernel: Kernel
    same: Equivalence
    zero: float

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:  # noqa: ARG002
        """Sums over a layer."""
        blocks = (normal_form(block, zero=self.zero).shaped for block in _blocks(filters))
        step = Accumulator(np.array(self.keys), self.kernel, self.same).step(blocks)
        return {
            SEEN: np.asarray(len(filters)),
            "pull": step.pull,
            "explained": step.explained,
            "members": step.members,
        }

    def value(self, arrays: Arrays) -> Step:
        """Sums over a part."""
        return Step(arrays["pull"], arrays["explained"], arrays["members"])


@dataclass(frozen=True, slots=True, eq=False)
class LayerFit:
    """How keys fit a layer.

    Attributes
    ----------
    histogram
        Filters by R², int64 of shape ``(R2_BINS,)`` over 0..1.
    members
        Filters by best key, ``(K,)``.
    r2
        Sum of R².
    """

    histogram: NDArray[np.int64]
    members: NDArray[np.int64]
    r2: float


@dataclass(frozen=True, slots=True)
class FitJob(Job[LayerFit]):
    """How well keys fit each layer.

    Attributes
    ----------
    keys, kernel, same, zero
        As :class:`StepJob` has them.
    """

    keys: tuple[tuple[float, ...], ...]
    kernel: Kernel
    same: Equivalence
    zero: float

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:  # noqa: ARG002
        """Fit a layer."""
        views = self.same.views(np.array(self.keys), self.kernel)
        flat = views.reshape(-1, views.shape[2])
        histogram = np.zeros(R2_BINS, np.int64)
        members = np.zeros(len(self.keys), np.int64)
        total = 0.0
        for block in _blocks(filters):
            best, cosine = best_view(
                normal_form(block, zero=self.zero).shaped, flat, signed=self.same.signed
            )
            r2 = np.minimum(np.square(cosine), 1)
            histogram += r2_histogram(r2)
            members += np.bincount(best // views.shape[1], minlength=len(members))
            total += float(r2.sum(dtype=np.float64))
        return {
            SEEN: np.asarray(len(filters)),
            "histogram": histogram,
            "members": members,
            "r2": np.asarray(total),
        }

    def value(self, arrays: Arrays) -> LayerFit:
        """The layer's fit."""
        return LayerFit(arrays["histogram"], arrays["members"], float(arrays["r2"]))


def r2_histogram(r2: NDArray[np.floating]) -> NDArray[np.int64]:
    """Filters by R²: int64 of shape ``(R2_BINS,)``; a value on an edge is in the bin above."""
    bins = np.minimum((r2.astype(np.float64) * R2_BINS + 1e-9).astype(np.int64), R2_BINS - 1)
    return np.bincount(bins, minlength=R2_BINS).astype(np.int64)


def as_rows(keys: NDArray[np.floating]) -> tuple[tuple[float, ...], ...]:
    """Keys as a job carries them."""
    return tuple(tuple(map(float, key)) for key in keys)


def _blocks(filters: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for begin in range(0, len(filters), BLOCK):
        yield filters[begin : begin + BLOCK]
