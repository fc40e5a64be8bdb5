"""Experiments with made-up accuracies: which runs there are, and what is concluded from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filterdb
from filterdb import keys as keysets
from filterdb.errors import TransferError
from filterdb.transfer.experiments import more_of, result_of, runs_of
from filterdb.transfer.experiments.layers import cuts_of, layers_in, network_of
from filterdb.transfer.options import OPTIONS
from filterdb.transfer.plan import Plan, plan_of
from filterdb.transfer.results import Comparison, Result
from filterdb.transfer.run import Run


@dataclass(frozen=True)
class Plain:
    id: str
    status: str = "done"
    reason: str | None = None
    accuracy: float | None = None


DONOR = Path(filterdb.__file__).parent / "demo" / "zoo" / "mobilenet-shapes.safetensors"


def planned(experiment: str, **tables: Any) -> Plan:
    if experiment == "donors":
        tables = {"donors": {"sources": {"zoo": str(DONOR)}}, **tables}
    return plan_of({"experiment": experiment, **tables})


def done(plan: Plan, effect: Callable[[Run], float], *, noise: float = 0.002) -> list[Plain]:
    """Rows with an effect of each run, an effect of each repeat that pairing takes out, noise."""
    rng = np.random.default_rng(7)
    common = dict(zip(plan.seeds, rng.normal(0, 0.05, len(plan.seeds)), strict=True))
    rows: list[Plain] = []
    some = runs_of(plan)
    while some:
        rows += [
            Plain(run.id, accuracy=0.6 + common[run.labels["repeat"]] + effect(run)
                  + rng.normal(0, noise))
            for run in some
        ]  # fmt: skip
        some = more_of(plan, rows)
    return rows


def asked(result: Result, words: str) -> list[Comparison]:
    found = [one for one in result.comparisons if words in one.question]
    assert found, [one.question for one in result.comparisons]
    return found


@pytest.mark.parametrize(
    ("experiment", "tables", "count"),
    [
        ("layers", {}, 3 * (2 * 2 + 3 * 4 * 5)),  # two networks' A and B; parts, cuts, arms
        ("layers", {"layers": {"parts": ["depthwise"], "cuts": [1, 3]}, "seeds": [1, 2, 3, 4]},
         4 * (2 + 2 * 5)),
        ("layers", {"layers": {"parts": ["depthwise", "pointwise"], "fine_tuned": False,
                               "random": False}}, 3 * (2 + 2 * 4 * 2)),
        ("matrix", {}, 3 * (3 + 3 * (3 + 1))),
        ("keys", {}, 3 * (4 + 2 * 4 + 5)),  # of 8 keys there are no 16, of random filters there are
        ("architectures", {}, 3 * (2 + 2 + 2 * 3)),  # two sources; three networks' by two ways
        ("architectures", {"architectures": {"sources": {"small": {"name": "convmixer"}},
                                             "how": ["pool"]}}, 3 * (2 + 1 + 2)),
        ("donors", {}, 3 * (2 + 2 * 4)),
        ("donors", {"donors": {"sources": {"a": str(DONOR)}, "scrambled": False,
                               "how": ["depth"]}}, 3 * (2 + 1 * (2 + 1))),
        ("removal", {}, 3 * (3 + 2 * 4 + 8)),  # the first round only
        ("size", {}, 3 * (3 + 2 * 5)),
    ],
)  # fmt: skip
def test_how_many_runs(experiment: str, tables: dict[str, Any], count: int) -> None:
    runs = runs_of(planned(experiment, **tables))
    assert len(runs) == len({run.id for run in runs}) == count


@pytest.mark.parametrize("experiment", OPTIONS)
def test_sources_come_before_those_that_need_them(experiment: str) -> None:
    done_before: set[str] = set()
    needing = 0
    for run in runs_of(planned(experiment)):
        assert set(run.sources) <= done_before
        needing += bool(run.sources)
        done_before.add(run.id)
    assert needing


@pytest.mark.parametrize("experiment", OPTIONS)
def test_every_arm_has_the_same_budget_and_every_seed(experiment: str) -> None:
    plan = planned(experiment)
    runs = runs_of(plan)
    assert {run.budget for run in runs} == {plan.budget}
    repeats: dict[str, list[int]] = {}
    for run in runs:
        repeats.setdefault(run.arm, []).append(run.labels["repeat"])
    assert set(map(tuple, repeats.values())) == {plan.seeds}
    assert plan.budget.sentence() in result_of(plan, []).budget


@pytest.mark.parametrize("experiment", OPTIONS)
def test_networks_that_take_filters_have_other_random_weights(experiment: str) -> None:
    runs = {run.id: run for run in runs_of(planned(experiment))}
    for run in runs.values():
        for source in run.sources:
            assert runs[source].seed != run.seed
            assert runs[source].labels["repeat"] == run.labels["repeat"]
            same = (runs[source].network, runs[source].arguments) == (run.network, run.arguments)
            assert same or experiment == "architectures"


@pytest.mark.parametrize("experiment", OPTIONS)
def test_every_comparison_is_of_arms_of_the_table_with_an_interval(experiment: str) -> None:
    plan = planned(experiment)
    rows = done(plan, lambda _: 0.0)
    result = result_of(plan, rows)
    arms = {row.arm for row in result.table}
    plain = [one for one in result.comparisons if one.arm in arms and one.control in arms]
    assert len(plain) > len(result.comparisons) / 2
    for one in result.comparisons:
        assert one.arm != one.control
        assert (one.n, one.null) == (3, 0.0)
        assert one.low < one.difference < one.high
    assert result.coverage.done == result.coverage.planned == len(rows)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["experiment"] == experiment


@pytest.mark.parametrize("experiment", OPTIONS)
def test_without_an_effect_hardly_anything_is_told_apart(experiment: str) -> None:
    plan = planned(experiment, seeds=list(range(5)))
    result = result_of(plan, done(plan, lambda _: 0.0))
    told = [one for one in result.comparisons if one.verdict != "not told apart"]
    assert len(told) <= 0.15 * len(result.comparisons)


@pytest.mark.parametrize("experiment", OPTIONS)
def test_missing_runs_are_named(experiment: str) -> None:
    plan = planned(experiment)
    rows = done(plan, lambda _: 0.0)
    rows[0] = Plain(rows[0].id, "diverged", "the loss is not finite", accuracy=0.1)
    rows[1] = Plain(rows[1].id, "failed", "no space")
    gone = rows.pop()
    result = result_of(plan, rows)
    named = {run.id: run.status for run in result.coverage.missing}
    assert named == {rows[0].id: "diverged", rows[1].id: "failed", gone.id: "not run"}
    (text,) = [told for told in result.sentences if "without an accuracy" in told]
    assert all(name in text for name in named)
    assert any(one.n == 2 for one in result.comparisons)


def test_layers_tell_depthwise_from_pointwise() -> None:
    """The paper's outcome, planted: pointwise filters from A cost more with every layer."""
    plan = planned("layers")
    rows = done(
        plan, lambda run: -0.05 * run.labels["cut"]
        if run.arm.startswith("pointwise A") and not run.arm.endswith("+") else 0.0
    )  # fmt: skip
    result = result_of(plan, rows)
    for one in asked(result, "pointwise filters from A, frozen, against B's own"):
        assert one.verdict == "worse"
        assert one.difference == pytest.approx(-0.05 * one.labels["cut"], abs=0.01)
        assert (one.arm, one.control) == (f"pointwise A{one.labels['cut']}B",
                                          f"pointwise B{one.labels['cut']}B")  # fmt: skip
    for one in asked(result, "depthwise against pointwise"):
        assert one.verdict == "better"
        assert one.difference == pytest.approx(0.05 * one.labels["cut"], abs=0.01)
    told = [one.verdict for one in asked(result, "depthwise filters from A")]
    assert told.count("not told apart") >= len(told) - 3
    assert "a loss is supported in 4 of 4" in next(
        text for text in result.sentences
        if text.startswith("pointwise filters from A, frozen, against B's own")
    )  # fmt: skip


