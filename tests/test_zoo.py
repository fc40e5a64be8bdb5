"""The shared zoo of 174 real networks, whole: every file accounted for, counts as the manifest's."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filterdb

READABLE = {"pytorch", "onnx", "keras-hdf5", "npz"}
"""Formats of the manifest that have a reader."""

# File -> (layers, 3x3 filters) where ours differ from the manifest's, and why ours are right.
DIFFERS: dict[str, tuple[int, int]] = {}


def key(row: dict[str, str]) -> str:
    return row["file"]


@pytest.fixture(scope="module")
def manifest(zoo: Path) -> list[dict[str, str]]:
    with (zoo / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def ingested(
    zoo: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[filterdb.Database, dict[str, Any]]:
    db = filterdb.open(tmp_path_factory.mktemp("zoo") / "db")
    result = db.ingest([zoo / "weights"], metadata=zoo / "manifest.csv", jobs=1)
    return db, result.to_dict()


def relative(path: str) -> str:
    return path.split("/zoo/weights/", 1)[1]


@pytest.mark.slow
def test_every_file_is_added_or_failed_with_its_format(
    zoo: Path, manifest: list[dict[str, str]], ingested: tuple[Any, dict[str, Any]]
) -> None:
    _, result = ingested
    rows = {relative(row["path"]): row for row in result["models"]}
    files = {str(p.relative_to(zoo / "weights")) for p in (zoo / "weights").rglob("*")
             if p.is_file()}  # fmt: skip
    assert files == set(rows)
    assert Counter(row["status"] for row in result["models"])["added"] == result["added"]
    words = {"tflite": "TFLite", "tfjs": "TF.js", "caffe": "Caffe", "tensorflow-pb": "GraphDef",
             "tf-checkpoint": "TensorFlow checkpoint", "tf-checkpoint-v1": "TensorFlow checkpoint",
             "ncnn": "ncnn", "pickle": "pickle", "katago-txt-gz": "gzip"}  # fmt: skip
    for model in manifest:
        row = rows[model["file"]]
        if model["format"] in READABLE:
            assert row["status"] == "added", (model["file"], row["reason"])
        else:
            assert row["status"] == "failed", model["file"]
            assert words[model["format"]] in row["reason"], (model["file"], row["reason"])
    assert all(row["reason"] for row in result["models"] if row["status"] == "failed")


@pytest.mark.slow
def test_counts_are_the_manifests(
    manifest: list[dict[str, str]], ingested: tuple[filterdb.Database, dict[str, Any]]
) -> None:
    db, _ = ingested
    layers = Counter(row["model"] for row in db.layers())
    threes: Counter[str] = Counter()
    for row in db.layers(where="kh = 3 AND kw = 3"):
        threes[row["model"]] += row["n_filters"]
    wrong = {}
    for model in manifest:
        if model["format"] in READABLE:
            ours = (layers[model["file"]], threes[model["file"]])
            theirs = (int(model["n_conv_layers"]), int(model["n_filters_3x3"]))
            if ours != DIFFERS.get(model["file"], theirs):
                wrong[model["file"]] = (ours, theirs)
    assert wrong == {}


@pytest.mark.slow
def test_metadata_of_every_row_arrived(
    manifest: list[dict[str, str]], ingested: tuple[filterdb.Database, dict[str, Any]]
) -> None:
    db, _ = ingested
    rows = {row["name"]: row for row in db.models()}
    assert len(rows) == sum(model["format"] in READABLE for model in manifest)
    for model in manifest:
        if model["format"] in READABLE:
            row = rows[model["file"]]
            assert row["task"] == model["task"]
            assert row["csv_sha256"] == model["sha256"] == row["sha256"]


@pytest.mark.slow
def test_depthwise_layers_where_the_manifest_has_them(
    manifest: list[dict[str, str]], ingested: tuple[filterdb.Database, dict[str, Any]]
) -> None:
    db, _ = ingested
    ours = {row["model"] for row in db.layers(where="kind = 'depthwise'")}
    theirs = {m["file"] for m in manifest if m["format"] in READABLE and m["has_depthwise"] == "yes"}
    assert ours == theirs


@pytest.mark.slow
def test_verify_is_clean_and_a_second_ingest_adds_nothing(
    zoo: Path, ingested: tuple[filterdb.Database, dict[str, Any]]
) -> None:
    db, first = ingested
    assert not db.verify().findings
    again = db.ingest([zoo / "weights"], jobs=1).to_dict()
    assert again["added"] == 0
    assert again["unchanged"] == first["added"]


def test_exact_weights_of_a_pickled_module(zoo: Path) -> None:
    expected = np.load(zoo / "exact" / "uvipen--quickdraw-20.pt.npz")
    layers = filterdb.read(zoo / "weights" / "uvipen--quickdraw-20.pt").layers
    assert len(layers) == len(expected.files)
    for layer, name in zip(layers, expected.files, strict=True):
        np.testing.assert_array_equal(layer.weights, expected[name])


def test_one_network_in_two_formats_has_the_same_filters(zoo: Path) -> None:
    checkpoint = filterdb.check(zoo / "weights" / "ultraface--slim-320.pth")
    assert checkpoint.coverage["conv_layers"] == 42
