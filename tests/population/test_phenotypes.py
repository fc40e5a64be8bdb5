from __future__ import annotations

import numpy as np
import pytest

import filterdb
from networks import save


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A layer of each kind: Gaussian, copies of a few filters, two clouds, nothing, and too few."""
    rng = np.random.default_rng(0)
    n = (40, 40)
    few = rng.normal(size=(4, 9))
    copies = few[rng.integers(0, 4, n)] + 0.02 * rng.normal(size=(*n, 9))
    clouds = rng.choice([-1.0, 1.0], n)[..., None] + 0.8 * rng.normal(size=(*n, 9))
    dead = rng.normal(size=(*n, 9))
    dead[:30] = 0
    kinds = {"sun": rng.normal(size=(*n, 9)), "spikes": copies, "symbols": clouds, "point": dead,
             "undecided": rng.normal(size=(10, 10, 9))}  # fmt: skip
    place = tmp_path_factory.mktemp("phenotypes")
    for name, values in kinds.items():
        weights = values.reshape(*values.shape[:2], 3, 3).astype(np.float32)
        save(place / f"{name}.safetensors", {"conv.weight": weights})
    database = filterdb.open(place / "db")
    database.ingest(sorted(place.glob("*.safetensors")))
    return database


def test_each_layer_is_what_it_was_made_to_be(database):
    found = database.select().phenotypes(scanning=filterdb.Scanning(jobs=1))
    assert {row.model.split(".")[0]: row.phenotype.name for row in found} == {
        name: name for name in ("sun", "spikes", "symbols", "point", "undecided")
    }
    assert all(row.layer.startswith("conv") for row in found)
    rows = [row.to_dict() for row in found]
    assert all(row["reason"] for row in rows)
    assert next(row for row in rows if row["model"].startswith("undecided"))["filters"] == 100


def test_some_layers_only(database):
    found = database.select(model="sun.safetensors").phenotypes(scanning=filterdb.Scanning(jobs=1))
    assert [row.phenotype.name for row in found] == ["sun"]
