"""Trained networks in a database: with their metadata, once, and asked as any others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import filterdb
from filterdb import keys
from filterdb.errors import TransferError
from filterdb.transfer.beginning import weights_of
from filterdb.transfer.book import Book
from filterdb.transfer.engine import execute
from filterdb.transfer.ingesting import ingest_runs
from filterdb.transfer.networks.building import build
from filterdb.transfer.parts import part_of
from filterdb.transfer.run import Budget, Data, Run, Start

A, B = (Data("digits", 8, 1, split="halves", group=name, limit=20) for name in "AB")
BUDGET = Budget(2, batch=32)
BASES = tuple(
    Run("convmixer", data, BUDGET, {"width": 8, "depth": 2}, seed=seed, arm=f"base {data.group}",
        labels={"repeat": seed}, experiment="layers")
    for data in (A, B) for seed in range(3)
)  # fmt: skip
HEIRS = tuple(
    replace(base, arm="A -> B", seed=10_000 + base.seed, data=B,
            starts=(Start("depthwise", source=base.id),))
    for base in BASES[:3]
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ingest") / "mine"
    execute([*BASES, *HEIRS], folder, jobs=1, device="cpu", keep="epochs")
    return folder


@pytest.fixture(scope="module")
def database(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> filterdb.Database:
    place = tmp_path_factory.mktemp("db") / "db"
    found = ingest_runs(folder, place)
    assert (found.files.added, found.files.failed, found.without) == (27, 0, ())
    return filterdb.open(place)


def test_every_network_has_its_name_and_its_metadata(folder: Path, database) -> None:
    rows = {row.id: row for row in Book(folder).rows()}
    models = {model["name"]: model for model in database.models()}
    assert len(models) == 27
    told = models["layers/A-to-B/seed-1"]
    run = HEIRS[1]
    expected = {
        "training_dataset": "digits B", "pretraining_dataset": "digits A", "run": run.id,
        "architecture": "convmixer", "epoch": 2, "experiment": "layers", "arm": "A -> B",
        "repeat": 1, "seed": 10_001, "frozen": "depthwise", "budget": BUDGET.sentence(),
        "began_with": f"depthwise: run {BASES[1].id}",
        "network_settings": "width=8, depth=2, kernel=3, patch=2",
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert told["accuracy"] == pytest.approx(rows[run.id].accuracy)
    assert told["path"] == str(folder / "weights" / f"{run.id}.safetensors")
    begun = models["layers/base-A/seed-0-epoch-000"]
    assert (begun["epoch"], begun["accuracy"], begun["frozen"]) == (0, None, None)
    assert begun["pretraining_dataset"] is None


def test_the_weights_are_those_of_the_run(folder: Path, database) -> None:
    kept = Book(folder).get_weights(BASES[0].id)
    for layer in database.layers(model="layers/base-A/seed-0"):
        found = database.weights("layers/base-A/seed-0", layer["name"])
        assert any(np.array_equal(found, own) for own in kept.values() if own.ndim == 4)


def test_a_second_time_nothing_changes(folder: Path, database) -> None:
    before = database.models()
    again = ingest_runs(folder, database.path)
    assert (again.files.added, again.files.unchanged) == (0, 27)
    assert database.models() == before


def test_shift_keys_basis_and_nearest_apply(database) -> None:
    shift = database.shift(by="data", where="frozen IS NULL AND epoch = 2", permutations=0)
    assert {group.name for group in shift.groups} == {"digits A", "digits B"}
    assert {group.models for group in shift.groups} == {3}
    epochs = database.shift(by="epoch", where="frozen IS NULL", permutations=0)
    assert [group.name for group in epochs.groups] == ["0", "1", "2"]
    near = database.nearest("layers/A-to-B/seed-1-epoch-001")
    assert near.neighbours[0].shift == pytest.approx(0, abs=1e-6)  # its filters are frozen
    found = keys.find(database.select(kernel=(3, 3), where="epoch > 0"), keys.Settings(k=2))
    assert (found.searched.held_out_by, found.searched.groups) == ("run", 9)


def test_what_was_not_kept_is_named(tmp_path: Path) -> None:
    unnamed = [replace(run, experiment="") for run in (*BASES[:2], HEIRS[0])]
    rows = execute(unnamed, tmp_path / "some", jobs=1, device="cpu")
    found = ingest_runs(tmp_path / "some", tmp_path / "db")
    assert found.files.added == 1
    assert [row.id for row in found.without] == [rows[1].id, rows[2].id]
    assert [one["arm"] for one in found.to_dict()["without_weights"]] == ["base A", "A -> B"]
    (model,) = filterdb.open(tmp_path / "db").models()
    assert model["name"] == "some/base-A/seed-0"  # without an experiment, the folder's name
    assert model["experiment"] is None
    execute(BASES[1:2], tmp_path / "none", jobs=1, device="cpu")
    with pytest.raises(TransferError, match="--keep last"):
        ingest_runs(tmp_path / "none", tmp_path / "db")


def test_a_folder_without_an_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="no folder of an experiment"):
        ingest_runs(tmp_path, tmp_path / "db")
    assert list(tmp_path.iterdir()) == []


def test_data_have_short_names() -> None:
    data = Data("/data/cifar10.train.parquet", 32, 3)
    assert data.name == "cifar10"
    assert replace(data, split="a=b", group="a", share=0.25).name == "cifar10 a, 0.25 of it"
    assert Data("/data/signs/", 32, 3).name == "signs"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("convmixer", {}), ("convnext", {}), ("mobilenet", {}), ("resnet", {}),
     ("resnet", {"separable": True})],
)  # fmt: skip
def test_kinds_of_layers_are_those_of_the_parts(name: str, arguments, tmp_path: Path) -> None:
    model = build(name, classes=4, channels=3, size=16, **arguments)
    run = Run(name, A, BUDGET)
    path = Book(tmp_path).put_weights(run, weights_of(model))
    layers = filterdb.read(path).layers
    convolutions = {
        key: own for key, own in model.named_modules() if isinstance(own, torch.nn.Conv2d)
    }
    assert len(layers) == len(convolutions)
    found = {layer.name.removesuffix(".weight"): layer.kind for layer in layers}
    depthwise = {slot.name for slot in part_of(model, "depthwise")}
    assert {key for key, kind in found.items() if kind == "depthwise"} == depthwise


def test_networks_of_two_plans_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    """They may bear one name, and each keeps the experiment that it was trained for."""
    first = replace(BASES[0], arm="filters of 1/16 of it", experiment="size")
    second = replace(first, arguments={"width": 4, "depth": 2}, data=replace(A, limit=10))
    third = replace(first, seed=5, experiment="matrix", labels={"repeat": 5})
    execute([first, second, third], tmp_path / "two", jobs=1, device="cpu", keep="last")
    assert ingest_runs(tmp_path / "two", tmp_path / "db").files.added == 3
    models = {model["name"]: model for model in filterdb.open(tmp_path / "db").models()}
    told = "size/filters-of-1-16-of-it/seed-0"
    names = [f"{told}-{run.id[:8]}" for run in (first, second)]
    assert set(models) == {*names, "matrix/filters-of-1-16-of-it/seed-5"}
    one, other = (models[name] for name in names)
    assert (
        other["network_settings"]
        == "width=4, depth=2, kernel=3, patch=2"
        != one["network_settings"]
    )
    assert "limit=10" in other["data_settings"]
    assert "limit=20" in one["data_settings"]
    assert {model["experiment"] for model in models.values()} == {"size", "matrix"}
