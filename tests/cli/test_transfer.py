"""``transfer`` on scikit-learn's digits: networks of a few hundred weights, trained for seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib

import pytest

from filterdb.errors import MissingExtraError, TransferError

COMMANDS = (
    "run",
    "layers",
    "matrix",
    "architectures",
    "donors",
    "keys",
    "removal",
    "size",
    "show",
    "ingest",
    "demo",
)
FAILS = """
from torch import nn


class Network(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 7, padding=3, groups=4)

        self.head = nn.Linear(4, classes)

    def forward(self, images):
        if len(images) > 2:  # a look at what it takes is fine
            raise RuntimeError("no room for this batch")
        maps = self.inner(images.expand(-1, 4, -1, -1))
        return self.head(maps.mean((2, 3)))


def network(classes, channels):
    return Network(classes)
"""
PLAN = """
experiment = "keys"
seeds = [0, 1, 2]

[network]
name = "convmixer"
width = 4
depth = 1
kernel = 7

[data]
spec = "digits"
size = 8
limit = 8
test_limit = 8

[budget]
epochs = 1
batch = 16

[keys]
sets = ["published8"]
counts = [2]
"""
ARMS = ["in full", "own", "random", "matched spectrum", "2 random filters", "2 keys of published8"]
RUNS = 3 * len(ARMS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A plan, a folder in which it was carried out, and what was printed as JSON."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from click.testing import CliRunner

    from filterdb.cli import cli

    folder = tmp_path_factory.mktemp("transfer")
    plan = folder / "tiny.toml"
    plan.write_text(PLAN)
    told = ["transfer", "run", str(plan), "-o", str(folder / "out"), "--jobs", "1",
            "--device", "cpu"]  # fmt: skip
    done = CliRunner().invoke(cli, [*told, "--json"])
    assert done.exit_code == 0, done.output
    return plan, folder / "out", json.loads(done.stdout)


@pytest.fixture
def copied(trained, tmp_path):
    """The same, in a folder of one's own."""
    plan, out, _ = trained
    shutil.copytree(out, tmp_path / "out")
    return plan, tmp_path / "out"


def test_json_has_arms_comparisons_and_coverage(trained):
    _, out, told = trained
    assert [row["arm"] for row in told["table"]] == ARMS
    for row in told["table"]:
        values = list(row["values"].values())
        assert len(values) == row["accuracy"]["n"] == 3
        assert row["accuracy"]["mean"] == pytest.approx(sum(values) / 3)
    assert told["coverage"] == {"planned": RUNS, "done": RUNS, "missing": []}
    assert {one["verdict"] for one in told["comparisons"]} <= {"better", "worse", "not told apart"}
    assert told["folder"] == str(out)
    assert told["settings"]["network"]["width"] == 4


def test_the_folder_has_book_plan_and_result(trained):
    from filterdb.transfer.book import Book
    from filterdb.transfer.plan import read_plan

    plan, out, told = trained
    assert read_plan(out / "effective-plan.toml") == read_plan(plan)
    assert json.loads((out / "result.json").read_text()) == {
        key: value for key, value in told.items() if key != "folder"
    }
    rows = Book(out).rows()
    assert len(rows) == RUNS
    assert {row.status for row in rows} == {"done"}


def test_the_same_command_runs_nothing_twice(copied, trained, run_json):
    from filterdb.transfer.book import Book

    plan, out = copied
    before = Book(out).rows()
    told = run_json("transfer", "run", plan, "-o", out, "--jobs", 1, "--device", "cpu")
    assert Book(out).rows() == before
    assert told["table"] == trained[2]["table"]


