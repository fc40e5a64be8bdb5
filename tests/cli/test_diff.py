"""``filterdb diff`` as users and scripts call it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from networks import network, save

Run = Callable[..., Result]
RunJson = Callable[..., Any]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A network, and what became of it: one layer as it was, one changed, one pruned, one new."""
    before = network("healthy", "healthy", "healthy", seed=1)
    after = dict(before)
    after["conv1.weight"] = before["conv1.weight"] + np.float32(0.1)
    pruned = before["conv2.weight"].copy()
    pruned[: len(pruned) // 2] = 0
    after["conv2.weight"] = pruned
    after["extra.weight"] = np.ones((7, 24, 5, 5), np.float32)
    folder = tmp_path / "networks"
    folder.mkdir()
    return save(folder / "before.safetensors", before), save(folder / "after.safetensors", after)


def test_what_changed(run: Run, files: tuple[Path, Path]) -> None:
    result = run("diff", *files)
    assert result.exit_code == 0, result.stderr
    out = result.stdout
    assert "before.safetensors  (safetensors) → after.safetensors" in out
    assert "1 identical; 1 different; 1 pruned" in out
    assert "Only in the second\n  extra  7x24x5x5" in out
    assert "conv2: 50.0% of the weights became zero; no other moved." in out
    assert "healthy → sparse" in out
    assert "3 layers matched, of 3 and 4" in out
    assert "1 identical layer not listed" in out
    (row,) = (line for line in out.splitlines() if line.startswith(" conv1 "))
    assert "changed" in row
    assert not any(line.startswith(" conv0 ") for line in out.splitlines())


def test_all_lists_identical_layers(run: Run, files: tuple[Path, Path]) -> None:
    out = run("diff", *files, "--all").stdout
    assert any(line.startswith(" conv0 ") for line in out.splitlines())
    assert "not listed" not in out


def test_identical(run: Run, files: tuple[Path, Path]) -> None:
    result = run("diff", files[0], files[0])
    assert result.exit_code == 0
    assert "All 3 layers are identical." in result.stdout
    assert "layer " not in result.stdout.split("Covered")[0].replace("3 layers", "")


def test_files_of_one_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    for name, seed in (("old", 1), ("new", 2)):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "net.safetensors", network("healthy", seed=seed))
    out = run("diff", tmp_path / "old/net.safetensors", tmp_path / "new/net.safetensors").stdout
    assert "old/net.safetensors" in out
    assert "new/net.safetensors" in out


def test_other_names_have_a_column(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    other = {f"{i}.weight": rng.standard_normal((24, 12 if i == 0 else 24, 3, 3)).astype("f4")
             for i in range(3)}  # fmt: skip
    out = run("diff", files[0], save(tmp_path / "other.safetensors", other)).stdout
    assert "in the second" in out
    assert "Matched under other names: 3 layers by order and shape." in out


def trained_on(weights: dict[str, np.ndarray], by: float = 0.1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: (value + by * value.std() * rng.standard_normal(value.shape)).astype("f4")
            for name, value in weights.items()}  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Path]:
    """A network and its successor, all layers changed a little, under other, longer names."""
    before = network("healthy", "healthy", "healthy", seed=1)
    after = {f"encoder.stage.of.some.depth.{name}": value
             for name, value in trained_on(before).items()}  # fmt: skip
    return save(tmp_path / "before.safetensors", before), save(
        tmp_path / "after.safetensors", after
    )


def test_what_goes_without_saying_has_no_column(
    run: Run, trained: tuple[Path, Path], files: tuple[Path, Path]
) -> None:
    out = run("diff", *trained).stdout
    assert "All 3 layers are different." in out
    assert "relation" not in out
    assert "relation" in run("diff", *files).stdout


def test_legend_comes_before_the_table(run: Run, trained: tuple[Path, Path]) -> None:
    out = run("diff", *trained).stdout
    assert out.index("L2: ||B - A||") < out.index(" layer ") < out.index("Covered")
    assert out.index("≈ no more than chance") < out.index(" layer ")
    rows = [line for line in out.splitlines() if line.startswith(" conv")]
    assert len(rows) == 3
    assert all("≈ " in row for row in rows)


def test_a_shift_beyond_chance_has_no_mark(run: Run, tmp_path: Path) -> None:
    a = save(tmp_path / "a.safetensors", network("healthy", seed=1))
    b = save(tmp_path / "b.safetensors", network("random", seed=2))
    out = run("diff", a, b).stdout
    assert "by more than chance in the one layer" in out
    assert "≈" not in out
    one = {"conv.weight": np.arange(9, dtype="f4").reshape(1, 1, 3, 3)}
    a, b = save(tmp_path / "c.safetensors", one), save(tmp_path / "d.safetensors", trained_on(one))
    assert "? too few filters to tell D from chance." in run("diff", a, b).stdout


@pytest.mark.parametrize(("width", "left_out"), [(80, True), (300, False)])
def test_a_narrow_terminal_keeps_names_and_kernel(
    run: Run, trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, *, width: int,
    left_out: bool,
) -> None:  # fmt: skip
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": str(width)}.items():
        monkeypatch.setenv(name, value)
    out = re.sub(r"\x1b\[[0-9;]*m", "", run("diff", *trained).stdout)
    (head,) = (line for line in out.splitlines() if line.startswith(" layer "))
    for name in ("in the second", "kernel", "L2", "cosine", "D"):
        assert name in head
    assert max(map(len, out.splitlines())) <= width
    assert ("verdict" not in head) == left_out
    assert ("(wider: more columns)" in " ".join(out.split())) == left_out
    assert ("Flips" not in out) == ("flips" not in head)


def test_json(run_json: RunJson, files: tuple[Path, Path]) -> None:
    data = run_json("diff", *files)
    assert data["identical"] is False
    assert data["relations"] == {"identical": 1, "changed": 1, "pruned": 1}
    assert [row["name"] for row in data["layers"]] == ["conv0", "conv1", "conv2"]
    assert data["layers"][2]["newly_zero"] == 0.5
    assert [layer["name"] for layer in data["only_b"]] == ["extra"]


def test_picture(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "changed.png"
    result = run("diff", *files, "--plot", picture)
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("diff", *files, "--plot", tmp_path / "changed.nonsense").exit_code == 2


def test_no_picture_of_nothing(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("diff", files[0], files[0], "--plot", tmp_path / "none.png")
    assert result.exit_code == 0
    assert "was not written" in result.stderr
    assert not (tmp_path / "none.png").exists()


def test_two_models_of_a_database(run: Run, run_json: RunJson, files: tuple[Path, Path]) -> None:
    db = files[0].parent.parent / "db"
    assert run("ingest", db, files[0].parent).exit_code == 0
    of_files = run_json("diff", *files)
    of_models = run_json("diff", "before", "after", "--db", db)
    assert of_models["relations"] == of_files["relations"]
    for row, other in zip(of_files["layers"], of_models["layers"], strict=True):
        assert {**row, "before": 0, "after": 0} == {**other, "before": 0, "after": 0}


@pytest.mark.parametrize(
    ("second", "status", "words"),
    [("page.pth", 3, "HTML"), ("nothing", 3, "does not exist"), (None, 2, "Missing argument")],
)
def test_errors(folder: Path, second: str | None, status: int, words: str) -> None:
    arguments = [folder / "good.safetensors", *([folder / second] if second else [])]
    line = [sys.executable, "-m", "filterdb", "diff", *map(os.fspath, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert words in done.stderr
    assert not done.stdout
