"""``ingest``, ``models``, ``layers``, ``info``, ``verify``, ``remove`` from end to end."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
RunJson = Callable[..., Any]


@pytest.fixture
def db(run: Run, folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "db"
    assert run("ingest", path, folder, "--jobs", 1).exit_code == 3
    return path


def test_ingest_names_what_failed(run: Run, folder: Path, tmp_path: Path) -> None:
    result = run("ingest", tmp_path / "db", folder, "--jobs", 1)
    assert result.exit_code == 3
    assert "2 added" in result.stdout
    assert "page.pth" in result.stdout
    assert "HTML" in result.stdout


def test_ingest_json(run_json: RunJson, folder: Path, tmp_path: Path) -> None:
    first = run_json("ingest", tmp_path / "db", folder, "--jobs", 1)
    assert (first["added"], first["unchanged"], first["failed"]) == (2, 0, 1)
    keys = {"path", "status", "reason", "name", "n_layers", "n_filters"}
    assert all(keys <= set(row) for row in first["models"])
    again = run_json("ingest", tmp_path / "db", folder, "--jobs", 1)
    assert (again["added"], again["unchanged"], again["failed"]) == (0, 2, 1)


def test_ingest_without_failures_is_zero(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run("ingest", tmp_path / "db", folder / "good.safetensors").exit_code == 0


def test_ingest_with_metadata(run: Run, run_json: RunJson, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "models.csv"
    table.write_text("file,task,colour\ngood.safetensors,ocr,blue\ngone.pth,ocr,red\n")
    result = run("ingest", tmp_path / "db", folder, "--metadata", table, "--jobs", 1)
    assert "gone.pth" in result.stdout
    rows = run_json("models", tmp_path / "db", "--where", "task = 'ocr' AND colour = 'blue'")
    assert [row["name"] for row in rows] == ["good.safetensors"]


def test_models(run: Run, run_json: RunJson, db: Path) -> None:
    assert "2 models" in run("models", db).stdout
    rows = run_json("models", db, "--where", "verdict = 'degenerate'")
    assert [row["name"] for row in rows] == ["bad.safetensors"]
    text = run("models", db, "--csv").stdout
    assert [row["name"] for row in csv.DictReader(io.StringIO(text))] == [
        "bad.safetensors",
        "good.safetensors",
    ]


def test_layers(run: Run, run_json: RunJson, db: Path) -> None:
    assert "5 layers" in run("layers", db).stdout
    assert len(run_json("layers", db, "good.safetensors")) == 2
    rows = run_json("layers", db, "--where", "sparsity > 0.5")
    assert [(row["model"], row["name"]) for row in rows] == [("bad.safetensors", "conv1")]


@pytest.mark.parametrize("where", ["nonsense = 1", "1; DROP TABLE models", "verdict ="])
def test_a_wrong_condition_is_wrong_usage(db: Path, where: str) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "filterdb", "models", str(db), "--where", where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_info(run: Run, run_json: RunJson, db: Path) -> None:
    facts = run_json("info", db)
    assert facts["models"] == 2
    assert facts["layers"] == 5
    assert "healthy" in run("info", db).stdout


def test_verify(run: Run, run_json: RunJson, db: Path) -> None:
    assert run("verify", db).exit_code == 0
    payload = next((db / "payload").rglob("*.safetensors"))
    content = bytearray(payload.read_bytes())
    content[-1] ^= 1
    payload.chmod(0o644)
    payload.write_bytes(content)
    assert run("verify", db).exit_code == 1
    assert run_json("verify", db)["findings"]


def test_remove(run: Run, run_json: RunJson, db: Path) -> None:
    assert run("remove", db, "bad.safetensors").exit_code == 0
    assert [row["name"] for row in run_json("models", db)] == ["good.safetensors"]
    assert run("verify", db).exit_code == 0


def test_no_database(tmp_path: Path) -> None:
    import subprocess
    import sys

    for command in ("models", "layers", "info", "verify"):
        line = [sys.executable, "-m", "filterdb", command, str(tmp_path / "none")]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "filterdb ingest" in done.stderr
    assert not (tmp_path / "none").exists()


def test_the_catalogue_alone_answers(run_json: RunJson, db: Path) -> None:
    shutil.rmtree(db / "payload")
    assert len(run_json("layers", db)) == 5