def test_more_seeds_go_on_in_the_same_folder(copied, run_json):
    from filterdb.transfer.book import Book

    plan, out = copied
    before = {row.id: row for row in Book(out).rows()}
    longer = out / "longer.toml"
    longer.write_text(plan.read_text().replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    told = run_json("transfer", "run", longer, "-o", out, "--jobs", 1, "--device", "cpu")
    after = {row.id: row for row in Book(out).rows()}
    assert len(after) == told["coverage"]["done"] == RUNS + len(ARMS)
    assert {key: after[key] for key in before} == before


def test_text_shows_arms_verdicts_sentences_coverage_and_budget(copied, trained, run):
    plan, out = copied
    assert run("transfer", "run", plan, "-o", out, "--jobs", 1, "--device", "cpu").exit_code == 0
    done = run("transfer", "show", out, "--all")
    told = trained[2]
    for row in told["table"]:
        line = next(line for line in done.stdout.splitlines() if line.split("  ")[0].strip()
                    == row["arm"])  # fmt: skip
        assert f"{row['accuracy']['mean']:.1%}" in line
    words = " ".join(done.stdout.split())
    for sentence in (*told["sentences"], told["budget"], f"{RUNS} of {RUNS} runs done."):
        assert " ".join(sentence.split()) in words
    for one in told["comparisons"]:
        assert f"{one['control']} {100 * one['difference']:+.1f} " in words
    assert done.stderr == ""


def test_comparisons_that_answer_a_question_stand_together_and_none_is_lost():
    from filterdb.cli.transfer.showing import ALONE, by_question
    from filterdb.transfer.comparing import comparison

    asked = ["overall", "pairs", "pairs", "in all"]
    made = [
        comparison({0: 0.1, 1: 0.2}, arm=f"arm {place}", control="c", question=question)
        for place, question in enumerate(asked)
    ]
    assert by_question(made) == {ALONE: [made[0], made[3]], "pairs": made[1:3]}


def test_failed_runs_are_named_and_the_status_is_3(tmp_path, run, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "training_fails.py").write_text(FAILS)
    monkeypatch.syspath_prepend(tmp_path)
    plan = tmp_path / "no.toml"
    table = 'name = "convmixer"\nwidth = 4\ndepth = 1\nkernel = 7'
    assert table in PLAN
    plan.write_text(PLAN.replace(table, 'name = "training_fails:network"'))
    done = run("transfer", "run", plan, "-o", tmp_path / "out", "--jobs", 1, "--json")
    assert done.exit_code == 3
    coverage = json.loads(done.stdout)["coverage"]
    assert coverage["done"] == 0
    assert {one["status"] for one in coverage["missing"]} == {"failed"}
    monkeypatch.chdir(tmp_path)
    done = run("transfer", "run", plan, "--jobs", 1)
    assert done.exit_code == 3
    assert "kept in transfer-no." in done.stdout
    assert (tmp_path / "transfer-no" / "runs.sqlite").exists()
    assert f"0 of {RUNS} runs done, {RUNS} failed." in done.stdout
    assert "no room for this batch" in done.stdout


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path, run):
    plan = tmp_path / "wrong.toml"
    plan.write_text(PLAN.replace("epochs", "epoch"))
    done = run("transfer", "run", plan, "-o", tmp_path / "out")
    assert isinstance(done.exception, TransferError)
    assert "do you mean 'epochs'" in str(done.exception)
    assert "wrong.toml" in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("experiment", ["layers", "matrix", "architectures", "keys", "size"])
def test_plan_only_prints_a_plan_that_is_the_same_again(experiment, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("transfer", experiment, "--plan-only")
    assert done.exit_code == 0
    assert not list(tmp_path.iterdir())
    plan = tmp_path / "plan.toml"
    plan.write_text(done.stdout)
    again = run("transfer", "run", plan, "--plan-only")
    assert again.stdout == done.stdout
    assert tomllib.loads(done.stdout)["experiment"] == experiment
    told = json.loads(run("transfer", experiment, "--plan-only", "--json").stdout)
    assert told["plan"] == tomllib.loads(done.stdout)
    assert done.stdout.startswith(f"# {told['runs']} runs: {told['arms']} arms, 3 seeds each.\n")
    assert told["runs"] == 3 * told["arms"]


def test_a_setting_changes_its_key_alone(run):
    before = tomllib.loads(run("transfer", "keys", "--plan-only").stdout)
    after = tomllib.loads(
        run("transfer", "keys", "--plan-only", "--seeds", 4, "--data", "my folder/set",
            "--set", "budget.epochs=3", "--set", "keys.counts=[1, 8]",
            "--set", "data.names=['a', 'b']").stdout
    )  # fmt: skip
    before["seeds"] = [0, 1, 2, 3]
    before["data"] |= {"spec": "my folder/set", "names": ["a", "b"]}
    before["budget"]["epochs"] = 3
    before["keys"]["counts"] = [1, 8]
    assert after == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), ""),
        (("--data", "shapes"), "16x16 grey; to change it, e.g. --set data.size=32 --set data.chan"),
        (
            ("--data", "shapes", "--set", "data.size=24"),
            "24x24 grey; to change it, e.g. --set data.c",
        ),
        (("--data", "shapes", "--set", "data.size=24", "--set", "data.channels=3"), ""),
    ],
)
def test_what_images_of_ones_own_are_brought_to_is_said(given, said, run):
    done = run("transfer", "keys", "--plan-only", *given)
    assert done.exit_code == 0
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)
    tomllib.loads(done.stdout)
    assert "16x16 grey" in " ".join(run("transfer", "keys", "--help").stdout.split())