def test_the_arms_of_the_layers_are_what_they_are_called() -> None:
    plan = planned("layers", layers={"parts": ["depthwise"], "cuts": [3], "split": "low=0,1,2"})
    runs = {run.arm: run for run in runs_of(plan) if run.labels["repeat"] == 0}
    a, b = runs["convmixer A"], runs["convmixer B"]
    assert (a.data.group, b.data.group) == ("low", "rest")
    expected = {"A3B": (a.id, True), "B3B": (b.id, True), "A3B+": (a.id, False),
                "B3B+": (b.id, False), "R3B": (None, True)}  # fmt: skip
    assert {f"depthwise {name}" for name in expected} == set(runs) - {a.arm, b.arm}
    for name, (source, frozen) in expected.items():
        run = runs[f"depthwise {name}"]
        (start,) = run.starts
        assert (start.part, start.first, start.source, start.frozen) == (
            "depthwise", 3, source, frozen,
        )  # fmt: skip
        assert run.data == b.data
        assert run.labels["kind"] == name.replace("3", "n")


def test_two_groups_and_halves() -> None:
    for split, names in (("x=1,2;y=3,4", ("x", "y")), ("halves", ("A", "B"))):
        plan = planned("layers", layers={"parts": ["depthwise"], "split": split})
        found = {run.arm: run.data.group for run in runs_of(plan)}
        assert (found["convmixer A"], found["convmixer B"]) == names
    with pytest.raises(TransferError, match="3 groups"):
        runs_of(planned("layers", layers={"split": "x=1,2;y=3,4;z=5,6"}))


