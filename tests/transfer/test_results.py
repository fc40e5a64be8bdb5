"""Results of made-up runs: verdicts, intervals, and what is said of runs that are missing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from filterdb.errors import TransferError
from filterdb.transfer.comparing import (
    STUDENT,
    Table,
    comparison,
    estimate,
    estimate_share,
    less,
    mean_of,
    tabled,
)
from filterdb.transfer.results import Result, points, read_result
from filterdb.transfer.sentences import sentence, sentences


@dataclass(frozen=True)
class Plain:
    id: str
    arm: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    status: str = "done"
    reason: str | None = None
    accuracy: float | None = None


def table(values: dict[str, list[float | None]], **others: str) -> Table:
    """A table from accuracies by arm and repeat; None is a run that is not in the book."""
    runs, rows = [], []
    for arm, accuracies in values.items():
        for repeat, accuracy in enumerate(accuracies):
            name = f"{arm}-{repeat}"
            runs.append(Plain(name, arm, {"repeat": repeat, "axis": arm}))
            if name in others:
                rows.append(Plain(name, status=others[name], reason=f"why of {name}", accuracy=0.1))
            elif accuracy is not None:
                rows.append(Plain(name, accuracy=accuracy))
    return tabled(runs, rows)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 11, 40])
def test_the_interval_is_students(n: int) -> None:
    values = np.random.default_rng(n).normal(0.7, 0.02, n)
    found = estimate(values)
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (found.mean, found.n) == (pytest.approx(values.mean()), n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))


def test_the_quantiles_are_those_of_scipy() -> None:
    assert pytest.approx(stats.t.ppf(0.975, np.arange(1, 10)), rel=1e-5) == STUDENT


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [estimate(rng.normal(0, 1, 3)) for _ in range(2000)]
    covered = np.mean([one.low < 0 < one.high for one in found])
    assert 0.935 < covered < 0.965


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5, 0.5], [0.3, 0.1 + 0.2]])
def test_no_interval_without_a_spread(values: list[float]) -> None:
    found = estimate(values)
    assert (found.low, found.high, found.n) == (None, None, len(values))
    assert (found.mean is None) == (not values)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.05, 0.06, 0.055], "better"),
        ([-0.05, -0.06, -0.055], "worse"),
        ([0.05, -0.06, 0.01], "not told apart"),
        ([0.05], "not told apart"),
        ([], "not told apart"),
    ],
)
def test_verdicts(differences: list[float], verdict: str) -> None:
    found = comparison(dict(enumerate(differences)), arm="a", control="c", question="q")
    assert (found.verdict, found.n, found.null) == (verdict, len(differences), 0.0)


def test_of_arms_that_do_not_differ_one_in_twenty_is_told_apart() -> None:
    rng = np.random.default_rng(1)
    found = [
        comparison(dict(enumerate(rng.normal(0, 0.01, 3))), arm="a", control="c", question="q")
        for _ in range(1000)
    ]
    assert 0.03 < np.mean([one.verdict != "not told apart" for one in found]) < 0.07


def test_pairs_take_out_what_seeds_have_in_common() -> None:
    control = [0.50, 0.60, 0.70]
    found = table({"a": [0.53, 0.631, 0.729], "c": [*control]}).compare("a", "c", "q", axis=1)
    assert found.verdict == "better"
    assert found.difference == pytest.approx(0.03)
    assert dict(found.labels) == {"axis": 1}
    assert points(found).startswith("+3.0 points (+2.8 to +3.2, 3 pairs)")


def test_a_pair_without_one_run_is_left_out_and_the_run_named() -> None:
    made = table(
        {"a": [0.5, 0.6, 0.7, None], "c": [0.4, 0.51, 0.6, 0.7]},
        **{"c-1": "diverged", "a-2": "failed"},
    )
    found = made.compare("a", "c", "q")
    assert found.n == 1
    assert found.difference == pytest.approx(0.1)
    assert (found.low, found.verdict) == (None, "not told apart")
    assert (made.coverage.planned, made.coverage.done) == (8, 5)
    named = {run.id: (run.status, run.reason, run.repeat) for run in made.coverage.missing}
    assert named == {
        "c-1": ("diverged", "why of c-1", 1),
        "a-2": ("failed", "why of a-2", 2),
        "a-3": ("not run", None, 3),
    }
    assert [made.coverage.count(name) for name in ("diverged", "failed", "not run")] == [1, 1, 1]
    last = sentences(made, [found])[-1]
    assert "3 of 8 runs" in last
    for name in named:
        assert name in last


def test_many_missing_runs_are_counted_in_words_and_all_named_in_the_coverage() -> None:
    made = table({"a": [None] * 14})
    assert "14 of 14 runs" in sentences(made, [])[-1]
    assert "and 4 more" in sentences(made, [])[-1]
    assert len(made.coverage.missing) == 14


def test_what_failed_is_named_before_what_is_still_to_come() -> None:
    made = table({"a": [None] * 14, "b": [0.5]}, **{"b-0": "failed"})
    assert "15 of 15 runs without an accuracy: b, repeat 0" in sentences(made, [])[-1]


@pytest.mark.parametrize("accuracy", [None, math.nan, math.inf])
def test_done_without_a_number_counts_as_failed(accuracy: float | None) -> None:
    run = Plain("r", "a", {"repeat": 0})
    made = tabled([run], [Plain("r", accuracy=accuracy)])
    assert [one.status for one in made.coverage.missing] == ["failed"]
    assert made.rows[0].accuracy.n == 0


def test_rows_of_other_experiments_are_passed_over() -> None:
    made = tabled([Plain("r", "a", {"repeat": 0})], [Plain("r", accuracy=0.5), Plain("x")])
    assert made.rows[0].values == {0: 0.5}
    assert made.rows[0].labels == {}
    assert not made.coverage.missing


def test_differences_and_means_of_common_repeats() -> None:
    first, second = {0: 0.5, 1: 0.75, 2: 1.0}, {1: 0.25, 2: 0.5, 3: 0.0}
    assert less(first, second) == {1: 0.5, 2: 0.5}
    assert mean_of([first, second]) == {1: 0.5, 2: 0.75}


def test_an_arm_that_is_not_there() -> None:
    with pytest.raises(TransferError, match=r"no arm 'b'.*There are: a"):
        table({"a": [0.5]}).values("b")


def test_a_sentence_says_what_is_supported_with_its_interval() -> None:
    made = table(
        {
            "control": [0.50, 0.52, 0.54],
            "same": [0.51, 0.51, 0.545],
            "worse": [0.40, 0.43, 0.44],
            "better": [0.60, 0.62, 0.645],
        }
    )
    found = [made.compare(arm, "control", "asked") for arm in ("same", "worse", "better")]
    text = sentence("asked", found)
    assert text.startswith("asked: a loss is supported in 1 of 3")
    assert "a gain is supported in 1 of 3" in text
    assert "neither loss nor gain is supported for same against control" in text
    for one in found:
        assert points(one) in text  # no claim without its interval
    assert "equal" not in text


def test_of_one_comparison_none_is_the_most() -> None:
    made = table({"c": [0.5, 0.52, 0.54], "a": [0.4, 0.43, 0.44]})
    found = made.compare("a", "c", "asked")
    assert sentence("asked", [found]) == f"asked: a loss is supported for {found}."


def test_what_is_not_told_apart_is_bounded() -> None:
    made = table({"c": [0.5, 0.52, 0.54], "a": [0.51, 0.51, 0.54], "b": [0.5, 0.53, 0.5]})
    found = [made.compare(arm, "c", "asked") for arm in "ab"]
    text = sentence("asked", found)
    low, high = min(one.low for one in found), max(one.high for one in found)
    assert f"a loss of up to {-100 * low:.1f} points and a gain of up to {100 * high:.1f}" in text


def test_nothing_is_said_without_two_pairs() -> None:
    made = table({"a": [0.5, None], "c": [0.1, 0.2]})
    text = sentence("asked", [made.compare("a", "c", "asked")])
    assert text.startswith("asked: nothing can be said without an interval")


def test_the_sentences_say_how_many_would_be_told_apart_by_chance() -> None:
    made = table({"a": [0.5, 0.6], "c": [0.4, 0.6]})
    told = sentences(made, [made.compare("a", "c", f"question {n}") for n in range(40)])
    assert "40 comparisons" in told[40]
    assert "about 2.0" in told[40]
    assert len(told) == 41


def made_up() -> Result:
    """A result with every kind of thing in it."""
    made = table({"a": [0.5, 0.6], "c": [0.4, None], "b": [0.99, 0.97]}, **{"a-1": "diverged"})
    compared = made.compare("b", "a", "q", cut=1, share=0.5)
    settings = {"experiment": "layers", "seeds": [0, 1], "network": {"name": "n", "width": 8}}
    return Result("layers", settings, "b", made.rows, (compared,), ("s",), made.coverage)


def test_everything_goes_into_json() -> None:
    told = json.loads(json.dumps(made_up().to_dict(), allow_nan=False))
    assert told["table"][2]["values"] == {"0": 0.99, "1": 0.97}
    assert told["comparisons"][0]["n"] == 1
    assert {one["id"] for one in told["coverage"]["missing"]} == {"a-1", "c-1"}


def test_and_out_of_it_again() -> None:
    result = made_up()
    told = json.loads(json.dumps(result.to_dict()))
    assert Result.from_dict(told) == result
    assert Result.from_dict({**told, "folder": "somewhere"}) == result
    assert Result.from_dict(told).table[2].values == {0: 0.99, 1: 0.97}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("budget",), 3, "budget = 3 is no string"),
        (("table",), "rows", "table = 'rows'"),
        (("table", 0, "values"), {"one": 0.5}, "table[0].values has the key 'one'"),
        (("table", 0, "values"), {"0": True}, "table[0].values.0 = True is no number"),
        (("table", 0, "values"), {"0": 7.5}, "'a' are not 1 shares"),
        (("table", 0, "accuracy", "mean"), "half", "table[0].accuracy.mean"),
        (("table", 1, "arm"), "a", "stands in the table twice"),
        (("comparisons", 0, "verdict"), "equal", "none of better, worse, not told apart"),
        (("comparisons", 0, "low"), 0.1, "comparisons[0] has half an interval"),
        (("comparisons", 0, "difference"), None, "comparisons[0]"),
        (("coverage", "done"), 1.5, "coverage.done = 1.5 is no whole number"),
        (("coverage",), None, "coverage is no table"),
        (("sentences", 0), ["s"], "sentences[0]"),
    ],
)
def test_a_damaged_result_is_refused_by_its_key(
    place: tuple[str | int, ...], value: object, said: str, tmp_path: Path
) -> None:
    told = json.loads(json.dumps(made_up().to_dict()))
    here = told
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    file = tmp_path / "result.json"
    file.write_text(json.dumps(told))
    with pytest.raises(TransferError) as caught:
        read_result(file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["table", "settings", "coverage", "sentences"])
def test_a_key_that_is_missing_is_named(key: str) -> None:
    told = made_up().to_dict()
    del told[key]
    with pytest.raises(TransferError, match=f"key {key} is missing"):
        Result.from_dict(told)


@pytest.mark.parametrize("text", ["", "{", '{"table": []}', "[1, 2]", "nul", "NaN", "[" * 10_000])
def test_a_foreign_file_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    said = "is no result" if text.startswith(("[1", '{"', "NaN")) else "is no JSON"
    with pytest.raises(TransferError, match=rf"other\.json: this {said}"):
        read_result(file)
    with pytest.raises(TransferError, match="cannot be read"):
        read_result(tmp_path / "nowhere.json")


# Intervals that would pass the ends of what an accuracy can be ------------------------------------


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([0.99, 0.97, 1.0], None, 1.0), ([0.02, 0.0, 0.01], 0.0, None), ([0.1, 0.9], 0.0, 1.0)],
)
def test_an_accuracy_lies_in_0_to_1(
    values: list[float], low: float | None, high: float | None
) -> None:
    whole, cut = estimate(values), estimate_share(values)
    assert cut.cut
    assert cut.mean == whole.mean
    assert cut.low == (whole.low if low is None else low)
    assert cut.high == (whole.high if high is None else high)
    assert whole.low < 0 or whole.high > 1


def test_an_interval_within_the_ends_is_left_and_so_are_differences() -> None:
    assert estimate_share([0.5, 0.51, 0.52]) == estimate([0.5, 0.51, 0.52])
    made = table({"a": [0.95, 0.1, 0.9], "c": [0.05, 0.05, 0.1]})
    found = made.compare("a", "c", "q")
    whole = estimate([0.9, 0.05, 0.8])
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high))
    assert found.high > 1
    assert made.rows[0].accuracy.high == 1
