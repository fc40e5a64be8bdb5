"""What is stored of the reference networks: who they are, their layers, their filters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.moments import Moments

Kernel = tuple[int, int]

MEASURES = (
    "sparsity",
    "variance_entropy",
    "randomness_threshold",
    "entropy_ratio",
    "clean_variance_entropy",
    "clean_randomness_threshold",
    "clean_entropy_ratio",
    "orthogonality",
)
"""Measures of a layer that have percentiles, as :class:`filterdb.LayerCheck` names them."""
BUILD = (
    "filterdb ingest zoodb ../shared/zoo/weights --metadata ../shared/zoo/manifest.csv && "
    "python scripts/make_reference_population.py zoodb"
)
"""How the stored file is made anew."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network of the reference population.

    Attributes
    ----------
    name
        Of the file.
    repository, commit, path
        Where it was published: a repository of GitHub (``owner/name``), and the file in it.
    license
        SPDX identifier of the repository's licence.
    architecture, task, visual_category
        In its repository's own words; ``"unknown"`` where it says nothing.
    format
        Of the file that was read.
    n_layers, n_filters
        Convolution layers, and 2-D filters in them, 1x1 included.
    verdict, degenerate_share
        As :func:`filterdb.check` gives them.
    """

    name: str
    repository: str
    commit: str
    path: str
    license: str
    architecture: str
    task: str
    visual_category: str
    format: str
    n_layers: int
    n_filters: int
    verdict: str
    degenerate_share: float

    @property
    def source(self) -> str:
        """Address of the file as it was published."""
        place = quote(f"{self.repository}/blob/{self.commit}/{self.path}")
        return f"https://github.com/{place}"


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The convolution layers of all networks, L of them.

    Attributes
    ----------
    model
        Position of each one's network, intp of shape ``(L,)``.
    depth
        Relative depth 0..1 (``conv_depth_norm``), float64 of shape ``(L,)``.
    kernel
        Height and width in taps, int64 of shape ``(L, 2)``.
    kind, verdict
        As :class:`filterdb.ConvLayer` and :class:`filterdb.LayerCheck` have them.
    filters
        Number of 2-D filters, int64 of shape ``(L,)``.
    measures
        Name in :data:`MEASURES` -> float64 of shape ``(L,)``, NaN where it is undefined.
    """

    model: NDArray[np.intp]
    depth: NDArray[np.float64]
    kernel: NDArray[np.int64]
    kind: NDArray[np.str_]
    verdict: NDArray[np.str_]
    filters: NDArray[np.int64]
    measures: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class SizeSummary:
    """The filters of one kernel size, for the M networks that have enough of them.

    Attributes
    ----------
    basis_id
        Of the basis that :attr:`counts` are in.
    model
        Position of each network, intp of shape ``(M,)``.
    moments
        Of the max-abs-scaled filters of each network.
    counts
        Coarse histograms of the coefficients, int64 of shape ``(M, k, 70)``.
    """

    basis_id: str
    model: NDArray[np.intp]
    moments: tuple[Moments, ...]
    counts: NDArray[np.int64]

    @property
    def filters(self) -> NDArray[np.int64]:
        """Number of filters of each network, shape ``(M,)``."""
        return np.array([moments.n for moments in self.moments], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """All of the stored file.

    Attributes
    ----------
    version
        Number of this population; a new one has other networks or other measures.
    filterdb_version
        The program that measured them.
    networks
        By name.
    left_out
        ``(name, reason)`` of networks that are not in it.
    layers
        Those of all networks.
    sizes
        Kernel size -> its filters.
    """

    version: int
    filterdb_version: str
    networks: tuple[Network, ...]
    left_out: tuple[tuple[str, str], ...]
    layers: Layers
    sizes: dict[Kernel, SizeSummary]


def load() -> Stored:
    """Read the file that comes with the package."""
    with (files("filterdb.reference") / "population.npz").open("rb") as file:
        return unpacked(dict(np.load(file)))


def unpacked(arrays: dict[str, NDArray[Any]]) -> Stored:
    """The arrays of the file as what they are."""
    about = json.loads(str(arrays["about"]))
    measures = arrays["layer_measures"]
    layers = Layers(
        model=arrays["layer_model"].astype(np.intp),
        depth=arrays["layer_depth"],
        kernel=arrays["layer_kernel"].astype(np.int64),
        kind=arrays["layer_kind"],
        verdict=arrays["layer_verdict"],
        filters=arrays["layer_filters"].astype(np.int64),
        measures={name: measures[:, place] for place, name in enumerate(about["measures"])},
    )
    sizes = {}
    for name, basis_id in about["bases"].items():
        height, width = map(int, name.split("x"))
        rows = zip(arrays[f"n_{name}"], arrays[f"first_{name}"], arrays[f"second_{name}"],
                   strict=True)  # fmt: skip
        sizes[height, width] = SizeSummary(
            basis_id=basis_id,
            model=arrays[f"model_{name}"].astype(np.intp),
            moments=tuple(Moments(int(n), first, second) for n, first, second in rows),
            counts=arrays[f"counts_{name}"].astype(np.int64),
        )
    return Stored(
        version=about["version"],
        filterdb_version=about["filterdb"],
        networks=tuple(Network(**row) for row in about["networks"]),
        left_out=tuple((name, reason) for name, reason in about["left_out"]),
        layers=layers,
        sizes=sizes,
    )
