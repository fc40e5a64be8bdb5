"""``filterdb demo``: offline, without torch, and what it shows is true."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

import filterdb
from filterdb import check
from filterdb.cli.demo import DEGENERATE, HEALTHY
from filterdb.cli.transfer.showing import sentences_first
from filterdb.demo import results, zoo
from filterdb.keys import sentences
from filterdb.keys.labels.chance import chance_of
from filterdb.transfer.results import read_result


def test_demo_builds_a_database_and_looks_around(
    run: Callable[..., Result], run_json: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    result = run("demo", folder)
    assert result.exit_code == 0
    rows = run_json("models", folder)
    assert len(rows) >= 14
    for row in rows:
        assert row["name"] in result.stdout
        assert row["task"]
    labels = filterdb.keys.label(folder, "published8")
    found = filterdb.keys.find(filterdb.open(folder).select(kernel=(3, 3)))
    chance = chance_of(labels, filterdb.open(folder))
    said = " ".join(result.stdout.split())
    assert sentences.labelled(labels) in said
    assert sentences.labelled_by_chance(chance) in said
    assert sentences.headline(found) in said
    with results() as shipped:
        layers = read_result(shipped / "layers.json")
    asked = tuple(one.question for one in layers.comparisons)
    answers = [one for one in sentences_first(layers) if one.startswith(asked)]
    assert answers
    for one in (layers.budget, *answers):
        assert " ".join(one.split()) in said
    assert (folder / "transfer-layers.png").stat().st_size > 10_000
    assert "Next" in result.stdout
    assert run("verify", folder).exit_code == 0
    assert run("demo", folder).exit_code == 0, "a second time changes nothing"
    assert len(run_json("models", folder)) == len(rows)


def test_the_two_networks_shown_are_what_they_are_called() -> None:
    with zoo() as networks:
        healthy, degenerate = check(networks / HEALTHY), check(networks / DEGENERATE)
    assert healthy.verdict == "healthy"
    assert degenerate.verdict == "degenerate"


def test_without_torch_and_without_a_network(tmp_path: Path) -> None:
    script = (
        "import sys, socket\n"
        "def refuse(*_):\n    raise RuntimeError('no network')\n"
        "socket.socket.connect = refuse\n"
        "from filterdb.cli import cli\n"
        "cli.main(['demo', sys.argv[1]], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "demo")], check=True, capture_output=True
    )


def test_a_folder_with_other_files_is_refused(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    result = run("demo", tmp_path)
    assert result.exit_code == 2
    assert "holds other files" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
