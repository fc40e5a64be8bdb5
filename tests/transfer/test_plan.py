"""Plans: what TOML says, what it leaves out, and what is wrong with it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filterdb.errors import TransferError
from filterdb.keys.key_set import KeySet
from filterdb.keys.sets.set_file import save_keys
from filterdb.transfer.experiments import EXPERIMENTS, runs_of
from filterdb.transfer.options import OPTIONS
from filterdb.transfer.plan import plan_of, read_plan

FULL = """
experiment = "layers"
seeds = [3, 4, 5, 6]
[network]
name = "convmixer"
depth = 6
[data]
spec = "cifar"
size = 32
channels = 3
classes = ["a", "b", "c", "d"]
limit = 100
[budget]
epochs = 4
rate = 1
[layers]
split = "one=a,b"
parts = ["depthwise"]
cuts = [2, 6]
"""


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(FULL, encoding="utf-8")
    return path


def test_a_plan_says_what_is_in_the_file(plan_file: Path) -> None:
    plan = read_plan(plan_file)
    assert (plan.experiment, plan.seeds) == ("layers", (3, 4, 5, 6))
    assert plan.network == "convmixer"
    assert plan.arguments == {"depth": 6, "width": 48, "kernel": 3, "patch": 2}
    assert (plan.data.size, plan.data.classes) == (32, ("a", "b", "c", "d"))
    assert (plan.budget.epochs, plan.budget.rate) == (4, 1.0)
    assert (plan.options.cuts, plan.options.parts) == ((2, 6), ("depthwise",))
    assert plan.options.random


def test_every_experiment_has_a_plan_and_a_module() -> None:
    assert set(OPTIONS) == set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", OPTIONS)
def test_the_effective_plan_is_the_same_plan(experiment: str) -> None:
    plan = plan_of({"experiment": experiment})
    again = plan_of(tomllib.loads(plan.to_toml()))
    assert again == plan
    assert again.to_toml() == plan.to_toml()
    if experiment == "donors":
        with pytest.raises(TransferError, match="names no donor"):
            runs_of(plan)
        return
    assert [run.id for run in runs_of(again)] == [run.id for run in runs_of(plan)]


def test_odd_names_are_written_so_that_toml_reads_them() -> None:
    spec = 'a "quoted" \\ päth\x7f\n'
    told = {"experiment": "matrix", "matrix": {"sets": {"ä b": spec, "c.d": {"spec": "x"}}}}
    plan = plan_of(told)
    assert plan_of(tomllib.loads(plan.to_toml())) == plan


def test_a_budget_of_ones_own_is_not_mixed_with_the_default() -> None:
    plan = plan_of({"experiment": "layers", "budget": {"epochs": 3}})
    assert (plan.budget.epochs, plan.budget.batch) == (3, 128)


def test_a_set_differs_from_the_data_in_what_it_says() -> None:
    plan = plan_of({
        "experiment": "matrix",
        "data": {"limit": 50, "size": 24},
        "matrix": {"sets": {"one": "p.npz", "two": {"spec": "q", "limit": 7}}},
    })  # fmt: skip
    data = {run.labels["target"]: run.data for run in runs_of(plan)}
    assert (data["one"].spec, data["one"].limit, data["one"].size) == ("p.npz", 50, 24)
    assert (data["two"].spec, data["two"].limit, data["two"].size) == ("q", 7, 24)


def test_epochs_say_nothing_beside_steps() -> None:
    """They are neither shown nor in the ids."""
    one, other = (
        plan_of({"experiment": "matrix", "budget": {"steps": 9, **more}})
        for more in ({}, {"epochs": 3})
    )
    assert one == other
    assert "epochs" not in one.to_dict()["budget"]
    assert [run.id for run in runs_of(one)] == [run.id for run in runs_of(other)]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "experiment is missing.*layers, matrix"),
    ({"experiment": "layer"}, "'layer' is no experiment.*do you mean 'layers'"),
    ({"experiment": 3}, "'3' is no experiment"),
    ({"experiment": "layers", "budgett": {}}, "'budgett'.*do you mean 'budget'"),
    ({"experiment": "layers", "matrix": {}}, "'matrix' is no key of a plan"),
    ({"experiment": "layers", "budget": {"epoch": 3}}, "'epoch'.*'epochs'.*There are epochs"),
    ({"experiment": "layers", "budget": {"epochs": 0}}, r"\[budget\].*0 epochs"),
    ({"experiment": "layers", "budget": {"epochs": True}}, "budget.epochs = True is no whole"),
    ({"experiment": "layers", "budget": {"epochs": 1.5}}, "budget.epochs = 1.5 is no whole"),
    ({"experiment": "layers", "budget": {"steps": "x"}}, "budget.steps = 'x' is no whole"),
    ({"experiment": "layers", "budget": {"augment": 1}}, "budget.augment = 1 is no truth"),
    ({"experiment": "layers", "budget": {"optimiser": "adam"}}, "no optimiser 'adam'.*adamw"),
    ({"experiment": "layers", "budget": 3}, "budget = 3 is no table"),
    ({"experiment": "layers", "data": {"sise": 3}}, r"key of \[data\].*'size'"),
    ({"experiment": "layers", "data": {"group": "x"}}, r"\[data\].*no split"),
    ({"experiment": "layers", "data": {"classes": "cat"}}, "data.classes = 'cat' is no list"),
    ({"experiment": "layers", "network": {"name": "convmixr"}}, "do you mean 'convmixer'"),
    ({"experiment": "layers", "network": {"widht": 3}}, r"\[network\].*do you mean 'width'"),
    ({"experiment": "layers", "network": {"name": 3}}, "network.name = 3 is no string"),
    ({"experiment": "layers", "layers": {"cut": [1]}}, "'cut'.*'cuts'"),
    ({"experiment": "layers", "layers": {"cuts": [0]}}, "layers.cuts is 1 or more"),
    ({"experiment": "layers", "layers": {"cuts": ["a"]}}, "layers.cuts = 'a' is no whole"),
    ({"experiment": "layers", "layers": {"parts": ["dephtwise"]}}, "do you mean 'depthwise'"),
    ({"experiment": "layers", "layers": {"parts": []}}, "layers.parts"),
    ({"experiment": "layers", "layers": {"contrast": "resnt"}}, "do you mean 'resnet'"),
    ({"experiment": "layers", "seeds": [1, 2]}, "seeds = .*3 different"),
    ({"experiment": "layers", "seeds": [1, 2, 2]}, "seeds = .*3 different"),
    ({"experiment": "layers", "seeds": [1, 2, 3, 3]}, "seeds = .*different"),
    ({"experiment": "layers", "seeds": [1, 2, -3]}, "seeds = .*lies in"),
    ({"experiment": "layers", "seeds": 3}, "seeds = 3 is no list"),
    ({"experiment": "matrix", "matrix": {"sets": {"a": "a"}}}, "fewer than two sets"),
    ({"experiment": "matrix", "matrix": {"sets": {"a": "x", "b": "x"}}}, "b and .*a are the same"),
    ({"experiment": "matrix", "matrix": {"sets": {"a": "x", "b": {"spek": ""}}}},
     r"matrix.sets.b.*do you mean 'spec'"),
    ({"experiment": "matrix", "matrix": {"sets": {"a": "x", "b": 3}}}, "sets.b = 3 is no table"),
    ({"experiment": "keys", "keys": {"counts": [0]}}, "keys.counts"),
    ({"experiment": "keys", "keys": {"sets": []}}, "keys.sets"),
    ({"experiment": "size", "size": {"shares": [0.5, 2]}}, "size.shares"),
    ({"experiment": "size", "size": {"shares": []}}, "size.shares"),
    ({"experiment": "size", "size": {"source": {"specc": 1}}}, "size.source.*'spec'"),
    ({"experiment": "size", "budget": {"epochs": 3}}, "budget.steps is missing"),
    ({"experiment": "size", "budget": {"epochs": 3, "steps": 9}}, "epochs has no effect in size"),
    ({"experiment": "architectures", "architectures": {"how": []}}, "architectures.how is a list"),
    ({"experiment": "architectures", "architectures": {"how": ["deepth"]}}, "do you mean 'depth'"),
    ({"experiment": "donors", "donors": {"source": {}}}, "do you mean 'sources'"),
    ({"experiment": "removal", "removal": {"down_to": 0}}, "removal.down_to is 1 or more"),
    ({"experiment": "removal", "removal": {"held_out": 1.0}}, "held_out a share between"),
    ({"experiment": "layers", "data": {"mirror": "yes"}}, "data.mirror = 'yes' is no truth"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "message"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_named_with_the_file(told: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferError, match=message) as caught:
        plan_of(told, source="my/plan.toml")
    assert str(caught.value).startswith("my/plan.toml: ")


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("experiment = ")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, message in (
        (tmp_path / "none.toml", "cannot be read"), (tmp_path, "cannot be read"),
        (bad, "no TOML"), (binary, "no TOML"),
    ):  # fmt: skip
        with pytest.raises(TransferError, match=message) as caught:
            read_plan(path)
        assert str(path) in str(caught.value)


def test_the_plans_of_the_documentation_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = sorted((Path(__file__).parents[2] / "docs" / "plans").glob("*.toml"))
    assert plans
    monkeypatch.chdir(tmp_path)
    sixteen = KeySet("keys16", np.random.default_rng(0).normal(size=(16, 7, 7)))
    save_keys(sixteen, tmp_path / "keys16.safetensors")  # as `keys find --k 16` writes them
    counts = {path.stem: len(runs_of(read_plan(path))) for path in plans}
    said = {"layers-cifar": 93, "matrix": 189, "keys-cifar": 90}  # as the page does
    assert counts == said | {"layers-tuned-cifar": 51}
