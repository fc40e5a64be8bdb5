"""``import``, ``export`` and ``reproduce`` from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from published.dataset_files import synthetic, write

pytest.importorskip("tables")

Run = Callable[..., Result]
RunJson = Callable[..., Any]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write(tmp_path / "dataset.h5", synthetic())


@pytest.fixture
def db(run: Run, dataset: Path, tmp_path: Path) -> Path:
    assert run("import", tmp_path / "db", dataset, "--jobs", 1).exit_code == 0
    return tmp_path / "db"


def test_import(run: Run, run_json: RunJson, dataset: Path, tmp_path: Path) -> None:
    result = run("import", tmp_path / "db", dataset, "--jobs", 1)
    assert result.exit_code == 0
    assert "5 added (30 layers, 1,249 filters), 0 unchanged, 0 failed" in result.stdout
    assert "inclusive" in result.stdout
    again = run_json("import", tmp_path / "db", dataset)
    assert (again["added"], again["unchanged"], again["failed"]) == (0, 5, 0)
    assert again["version"] == "1.0.0"
    keys = {"id", "status", "reason", "name", "n_layers", "n_filters"}
    assert all(keys == set(row) for row in again["models"])


def test_import_names_what_failed(run: Run, tmp_path: Path) -> None:
    data = synthetic()
    rows = [data.rows[0] | {"ids": "none"}, *data.rows[1:]]
    path = write(tmp_path / "dataset.h5", replace(data, rows=rows))
    result = run("import", tmp_path / "db", path, "--jobs", 1)
    assert result.exit_code == 3
    assert "Conv_0" in result.stdout
    assert "4 added" in result.stdout


def test_import_of_another_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "page.h5").write_text("<html>")
    result = run("import", tmp_path / "db", tmp_path / "page.h5")
    assert result.exit_code != 0
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("name", ["out.h5", "out.parquet", "out"])
def test_export(run: Run, run_json: RunJson, db: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    result = run("export", db, tmp_path / name)
    assert result.exit_code == 0
    assert "5 models, 30 layers, 1,249 filters" in result.stdout
    assert run("export", db, tmp_path / name).exit_code != 0
    facts = run_json("export", db, tmp_path / name, "--force", "--where", "layer_index < 2")
    assert (facts["models"], facts["layers"]) == (5, 10)


def test_reproduce(run: Run, run_json: RunJson, db: Path, dataset: Path) -> None:
    result = run("reproduce", db, "--jobs", 1)
    assert result.exit_code == 0
    for text in ("not the paper's data", "1,464,797,156", "Shift by depth decile", "0.3982",
                 "arXiv 2203.15331"):  # fmt: skip
        assert text in result.stdout, text
    facts = run_json("reproduce", dataset, "--jobs", 1)
    assert not facts["is_the_papers"]
    assert [shift["by"] for shift in facts["shifts"]] == ["task", "visual_category", "depth_decile"]
    assert (
        facts["explained_variance_ratio"]
        == run_json("reproduce", db, "--jobs", 1)["explained_variance_ratio"]
    )
    assert json.dumps(facts)


def test_reproduce_shows_all_pairs_if_asked(run: Run, db: Path) -> None:
    assert "more pairs" in run("reproduce", db, "--jobs", 1).stdout
    assert "more pairs" not in run("reproduce", db, "--jobs", 1, "--all").stdout
