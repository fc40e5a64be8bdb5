"""Small networks with a known verdict, as mappings name -> array in PyTorch's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]


def random_layer(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Gaussian weights: what an untrained layer looks like."""
    return rng.standard_normal(shape).astype(np.float32)


def trained_layer(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Weights whose filters vary along few directions, more along some than along others."""
    taps = shape[2] * shape[3]
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((taps, taps)))
    scale = 0.65 ** np.arange(taps)
    filters = rng.standard_normal((shape[0] * shape[1], taps)) * scale @ basis
    return filters.reshape(shape).astype(np.float32)


def sparse_layer(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Four filters in five are next to nothing."""
    weights = trained_layer(rng, *shape)
    keep = rng.random(shape[:2]) < 0.2
    keep.flat[0] = True
    return (weights * np.where(keep, 1, 1e-5)[..., None, None]).astype(np.float32)


def flat_layer(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """All filters are multiples of one: no diversity."""
    pattern = trained_layer(rng, 1, 1, *shape[2:])
    noise = 0.01 * rng.standard_normal(shape)
    return (pattern * rng.standard_normal(shape[:2])[..., None, None] + noise).astype(np.float32)


MAKERS = {"healthy": trained_layer, "random": random_layer, "sparse": sparse_layer,
          "low diversity": flat_layer}  # fmt: skip


def network(*kinds: str, seed: int = 0, width: int = 24) -> Arrays:
    """A plain network with one layer of each kind named, a norm after each, and a head."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    channels = 12
    for i, kind in enumerate(kinds):
        arrays[f"conv{i}.weight"] = MAKERS[kind](rng, width, channels, 3, 3)
        arrays[f"bn{i}.weight"] = np.ones(width, np.float32)
        arrays[f"bn{i}.bias"] = np.zeros(width, np.float32)
        channels = width
    arrays["fc.weight"] = rng.standard_normal((10, channels)).astype(np.float32)
    return arrays


def save(path: Path, arrays: Arrays) -> Path:
    """Write a network as safetensors."""
    from safetensors.numpy import save_file

    save_file(arrays, path)
    return path
