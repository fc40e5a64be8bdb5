"""A run's id stands for its outcome, and says nothing of what it is called."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from filterdb.errors import TransferError
from filterdb.transfer.data import halves, load_splits, only
from filterdb.transfer.run import Budget, Data, Run, Start

DATA = Data("digits", size=8, channels=1)
BASE = Run("convmixer", DATA, Budget(2), {"width": 8, "depth": 2}, seed=3, arm="base")

CHANGES = {
    "network": {"network": "resnet", "arguments": {}},
    "argument": {"arguments": {"width": 8, "depth": 3}},
    "seed": {"seed": 4},
    **{
        f"data {name}": {"data": replace(DATA, **{name: value})}
        for name, value in {
            "spec": "textures", "size": 16, "channels": 3, "classes": ("0", "1"),
            "names": tuple("abcdefghij"), "limit": 5, "test_limit": 5, "split": "halves",
            "share": 0.5, "seed": 1, "mirror": True, "held_out": 0.2,
        }.items()
    },
    "data group": {"data": replace(DATA, split="halves", group="B")},
    **{
        f"budget {name}": {"budget": replace(BASE.budget, **{name: value})}
        for name, value in {
            "epochs": 3, "batch": 64, "rate": 1e-3, "decay": 0.0, "optimiser": "sgd",
            "schedule": "constant", "warmup": 0.0, "augment": False, "steps": 9,
        }.items()
    },
    **{
        f"start {at}": {"starts": (start,)}
        for at, start in enumerate((
            Start("depthwise", source="a"), Start("depthwise", source="b"),
            Start("pointwise", source="a"), Start("depthwise", first=1, source="a"),
            Start("depthwise", source="a", frozen=False),
            Start("depthwise", source="a", how="pool"),
            Start("depthwise", source="a", filters="spectrum"),
            Start("depthwise", filters="random"), Start("depthwise", filters="keys:found3x3:4"),
            Start("depthwise", filters="keys:found3x3:4", content="a"),
            Start("depthwise", filters="keys:found3x3:[1,4]"),
            Start("depthwise", filters="donor:a"), Start("depthwise", filters="donor-spectrum:a"),
            Start("depthwise", filters="random:4"), Start("depthwise", filters="random:8"),
        ))
    },
}  # fmt: skip


def test_every_setting_that_matters_is_in_the_id() -> None:
    ids = {name: replace(BASE, **change).id for name, change in CHANGES.items()}
    assert len({BASE.id, *ids.values()}) == len(CHANGES) + 1


def test_names_and_ways_of_writing_are_not() -> None:
    assert replace(BASE, arm="other", labels={"cut": 3}).id == BASE.id
    written_out = {"depth": 2, "width": 8, "patch": 2, "kernel": 3}
    assert replace(BASE, arguments=written_out).id == BASE.id
    assert replace(BASE, budget=replace(BASE.budget, decay=0)).id == replace(
        BASE, budget=replace(BASE.budget, decay=0.0)
    ).id  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_survives_json(name: str) -> None:
    run = replace(BASE, labels={"cut": 2}, **CHANGES[name])
    again = Run.from_dict(json.loads(json.dumps(run.to_dict())))
    assert again == run
    assert again.id == run.id


def test_the_id_is_the_same_in_another_process() -> None:
    code = (
        "import sys, json; from filterdb.transfer.run import Run; "
        "print(Run.from_dict(json.loads(sys.argv[1])).id, 'torch' in sys.modules)"
    )
    told = json.dumps(BASE.to_dict())
    done = subprocess.run([sys.executable, "-c", code, told], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.split() == [BASE.id, "False"]


def test_data_are_what_the_loaders_give() -> None:
    train, test = load_splits("digits", size=8, channels=1, classes=list("01234"), limit=20)
    own = replace(DATA, classes=tuple("01234"), limit=20).load()
    for mine, theirs in zip(own, (train, test), strict=True):
        assert np.array_equal(mine.images, theirs.images)
        assert mine.classes == theirs.classes


def test_groups_take_classes_apart() -> None:
    even, odd = (
        replace(DATA, split="even=0,2,4,6,8", group=group).load()[0] for group in ("even", "rest")
    )
    assert even.classes == tuple("02468")
    assert odd.classes == tuple("13579")
    whole = DATA.load()[0]
    assert np.array_equal(odd.images, only(whole, list("13579")).images)
    first, second = (replace(DATA, split="halves", group=group).load()[0] for group in "AB")
    assert not set(first.classes) & set(second.classes)
    assert first.classes == halves(whole, seed=0)[0].classes
    with pytest.raises(TransferError, match="Did you mean 'even'"):
        replace(DATA, split="even=0,2", group="evn").load()


def test_ids_of_former_runs_are_what_they_were() -> None:
    """Results that were kept are found again: settings that joined later are not in their ids."""
    assert BASE.id == "a54be0a45aa1c4f0"
    told = BASE.to_dict()
    del told["data"]["mirror"], told["data"]["held_out"]
    assert Run.from_dict(told) == BASE


def test_mirror_images_are_as_is_said() -> None:
    from filterdb.transfer.data import flips

    for mirror, expected in ((None, False), (True, True), (False, False)):
        train, test = replace(DATA, mirror=mirror).load()
        assert flips(train) == flips(test) == expected


def test_what_is_held_out_is_a_part_of_the_training_images() -> None:
    train, _ = DATA.load()
    rest, held_out = replace(DATA, held_out=0.2).load()
    assert len(rest) + len(held_out) == len(train)
    assert abs(len(held_out) / len(train) - 0.2) < 0.01
    pixels = [{image.tobytes() for image in part.images} for part in (train, rest, held_out)]
    assert pixels[1] | pixels[2] == pixels[0]
    assert len(pixels[1] & pixels[2]) < 5  # a few digits are drawn alike


def test_a_share_is_of_the_training_images_alone() -> None:
    train, test = DATA.load()
    less, same = replace(DATA, share=0.25).load()
    assert len(same) == len(test)
    assert abs(len(less) / len(train) - 0.25) < 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(0), "1 or more"),
        (lambda: Budget(1, optimiser="adam"), "adamw, sgd"),
        (lambda: Budget(1, warmup=2), "share in 0..1"),
        (lambda: Start("depthwise"), "needs source"),
        (lambda: Start("depthwise", filters="spectrum"), "needs source"),
        (lambda: Start("depthwise", filters="random", source="a"), "takes no source"),
        (lambda: Start("depthwise", filters="noise"), "random, random:k"),
        (lambda: Start("depthwise", filters="random:0"), "k of 1 to 4,096"),
        (lambda: Start("depthwise", filters="random:"), "k of 1 to 4,096"),
        (lambda: Start("depthwise", filters="random:x"), "k of 1 to 4,096"),
        (lambda: Start("depthwise", filters="random:3", source="a"), "takes no source"),
        (lambda: Start("depthwise", source="a", how="near"), "depth, pool"),
        (lambda: Data("digits", 8, 1, group="rest"), "no split"),
        (lambda: replace(BASE, network="convmxer"), "convmixer"),
        (
            lambda: replace(BASE, starts=(Start("all", source="a"), Start("all", source="b"))),
            "given filters twice",
        ),
    ],
)
def test_what_cannot_be_meant_is_said(make, message: str) -> None:
    with pytest.raises(TransferError, match=message):
        make()


def test_the_budget_counts_steps() -> None:
    assert Budget(3, batch=100).total(250) == 6
    assert Budget(3, batch=100).total(20) == 3
    assert Budget(3, batch=100, steps=7).total(250) == 7
    assert Budget(1).sentence().startswith("1 epoch of 128 images")
    assert Budget(1, batch=1, steps=1).sentence().startswith("1 step of 1 image,")
    assert Budget(3).sentence().startswith("3 epochs of 128 images, adamw at 0.002 (cosine")
