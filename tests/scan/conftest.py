"""Payloads without a catalogue: a scan needs no more of a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from filterdb.scan import ScanLayer
from filterdb.store.payload import PayloadWriter

Weights = Mapping[str, NDArray[np.float32]]
Publish = Callable[[Weights], list[ScanLayer]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "db"


@pytest.fixture
def publish(folder: Path) -> Publish:
    """Put a model's weights into the database: its layers as the catalogue would know them."""
    models = 0

    def publish_model(weights: Weights) -> list[ScanLayer]:
        nonlocal models
        models += 1
        with PayloadWriter(folder, {name: array.shape for name, array in weights.items()}) as file:
            for array in weights.values():
                file.add(array)
            draft = file.finish()
        draft.publish(folder)
        return [
            ScanLayer(models, index, name, array.shape, array.shape[0] * array.shape[1],
                      draft.weights_hash)
            for index, (name, array) in enumerate(weights.items())
        ]  # fmt: skip

    return publish_model


def draw(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Filters of correlated taps, with some that are sparse, and one that is all zero."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=shape).cumsum(axis=-1) + generator.normal(size=shape)
    flat = weights.reshape(-1, *shape[-2:])
    flat[generator.random(len(flat)) < 0.2] *= 1e-3
    flat[:1] = 0
    return flat.reshape(shape).astype(np.float32)


@pytest.fixture
def networks(publish: Publish) -> list[ScanLayer]:
    """Layers of three networks, all 3x3."""
    layers = []
    for seed, names in enumerate(["abc", "de", "fgh"]):
        sizes = range(6, 6 + len(names))
        layers += publish(
            {n: draw(c, 5 + seed, 3, 3, seed=10 * seed + c) for n, c in zip(names, sizes,
                                                                           strict=True)}
        )  # fmt: skip
    return layers
