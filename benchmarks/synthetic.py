"""Synthetic networks for the benchmarks: as structured as trained ones, made on the fly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.basis import reference_basis
from filterdb.stats.summary import summarise
from filterdb.store.catalogue import Catalogue
from filterdb.store.connection import create
from rows import new_model


def filters(n: int, seed: int) -> NDArray[np.float32]:
    """``n`` 3x3 filters, shape ``(n, 9)``, along nine directions whose variances fall off."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((9, 9)))
    scales = (0.75 ** np.arange(9)).astype(np.float32)[:, None] * basis.astype(np.float32)
    found = rng.standard_normal((n, 9), np.float32) @ scales
    found[rng.random(n, np.float32) < 0.02] *= np.float32(1e-4)
    return found


def layer(n: int, seed: int) -> NDArray[np.float32]:
    """A layer of about ``n`` filters, shape ``(C, C, 3, 3)``."""
    channels = round(n**0.5)
    return filters(channels * channels, seed).reshape(channels, channels, 3, 3)


def network(layers: int, filters_a_layer: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights by layer name."""
    return {
        f"conv{index}.weight": layer(filters_a_layer, 1000 * seed + index)
        for index in range(layers)
    }


def catalogue(folder: Path, *, models: int, layers: int, groups: int) -> Path:
    """A database of many layers in groups by task; each stands for 4,096 filters.

    Its weights are a token: what is asked of it does not look at them.
    """
    create(folder)
    basis = reference_basis((3, 3))
    stock = [summarise(layer(4096, seed), basis) for seed in range(40)]
    token = {f"conv{index}": np.zeros((1, 1, 3, 3), np.float32) for index in range(layers)}
    rng = np.random.default_rng(0)
    with Catalogue(folder) as store:
        for number in range(models):
            token["conv0"][0, 0, 0, 0] = number  # no two have the same weights
            new = new_model(folder, f"{number:08x}", token)
            chosen = rng.integers(0, len(stock), layers)
            summaries = {index: stock[choice] for index, choice in enumerate(chosen)}
            said = {"task": f"task {number % groups}"}
            store.add(replace(new, summaries=summaries, bases=[basis]), [f"model {number}"], said)
    return folder
