"""Runs are done once, sources first, the same everywhere; what fails is named and stops nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import filterdb
from filterdb import keys
from filterdb.errors import TransferError
from filterdb.transfer.beginning import begin, restored
from filterdb.transfer.book import Book, Row
from filterdb.transfer.conditions import conditions
from filterdb.transfer.donors import donor_filters
from filterdb.transfer.engine import Step, execute
from filterdb.transfer.experiments import runs_of
from filterdb.transfer.loaded import loaded
from filterdb.transfer.networks.building import build
from filterdb.transfer.parts import part_of
from filterdb.transfer.plan import plan_of
from filterdb.transfer.run import Budget, Data, Run, Start

TINY = {"width": 8, "depth": 3}
A, B = (Data("digits", 8, 1, split="halves", group=name, limit=30) for name in "AB")
BUDGET = Budget(2, batch=32)
BASE = Run("convmixer", A, BUDGET, TINY, arm="base A")


def arm(name: str, *starts: Start, **changes: object) -> Run:
    return replace(BASE, **({"data": B, "seed": 1, "arm": name, "starts": starts} | changes))


ANB, PLUS = (
    arm(name, Start("depthwise", first=2, source=BASE.id, frozen=frozen))
    for name, frozen in (("A2B", True), ("A2B+", False))
)
OWN, RANDOM = arm("base B"), arm("random", Start("depthwise", filters="random"))
RUNS = (ANB, PLUS, BASE, OWN, RANDOM)


def outcomes(rows: list[Row]) -> list[object]:
    return [(row.id, row.accuracy, row.test_loss, row.losses, row.fingerprints) for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Row]:
    return execute(RUNS, folder, jobs=1, device="cpu")


def test_rows_are_in_the_order_of_the_runs(rows: list[Row]) -> None:
    assert [row.run for row in rows] == list(RUNS)
    assert [row.status for row in rows] == ["done"] * len(RUNS)
    assert all(0 <= (row.accuracy or 0) <= 1 for row in rows)


def test_arms_share_their_budget(rows: list[Row]) -> None:
    assert len({(row.steps, row.images) for row in rows}) == 1
    assert rows[0].steps == 2 * (rows[0].images // 32)


def test_frozen_filters_are_the_same_bits(rows: list[Row]) -> None:
    for row, part in ((rows[0], "depthwise:2"), (rows[4], "depthwise")):
        assert row.fingerprints["given"][part] == row.fingerprints["trained"][part]
        assert row.fingerprints["given"]["rest"] != row.fingerprints["trained"]["rest"]


def test_the_plus_arm_begins_with_the_same_filters_and_changes_them(rows: list[Row]) -> None:
    frozen, plus = rows[0].fingerprints, rows[1].fingerprints
    assert plus["given"] == frozen["given"]
    assert plus["trained"]["depthwise:2"] != plus["given"]["depthwise:2"]


def test_only_the_named_part_is_transferred(rows: list[Row]) -> None:
    for row in rows[:2]:
        prints = row.fingerprints
        assert prints["given"]["rest"] == prints["built"]["rest"]
        assert prints["given"]["depthwise:2"] != prints["built"]["depthwise:2"]
        assert prints["given"]["depthwise:2"] == prints["source"]["depthwise:2"]


def test_the_filters_are_those_of_the_trained_source(folder: Path, rows: list[Row]) -> None:
    weights = Book(folder).get_weights(BASE.id)
    source = restored(BASE, 5, weights)
    model = build("convmixer", classes=5, channels=1, size=8, seed=1, **BASE.arguments)
    own = build("convmixer", classes=5, channels=1, size=8, seed=1, **BASE.arguments)
    begin(model, ANB, {BASE.id: source}.__getitem__)
    for at, (slot, donor, before) in enumerate(
        zip(*(part_of(each, "depthwise") for each in (model, source, own)), strict=True)
    ):
        expected = donor if at < 2 else before
        assert np.array_equal(slot.weight.detach(), expected.weight.detach())
        assert slot.weight.requires_grad == (at >= 2)


def test_how_many_learn(rows: list[Row]) -> None:
    frozen, plus, _, own, random = rows
    assert frozen.parameters == plus.parameters == own.trainable == plus.trainable
    assert frozen.trainable == frozen.parameters - 2 * 8 * 9
    assert random.trainable == random.parameters - 3 * 8 * 9


def test_a_second_execution_does_nothing(folder: Path, rows: list[Row]) -> None:
    told: list[Step] = []
    again = execute(RUNS, folder, jobs=1, device="cpu", progress=told.append)
    assert told == []
    assert again == rows


def test_only_what_is_new_is_done(folder: Path, rows: list[Row]) -> None:
    told: list[Step] = []
    new = replace(ANB, seed=2)
    execute([new, *RUNS], folder, jobs=1, device="cpu", progress=told.append)
    assert [(step.row.id, step.done, step.total) for step in told] == [(new.id, 6, 6)]


def test_other_arms_may_share_a_run(folder: Path, rows: list[Row]) -> None:
    named = replace(OWN, arm="full training", labels={"target": "B"})
    (row,) = execute([named], folder, jobs=1, device="cpu")
    assert (row.run, row.accuracy) == (named, rows[3].accuracy)


def test_processes_come_to_the_same_bits(tmp_path: Path, rows: list[Row]) -> None:
    told: list[Step] = []
    found = execute(RUNS, tmp_path, jobs=2, device="cpu", progress=told.append)
    assert outcomes(found) == outcomes(rows)
    assert [step.done for step in told] == [1, 2, 3, 4, 5]
    done = [step.row.id for step in told]
    assert done.index(BASE.id) < min(done.index(ANB.id), done.index(PLUS.id))


def test_it_goes_on_after_ctrl_c(tmp_path: Path, rows: list[Row]) -> None:
    def interrupt(step: Step) -> None:
        if step.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(RUNS, tmp_path, jobs=1, device="cpu", progress=interrupt)
    before = {row.id for row in Book(tmp_path).rows()}
    told: list[Step] = []
    found = execute(RUNS, tmp_path, jobs=1, device="cpu", progress=told.append)
    assert len(before) == 2
    assert {step.row.id for step in told} == {run.id for run in RUNS} - before
    assert outcomes(found) == outcomes(rows)


def test_it_goes_on_after_it_was_killed(tmp_path: Path, rows: list[Row]) -> None:
    code = """
