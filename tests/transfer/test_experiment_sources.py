"""Sources that learnt nothing are named, and data are looked at before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from filterdb.errors import TransferError
from filterdb.transfer.book import Row
from filterdb.transfer.experiments import check_data, result_of, runs_of
from filterdb.transfer.experiments.sources import learnt_nothing
from filterdb.transfer.plan import plan_of
from filterdb.transfer.run import Budget, Data, Run, Start

DATA = Data("digits", 8, 1)
SOURCE = Run("convmixer", DATA, Budget(1), arm="digits in full", labels={"repeat": 2})
TARGET = replace(SOURCE, seed=9, starts=(Start("depthwise", source=SOURCE.id),), arm="target")


@pytest.mark.parametrize(
    ("accuracy", "classes", "nothing"),
    [(0.17, 6, True), (0.21, 6, True), (0.23, 6, False), (0.53, 2, True), (0.56, 2, False),
     (0.014, 100, True), (0.02, 100, False)],
)  # fmt: skip
def test_a_source_that_learnt_nothing_is_named(
    accuracy: float, classes: int, nothing: bool
) -> None:
    row = Row(SOURCE, "done", accuracy=accuracy, classes=classes)
    told = list(learnt_nothing([SOURCE, TARGET], [row, replace(row, run=TARGET)]))
    assert len(told) == nothing
    for sentence in told:
        assert sentence.startswith("The source digits in full learnt next to nothing in 1 of 1 rep")
        assert f"{accuracy:.0%} where guessing has {1 / classes:.0%}" in sentence
        assert sentence.endswith("may be no better than random ones."), "no claim: no interval"


def test_what_guessing_has_is_counted_where_classes_are_of_different_sizes() -> None:
    row = Row(SOURCE, "done", accuracy=0.62, classes=2, guess=0.6)
    (told,) = learnt_nothing([SOURCE, TARGET], [row])
    assert "62% where guessing has 60%" in told


def test_only_sources_that_were_done_are_judged() -> None:
    for row in (Row(SOURCE, "diverged"), Row(TARGET, "done", accuracy=0.1, classes=10)):
        assert not list(learnt_nothing([SOURCE, TARGET], [row]))


def test_a_result_says_so() -> None:
    plan = plan_of({"experiment": "matrix"})
    rows = [
        Row(run, "done", accuracy=0.1 if run.arm == "shapes in full" else 0.8, classes=8)
        for run in runs_of(plan)
    ]
    told = [one for one in result_of(plan, rows).sentences if "next to nothing" in one]
    assert len(told) == 1
    assert "shapes in full learnt next to nothing in 3 of 3 repeats" in told[0]


def test_a_source_of_a_size_is_called_a_source_once() -> None:
    plan = plan_of({"experiment": "size"})
    rows = [Row(run, "done", accuracy=0.1, classes=8) for run in runs_of(plan)]
    told = [one for one in result_of(plan, rows).sentences if "next to nothing" in one]
    assert any(one.startswith("The source at 1/16 learnt next to nothing") for one in told)
    assert not any("source source" in one for one in told)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("1", "11")}, "there is no class '11'.* The classes are: 0, 1, 2, 3"),
        ({"classes": ("1",)}, "one class only, '1'.*two or more of: 0, 1"),
        ({"split": "low=0,1,2,ten"}, "there is no class 'ten'.* The classes are: 0, 1, 2"),
        ({"split": "low=0"}, "one class only, '0'"),
        ({"spec": "nowhere-at-all"}, "nowhere-at-all"),
    ],
)
def test_data_are_looked_at_first(changes: dict[str, object], message: str) -> None:
    pytest.importorskip("sklearn")
    check_data([SOURCE, replace(SOURCE, data=replace(DATA, share=0.5, held_out=0.1))])
    with pytest.raises(TransferError, match=message):
        check_data([SOURCE, replace(SOURCE, data=replace(DATA, **changes))])
