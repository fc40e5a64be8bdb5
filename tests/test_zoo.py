"""The shared zoo of 174 real networks, whole: every file accounted for, counts compared."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filterdb

# File -> (layers, 3x3 filters) where ours differ from the manifest's, and why ours are right.
DIFFERS = {
    # 32 nodes use 9 weights: the manifest counts the nodes, and a weight counts once.
    "basic-pitch--nmp.onnx": (9, 33),
    "basic-pitch--nmp.tflite": (9, 33),
    # Half of its 14 weights are one storage under two or four names.
    "sci--difficult.pt": (7, 635),
    "sci--easy.pt": (7, 635),
    "sci--medium.pt": (7, 635),
    # The manifest counts Conv, and misses com.microsoft's FusedConv (10 and 23 of them).
    "openseeface--gaze-old-02401ce.onnx": (19, 532),
    "openseeface--mnv3-detection.onnx": (70, 1120),
    # The manifest misses six 1x1 layers to one channel; the ONNX file of the network has 53.
    "libfacedet--yunet-s.pth": (53, 832),
}

# The manifest has no counts of these two: 4 -> 32 -> 64 -> 128 channels, and two 1x1 heads.
UNCOUNTED = dict.fromkeys(
    ("gomoku-jxs--best-policy-6-6-4.model", "gomoku-jxs--best-policy-8-8-5.model"),
    (5, 4 * 32 + 32 * 64 + 64 * 128),
)


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
def test_every_file_is_added(
    zoo: Path, manifest: list[dict[str, str]], ingested: tuple[Any, dict[str, Any]]
) -> None:
    _, result = ingested
    rows = {relative(row["path"]): row for row in result["models"]}
    assert not [row for row in result["models"] if row["status"] != "added"]
    assert len(rows) == result["added"] == len(manifest) == 174
    assert all(row_of(model, rows) for model in manifest)
    # A folder format is one row: its files are accounted for by the folder's.
    passed_over = {relative(row["path"]): row["reason"] for row in result["ignored"]}
    for path in (zoo / "weights").rglob("*"):
        name = path.relative_to(zoo / "weights")
        known = {*rows, *passed_over}
        assert path.is_dir() or {str(name), str(name.parent)} & known, name
    assert passed_over == {
        "fastestdet--ncnn.bin": "part of fastestdet--ncnn.param",
        "ultraface--rfb-320.ncnn.bin": "part of ultraface--rfb-320.ncnn.param",
        "mlperf-tiny--kws.ckpt.data-00000-of-00001": "the data of a TensorFlow checkpoint",
        **dict.fromkeys(
            ("mtcnn--det1.prototxt", "mtcnn--det2.prototxt"),
            "the description of a Caffe network, without weights (.prototxt)",
        ),
    }


def row_of(model: dict[str, str], rows: dict[str, Any]) -> Any:
    """The row of a line of the manifest, which names a file in a folder that is one model."""
    return rows.get(model["file"]) or rows[model["file"].split("/")[0]]


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
    names = {name: name for name in layers}
    for model in manifest:
        name = row_of(model, names)
        ours = (layers[name], threes[name])
        told = (model["n_conv_layers"], model["n_filters_3x3"])
        theirs = UNCOUNTED.get(model["file"]) or (int(told[0]), int(told[1]))
        if ours != DIFFERS.get(model["file"], theirs):
            wrong[model["file"]] = (ours, theirs)
    assert wrong == {}


@pytest.mark.slow
def test_metadata_of_every_row_arrived(
    manifest: list[dict[str, str]], ingested: tuple[filterdb.Database, dict[str, Any]]
) -> None:
    db, _ = ingested
    rows = {row["name"]: row for row in db.models()}
    assert len(rows) == len(manifest)
    for model in manifest:
        row = row_of(model, rows)
        assert row["task"] == model["task"]
        assert row["csv_sha256"] == model["sha256"]
        # The manifest's hash is that of the file of weights; ours covers all files of a model.
        assert (row["sha256"] == model["sha256"]) == (not row["companions"])


@pytest.mark.slow
def test_depthwise_layers_where_the_manifest_has_them(
    manifest: list[dict[str, str]], ingested: tuple[filterdb.Database, dict[str, Any]]
) -> None:
    db, _ = ingested
    ours = {row["model"] for row in db.layers(where="kind = 'depthwise'")}
    names = {row["name"]: row["name"] for row in db.models()}
    theirs = {row_of(model, names) for model in manifest if model["has_depthwise"] == "yes"}
    assert theirs - ours == {
        # Its (48, 1, 3, 3) is a fixed upscaling by ones ahead of a colour image: not guessed.
        "ntire2025esr--team24_spanf.pth",
        # One channel in: its depthwise layer is an ordinary convolution, by what it computes.
        "tflite-micro--micro-speech-quantized.tflite",
    }
    assert ours <= theirs


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


@pytest.mark.parametrize("name", ["libfacedet--yunet-s", "ultraface--slim-320"])
def test_roles_inferred_from_a_state_dict_are_those_that_the_graph_states(
    zoo: Path, name: str
) -> None:
    export = "libfacedet--yunet-s-640" if "yunet" in name else name
    inferred, stated = (
        Counter((layer.shape, layer.kind, layer.groups) for layer in filterdb.read(path).layers)
        for path in (zoo / "weights" / f"{name}.pth", zoo / "weights" / f"{export}.onnx")
    )
    assert inferred == stated


def test_one_network_in_two_formats_has_the_same_filters(zoo: Path) -> None:
    checkpoint = filterdb.read(zoo / "weights" / "libfacedet--yunet-s.pth")
    exported = filterdb.read(zoo / "weights" / "libfacedet--yunet-s-640.onnx")
    ours, theirs = (sorted(layer.shape for layer in file.layers) for file in (checkpoint, exported))
    assert ours == theirs
    # The export folds the norms into some layers; those without one are the same to the bit.
    shared = {layer.weights.tobytes() for layer in checkpoint.layers} & {
        layer.weights.tobytes() for layer in exported.layers
    }
    assert len(shared) == 38


AXES = ("task", "visual_category", "architecture", "format", "depth_decile")


@pytest.mark.slow
@pytest.mark.parametrize("axis", AXES)
def test_shift_along_every_axis_with_nulls(
    ingested: tuple[filterdb.Database, dict[str, Any]], axis: str
) -> None:
    db, _ = ingested
    found = db.shift(axis, permutations=20)
    assert len(found.groups) > 1
    assert found.coverage["filters"] > 1_200_000
    several = np.array([group.models > 3 for group in found.groups])  # fewer have no power
    pairs = np.outer(several, several) & ~np.eye(len(several), dtype=bool)
    assert np.isfinite(found.null_models_p95[pairs]).all()
    assert (found.matrix == found.matrix.T).all()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["ultraface--slim-320", "ultraface--rfb-320"])
def test_a_network_in_several_formats_has_no_shift_to_itself(
    ingested: tuple[filterdb.Database, dict[str, Any]], network: str
) -> None:
    db, _ = ingested
    found = db.shift("format", f"model LIKE '{network}.%'", permutations=0)
    # A norm that is multiplied in moves a coefficient over the edge of its bin, now and then.
    assert found.matrix.max() < 1e-4


@pytest.mark.slow
def test_a_network_is_nearest_to_its_family(
    ingested: tuple[filterdb.Database, dict[str, Any]],
) -> None:
    db, _ = ingested
    nearest = db.nearest("ultraface--rfb-320.onnx", n=5)
    assert sum(row.model.startswith("ultraface") for row in nearest.neighbours) >= 4
    copies = db.nearest("ultraface--slim-320.onnx")
    assert copies.neighbours[0].model == "ultraface--slim-320.pth"
    assert copies.neighbours[0].shift == 0
