"""Filters of other architectures and of donors: which runs, which controls, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filterdb
from filterdb.errors import FilterDBError, QueryError, TransferError
from filterdb.readers.mapping import map_file
from filterdb.reading import read
from filterdb.transfer.book import Row, decoded, encoded
from filterdb.transfer.donors import donor
from filterdb.transfer.experiments import result_of, runs_of
from filterdb.transfer.plan import Plan, plan_of
from filterdb.transfer.run import Run

ZOO = Path(filterdb.__file__).parent / "demo" / "zoo"
MOBILENET, CONVMIXER, CNN = (
    ZOO / f"{name}.safetensors" for name in ("mobilenet-shapes", "convmixer-textures", "cnn-digits")
)


def planned(experiment: str, sources: dict[str, Any], **tables: Any) -> Plan:
    more = tables.pop("more", {})
    return plan_of({"experiment": experiment, experiment: {"sources": sources, **more}, **tables})


def done(plan: Plan, effect: Callable[[Run], float]) -> list[Row]:
    rng = np.random.default_rng(7)
    return [
        Row(run, "done", accuracy=0.6 + effect(run) + rng.normal(0, 0.002)) for run in runs_of(plan)
    ]


def test_sources_are_other_networks_of_the_same_kernel() -> None:
    plan = planned("architectures", {}, network={"name": "convnext", "kernel": 5})
    runs = {run.id: run for run in runs_of(plan)}
    teachers = {run.arm: run for run in runs.values() if "source" in run.labels}
    assert {run.network for run in teachers.values()} == {"convmixer", "mobilenet"}
    assert {run.arguments["kernel"] for run in runs.values()} == {5}
    for run in runs.values():
        for start in run.starts:
            if start.source is None:
                assert start.filters == "random"
                continue
            filters = run.labels["filters"]
            assert runs[start.source].arm == (
                "in full" if filters == "own" else f"{filters} in full"
            )
            assert (start.part, start.frozen, start.how) == ("depthwise", True, run.labels["how"])
            assert run.network == "convnext"


def test_architectures_are_held_against_own_filters_drawn_alike() -> None:
    plan = planned("architectures", {})
    result = result_of(plan, done(plan, lambda run: {"own": 0.1, "mobilenet": 0.05}.get(
        run.labels["filters"], 0.0)))  # fmt: skip
    own = [one for one in result.comparisons if "the network's own, drawn" in one.question]
    assert {(one.arm, one.control) for one in own} == {
        (f"{name} {how}", f"own {how}")
        for name in ("mobilenet", "convnext") for how in ("by depth", "from the pool")
    }  # fmt: skip
    for one in own:
        lost = -0.05 if one.labels["filters"] == "mobilenet" else -0.1
        assert one.difference == pytest.approx(lost, abs=0.01)
        assert one.verdict == "worse"
    assert any("The source mobilenet is a mobilenet (width 16" in told for told in result.sentences)


@pytest.mark.parametrize(
    ("sources", "network", "message"),
    [
        ({"m": {"name": "mobilenet", "kernel": 5}}, {}, "are 5x5, those of the network .* 3x3"),
        ({"resnet": {}}, {}, r"no depthwise layers.*With separable = true it has"),
        ({"resnet": {"separable": True}}, {"kernel": 7}, "are 3x3, those of the network .* 7x7"),
        ({"mobilenet": {"widht": 3}}, {}, "sources.mobilenet.*do you mean 'width'"),
        ({"mobilnet": {}}, {}, "do you mean 'mobilenet'"),
        ({"mobilenet": 3}, {}, "is no table"),
        ({"convmixer": {}}, {}, "is the network itself"),
        ({"own": {"name": "mobilenet"}}, {}, "what a control is called"),
    ],
)
def test_architectures_that_do_not_fit(sources: Any, network: Any, message: str) -> None:
    with pytest.raises(TransferError, match=message):
        runs_of(planned("architectures", sources, network={"name": "convmixer", **network}))


def test_a_network_of_ones_own_is_built_to_see_its_kernel(tmp_path, monkeypatch) -> None:
    pytest.importorskip("torch")
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def net(classes, channels, kernel=5):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 1),\n"
        "        nn.Conv2d(4, 4, kernel, groups=4, padding=kernel // 2),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    own = {"name": "my_nets:net"}
    with pytest.raises(TransferError, match="are 5x5, those of the network 'convmixer' 3x3"):
        runs_of(planned("architectures", {"mine": own}))
    assert runs_of(planned("architectures", {"mine": {**own, "kernel": 3}}))
    with pytest.raises(TransferError, match=r"has no depthwise layers of 5x5\. It has 3x3"):
        runs_of(planned("donors", {"zoo": str(MOBILENET)}, network=own))


def test_a_donor_is_what_the_file_has(tmp_path: Path) -> None:
    layers = [one for one in read(MOBILENET).layers if one.kind == "depthwise"]
    found = donor(str(MOBILENET), (3, 3))
    assert [layer.shape[0] for layer in found.layers] == [one.shape[0] for one in layers]
    for mine, theirs in zip(found.layers, layers, strict=True):
        assert np.array_equal(mine, theirs.weights[:, 0])
    filters = sum(one.shape[0] for one in layers)
    assert str(found) == (
        f"{filters} depthwise 3x3 filters in 4 layers of 1 network (mobilenet-shapes.safetensors)"
    )
    weights = decoded(map_file(MOBILENET))
    weights[layers[0].name + ".weight"][0, 0, 0, 0] = np.nan
    path = tmp_path / "some.safetensors"
    path.write_bytes(encoded(weights, {}))
    some = donor(str(path), (3, 3))
    assert (len(some.layers), some.left_out) == (3, 1)
    assert "without 1 layer whose values" in str(some)
    assert some.content != found.content


def test_donors_have_their_arms_and_controls() -> None:
    plan = planned("donors", {"zoo": str(MOBILENET)})
    runs = {run.arm: run for run in runs_of(plan) if run.labels["repeat"] == 0}
    assert set(runs) == {"in full", "random"} | {
        f"{name} {how}"
        for name in ("own", "zoo", "spectrum of own", "spectrum of zoo")
        for how in ("by depth", "from the pool")
    }
    (start,) = runs["spectrum of zoo by depth"].starts
    assert start.filters == f"donor-spectrum:{MOBILENET}"
    assert start.content == donor(str(MOBILENET), (3, 3)).content
    (start,) = runs["spectrum of own from the pool"].starts
    assert (start.filters, start.source, start.how) == ("spectrum", runs["in full"].id, "pool")
    result = result_of(plan, done(plan, lambda run: 0.1 * (run.labels["filters"] == "zoo")))
    for one in result.comparisons:
        expected = 0.1 if one.labels["filters"] == "zoo" else 0.0
        assert one.difference == pytest.approx(expected, abs=0.01)
    assert any("4 layers of 1 network (mobilenet-shapes" in told for told in result.sentences)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (str(CONVMIXER), r"zoo: .* no depthwise layers of 3x3\. It has 7x7 \(4 layers\)"),
        (str(CNN), "has no depthwise layers, so it has no filters"),
        ("nowhere.pth", "nowhere.pth"),
        ({"path": str(MOBILENET), "where": "TRUE"}, "is no database"),
        ({"pth": "x"}, "sources.zoo.*do you mean 'path'"),
        (3, "sources.zoo = 3 is no table"),
        ({}, "sources.zoo.path is missing"),
    ],
)
def test_donors_that_do_not_fit(source: Any, message: str) -> None:
    with pytest.raises(TransferError, match=message):
        runs_of(planned("donors", {"zoo": source}))


def test_selections_from_a_database(tmp_path: Path) -> None:
    database = filterdb.open(tmp_path / "db")
    database.ingest([MOBILENET, CONVMIXER, CNN])
    path = str(database.path)
    whole = donor(path, (3, 3))
    assert whole.content == donor(str(MOBILENET), (3, 3)).content
    assert len(donor(f"{path}?conv_depth_norm > 0.5", (3, 3)).layers) < len(whole.layers)
    with pytest.raises(TransferError, match=r"5x5\. It has 3x3 \(4 layers\), 7x7 \(4 layers\)"):
        donor(path, (5, 5))
    with pytest.raises(TransferError, match="no depthwise layers where model LIKE 'cnn%'"):
        donor(f"{path}?model LIKE 'cnn%'", (3, 3))
    with pytest.raises(QueryError):
        donor(f"{path}?nonsense = 3", (3, 3))
    with pytest.raises(FilterDBError, match="zoo: "):
        runs_of(planned("donors", {"zoo": {"path": path, "where": "nonsense = 3"}}))
    with pytest.raises(TransferError, match="are the same filters"):
        runs_of(planned("donors", {"a": path, "b": path}))


def test_dead_filters_are_left_out_and_counted(tmp_path: Path) -> None:
    weights = decoded(map_file(MOBILENET))
    name = next(key for key, own in weights.items() if own.ndim == 4 and own.shape[1:] == (1, 3, 3))
    weights[name] = weights[name].copy()
    weights[name][:2], weights[name][2] = 1e-4, 0
    path = tmp_path / "some-dead.safetensors"
    path.write_bytes(encoded(weights, {}))
    whole, found = donor(str(MOBILENET), (3, 3)), donor(str(path), (3, 3))
    assert (whole.dead, found.dead) == (0, 3)
    assert sum(map(len, found.layers)) == sum(map(len, whole.layers)) - 3
    assert "dead" not in str(whole)
    assert str(found).endswith(", without 3 dead filters, of no weight above 0.0001")
    for key, own in weights.items():
        if own.ndim == 4:
            weights[key] = np.zeros_like(own)
    dead = tmp_path / "dead.safetensors"
    dead.write_bytes(encoded(weights, {}))
    with pytest.raises(TransferError, match=r"dead\.safetensors: all of its depthwise 3x3 filters"):
        runs_of(planned("donors", {"zero": str(dead)}))
