"""Some of the filters that are labelled, and which of the networks a key set was found on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Kernel
from filterdb.keys.labels.database_layers import database_folder, database_layers
from filterdb.keys.labels.labels import Labels
from filterdb.keys.normal import normal_form
from filterdb.keys.search.runs import usual_hold_out
from filterdb.keys.search.sample import ANY, DEPTHWISE, draw, of_kind
from filterdb.population.population import Population
from filterdb.population.preset import Scanning
from filterdb.reading import read
from filterdb.store.payload import layer_hash, model_hash

MOST = 20_000
"""Filters, about, whose covariance and spectra controls have."""
FOUND_ON = "networks_found_on"
"""Metadata of a key set: the first digits of the hashes of networks' weights."""
DIGITS = 16


@dataclass(frozen=True, slots=True, eq=False)
class SampledFilters:
    """Filters in normal form, and whose they are.

    Attributes
    ----------
    unit
        Float32 of shape ``(n, k)``.
    owner
        Number of the network of each, shape ``(n,)``.
    grouped_by
        What is independent: ``"run"``, ``"model"``, or ``"layer"`` of few networks.
    groups
        Name of a model -> its group; empty where each layer is one.
    """

    unit: NDArray[np.float32]
    owner: NDArray[np.intp]
    grouped_by: str = "layer"
    groups: Mapping[str, str] = field(default_factory=dict)


def sampled_filters(
    source: Any,
    kernel: Kernel,
    *,
    where: str | None = None,
    kind: str = DEPTHWISE,
    most: int = MOST,
    seed: int = 0,
    scanning: Scanning | None = None,
) -> SampledFilters:
    """Draw filters of a database, a file or a live network; of many, each layer gives its share.

    Parameters
    ----------
    source, where, kind, scanning
        As :func:`~filterdb.keys.labels.labelling.label` takes them.
    kernel
        Height and width.
    most
        Filters to draw at most, about.
    seed
        Of the draw.

    Raises
    ------
    KeySetError, ReadError, QueryError, StoreError
        There are none, or they cannot be read.
    """
    folder = database_folder(source)
    if folder is not None:
        population = of_kind(Population(folder, where, kernel=kernel), kind)
        by = usual_hold_out(population)
        found = draw(population, hold_out=by, seed=seed, most=most, scanning=scanning)
        groups = {} if by == "layer" else dict(zip(found.models, found.groups, strict=True))
        return SampledFilters(found.unit, found.model_of_filter, by, groups)
    unit = np.concatenate(list(_of_file(source, kernel, kind, most=most, seed=seed)))
    return SampledFilters(unit, np.zeros(len(unit), np.intp))


def _of_file(
    source: Any, kernel: Kernel, kind: str, *, most: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """Normal forms of some filters of each layer of a file."""
    layers = [layer for layer in read(source).layers
              if layer.kernel == kernel and kind in (ANY, layer.kind)]  # fmt: skip
    share = min(1.0, most / max(sum(layer.n_filters for layer in layers), 1))
    rng = np.random.default_rng([seed, 10])
    for layer in layers:
        filters = layer.weights.reshape(-1, prod(kernel))
        if not np.isfinite(filters).all():
            continue
        taken = filters if share == 1 else filters[rng.random(len(filters)) < share]
        yield normal_form(taken).shaped


def found_on(source: Any, labels: Labels, where: str | None = None) -> int | None:
    """How many of the labelled networks are among those that the set was found on.

    Returns
    -------
    int, or None
        None where the set does not say on which it was found.
    """
    told = labels.key_set.metadata.get(FOUND_ON)
    if not isinstance(told, list | tuple):
        return None
    known = {digits for digits in told if isinstance(digits, str)}
    folder = database_folder(source)
    if folder is None:
        hashes = [model_hash(layer_hash(layer.weights) for layer in read(source).layers)]
    else:
        counted = {row.model_id for row in labels.counted}
        layers = database_layers(folder, where)
        models = {layer.scan.model_id: layer.scan.weights_hash for layer in layers}
        hashes = [digits for model, digits in models.items() if model in counted]
    return sum(digits[:DIGITS] in known for digits in hashes)
