"""``basis``, ``shift`` and ``nearest`` on a database of small networks."""

from __future__ import annotations

import json

import numpy as np
import pytest

import filterdb
from populations import build


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    place = tmp_path_factory.mktemp("cli")
    build(place / "models", place / "db")
    return str(place / "db")


def test_basis_json_is_the_contract(run, db):
    data = json.loads(run("basis", db, "--json").stdout)
    assert {"kernel", "n", "mean", "components", "explained_variance_ratio"} <= set(data)
    found = filterdb.open(db).basis()
    assert data["kernel"] == [3, 3]
    assert data["n"] == found.n
    np.testing.assert_array_equal(data["components"], found.components)
    assert [size["kernel"] for size in data["other_kernels"]] == [[1, 1], [5, 5]]


def test_basis_for_people(run, db):
    shown = run("basis", db, "--where", "task = 'edges'").stdout
    assert "5,376 filters of 4 models, 12 layers" in shown
    assert "█" in shown
    assert "5x5" in shown
    assert "--kernel" in shown


def test_a_kernel_and_no_sparse_filters(run, db):
    data = json.loads(run("basis", db, "--kernel", "5x5", "--json").stdout)
    assert (data["kernel"], len(data["mean"])) == ([5, 5], 25)
    whole = json.loads(run("basis", db, "--json").stdout)["n"]
    assert json.loads(run("basis", db, "--drop", "sparse", "--json").stdout)["n"] == whole - 40
    assert run("basis", db, "--kernel", "5").exit_code == 2
    assert "write height and width" in run("basis", db, "--kernel", "axb").stderr


def test_shift_json_is_the_contract(run, db):
    data = json.loads(run("shift", db, "--by", "task", "--json").stdout)
    assert {"by", "preset", "groups", "matrix", "weights", "null_p95"} <= set(data)
    assert data["by"] == "task"
    assert data["preset"] == "reference"
    assert {"name", "models", "layers", "filters"} <= set(data["groups"][0])
    assert np.shape(data["matrix"]) == (3, 3)
    assert len(data["weights"]) == 9
    assert data["null_p95"][1][2] is not None


def test_shift_for_people(run, db):
    shown = run("shift", db, "--by", "task").stdout
    assert "3 groups" in shown
    assert "edges – plain" in shown
    assert "of models" in shown
    assert "* too few" in shown
    assert "1 of 1 pair lies above" in shown
    assert "Left out: 3 layers: the same weights" in shown
    assert "which cannot be permuted: alone" in shown
    rows = run("shift", db, "--by", "task", "--csv").stdout.splitlines()
    assert len(rows) == 4
    assert rows[0].startswith("a,b,shift,low,high,")
    quick = run("shift", db, "--by", "task", "--permutations", "0").stdout
    assert "≈" not in quick


@pytest.mark.parametrize("preset", ["cvpr2022", "medneurips2022"])
def test_a_papers_preset(run, db, preset):
    data = json.loads(run("shift", db, "--by", "task", "--preset", preset, "--json").stdout)
    assert data["preset"] == preset


def test_shift_against_another_database(run, db, tmp_path):
    build(tmp_path / "models", tmp_path / "db")
    data = json.loads(run("shift", db, "--against", str(tmp_path / "db"), "--json").stdout)
    assert data["matrix"] == [[0, 0], [0, 0]]
    filterdb.open(tmp_path / "db").fit_basis()
    result = run("shift", db, "--against", str(tmp_path / "db"))
    assert result.exit_code != 0
    mend = f"filterdb basis {tmp_path / 'db'} --adopt {db}"
    assert mend in str(result.exception)
    assert run("basis", str(tmp_path / "db"), "--adopt", db).exit_code == 0
    assert run("shift", db, "--against", str(tmp_path / "db")).exit_code == 0


def test_adopting_a_basis(run, tmp_path):
    build(tmp_path / "models", tmp_path / "db")
    place = str(tmp_path / "db")
    result = run("basis", place, "--adopt", "fitted", "--jobs", "1")
    assert "3x3: now in basis" in result.stderr
    assert "of this database" in result.stderr
    assert result.stdout == ""
    again = run("basis", place, "--adopt", "fitted")
    assert "0 kernel sizes changed; 2 kept" in again.stderr
    assert "too few filters" in again.stderr
    back = run("basis", place, "--adopt", "reference", "--json")
    assert json.loads(back.stdout)["histograms"]["origin"].startswith("reference")


def test_usage_errors(run, db, tmp_path):
    assert "Name an axis" in run("shift", db).stderr
    assert "named twice" in run("shift", db, "--against", db).stderr
    assert run("shift", db, "--by", "task", "--preset", "cvpr2021").exit_code == 2
    wrong = run("shift", db, "--by", "task", "--plot", str(tmp_path / "a.gif"))
    assert wrong.exit_code == 2
    assert ".png" in wrong.stderr
    nowhere = run("shift", db, "--by", "task", "--plot", str(tmp_path / "no" / "a.png"))
    assert "There is no folder" in nowhere.stderr


def test_pictures(run, db, tmp_path):
    for command in (["basis", db], ["shift", db, "--by", "task"]):
        path = tmp_path / f"{command[0]}.png"
        result = run(*command, "--plot", str(path), "--json")
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert str(path) in result.stderr
        json.loads(result.stdout)


def test_nearest(run, db):
    data = json.loads(run("nearest", db, "net1", "--json").stdout)
    assert data["neighbours"][0]["model"] == "copy.safetensors"
    shown = run("nearest", db, "frozen", "-n", "3").stdout
    assert "net2.safetensors (1)" in shown
    assert "No other model has a layer" in run("nearest", db, "net5").stdout


def test_phenotypes(run, db, tmp_path):
    rows = json.loads(run("phenotypes", db, "--jobs", "1", "--json").stdout)
    assert len(rows) == 30
    assert {"model", "layer", "phenotype", "filters", "reason"} <= set(rows[0])
    shown = run("phenotypes", db, "--jobs", "1", "--plot", str(tmp_path / "p.png"))
    assert "undecided" in shown.stdout
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_a_density(run, db, tmp_path):
    run("basis", db, "--density", str(tmp_path / "d.svg"), "--jobs", "1")
    assert "the first two components" in (tmp_path / "d.svg").read_text()