import json, os, signal, sys
from filterdb.transfer.donors import donor_filters
from filterdb.transfer.engine import execute
from filterdb.transfer.run import Run
runs = [Run.from_dict(told) for told in json.loads(sys.argv[1])]
execute(runs, sys.argv[2], jobs=1, device="cpu",
        progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""
    told = json.dumps([run.to_dict() for run in RUNS])
    done = subprocess.run([sys.executable, "-c", code, told, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(Book(tmp_path).rows()) == 1
    steps: list[Step] = []
    found = execute(RUNS, tmp_path, jobs=1, device="cpu", progress=steps.append)
    assert len(steps) == len(RUNS) - 1
    assert outcomes(found) == outcomes(rows)


def test_what_diverges_or_fails_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    wild = replace(BASE, budget=replace(BUDGET, rate=1e30, optimiser="sgd"), arm="wild")
    misfit = arm("misfit", Start("depthwise", filters="keys:published8"))
    absent = replace(BASE, data=replace(A, spec=str(tmp_path / "nowhere.npz")), arm="absent")
    heir = arm("heir", Start("depthwise", source=wild.id))
    runs = [heir, misfit, wild, absent, OWN]
    for jobs in (1, 2):
        rows = execute(runs, tmp_path, jobs=jobs, device="cpu")
        found = {row.run.arm: row for row in rows}
        assert {name: row.status for name, row in found.items()} == {
            "heir": "failed", "misfit": "failed", "wild": "diverged", "absent": "failed",
            "base B": "done",
        }  # fmt: skip
        assert "7x7" in (found["misfit"].reason or "")
        assert "nowhere.npz" in (found["absent"].reason or "")
        assert "wild" in (found["heir"].reason or "")
        assert "diverged" in (found["heir"].reason or "")
        assert found["wild"].accuracy is None
        assert {row.id: row.status for row in Book(tmp_path).rows()} == {
            row.id: row.status for row in rows
        }


OWN_NETWORKS = """
import os, signal
import torch
from torch import nn

class Moving(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.inner = nn.Conv2d(channels, 4, 3)
        self.head = nn.Linear(4, classes)

    def forward(self, images):
        if self.training:
            with torch.no_grad():
                self.inner.weight.add_(1e-3)
        return self.head(self.inner(images).mean((2, 3)))

def moving(*, classes, channels):
    return Moving(classes, channels)

def dying(*, classes, channels):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "networks_of_engine_test.py").write_text(OWN_NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    return "networks_of_engine_test"


def test_a_process_that_dies_takes_no_other_run_with_it(own_networks: str, tmp_path: Path) -> None:
    dying = Run(f"{own_networks}:dying", A, BUDGET, arm="dying")
    rows = execute([dying, BASE, OWN], tmp_path / "runs", jobs=2, device="cpu")
    assert [row.status for row in rows] == ["failed", "done", "done"]
    assert "SIGKILL" in (rows[0].reason or "")
    assert Book(tmp_path / "runs").get(dying.id) == rows[0]


def test_a_network_that_moves_its_frozen_filters_is_not_believed(
    own_networks: str, tmp_path: Path
) -> None:
    start = Start("regular", filters="random")
    run = Run(f"{own_networks}:moving", A, BUDGET, starts=(start,))
    (row,) = execute([run], tmp_path / "runs", jobs=1, device="cpu")
    assert row.status == "failed"
    assert "frozen filters (regular)" in (row.reason or "")


def test_processes_end_with_ctrl_c(tmp_path: Path, rows: list[Row]) -> None:
    def interrupt(_: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(RUNS, tmp_path, jobs=2, device="cpu", progress=interrupt)
    before = {row.id for row in Book(tmp_path).rows()}
    told: list[Step] = []
    found = execute(RUNS, tmp_path, jobs=1, device="cpu", progress=told.append)
    assert 1 <= len(before) < len(RUNS)
    assert {step.row.id for step in told} == {run.id for run in RUNS} - before
    assert outcomes(found) == outcomes(rows)


def test_finished_runs_are_not_repeated_and_failed_ones_are(tmp_path: Path) -> None:
    wild = replace(BASE, budget=replace(BUDGET, rate=1e30, optimiser="sgd"))
    misfit = arm("misfit", Start("depthwise", filters="keys:published8"))
    execute([wild, misfit], tmp_path, jobs=1, device="cpu")
    told: list[Step] = []
    execute([wild, misfit], tmp_path, jobs=1, device="cpu", progress=told.append)
    assert [step.row.id for step in told] == [misfit.id]


def test_weights_are_kept_where_they_are_needed(folder: Path, rows: list[Row]) -> None:
    assert [path.stem for path in (folder / "weights").iterdir()] == [BASE.id]


def test_weights_after_every_pass(tmp_path: Path, rows: list[Row]) -> None:
    execute([OWN], tmp_path, jobs=1, device="cpu")
    told: list[Step] = []
    for _ in range(2):  # done again for the sake of its weights, and then no more
        (row,) = execute([OWN], tmp_path, jobs=1, device="cpu", keep="epochs", progress=told.append)
    assert len(told) == 1
    assert outcomes([row]) == outcomes([rows[3]])
    book = Book(tmp_path)
    assert list(book.kept(row)) == [0, 1, 2]
    own = build("convmixer", classes=5, channels=1, size=8, seed=1, **BASE.arguments)
    for epoch, path in book.kept(row).items():
        weights = filterdb.read(path).layers[1].weights
        begun = np.array_equal(weights, filters(own)[0])
        assert begun == (epoch == 0)
    execute([OWN], tmp_path, jobs=1, device="cpu", keep="last", progress=told.append)
    assert len(told) == 1
    book.weights_path(OWN.id, 1).unlink()
    execute([OWN], tmp_path, jobs=1, device="cpu", keep="epochs", progress=told.append)
    assert len(told) == 2


def test_a_wish_to_keep_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="needed, last, epochs"):
        execute([OWN], tmp_path, jobs=1, device="cpu", keep="all")


def test_a_source_whose_weights_are_gone_is_done_again(tmp_path: Path) -> None:
    execute([BASE], tmp_path, jobs=1, device="cpu")
    told: list[Step] = []
    execute([ANB], tmp_path, jobs=1, device="cpu", progress=told.append)
    assert [step.row.id for step in told] == [BASE.id, ANB.id]
    Book(tmp_path).weights_path(BASE.id).unlink()
    execute([ANB, BASE], tmp_path, jobs=1, device="cpu", progress=told.append)
    assert len(told) == 2


def test_a_source_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=f"{BASE.id}, which is neither"):
        execute([ANB], tmp_path, jobs=1, device="cpu")


def test_other_images_under_the_same_path_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 2
    path = tmp_path / "set.npz"
    run = replace(OWN, data=Data(str(path), 8, 1))
    other = replace(run, seed=2)

    def write(images: np.ndarray, labels: np.ndarray) -> None:
        np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
        loaded.cache_clear()

    write(images, labels)
    (row,) = execute([run], tmp_path / "runs", jobs=1, device="cpu")
    write(images, labels)  # another file of the same content
    assert execute([run, other], tmp_path / "runs", jobs=1, device="cpu")[0] == row
    told: list[Step] = []
    for changed in ((255 - images, labels), (images, 1 - labels)):
        write(*changed)
        with pytest.raises(TransferError, match=r"set\.npz.*name another folder"):
            execute([run, replace(run, seed=3)], tmp_path / "runs", jobs=1, device="cpu",
                    progress=told.append)  # fmt: skip
    assert told == []
    path.unlink()
    loaded.cache_clear()
    assert execute([run], tmp_path / "runs", jobs=1, device="cpu") == [row]
    book = Book(tmp_path / "runs")
    book.put(replace(row, digest=None))  # as of an earlier version
    write(255 - images, labels)
    found = execute([run], tmp_path / "runs", jobs=1, device="cpu")
    assert found == [replace(row, digest=None)]
    assert "1 run by an earlier filterdb" in " ".join(conditions(found))


def test_what_was_not_done_alike_is_said(rows: list[Row]) -> None:
    alike = "Augmented by crops at random; without mirror images: digits B, digits A."
    assert conditions(rows) == (alike,)
    versions = {**rows[1].versions, "torch": "1.0"}
    _, told = conditions(
        [*rows[2:], replace(rows[0], threads=2), replace(rows[1], versions=versions)]
    )
    assert "threads 1 (4), 2 (1)" in told
    assert "1.0 (1)" in told
    assert "device" not in told


LIMITED = """
import json, resource, signal, sys
from filterdb.transfer.donors import donor_filters
from filterdb.transfer.engine import execute
from filterdb.transfer.run import Run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
runs = [Run.from_dict(told) for told in json.loads(sys.argv[1])]
execute(runs, sys.argv[2], jobs=int(sys.argv[4]), device="cpu", keep=sys.argv[5])
"""


@pytest.mark.parametrize(("jobs", "keep"), [(1, "epochs"), (2, "last")])
def test_a_full_disk_ends_the_execution_and_loses_nothing(
    jobs: int, keep: str, tmp_path: Path, rows: list[Row]
) -> None:
    execute([BASE], tmp_path, jobs=1, device="cpu", keep="epochs")
    before = Book(tmp_path).rows()
    told = json.dumps(
        [run.to_dict() for run in (BASE, replace(OWN, arguments=TINY | {"width": 96}))]
    )
    command = [sys.executable, "-c", LIMITED, told, str(tmp_path), "100000", str(jobs), keep]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StoreError" in done.stderr.splitlines()[-1]
    assert f"{tmp_path}: the results cannot be kept" in done.stderr
    assert "give the same command again" in done.stderr
    assert Book(tmp_path).rows() == before
    assert {path.suffix for path in (tmp_path / "weights").iterdir()} == {".safetensors"}
    found = execute(RUNS, tmp_path, jobs=1, device="cpu")
    assert outcomes(found) == outcomes(rows)


# How else networks begin


def begun(*starts: Start, sources: object = None, seed: int = 0, **arguments: int) -> object:
    run = replace(BASE, starts=starts, seed=seed, arguments=TINY | arguments)
    model = build("convmixer", classes=5, channels=1, size=8, seed=seed, **run.arguments)
    begin(model, run, sources)
    return model


def filters(model: object, part: str = "depthwise") -> list[np.ndarray]:
    return [slot.weight.detach().numpy() for slot in part_of(model, part)]


def test_spectra_are_matched_filter_by_filter() -> None:
    source = build("convmixer", classes=5, channels=1, size=8, seed=9, **TINY)
    model = begun(Start("depthwise", filters="spectrum", source="a"), sources=lambda _: source)
    for new, old in zip(filters(model), filters(source), strict=True):
        np.testing.assert_allclose(
            np.abs(np.fft.fft2(new)), np.abs(np.fft.fft2(old)), rtol=1e-3, atol=1e-5
        )
        assert not np.allclose(new, old, atol=1e-3)
    with pytest.raises(TransferError, match="1x1"):
        begun(Start("pointwise", filters="spectrum", source="a"), sources=lambda _: source)


def test_keys_are_drawn_at_the_strength_of_random_filters() -> None:
    model = begun(Start("depthwise", filters="keys:found3x3:2"))
    own = begun()
    flat = keys.load("found3x3").filters[:2].reshape(2, 9)
    seen = set()
    for new, old in zip(filters(model), filters(own), strict=True):
        cosines = new.reshape(-1, 9) @ flat.T
        norms = np.linalg.norm(new.reshape(-1, 9), axis=1)
        np.testing.assert_allclose(cosines.max(axis=1), norms, rtol=1e-5)
        shapes = old.reshape(-1, 9) - old.reshape(-1, 9).mean(axis=1, keepdims=True)
        np.testing.assert_allclose(norms, np.sqrt((shapes**2).sum(axis=1).mean()), rtol=1e-4)
        seen |= set(cosines.argmax(axis=1).tolist())
    assert seen == {0, 1}
    with pytest.raises(TransferError, match="has 8 keys"):
        begun(Start("depthwise", filters="keys:found3x3:16"))


def test_draws_differ_by_seed_and_repeat() -> None:
    start = Start("depthwise", filters="keys:found3x3")
    first, same, other = (filters(begun(start, seed=seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_another_architecture_gives_its_filters_by_a_draw() -> None:
    source = build("mobilenet", classes=5, channels=1, size=8, seed=9, width=4, blocks=2)
    pool = {own.tobytes() for layer in filters(source) for own in layer}
    model = begun(Start("depthwise", source="a", how="pool"), sources=lambda _: source)
    assert {own.tobytes() for layer in filters(model) for own in layer} <= pool


def test_files_and_databases_give_their_filters(folder: Path, rows: list[Row], tmp_path) -> None:
    path = Book(folder).weights_path(BASE.id)
    source = filters(restored(BASE, 5, Book(folder).get_weights(BASE.id)))
    database = filterdb.open(tmp_path / "db")
    database.ingest([path])
    for spec in (f"{path}", f"{database.path}", f"{database.path}?conv_depth_norm > 0.4"):
        found = donor_filters(spec, (3, 3))
        expected = source[-len(found) :]
        assert len(found) == (2 if "?" in spec else 3)
        assert all(
            np.array_equal(own, layer[:, 0]) for own, layer in zip(found, expected, strict=True)
        )
        model = begun(Start("depthwise", filters=f"donor:{spec}"))
        there = {own.tobytes() for layer in source for own in layer}
        assert {own.tobytes() for layer in filters(model) for own in layer} <= there
    with pytest.raises(TransferError, match="no depthwise layers of 7x7"):
        donor_filters(str(path), (7, 7))


def test_a_network_without_the_part_is_told() -> None:
    run = Run("resnet", A, BUDGET, starts=(Start("depthwise", filters="random"),))
    model = build("resnet", classes=5, channels=1, size=8)
    with pytest.raises(TransferError, match="no depthwise layers"):
        begin(model, run, lambda _: model)
    with pytest.raises(TransferError, match="first 9 depthwise layers"):
        begun(Start("depthwise", first=9, filters="random"))


def test_runs_whose_source_came_to_other_filters_are_done_again(tmp_path: Path) -> None:
    """A source is done again where its weights are gone: copies and draws alike have to follow."""
    drawn = arm("drawn", Start("depthwise", source=BASE.id, how="pool"))
    heir = replace(drawn, starts=(Start("depthwise", source=drawn.id),), seed=2, arm="heir")
    runs = [BASE, OWN, ANB, drawn, heir]
    before = {row.id: row for row in execute(runs, tmp_path, jobs=1, device="cpu")}
    book = Book(tmp_path)
    told: list[Step] = []

    def again() -> dict[str, Row]:
        told.clear()
        rows = execute(runs, tmp_path, jobs=1, device="cpu", progress=told.append)
        return {row.id: row for row in rows}

    # A source that comes to the same bits takes nobody with it; a run that is new asks for it.
    book.weights_path(BASE.id).unlink()
    runs.append(replace(PLUS, seed=3))
    found = again()
    assert {key: found[key].when for key in (ANB.id, drawn.id, heir.id)} == {
        key: before[key].when for key in (ANB.id, drawn.id, heir.id)
    }
    assert {"done"} == {row.status for row in found.values()}
    # One that does not does; as if other bits had come of it in another execution...
    row = found[BASE.id]
    other = {**row.fingerprints, "trained": {"rest": "other bits"}}
    book.put(replace(row, fingerprints=other))
    again()
    assert {step.row.id for step in told} >= {ANB.id, drawn.id, runs[-1].id}
    assert OWN.id not in {step.row.id for step in told}
    # ... or of this one.
    began = {"sources": {BASE.id: "what it was"}}
    for key in (ANB.id, drawn.id):
        row = book.get(key)
        assert row is not None
        book.put(replace(row, fingerprints=row.fingerprints | began, accuracy=0.0))
    book.weights_path(BASE.id).unlink()
    found = again()
    assert found[ANB.id].accuracy == before[ANB.id].accuracy
    assert found[drawn.id].accuracy == before[drawn.id].accuracy
    assert told[-1].done == told[-1].total == len(runs)
    assert again() == found
    assert told == []


def test_a_network_of_ones_own_is_another_run_with_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine_with_other_code.py"
    path.write_text("from torch import nn\ndef net(classes, channels): ...\n")
    plan = plan_of({"experiment": "matrix", "network": {"name": "mine_with_other_code:net"}})
    first = runs_of(plan)[0]
    assert first.code is not None
    assert {run.code for run in runs_of(plan)} == {first.code}
    path.write_text("from torch import nn\ndef net(classes, channels): return nn.Linear(1, 1)\n")
    assert runs_of(plan)[0].id != first.id
    (row,) = execute([first], tmp_path / "runs", jobs=1, device="cpu")
    assert row.status == "failed"
    assert "mine_with_other_code:net is not the one" in (row.reason or "")
    assert {run.code for run in runs_of(plan_of({"experiment": "matrix"}))} == {None}


def test_passes_of_other_lengths_are_said(rows: list[Row]) -> None:
    longer = replace(rows[3], steps=1400)
    told = conditions([rows[0], rows[1], longer])[0]
    assert told == (
        f"The budget counts passes: A2B and 1 other arm took {rows[0].steps} steps; base B took "
        "1,400 steps."
    )
    steps = replace(longer.run, budget=replace(BUDGET, steps=1400))
    assert not any("passes" in one for one in conditions([rows[0], replace(longer, run=steps)]))


def test_which_sets_are_mirrored_is_said(tmp_path: Path) -> None:
    shapes = Run("convmixer", Data("shapes", 8, 1, limit=4), Budget(1), TINY, arm="shapes")
    digits = replace(shapes, data=replace(A, limit=10), arm="digits")
    mirrored = replace(digits, data=replace(digits.data, mirror=True))
    plain = replace(mirrored, budget=Budget(1, augment=False), arm="plain")
    rows = execute([shapes, digits], tmp_path, jobs=1, device="cpu")
    told = "Augmented by crops at random; with mirror images: shapes; without mirror images: digits"
    assert any(one.startswith(told) for one in conditions(rows))
    rows = execute([mirrored, plain], tmp_path, jobs=1, device="cpu")
    assert [row.mirrored for row in rows] == [True, False]
    assert not any("Augmented" in one for one in conditions(rows[1:]))


def test_images_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        for at in range(6):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            pillow.fromarray(pixels).save(tmp_path / "set" / name / f"{at}.png")
    for at in range(4):
        (tmp_path / "set" / "a" / f"bad{at}.png").write_bytes(b"no picture")
    run = Run("convmixer", Data(str(tmp_path / "set"), 8, 1), Budget(1, batch=4), TINY)
    (row,) = execute([run], tmp_path / "runs", jobs=1, device="cpu")
    (left_out,) = row.left_out.values()
    assert (left_out.count, len(left_out.names)) == (4, 3)
    assert Book(tmp_path / "runs").get(run.id) == row
    told = [one for one in conditions([row]) if "left out" in one]
    assert len(told) == 1
    assert "set: left out, not a picture in a format that is read: 4 (" in told[0]
    assert "bad0.png" in told[0]