def test_cuts_lie_at_the_same_shares_of_every_part() -> None:
    plan = planned("layers", network={"name": "convmixer", "depth": 8}, layers={"cuts": [2, 8]})
    assert cuts_of(plan) == {
        "depthwise": ((0.25, 2), (1.0, 8)),
        "pointwise": ((0.25, 2), (1.0, 8)),
        "regular": ((0.25, 3), (1.0, 13)),  # the 13 layers of the ResNet
    }


def test_regular_filters_of_two_resnets_have_bases_of_their_own() -> None:
    plan = planned("layers", network={"name": "resnet", "separable": True})
    runs = runs_of(plan)
    assert len(runs) == len({run.id for run in runs}) == 3 * (2 * 2 + 3 * 4 * 5)
    arms = {run.arm for run in runs if not run.starts}
    assert arms == {"resnet A", "resnet B", "resnet for regular filters, A",
                    "resnet for regular filters, B"}  # fmt: skip
    assert not result_of(plan, done(plan, lambda _: 0.0)).coverage.missing


def test_a_network_of_few_layers_has_fewer_cuts() -> None:
    plan = planned("layers", network={"name": "convmixer", "depth": 2},
                   layers={"parts": ["depthwise"]})  # fmt: skip
    assert {run.labels["cut"] for run in runs_of(plan) if run.starts} == {1, 2}
    result = result_of(plan, done(plan, lambda _: 0.0))
    assert len(asked(result, "depthwise filters from A, frozen, against B's own")) == 2


