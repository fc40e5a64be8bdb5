"""The reference population, and what it is asked: where a layer stands, which network is near."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import QueryError
from filterdb.reference import near, networks
from filterdb.reference.near import NearNetwork
from filterdb.reference.networks import MEASURES, Kernel, Network, SizeSummary, Stored
from filterdb.reference.percentile import Percentile, families, percentile_among
from filterdb.reference.window import window
from filterdb.stats.basis import Basis, fit_basis
from filterdb.stats.moments import Moments


@lru_cache(maxsize=1)
def reference_population() -> ReferencePopulation:
    """The reference population that comes with the package; read at the first call."""
    return ReferencePopulation(networks.load())


class ReferencePopulation:
    """Summaries and quality of public networks: statistics only, never weights.

    A repository counts once, however many networks it publishes, for those of one are alike:
    checkpoints of one training, one architecture on several data sets. Within it every network
    counts the same, and within a network every layer.

    Parameters
    ----------
    stored
        What was read.
    """

    def __init__(self, stored: Stored) -> None:
        self.stored = stored

    @property
    def version(self) -> int:
        """Number of this population."""
        return self.stored.version

    @property
    def models(self) -> tuple[Network, ...]:
        """The networks with their sources and licences, by name."""
        return self.stored.networks

    @property
    def basis_ids(self) -> dict[Kernel, str]:
        """Kernel size -> the basis that its histograms are in."""
        return {kernel: size.basis_id for kernel, size in self.stored.sizes.items()}

    @cached_property
    def repository(self) -> NDArray[np.intp]:
        """Number of each network's repository, shape ``(M,)``."""
        names = [network.repository for network in self.models]
        numbers: NDArray[np.intp] = np.unique(names, return_inverse=True)[1].astype(np.intp)
        return numbers

    @property
    def summary(self) -> str:
        """What it holds and what was left out, in words."""
        repositories = len(set(self.repository.tolist()))
        layers = sum(network.n_layers for network in self.models)
        filters = sum(network.n_filters for network in self.models)
        said = (
            f"{len(self.models):,} public networks of {repositories:,} repositories, with "
            f"{layers:,} convolution layers and {filters:,} filters; each repository counts once."
        )
        if self.stored.left_out:
            reasons = Counter(reason for _, reason in self.stored.left_out)
            listed = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())
            said += f" Left out of the files collected: {listed}."
        return said

    def percentile(
        self,
        measure: str,
        value: float | None,
        *,
        depth: float,
        kernel: Kernel = (3, 3),
        kind: str | None = None,
        without: Network | None = None,
    ) -> Percentile | None:
        """Where a layer's measure lies among layers of reference networks at the same depth.

        Parameters
        ----------
        measure
            One of :data:`filterdb.reference.networks.MEASURES`.
        value
            Of the layer; None where it is undefined.
        depth
            Relative depth of the layer, 0..1 (``conv_depth_norm``).
        kernel
            Height and width of its filters.
        kind
            What the layer is; a depthwise one is compared with depthwise ones, any other with
            those that are not. None for all kinds.
        without
            A network that is not compared with: the one asked about, where it is among them.

        Returns
        -------
        Percentile or None
            None where the value is undefined, or too few layers can be compared with it.

        Raises
        ------
        QueryError
            There is no such measure.
        """
        check_known("measure", measure, MEASURES)
        if value is None or not math.isfinite(value):
            return None
        layers = self.stored.layers
        found = window(
            layers, self.repository, measure=measure, depth=depth, kernel=kernel, kind=kind
        )
        if found is None:
            return None
        chosen = found.chosen
        if without is not None:
            chosen = chosen[layers.model[chosen] != self.models.index(without)]
        return percentile_among(
            layers.measures[measure][chosen],
            value,
            layers.model[chosen],
            repository=self.repository,
            depths=found.depths,
            compared=found.compared,
        )

    def network_percentile(
        self, degenerate_share: float, *, without: Network | None = None
    ) -> Percentile:
        """Where a network's share of filters in degenerate layers lies among the networks'."""
        values = np.array([network.degenerate_share for network in self.models])
        others = np.array([i for i, network in enumerate(self.models) if network != without])
        return percentile_among(
            values[others], degenerate_share, others, repository=self.repository,
            compared="networks",
        )  # fmt: skip

    def nearest(
        self,
        counts: NDArray[Any],
        *,
        kernel: Kernel,
        basis_id: str,
        n: int | None = None,
        least: int = 0,
    ) -> tuple[NearNetwork, ...]:
        """The reference networks whose filters are nearest in D, the nearest first.

        Parameters
        ----------
        counts
            Coarse histograms of a network's filters, shape ``(k, 70)``:
            :meth:`filterdb.stats.summary.Summary.coarse`. At least one filter.
        kernel
            Height and width of the filters.
        basis_id
            Of the basis that ``counts`` are in.
        n
            How many; all if not given.
        least
            Only networks with so many filters of that size.

        Raises
        ------
        QueryError
            The histograms are in another basis, or too few reference networks have that size.
        """
        size = self._size(kernel)
        if basis_id != size.basis_id:
            height, width = kernel
            msg = (
                f"The {height}x{width} histograms are in the basis {basis_id}, those of the "
                f"reference population in {size.basis_id}: they cannot be compared. Take those of "
                "your database anew: filterdb basis DB --adopt reference"
            )
            raise QueryError(msg)
        return near.nearest(self.stored, counts, kernel, n=n, least=least)

    def basis(self, kernel: Kernel = (3, 3)) -> Basis:
        """Principal components of the reference filters of one size; every repository counts once.

        Raises
        ------
        QueryError
            Too few reference networks have that size.
        """
        size = self._size(kernel)
        weights = families(size.model, self.repository).weights.tolist()
        pooled = Moments.zero(kernel[0] * kernel[1])
        for moments, weight in zip(size.moments, weights, strict=True):
            share = weight / moments.n
            pooled += Moments(0, moments.first * share, moments.second * share)
        basis = fit_basis(
            replace(pooled, n=1), kernel, origin=f"reference population {self.version}"
        )
        return replace(basis, n=int(size.filters.sum()))

    def _size(self, kernel: Kernel) -> SizeSummary:
        if kernel not in self.stored.sizes:
            there = ", ".join("{}x{}".format(*size) for size in self.stored.sizes)
            msg = (
                "Too few networks of the reference population have {}x{} filters. It has {}."
            ).format(*kernel, there)
            raise QueryError(msg)
        return self.stored.sizes[kernel]

    def __repr__(self) -> str:
        return f"<ReferencePopulation {self.version}: {len(self.models):,} networks>"


def check_known(what: str, value: str, known: Sequence[str]) -> None:
    """Make sure that a choice is one of those that exist."""
    if value not in known:
        msg = f"There is no {what} {value!r}. There are: {', '.join(known)}."
        raise QueryError(msg)
