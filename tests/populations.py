"""A database of small networks with known families, tasks and shared weights."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import filterdb
from networks import save, trained_layer

DEPTH, WIDTH, NARROW = 3, 24, 16


def family(seed: int, tilt: float, *, width: int = WIDTH) -> dict[str, np.ndarray]:
    """A network whose filters lean towards an edge by ``tilt``."""
    rng = np.random.default_rng(seed)
    edge = np.array([[1, 0, -1]] * 3, np.float32) * tilt
    arrays, channels = {}, 8
    for index in range(DEPTH):
        layer = trained_layer(rng, width, channels, 3, 3)
        arrays[f"conv{index}.weight"] = layer + edge * rng.normal(
            size=(width, channels, 1, 1)
        ).astype(np.float32)
        channels = width
    arrays["point.weight"] = rng.normal(size=(width, width, 1, 1)).astype(np.float32)
    arrays["wide.weight"] = trained_layer(rng, 6, width, 5, 5)
    return arrays


def build(folder: Path, db: Path) -> filterdb.Database:
    folder.mkdir()
    rows = []
    for index in range(8):
        name = f"net{index}.safetensors"
        task = "edges" if index < 4 else "plain"
        save(folder / name, family(index, 1.5 if task == "edges" else 0.0))
        rows.append(
            {"file": name, "task": task, "epoch": index, "colour": "red" if index % 2 else ""}
        )
    alone = family(20, 0.5, width=NARROW)
    alone["conv0.weight"][:5] *= 1e-4  # sparse filters
    save(folder / "alone.safetensors", alone)
    rows.append({"file": "alone.safetensors", "task": "alone", "epoch": 20, "colour": "red"})
    copy = {"other." + key: value for key, value in family(1, 1.5).items()}
    save(folder / "copy.safetensors", copy)
    rows.append({"file": "copy.safetensors", "task": "edges", "epoch": 9, "colour": "blue"})
    frozen = family(30, 0.0)
    frozen["conv0.weight"] = family(2, 1.5)["conv0.weight"]
    save(folder / "frozen.safetensors", frozen)
    rows.append({"file": "frozen.safetensors", "task": "plain", "epoch": 10, "colour": "blue"})
    with (folder / "models.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    database = filterdb.open(db)
    database.ingest([folder], metadata=folder / "models.csv")
    return database


def weights_of(database, where=None, kernel=(3, 3), *, once=True):
    """All filters of a selection, read from the payloads, float64 (n, k)."""
    found, seen = [], {}
    for row in database.layers(where):
        holder = next(m for m in database.models() if m["name"] == row["model"])
        first = seen.setdefault(holder["weights_hash"], row["model"])
        if (row["kh"], row["kw"]) == kernel and (not once or first == row["model"]):
            array = database.weights(row["model"], row["layer_index"])
            found.append(array.reshape(-1, kernel[0] * kernel[1]).astype(np.float64))
    return np.concatenate(found)
