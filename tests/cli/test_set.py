"""``set`` and the template of ``models``, from end to end."""

from __future__ import annotations

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
    (folder / "page.pth").unlink()
    (folder / "bad.safetensors").rename(folder / "bad-epoch3.safetensors")
    assert run("ingest", path, folder, "--jobs", 1).exit_code == 0
    return path


def test_values_of_one_model_and_of_many(run: Run, run_json: RunJson, db: Path) -> None:
    result = run("set", db, "good", "task=Semantic Segmentation", "mine=1", "license=MIT")
    assert result.exit_code == 0
    assert "1 of 1 model changed" in result.stdout
    assert "New columns (1)\n  mine" in result.stdout
    result = run("set", db, "*", "taks=weather", "visual_category=clouds")
    assert "taks (did you mean task?)" in result.stdout
    assert "visual_category: clouds (1)" in result.stdout
    assert run("set", db, "--where", "epoch = 3", "mine=2", "taks=").exit_code == 0
    rows = {row["name"]: row for row in run_json("models", db)}
    good, bad = rows["good.safetensors"], rows["bad-epoch3.safetensors"]
    assert (good["task"], good["mine"], good["taks"]) == ("segmentation", 1, "weather")
    assert (bad["task"], bad["mine"], bad["taks"]) == (None, 2, None)
    assert good["own_words"] == {"task": "Semantic Segmentation"}
    assert bad["inferred"]["epoch"]["value"] == "3"
    assert run("verify", db).exit_code == 0


def test_what_the_file_says_is_marked_in_the_table(run: Run, db: Path, folder: Path) -> None:
    assert "*" not in run("models", db).stdout
    from safetensors.numpy import save_file

    from networks import network

    save_file(network("healthy", seed=9), folder / "z.safetensors", {"task": "ocr"})
    run("ingest", db, folder / "z.safetensors", "--jobs", 1)
    text = run("models", db).stdout
    assert "ocr *" in text
    assert "* as the file itself says" in text
    run("set", db, "z", "task=seg")
    assert "*" not in run("models", db).stdout


def test_no_infer(run: Run, run_json: RunJson, folder: Path, tmp_path: Path) -> None:
    run("ingest", tmp_path / "db2", folder, "--no-infer", "--jobs", 1)
    assert [row["inferred"] for row in run_json("models", tmp_path / "db2")] == [{}, {}]


def test_a_template_is_filled_in_and_given_back(
    run: Run, run_json: RunJson, db: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.csv"
    result = run("models", db, "--template", out)
    assert result.exit_code == 0
    assert f"filterdb set {db} --metadata {out}" in " ".join(result.stdout.split())
    lines = out.read_text().splitlines()
    lines = [lines[0], *(line.replace(",", ",ocr,", 1).replace(",,", ",", 1) for line in lines[1:])]
    out.write_text("\n".join([*lines, "nothing,ocr"]))
    result = run("set", db, "--metadata", out)
    assert result.exit_code == 3
    assert "line 4: nothing (There is no model 'nothing'" in " ".join(result.stdout.split())
    assert {row["task"] for row in run_json("models", db)} == {"ocr"}
    assert run("models", db, "--template", out).exit_code != 0
    assert run("models", db, "--template", out, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Name a model"),
        (("good",), "KEY=VALUE"),
        (("good", "bad", "a=1"), "'bad' is no KEY=VALUE"),
        (("--where", "TRUE"), "KEY=VALUE"),
        (("gooood", "a=1"), "Did you mean good.safetensors?"),
        (("good", "sha256=1"), "csv_sha256"),
        (("good", "=1"), "needs a column"),
    ],
)
def test_what_cannot_be_said(run: Run, db: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run("set", db, *arguments)
    assert result.exit_code != 0
    assert words in (result.output or "") + str(result.exception)


def test_a_table_names_its_models_itself(run: Run, db: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("model,task\n")
    result = run("set", db, "good", "a=1", "--metadata", tmp_path / "t.csv")
    assert result.exit_code == 2
    assert "names the models itself" in result.output


def test_words_outside_the_vocabulary_are_listed_by_ingest(
    run: Run, db: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("file,task\ngood.safetensors,weather\n")
    result = run("ingest", db, folder, "--metadata", tmp_path / "t.csv", "--jobs", 1)
    assert "Words outside the vocabulary" in result.stdout
    assert "task: weather (1)" in result.stdout


def test_check_tells_zeros(run: Run, tmp_path: Path) -> None:
    import numpy as np

    weights = np.random.default_rng(0).normal(size=(40, 4, 3, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", **{"conv.weight": weights})
    assert "exactly 0" not in run("check", tmp_path / "a.npz").stdout
    weights[:2] = 0
    np.savez(tmp_path / "a.npz", **{"conv.weight": weights})
    text = " ".join(run("check", tmp_path / "a.npz").stdout.split())
    assert "72 weights exactly 0, in 1 layer: 8 whole filters, 2 whole output channels." in text
