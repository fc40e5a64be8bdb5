"""How runs are done from the command line: options, interruptions, databases of their networks."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from filterdb.errors import StoreError, TransferError

pytest.importorskip("torch")
pytest.importorskip("sklearn")

PLAN = """
experiment = "keys"
seeds = [0, 1, 2]
network = { name = "convmixer", width = 4, depth = 1, kernel = 7 }
data = { spec = "digits", size = 8, limit = 8, test_limit = 8 }
budget = { epochs = 2, batch = 16 }
keys = { sets = ["published8"], counts = [2] }
"""
INTERRUPTED = """
import os, signal, sys
from contextlib import nullcontext
from filterdb.cli import main
from filterdb.cli.transfer import doing
number = getattr(signal, sys.argv.pop(1))
def report(step):
    if step.done == 2:
        os.kill(os.getpid(), number)
doing.working = lambda: nullcontext(report)
main()
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "tiny.toml"
    path.write_text(PLAN)
    return path


def rows(folder: Path) -> dict[str, object]:
    from filterdb.transfer.book import Book

    return {row.id: row for row in Book(folder).rows()}


@pytest.mark.parametrize("number", ["SIGINT", "SIGKILL"])
def test_what_is_interrupted_goes_on(number, plan, tmp_path, run_json):
    out = tmp_path / "out"
    told = ["transfer", "run", plan, "-o", out, "--device", "cpu", "--jobs"]
    command = [sys.executable, "-c", INTERRUPTED, number, *map(str, told), "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = process.communicate()[1]  # its end is that of the children too: they share the pipe
    kill = number == "SIGKILL"
    code = getattr(signal, number)
    assert process.returncode == (-code if kill else 128 + code)
    assert ("What was stored before is kept." in said) != kill
    before = rows(out)
    planned = run_json("transfer", "run", plan, "--plan-only")["runs"]
    assert 2 <= len(before) < planned
    assert not list(out.rglob(".filterdb*"))
    found = run_json(*told, 1)
    assert found["coverage"]["done"] == found["coverage"]["planned"]
    after = rows(out)
    assert len(after) == planned
    assert {key: after[key] for key in before} == before


def test_threads_and_kept_weights_are_as_asked(plan, tmp_path, run_json, run):
    out, db = tmp_path / "out", tmp_path / "db"
    told = ["transfer", "run", plan, "-o", out, "--jobs", 1, "--device", "cpu"]
    run_json(*told, "--threads", 2)
    found = rows(out)
    assert {row.threads for row in found.values()} == {2}
    kept = len(list((out / "weights").iterdir()))
    assert 0 < kept < len(found)
    done = run("transfer", "ingest", out, db)
    assert done.exit_code == 0
    assert f"No weights were kept of {len(found) - kept} runs" in " ".join(done.stdout.split())
    assert "--keep last" in done.stdout
    assert f"{kept} added" in done.stdout
    run_json(*told, "--threads", 2, "--keep", "epochs")
    assert len(list((out / "weights").iterdir())) == 3 * len(found)
    told = run_json("transfer", "ingest", out, db)
    assert (told["added"], told["unchanged"], told["failed"]) == (3 * len(found) - kept, kept, 0)
    assert told["without_weights"] == []
    shown = run("shift", db, "--by", "epoch", "--permutations", 0)
    assert shown.exit_code == 0
    assert "3 groups" in shown.stdout


def test_runs_that_were_not_done_alike_are_told(plan, tmp_path, run_json):
    longer = tmp_path / "longer.toml"
    longer.write_text(PLAN.replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    how = ["-o", tmp_path / "out", "--jobs", 1, "--device", "cpu"]
    first = run_json("transfer", "run", plan, *how)
    found = run_json("transfer", "run", longer, *how, "--threads", 2)
    assert not any("same conditions" in sentence for sentence in first["sentences"])
    counts = [told["coverage"]["planned"] for told in (first, found)]
    expected = f"threads 1 ({counts[0]}), 2 ({counts[1] - counts[0]})"
    assert any(expected in sentence for sentence in found["sentences"])


def test_a_scheduler_that_is_not_there(plan, tmp_path, run):
    done = run("transfer", "run", plan, "-o", tmp_path / "out", "--scheduler", "nonsense")
    assert isinstance(done.exception, StoreError)
    assert "Check that `dask scheduler` is running" in str(done.exception)


def test_a_folder_without_an_experiment_is_no_source(tmp_path, run):
    done = run("transfer", "ingest", tmp_path, tmp_path / "db")
    assert isinstance(done.exception, TransferError)
    assert "no folder of an experiment" in str(done.exception)
    assert run("transfer", "ingest", tmp_path / "nowhere", tmp_path / "db").exit_code == 2