def test_layers_that_are_not_there() -> None:
    with pytest.raises(TransferError, match="has no depthwise layers"):
        runs_of(planned("layers", network={"name": "resnet"}))
    with pytest.raises(TransferError, match="there are 4 depthwise layers"):
        runs_of(planned("layers", layers={"cuts": [5]}))
    own = {"network": {"name": "mine:net"}}
    with pytest.raises(TransferError, match=r"say in layers\.cuts"):
        runs_of(planned("layers", **own))
    plan = planned("layers", **own, layers={"parts": ["depthwise"], "cuts": [1, 2]})
    assert {run.labels["cut"] for run in runs_of(plan) if run.starts} == {1, 2}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("convmixer", {}), ("convmixer", {"patch": 1}), ("convnext", {"stages": 2}),
        ("convnext", {"patch": 1}), ("mobilenet", {}), ("mobilenet", {"expansion": 1}),
        ("resnet", {}), ("resnet", {"separable": True}),
    ],
)  # fmt: skip
def test_layers_are_counted_as_the_networks_have_them(name: str, arguments: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    from filterdb.transfer.networks.building import build
    from filterdb.transfer.parts import part_of

    model = build(name, classes=4, channels=3, size=16, width=4, **arguments)
    for part in ("depthwise", "pointwise", "regular", "all"):
        assert layers_in((name, {"width": 4, **arguments}), part) == len(part_of(model, part))


def test_the_matrix_tells_foreign_filters_from_random_ones() -> None:
    plan = planned("matrix")
    result = result_of(
        plan, done(plan, lambda run: -0.1 if run.labels["source"] == "random" else 0.0)
    )
    overall = {one.question: one for one in asked(result, "on average over all pairs")}
    assert [one.verdict for one in overall.values()] == [
        "not told apart", "better", "not told apart", "better",
    ]  # fmt: skip
    foreign = next(iter(overall.values()))
    values = {row.arm: row.values for row in result.table}
    names = ["digits", "shapes", "textures"]
    expected = np.mean([
        values[f"{source} -> {target}"][repeat] - values[f"{target} -> {target}"][repeat]
        for repeat in plan.seeds for source in names for target in names if source != target
    ])  # fmt: skip
    assert foreign.difference == pytest.approx(expected)
    pairs = asked(result, "against random ones, pair by pair")
    assert len(pairs) == 6
    assert {one.verdict for one in pairs} == {"better"}
    assert all(one.difference == pytest.approx(0.1, abs=0.01) for one in pairs)


def test_the_matrix_trains_each_cell_on_its_target() -> None:
    plan = planned("matrix")
    runs = {run.id: run for run in runs_of(plan)}
    for run in runs.values():
        assert run.data.spec == run.labels["target"]
        for start in run.starts:
            assert start.frozen
            assert (start.part, start.first) == ("depthwise", None)
            if start.source:
                assert runs[start.source].data.spec == run.labels["source"]


def test_keys_are_held_against_learnt_and_random_filters() -> None:
    plan = planned("keys")
    effect = {"random": -0.1, "matched spectrum": -0.05, "few random": -0.03}

    def of(run: Run) -> float:
        known = run.labels["filters"] not in ("few random", "random")
        return (-0.2 if known and run.labels.get("k") == 1 else
                effect.get(run.labels["filters"], 0.0))  # fmt: skip

    result = result_of(plan, done(plan, of))
    for name in ("published8", "found7x7"):
        found = {one.labels["k"]: one for one in asked(result, f"{name}, frozen, against own")}
        assert found[1].verdict == "worse"
        assert found[8].difference == pytest.approx(0.0, abs=0.01)
        found = {one.labels["k"]: one for one in asked(result, f"{name}, frozen, against random")}
        assert [found[k].verdict for k in (1, 8)] == ["worse", "better"]
        few = asked(result, f"{name}, frozen, against as many random")
        for one in few:
            k = one.labels["k"]
            assert one.control == ("1 random filter" if k == 1 else f"{k} random filters")
            assert one.difference == pytest.approx(-0.17 if k == 1 else 0.03, abs=0.01)
        assert result.comparisons.index(few[0]) < result.comparisons.index(found[1])
    assert "as many random" in result.comparisons[0].question
    assert {one.labels["k"] for one in asked(result, "a few random")} == {1, 2, 4, 8, 16}
    assert any("published8 has 8 keys: 16 of them" in text for text in result.sentences)


def test_keys_have_to_fit() -> None:
    with pytest.raises(TransferError, match=r"published8 are 7x7, the filters .* 3x3"):
        runs_of(planned("keys", network={"name": "convmixer"}))
    with pytest.raises(TransferError, match="published8 has no more than 8"):
        runs_of(planned("keys", keys={"counts": [9]}))
    plan = planned("keys", network={"name": "resnet", "separable": True},
                   keys={"sets": ["found3x3"]})  # fmt: skip
    filters = {run.starts[0].filters for run in runs_of(plan) if "k" in run.labels}
    assert filters == {f"keys:found3x3:{k}" for k in (1, 2, 4, 8)} | {
        f"random:{k}" for k in (1, 2, 4, 8, 16)
    }


def test_a_file_of_more_keys_gives_more(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    many = np.random.default_rng(0).normal(size=(16, 7, 7))
    keysets.save(keysets.KeySet("mine", many), path)
    plan = planned("keys", keys={"sets": [str(path)], "counts": [8, 16]})
    assert {run.arm for run in runs_of(plan) if run.labels.get("k") == 16} == {
        f"16 keys of {path}", "16 random filters",
    }  # fmt: skip
    result = result_of(plan, done(plan, lambda _: 0.0))
    assert {one.labels["k"] for one in asked(result, "as many random")} == {8, 16}
    assert not any("could not be tried" in text for text in result.sentences)


def test_size_finds_the_trend() -> None:
    plan = planned("size")
    result = result_of(plan, done(plan, lambda run: 0.02 * np.log2(run.labels.get("share", 1.0))))
    trend = result.comparisons[0]
    assert trend.verdict == "better"
    assert trend.difference == pytest.approx(0.02, abs=0.003)
    small = next(one for one in asked(result, "largest source") if one.labels["share"] == 1 / 16)
    assert (small.arm, small.control) == (
        "filters of 1/16 of the source", "filters of 1/1 of the source",
    )  # fmt: skip
    assert small.difference == pytest.approx(-0.08, abs=0.01)
    assert small.verdict == "worse"


def test_sources_of_every_size_get_equally_many_steps() -> None:
    runs = runs_of(planned("size", data={"share": 0.5}))
    sources = [run for run in runs if "source_share" in run.labels]
    assert {run.data.share for run in sources} == {0.5 / 16, 0.5 / 8, 0.5 / 4, 0.5 / 2, 0.5}
    assert {run.data.spec for run in sources} == {"shapes"}
    # Other images for each seed, and for all sizes of a seed from the same draw.
    drawn = {(run.labels["repeat"], run.data.share_seed) for run in sources}
    assert drawn == {(0, 0), (1, 1), (2, 2)}
    assert {run.data.share_seed for run in runs if run not in sources} == {None}
    assert {run.data.seed for run in runs} == {0}
    assert {run.budget.total(images) for run in runs for images in (90, 1437)} == {200}


def test_each_depthwise_cut_stands_once_against_the_nearest_of_another_part() -> None:
    plan = planned(
        "layers", network={"width": 8, "depth": 3}, layers={"parts": ["depthwise", "regular"]}
    )
    result = result_of(plan, [])
    found = [
        (one.arm, one.control) for one in result.comparisons if "depthwise against" in one.question
    ]
    own, other = (cuts_of(plan)[part] for part in ("depthwise", "regular"))
    counts = {part: layers_in(network_of(plan, part), part) for part in ("depthwise", "regular")}
    expected = []
    for n in sorted({cut for _, cut in own}):
        gaps = [(abs(cut / counts["regular"] - n / counts["depthwise"]), cut) for _, cut in other]
        nearest = min(gaps)[1]
        expected.append((f"depthwise A{n}B less its B", f"regular A{nearest}B less its B"))
    assert found == expected
    assert len(found) == len({arm for arm, _ in found}) == 3