def test_another_network_has_its_own_arguments(run):
    from filterdb.transfer.networks.registry import checked_arguments

    told = run("transfer", "layers", "--network", "mobilenet", "--set", "network.blocks=4",
               "--plan-only")  # fmt: skip
    expected = {"name": "mobilenet", **checked_arguments("mobilenet", {"blocks": 4})}
    assert tomllib.loads(told.stdout)["network"] == expected


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("budget.epochs", "is no KEY=VALUE"),
        ("=3", "is no KEY=VALUE"),
        ("budget..epochs=3", "is no KEY=VALUE"),
        ("experiment.name=3", "experiment is no table"),
    ],
)
def test_a_setting_that_is_none_is_wrong_usage(setting, said, run):
    done = run("transfer", "keys", "--plan-only", "--set", setting)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_setting_is_checked_as_a_plan_is(run):
    done = run("transfer", "keys", "--plan-only", "--set", "keys.count=[1]")
    assert isinstance(done.exception, TransferError)
    assert "do you mean 'counts'" in str(done.exception)
    done = run("transfer", "keys", "--plan-only", "--set", "budget.optimiser=adamm")
    assert isinstance(done.exception, TransferError)
    assert "adamw" in str(done.exception)


def test_a_folder_of_other_things_is_refused(tmp_path, run):
    pytest.importorskip("torch")
    (tmp_path / "letter.txt").write_text("Dear reader")
    done = run("transfer", "keys", "-o", tmp_path)
    assert done.exit_code == 2
    assert "holds other files" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("command", ["keys", "demo"])
def test_without_torch_nothing_is_begun(command, tmp_path, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    done = run("transfer", command, "-o", tmp_path / "out")
    assert isinstance(done.exception, MissingExtraError)
    assert "pip install 'filterdb[transfer]'" in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, run):
    done = run("transfer", command, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert command in run("transfer", "--help").stdout


def test_help_and_plan_only_import_no_torch():
    calls = [["transfer", "--help"], ["transfer", "keys", "--plan-only"]]
    calls += [["transfer", command, "--help"] for command in COMMANDS]
    script = (
        "import sys\nfrom filterdb.cli import cli\n"
        f"for call in {calls!r}:\n    cli.main(call, standalone_mode=False)\n"
        "print({'torch', 'sklearn', 'rich'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_matrix_takes_sets_and_not_data(run):
    done = run("transfer", "matrix", "--data", "imgs", "--plan-only")
    assert done.exit_code == 2
    assert "--set matrix.sets.mine=PATH" in " ".join(done.stderr.split())


def test_a_split_that_does_not_fit_is_named(tmp_path, run):
    pytest.importorskip("torch")
    done = run("transfer", "layers", "--data", "shapes", "-o", tmp_path / "out")
    assert isinstance(done.exception, TransferError)
    assert "--set layers.split=pets=cat,dog" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_runs_of_another_plan_are_told(tmp_path, run):
    pytest.importorskip("torch")
    for width in (4, 8):
        plan = tmp_path / f"{width}.toml"
        plan.write_text(PLAN.replace("width = 4", f"width = {width}"))
        done = run("transfer", "run", plan, "-o", tmp_path / "out", "--jobs", 1)
        assert done.exit_code == 0
        assert (f"{RUNS} runs of another plan" in done.stderr) == (width == 8)
