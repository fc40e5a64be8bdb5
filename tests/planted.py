"""Depthwise networks whose filters are affine copies of known keys, plus noise; or noise alone."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

import filterdb
from networks import save


def unit(rows: np.ndarray) -> np.ndarray:
    """Normal forms in plain float64."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def random_keys(count: int, kernel: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Random lines, no two alike, ``(count, k)``."""
    rng = np.random.default_rng([seed, 77])
    return unit(rng.normal(size=(count, kernel[0] * kernel[1])))


def copies(
    rng: np.random.Generator, keys: np.ndarray, count: int, *, noise: float = 0.1
) -> np.ndarray:
    """``a key + b`` plus noise of that share of the key's norm, float32 ``(count, k)``."""
    chosen = rng.integers(len(keys), size=count)
    strength = rng.normal(size=(count, 1))
    strength += np.sign(strength) * 0.3
    offset = rng.normal(size=(count, 1))
    spoilt = keys[chosen] + noise / np.sqrt(keys.shape[1]) * rng.normal(size=keys[chosen].shape)
    return (strength * spoilt + offset).astype(np.float32)


def network(
    filters: list[np.ndarray], kernel: tuple[int, int], *, thin: bool = False
) -> dict[str, np.ndarray]:
    """Depthwise layers of these filters with pointwise ones between them; ``thin`` leaves out
    what grows with the square of the width."""
    rng = np.random.default_rng(len(filters))
    width = len(filters[0])
    arrays = {} if thin else {"stem.weight": rng.normal(size=(width, 3, 3, 3)).astype(np.float32)}
    for index, rows in enumerate(filters):
        arrays[f"blocks.{index}.dw.weight"] = rows.reshape(width, 1, *kernel)
        if not thin:
            point = rng.normal(size=(width, width, 1, 1))
            arrays[f"blocks.{index}.pw.weight"] = point.astype(np.float32)
    return arrays


def gaussian(rng: np.random.Generator, count: int, taps: int) -> np.ndarray:
    """Independent weights."""
    return rng.normal(size=(count, taps))


def planted_database(
    folder: Path,
    keys: np.ndarray | None,
    kernel: tuple[int, int],
    *,
    models: int = 8,
    layers: int = 3,
    width: int = 40,
    noise: float = 0.1,
    runs: bool = False,
    drawn: Callable[[np.random.Generator, int, int], np.ndarray] = gaussian,
) -> filterdb.Database:
    """A database of such networks; without keys, of what ``drawn`` draws: Gaussian noise.

    With ``runs``, each network has an epoch 0 of noise beside it, of the same run.
    """
    source = folder / "files"
    source.mkdir(parents=True)
    rows = []
    taps = kernel[0] * kernel[1]
    for number in range(models):
        rng = np.random.default_rng([number, 5])

        def noisy(rng: np.random.Generator = rng) -> np.ndarray:
            return drawn(rng, width, taps).astype(np.float32)

        trained = [
            noisy() if keys is None else copies(rng, keys, width, noise=noise)
            for _ in range(layers)
        ]
        name = f"net{number}.safetensors"
        save(source / name, network(trained, kernel))
        rows.append({"file": name, "run": f"run{number}" if runs else "", "epoch": 9,
                     "repo": f"repo{number // 2}"})  # fmt: skip
        if runs:
            name = f"net{number}-start.safetensors"
            save(source / name, network([noisy() for _ in range(layers)], kernel))
            rows.append({"file": name, "run": f"run{number}", "epoch": 0, "repo": ""})
    with (folder / "models.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    database = filterdb.open(folder / "db")
    result = database.ingest([source], metadata=folder / "models.csv", jobs=1)
    assert not result.failed
    return database
