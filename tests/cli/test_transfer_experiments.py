"""``transfer architectures|donors|removal``, and plans that cannot be meant, untrained."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

import filterdb
from filterdb.errors import FilterDBError

ZOO = Path(filterdb.__file__).parent / "demo" / "zoo"
MOBILENET, CONVMIXER, CNN = (
    ZOO / f"{name}.safetensors" for name in ("mobilenet-shapes", "convmixer-textures", "cnn-digits")
)
TINY = [f"--set={told}" for told in (
    "network.width=4", "network.depth=1", "data.size=8", "data.limit=8", "data.test_limit=8",
    "budget.epochs=1", "budget.batch=16",
)]  # fmt: skip


@pytest.fixture
def database(tmp_path):
    made = filterdb.open(tmp_path / "db")
    made.ingest([MOBILENET, CONVMIXER])
    return made.path


def test_donors_of_files_and_databases(database, run):
    done = run("transfer", "donors", "--donor", MOBILENET, "--donor", database,
               "--where", "conv_depth_norm > 0.5", "--plan-only")  # fmt: skip
    assert done.exit_code == 0
    assert tomllib.loads(done.stdout)["donors"]["sources"] == {
        "mobilenet-shapes": {"path": str(MOBILENET)},
        "db": {"path": str(database), "where": "conv_depth_norm > 0.5"},
    }
    assert done.stdout.startswith("# 42 runs: 14 arms, 3 seeds each.\n")


def test_a_donor_is_frozen_and_told_of(tmp_path, run_json):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    told = run_json("transfer", "donors", "--donor", MOBILENET, "-o", tmp_path / "out", "--jobs", 1,
                    "--device", "cpu", "--set=donors.how=['pool']", *TINY)  # fmt: skip
    assert told["coverage"]["done"] == 3 * 6
    assert {row["arm"] for row in told["table"]} == {
        "in full", "random", "own from the pool", "spectrum of own from the pool",
        "mobilenet-shapes from the pool", "spectrum of mobilenet-shapes from the pool",
    }  # fmt: skip
    assert any("mobilenet-shapes: " in one and "in 4 layers of 1 network" in one
               for one in told["sentences"])  # fmt: skip


def test_removal_goes_on_until_few_are_left(tmp_path, run_json, run):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    given = ["transfer", "removal", "-o", tmp_path / "out", "--jobs", 1, "--device", "cpu",
             "--set=removal.start=3", "--set=removal.down_to=1", *TINY]  # fmt: skip
    told = run_json(*given)
    assert {row["arm"] for row in told["table"]} >= {"3 keys kept", "2 keys kept", "1 key kept"}
    assert told["coverage"]["missing"] == []
    assert run_json(*given)["table"] == told["table"]
    assert "More runs follow" in run(*given, "--plan-only").stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["donors"], "names no donor"),
        (["donors", "--donor", str(CNN)], "has no depthwise layers"),
        (["donors", "--donor", str(CONVMIXER)], "layers of 3x3. It has 7x7 (4 layers)"),
        (["donors", "--donor", "nowhere.pth"], "nowhere.pth"),
        (["donors", "--donor", str(MOBILENET), "--network", "resnet"], "separable = true it has"),
        (["architectures", "--set", "architectures.sources.mobilenet={kernel=5}"], "are 5x5"),
        (["architectures", "--set", "architectures.sources.mobilnet={}"], "mean 'mobilenet'"),
        (["architectures", "--set", "architectures.sources.mobilenet.widht=4"], "mean 'width'"),
        (["keys", "--set", "network.kernel=5"], "published8 are 7x7"),
        (["keys", "--set", "keys.sets=['published']"], "Did you mean 'published8'"),
        (["removal", "--set", "removal.downto=4"], "do you mean 'down_to'"),
        (["removal", "--set", "network.kernel=3"], "published8 are 7x7"),
        (["matrix", "--set", "matrix.sets.digits={spce='digits'}"], "mean 'spec'"),
        (["size", "--set", "size.source.spce=digits"], "mean 'spec'"),
        (["size", "--set", "budget.epochs=4"], "no effect in size"),
        (["layers", "--set", "layers.contrast_arguments.widht=4"], "mean 'width'"),
        (["layers", "--set", "network.kernel=4"], "take an odd number"),
        (["keys", "--set", "data.clases=['1', '2']"], "mean 'classes'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_said_before_a_plan_is_printed(given, said, run):
    done = run("transfer", *given, "--plan-only")
    assert isinstance(done.exception, FilterDBError)
    assert said in str(done.exception)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["keys", "--set", "data.classes=['1', '11']"], "no class '11'"),
        (["keys", "--set", "data.classes=['1', '11']"], "The classes are: 0, 1, 2, 3"),
        (["keys", "--set", "data.classes=['1']"], "one class only"),
        (["layers", "--set", "layers.split=low=0,1,ten"], "no class 'ten'"),
        (
            ["matrix", "--set", "matrix.sets.digits={spec='digits', classes=['x', 'y']}"],
            "no class 'x'",
        ),
        (["keys", "--data", "digit"], "Did you mean 'digits'"),
    ],
)
def test_data_that_are_not_there_are_said_before_anything_is_trained(given, said, run, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    done = run("transfer", *given, "-o", tmp_path / "out")
    assert isinstance(done.exception, FilterDBError)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_condition_without_a_database_is_wrong_usage(run):
    done = run("transfer", "donors", "--donor", MOBILENET, "--where", "TRUE", "--plan-only")
    assert done.exit_code == 2
    assert "no --donor is one" in done.stderr


def test_the_plan_of_removal_is_the_same_again(tmp_path, run):
    plan = tmp_path / "plan.toml"
    plan.write_text(run("transfer", "removal", "--plan-only").stdout)
    assert run("transfer", "run", plan, "--plan-only").stdout == plan.read_text()
    told = json.loads(run("transfer", "removal", "--plan-only", "--json").stdout)
    assert told["plan"]["removal"] == {"set": "published8", "down_to": 4, "held_out": 0.2}
