"""``keys find``, ``label``, ``show`` and ``replace`` on small networks with planted keys."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import numpy as np
import pytest

import filterdb
from filterdb.cli import is_failure
from filterdb.errors import KeySetError, ReadError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeyName, KeySet
from filterdb.keys.labels.chance import chance_of
from filterdb.keys.labels.labelling import label
from filterdb.keys.search.finding import find
from filterdb.keys.search.settings import Settings
from filterdb.keys.sets.set_file import load_keys, save_keys
from networks import save

CHANNELS, DEPTHWISE = 24, 2
# Four lines in the eight dimensions that 3x3 filters have without their mean.
PLANTED = np.array([
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
    [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
    [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
], np.float32)  # fmt: skip


def network(depthwise, *, seed=0):
    """A network of depthwise and pointwise layers after a dense stem."""
    rng = np.random.default_rng(seed)
    arrays = {"stem.weight": rng.normal(size=(CHANNELS, 3, 3, 3)).astype(np.float32)}
    for index, weights in enumerate(depthwise):
        arrays[f"dw{index}.weight"] = weights.astype(np.float32)
        shape = (CHANNELS, len(weights), 1, 1)
        arrays[f"pw{index}.weight"] = rng.normal(size=shape).astype(np.float32)
    return arrays


def planted(seed, noise=0.05):
    """Affine copies of the planted keys, of either sign."""
    rng = np.random.default_rng(seed)
    key = PLANTED[rng.integers(len(PLANTED), size=DEPTHWISE * CHANNELS)]
    a, b = rng.normal(size=(2, len(key), 1, 1)) + np.array([2, 0]).reshape(2, 1, 1, 1)
    found = a * key + b + noise * rng.normal(size=key.shape)
    return found.reshape(DEPTHWISE, CHANNELS, 1, 3, 3)


def random(seed):
    return np.random.default_rng(seed).normal(size=(DEPTHWISE, CHANNELS, 1, 3, 3))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Networks in a folder, and the database of them."""
    place = tmp_path_factory.mktemp("keys")
    models = place / "models"
    models.mkdir()
    networks = {
        **{f"planted{seed}": ("planted", planted(seed)) for seed in range(8)},
        **{f"random{seed}": ("random", random(seed + 50)) for seed in range(8)},
        "flat": ("flat", np.full((2, CHANNELS, 1, 3, 3), 0.5)),
        "dense": ("dense", []),
        "few": ("few", [planted(90, noise=0)[0]]),
    }
    with (models / "models.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "task"])
        for seed, (name, (task, depthwise)) in enumerate(networks.items()):
            save(models / f"{name}.safetensors", network(depthwise, seed=seed))
            writer.writerow([f"{name}.safetensors", task])
    filterdb.open(place / "db").ingest([models], metadata=models / "models.csv")
    return place


@pytest.fixture(scope="module")
def db(place):
    return place / "db"


@pytest.fixture(scope="module")
def key_set(place):
    """The planted keys as a file."""
    return save_keys(KeySet("four", PLANTED), place / "four.safetensors")


def of(task):
    return ["--where", f"task = '{task}'", "--jobs", "1"]


FEW = ["--k", "4", "--seeds", "2"]


def test_find_json_is_what_python_returns(run_json, db):
    data = run_json("keys", "find", db, *of("planted"), *FEW)
    population = filterdb.open(db).select("task = 'planted'")
    found = find(population, Settings(k=4, seeds=2))
    asked, examples = data.pop("settings"), data.pop("examples")
    assert data.pop("axis") is None
    assert data == json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert asked["where"] == "task = 'planted'"
    told = Settings(k=4, seeds=2)
    for name in ("threshold", "seed", "kind", "zero", "coverage", "hold_out", "k", "method"):
        assert asked[name] == getattr(told, name)
    assert asked["compare"] == ["greedy"]
    assert examples["best_r2"] == found.examples.best_r2.tolist()
    keys = np.array([key["filter"] for key in data["keys"]]).reshape(4, 9)
    near = np.abs(keys @ KeySet("planted", PLANTED).flat.T)
    assert (near.max(axis=0) > 0.99).all()


def test_what_is_planted_is_above_chance_and_noise_is_not(run, db):
    shown = run("keys", "find", db, *of("planted"), *FEW).stdout
    first = shown.strip().splitlines()[0]
    assert first.startswith("4 keys explain 9")
    assert "95% interval" in first
    assert "over 8 models" in first
    assert "as many keys explain" in first
    assert first.endswith(", above chance.")
    assert "8 models, 16 layers, 384 3x3 filters: 384 with a shape" in shown
    shown = run("keys", "find", db, *of("random"), *FEW).stdout
    assert shown.strip().splitlines()[0].endswith(", no more than chance.")


def test_no_claim_without_enough_groups(run, db):
    where = ["--where", "model IN ('planted0.safetensors', 'planted1.safetensors')"]
    arguments = [*where, "--jobs", "1", "--hold-out", "model", *FEW]
    shown = run("keys", "find", db, *arguments).stdout
    assert "2 models: too few for an interval" in shown
    assert "no claim is possible." in shown
    assert "above chance" not in shown


def test_every_share_has_its_chance(run, db):
    shown = run("keys", "find", db, *of("planted"), *FEW, "--all").stdout
    tables = [line for line in shown.splitlines() if "R² >= 0.8" in line or "mean R²" in line]
    assert tables
    curve = next(line for line in tables if line.split()[0] == "keys")
    assert curve.count("chance") == curve.count("R²")
    claims = [line for line in shown.splitlines() if line.lstrip().startswith("R² >=")]
    assert len(claims) == 4
    assert all(line.count("%") >= 4 and " .. " in line and "above" in line for line in claims)
    assert "Rand index" in shown
    assert sum(line.lstrip().startswith("planted") for line in shown.splitlines()) == 8


def test_a_wanted_coverage(run_json, db):
    data = run_json("keys", "find", db, *of("planted"), "--coverage", "0.9", "--seeds", "1")
    assert len(data["keys"]) == 4
    own = next(point for point in data["curve"] if point["k"] == 4)
    assert own["networks"]["shares"][data["thresholds"].index(0.8)] >= 0.9


def test_out_plots_and_show(run, run_json, db, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "mine.safetensors"
    plots = {option: tmp_path / f"{option}.png" for option in ("coverage", "examples")}
    named = [part for name, path in plots.items() for part in (f"--plot-{name}", path)]
    plots["mosaic"] = tmp_path / "mosaic.svg"
    done = run("keys", "find", db, *of("planted"), *FEW, "-o", out, "--plot", plots["mosaic"],
               *named, "--json")  # fmt: skip
    assert json.loads(done.stdout)["id"] == load_keys(out).id
    assert "Key set: " in done.stderr
    assert all(path.stat().st_size for path in plots.values())
    keys = load_keys(out)
    assert keys.name == "mine"
    shown = run("keys", "show", out).stdout
    for text in ("mine: 4 keys, 3x3", keys.id, "held out", "chance: covariance", "Singular values"):
        assert text in shown
    data = run_json("keys", "show", out)
    np.testing.assert_allclose(data["cosines"], keys.flat @ keys.flat.T)
    assert np.square(data["singular_values"]).sum() == pytest.approx(4)
    assert [key["filter"] for key in data["filters"]] == keys.filters.tolist()


def test_show_lists_and_compares(run, run_json, key_set, tmp_path):
    assert "published8" in run("keys", "show").stdout
    assert {"name", "kernel", "keys", "id", "source", "licence"} == set(run_json("keys", "show")[0])
    turned = save_keys(KeySet("turned", -PLANTED[[2, 0, 3, 1]]), tmp_path / "turned.safetensors")
    data = run_json("keys", "show", key_set, turned)
    assert {(pair["first"], pair["second"]) for pair in data["pairs"]} == {
        (2, 0), (0, 1), (3, 2), (1, 3)
    }  # fmt: skip
    assert data["mean_cosine"] == pytest.approx(1)
    assert 0 < data["chance"] < 0.8
    shown = run("keys", "show", key_set, turned).stdout
    assert "4 of 4 pairs are the same key" in shown
    assert run("keys", "show", "a", "b", "c").exit_code == 2
    assert run("keys", "show", "--plot", "x.png").exit_code == 2


def test_sets_of_two_sizes_are_compared_once_one_is_resized(run, run_json, key_set):
    refused = run("keys", "show", key_set, "published8").exception
    assert "--resize padding" in str(refused)
    data = run_json("keys", "show", key_set, "published8", "--resize", "padding")
    padded = load_keys("published8").padded((3, 3))
    np.testing.assert_allclose(data["cosines"], load_keys(key_set).cosines(padded))
    other = run_json("keys", "show", "published8", key_set, "--resize", "padding")
    assert [one["kernel"] for one in other["sets"]] == [[7, 7], [7, 7]]
    shown = run("keys", "show", key_set, "published8", "--resize", "analytic").stdout
    assert "3x3, from 7x7 by the analytic family" in shown
    assert run("keys", "show", key_set, "--resize", "padding").exit_code == 2


def test_show_says_what_is_claimed_and_in_words(run):
    weak, strong = (run("keys", "show", name).stdout for name in ("found7x7", "found3x3"))
    assert "too few for an interval" in weak
    assert "no claim is possible" in weak
    assert "above chance" not in weak
    assert "above chance" in strong
    assert "95% interval" in strong
    published = run("keys", "show", "published8").stdout
    assert "mean R² 0.063" in published
    assert "95th percentile of the cosine 0.378" in published
    assert "p95" not in published


def test_shares_of_the_nearest_key_are_called_so(run, db):
    shown = run("keys", "find", db, *of("planted"), *FEW).stdout
    head = next(line for line in shown.splitlines() if "R² of name" in line)
    assert head.split()[-1] == "nearest"
    assert "share of the filters whose nearest key it is" in shown
    assert "with y pointing up" in shown


def test_a_file_is_put_into_a_database_first(run, place):
    file = place / "models" / "planted0.safetensors"
    done = run("keys", "find", file)
    assert done.exit_code == 2
    assert f"filterdb ingest mydb {file}" in " ".join(done.stderr.split())


def test_the_autoencoder_says_that_it_takes_its_time(run, db):
    done = run("keys", "find", db, *of("dense"), "--method", "autoencoder")
    assert "takes about a minute" in done.stderr
    assert "takes about a minute" not in run("keys", "find", db, *of("dense")).stderr


def test_options_leave_what_was_measured_with_the_set_behind(run_json, place):
    file = place / "models" / "planted0.safetensors"
    plain = run_json("keys", "label", file, "--threshold", "0.7")["chance"]
    moved = run_json("keys", "label", file, "--threshold", "0.7", "--rotations")["chance"]
    for name, level in plain["controls"].items():
        assert moved["controls"][name]["coverage"] > level["coverage"]


def test_no_coverage_without_a_chance_line(run, tmp_path):
    told = {"held_out": {"shares": [0.9, 0.8, 0.7, 0.6], "mean_r2": 0.91}}
    bare = KeySet("bare", PLANTED, metadata=told)
    shown = run("keys", "show", save_keys(bare, tmp_path / "bare.safetensors")).stdout
    assert "no chance line" in shown
    assert "91" not in shown.split("What its file tells")[1]


def test_label_json_is_what_python_returns(run_json, db, key_set):
    data = run_json("keys", "label", db, "--set", key_set, "--no-store", "--jobs", "1",
                    "--where", "task = 'planted'")  # fmt: skip
    chance = data.pop("chance")
    found = label(db, load_keys(key_set), where="task = 'planted'", store=False)
    assert data == json.loads(json.dumps(found.to_dict()))
    assert data["total"]["coverage"] > 0.9
    assert data["key_set"]["equivalence"] == Equivalence().to_dict()
    beside = chance_of(found, db, where="task = 'planted'")
    assert chance == json.loads(json.dumps(beside.to_dict()))
    assert set(chance["controls"]) == {"gaussian", "shuffled", "spectrum", "covariance"}
    assert chance["copies"]["above"]


def test_label_for_people(run, place, key_set):
    shown = run("keys", "label", place / "models" / "planted0.safetensors", "--set", key_set).stdout
    assert "of 48 3x3 filters with a shape are copies of a key of four (R² >= 0.8)" in shown
    assert "By chance" in shown
    assert "no claim is possible (2 layers: too few for an interval)" in shown
    assert "each mark is about 1.7% of the layer's filters" in shown
    assert "with y pointing up" in shown
    bars = [line for line in shown.splitlines() if line.lstrip().startswith("dw")]
    assert len(bars) == 2
    found = label(place / "models" / "planted0.safetensors", load_keys(key_set))
    for line, layer in zip(bars, found.layers, strict=True):
        marks = line.split()[2]
        assert len(marks) == 60
        for key, count in enumerate(layer.counts, 1):
            assert abs(marks.count(str(key)) - 60 * count / layer.n) <= 1
    shown = run("keys", "label", place / "models" / "flat.safetensors", "--set", key_set).stdout
    assert "None of 48 3x3 filters has a shape" in shown
    assert "constant" in shown


def test_label_csv_has_a_row_a_layer(run, db, key_set):
    arguments = ["keys", "label", db, "--set", key_set, "--no-store", "--csv"]
    rows = list(csv.DictReader(io.StringIO(run(*arguments, *of("planted")).stdout)))
    assert len(rows) == 8 * DEPTHWISE
    keys = [f"key {place}: {name}" for place, name in enumerate(load_keys(key_set).texts, 1)]
    for row in rows:
        counts = [int(row[name]) for name in (*keys, "other", "constant", "zero")]
        assert sum(counts) == int(row["filters"]) == CHANNELS


def test_label_with_options(run, run_json, place, key_set, tmp_path):
    pytest.importorskip("matplotlib")
    file = place / "models" / "planted0.safetensors"
    loose = run_json("keys", "label", file, "--set", key_set, "--threshold", "0")
    assert loose["total"]["other"] == 0
    moved = run_json("keys", "label", file, "--set", key_set, "--rotations")
    assert moved["key_set"]["id"] != loose["key_set"]["id"]
    same = label(file, load_keys(key_set), equivalence=Equivalence(rotations=True))
    assert moved["key_set"]["id"] == same.key_set.id
    padded = run_json("keys", "label", file, "--set", "published8", "--resize", "padding")
    assert padded["key_set"]["kernel"] == [3, 3]
    analytic = run_json("keys", "label", file, "--set", "published8", "--resize", "analytic",
                        "--kernel", "3x3")  # fmt: skip
    assert analytic["key_set"]["id"] != padded["key_set"]["id"]
    done = run("keys", "label", file, "--set", key_set, "--plot", tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size
    assert "Picture" in done.stderr


def test_labels_are_kept(run, run_json, place, key_set, tmp_path):
    folder = tmp_path / "db"
    filterdb.open(folder).ingest([place / "models" / "planted0.safetensors"])
    first = run("keys", "label", folder, "--set", key_set, "--jobs", "1")
    assert first.exit_code == 0
    from filterdb.keys.labels.stored_labels import read_labels

    kept = read_labels(folder, load_keys(key_set).id)
    assert [layer.layer for layer in kept.layers] == ["dw0", "dw1"]
    turned = run("keys", "label", folder, "--set", key_set, "--rotations", "--jobs", "1")
    assert turned.exit_code == 0
    facts = run_json("info", folder)["key_sets"]
    assert [(one["name"], one["kernel"], one["keys"], one["layers"]) for one in facts] == [
        ("four", "3x3", 4, 2)
    ] * 2
    assert facts[0]["key_set"] == load_keys(key_set).id != facts[1]["key_set"]
    assert facts == filterdb.open(folder).info()["key_sets"]
    assert all(one["n_r2_80"] <= one["n"] == 48 for one in facts)
    shown = run("info", folder).stdout
    assert all(one["key_set"] in shown for one in facts)
    assert "key set" not in run("info", place / "db").stdout


@pytest.fixture
def labelled(run, place, key_set, tmp_path):
    """A database with two labelled layers."""
    folder = tmp_path / "db"
    filterdb.open(folder).ingest([place / "models" / "planted0.safetensors"])
    assert run("keys", "label", folder, "--set", key_set, "--jobs", "1").exit_code == 0
    return folder


def test_a_set_of_the_database_is_taken_by_its_id_or_name(run, run_json, labelled, key_set):
    keys = load_keys(key_set)
    for name in (keys.id, "four"):
        assert run_json("keys", "label", labelled, "--set", name)["key_set"]["id"] == keys.id
    refused = run("keys", "label", labelled, "--set", "fourth")
    assert f"The database has: four ({keys.id})" in str(refused.exception)


def test_a_file_comes_before_a_set_of_the_database(
    run_json, labelled, key_set, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    other = save_keys(KeySet("other", PLANTED[:2]), tmp_path / "x.safetensors").rename("four")
    data = run_json("keys", "label", labelled, "--set", "four", "--no-store")
    assert data["key_set"]["id"] == load_keys(other).id != load_keys(key_set).id


def test_forget(run, run_json, labelled, key_set):
    turned = run("keys", "label", labelled, "--set", key_set, "--signed", "--jobs", "1")
    assert turned.exit_code == 0
    done = run("keys", "label", labelled, "--forget", load_keys(key_set).id)
    assert "its labels of 2 layers" in done.stdout
    (left,) = run_json("info", labelled)["key_sets"]
    assert left["key_set"] != load_keys(key_set).id
    assert run_json("keys", "label", labelled, "--forget", "four")["layers"] == 2
    assert run_json("info", labelled)["key_sets"] == []


DAMAGE = {
    "labels": "UPDATE key_labels SET labels = x'00' WHERE layer_index = 1",
    "a number": "UPDATE key_labels SET n = 99",
    "the set": "UPDATE key_sets SET content = substr(content, 1, 100)",
    "the name": "UPDATE key_sets SET name = 'five'",
    "the id": "UPDATE key_sets SET id = 'a b'",
    "labels of no layer": "UPDATE key_labels SET layer_index = 99 WHERE layer_index = 1",
    "labels by no set": "UPDATE key_labels SET key_set = 'it''s' WHERE layer_index = 1",
    "lost labels": "DELETE FROM key_labels WHERE layer_index = 1",
    "a lost set": "DELETE FROM key_sets",
    "a lost digest": "DELETE FROM checks WHERE subject <> 'schema'",
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("word", ["--force", "--forget"])
def test_the_commands_that_verify_names_mend_labels_as_typed(run, run_json, labelled, what, word):
    with closing(sqlite3.connect(labelled / "catalogue.sqlite")) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(DAMAGE[what])
    for _ in range(3):
        findings = run_json("verify", labelled)["findings"]
        if not findings:
            break
        commands = re.findall("`filterdb (.*?)`", findings[0]["mend"])
        chosen = [command for command in commands if word in command] or commands
        typed = [str(labelled) if part == "DB" else part for part in shlex.split(chosen[0])]
        done = run(*typed)
        assert done.exit_code == 0, (typed, done.exception)
    assert run_json("verify", labelled)["findings"] == []


@pytest.mark.parametrize("what", ["labels", "a number", "lost labels"])
def test_labels_of_layers_of_all_kinds_are_mended_as_verify_says(run, run_json, tmp_path, what):
    arrays = {f"{name}.weight": np.random.default_rng(3).normal(size=(4, 4, 3, 3)) + place
              for place, name in enumerate("ab")}  # fmt: skip
    file = save(tmp_path / "dense.safetensors", arrays)
    filterdb.open(tmp_path / "db").ingest([file])
    done = run("keys", "label", tmp_path / "db", "--kind", "any", "--jobs", "1")
    assert done.exit_code == 0
    with closing(sqlite3.connect(tmp_path / "db" / "catalogue.sqlite")) as connection, connection:
        connection.execute(DAMAGE[what])
    (command, *_) = re.findall(
        "`filterdb (.*?)`", run_json("verify", tmp_path / "db")["findings"][0]["mend"]
    )
    typed = [str(tmp_path / "db") if part == "DB" else part for part in shlex.split(command)]
    assert run(*typed).exit_code == 0
    assert run_json("verify", tmp_path / "db")["findings"] == []


def test_several_files_are_told_what_to_do(run, place):
    files = [place / "models" / f"planted{seed}.safetensors" for seed in range(2)]
    done = run("keys", "label", *files)
    assert done.exit_code == 2
    told = " ".join(done.stderr.split())
    assert "one file at a time" in told
    assert f"filterdb ingest mydb {files[0]} {files[1]}" in told


def test_a_large_set_is_shown_without_its_cosines(run, run_json, tmp_path):
    filters = np.random.default_rng(0).normal(size=(4096, 3, 3))
    keys = KeySet("large", filters, names=(KeyName("same"),) * 4096)
    large = save_keys(keys, tmp_path / "large.safetensors")
    data = run_json("keys", "show", large)
    assert "cosines" not in data
    assert "4,096 x 4,096" in data["cosines_left_out"]
    assert len({key["text"] for key in data["filters"]}) == 4096
    shown = run("keys", "show", large).stdout
    assert "same 4096" in shown
    assert "`KeySet.cosines` has them" in shown
    some = save_keys(KeySet("some", filters[:64]), tmp_path / "some.safetensors")
    assert np.shape(run_json("keys", "show", some)["cosines"]) == (64, 64)
    refused = run("keys", "show", large, some)
    assert refused.exit_code == 2
    assert "4,096" in refused.stderr


@pytest.mark.parametrize("share", [2, -0.5, 1e300, True, "1", None])
def test_shares_that_are_none_are_not_shown(run, run_json, tmp_path, share):
    told = {"chance": {"odd": {"shares": [share, 1, 1, 1], "mean_r2": 1}}}
    file = save_keys(KeySet("odd", PLANTED, metadata=told), tmp_path / "odd.safetensors")
    done = run("keys", "show", file)
    assert done.exit_code == 0
    assert "R² >= 0.7" not in done.stdout
    assert run_json("keys", "show", file)["metadata"] == told


def test_replace(run, run_json, place, key_set, tmp_path):
    file, out = place / "models" / "planted0.safetensors", tmp_path / "out.safetensors"
    shown = run("keys", "replace", file, out, "--set", key_set).stdout
    assert (
        "48 of 48 filters in 2 depthwise layers replaced by a x + b of their nearest key of four"
        in (" ".join(shown.split()))
    )
    assert "accurate as the original is not checked" in shown
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["all"])
    assert row.split()[1:3] == ["48", "48"]
    assert "dw0" in shown
    again = run("keys", "replace", file, out, "--set", key_set)
    assert "is there. Name another" in str(again.exception)
    data = run_json("keys", "replace", file, out, "--set", key_set, "--force", "--min-r2", "0.9")
    assert data["min_r2"] == 0.9
    assert data["total"]["filters"] == 48
    odd = run("keys", "replace", file, tmp_path / "out.pth", "--set", key_set)
    assert "let 'out.pth' end in .safetensors" in str(odd.exception)
    assert not (tmp_path / "out.pth").exists()
    labels = run_json("keys", "label", out, "--set", key_set, "--threshold", "0.9")
    assert labels["total"]["other"] == sum(layer["other"] for layer in data["layers"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["find", "DB", *of("dense")], "--kind any"),
        (["find", "DB", *of("flat")], "constant"),
        (["find", "DB", *of("few"), "--k", "8"], "8 keys were asked for.*no copies"),
        (["find", "DB", *of("planted"), "--kernel", "5x5"], "3x3"),
        (["find", "DB", *of("random"), "--seeds", "1", "--coverage", "1", "--threshold", "0.95"],
         "lower --coverage"),
        (["label", "DB", "--set", "published8"], "7x7.*3x3"),
        (["label", "DENSE", "--set", "SET"], "no depthwise layers.*--kind any"),
        (["label", "FILE", "--set", "published9"], "Did you mean 'published8'"),
        (["label", "FILE", "--set", "SET", "--where", "TRUE"], "no database"),
        (["replace", "FILE", "OUT", "--set", "published8"], "7x7.*3x3"),
        (["replace", "FILE", "OUT", "--set", "published8"], "--resize padding.*--resize analytic"),
        (["replace", "FILE", "OUT", "--set", "SET", "--min-r2", "nan"], "--min-r2"),
        (["label", "FILE", "--set", "SET", "--threshold", "nan"], "threshold"),
        (["label", "FILE", "--set", "SET", "--threshold", "nan", "--filters"], "threshold"),
        (["label", "DB", "--set", "nothing"], "no key set 'nothing'"),
        (["label", "DB", "--forget", "nothing"], "no key set 'nothing'"),
        (["replace", "DENSE", "OUT", "--set", "SET"], "no depthwise layer"),
        (["show", "SET", "published8"], "different kernel sizes"),
    ],
)  # fmt: skip
def test_bad_input(run, place, key_set, tmp_path, arguments, message):
    names = {
        "DB": place / "db",
        "FILE": place / "models" / "planted0.safetensors",
        "DENSE": place / "models" / "dense.safetensors",
        "SET": key_set,
        "OUT": tmp_path / "out.safetensors",
    }
    done = run("keys", *(names.get(argument, argument) for argument in arguments))
    with pytest.raises(KeySetError, match=message):
        raise done.exception
    assert not is_failure(done.exception)
    assert done.stdout == ""


def test_wrong_usage(run, db, key_set, place):
    assert run("keys", "find", db, "--k", "8", "--coverage", "0.9").exit_code == 2
    assert run("keys", "find", db, "--out", db / "x.safetensors").exit_code == 2
    assert run("keys", "find", db, "--out", "x.npz").exit_code == 2
    assert run("keys", "find", db, "--plot-code", "x.png").exit_code == 2
    assert run("keys", "label", db, "--set", key_set, "--kernel", "5x5").exit_code == 2
    assert run("keys", "label", db, "--set", key_set, "--forget", "four").exit_code == 2
    assert run("keys", "label", place / "nothing").exit_code == 1
    assert run("keys", "nonsense").exit_code == 2


def test_a_layer_of_one_filter(run, run_json, key_set, tmp_path):
    lone = network([planted(1)[0][:1]])
    file = save(tmp_path / "lone.safetensors", lone)
    done = run("keys", "label", file, "--set", key_set, "--kind", "any", "--json")
    data = json.loads(done.stdout)
    assert sorted(layer["filters"] for layer in data["layers"]) == [1, CHANNELS * 3]
    assert data["notes"]


def test_a_pipe_in_a_terminal_breaks_no_word():
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 80))
    command = [sys.executable, "-m", "filterdb", "keys", "show", "found3x3"]
    narrow = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True).stdout
    wide = subprocess.run(command, capture_output=True, check=True).stdout
    os.close(ours)
    os.close(theirs)
    prose = [line for line in wide.decode().splitlines() if "explain" in line]
    assert all(len(line) > 80 for line in prose)
    lines = narrow.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert narrow.split() == wide.split()


def test_labels_of_several_models_fit_a_narrow_terminal(db, key_set):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 80))
    command = [sys.executable, "-m", "filterdb", "keys", "label", db, "--set", key_set,
               "--no-store", "--jobs", "1"]  # fmt: skip
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
    for name in ("COLUMNS", "LINES", "FORCE_COLOR"):
        plain.pop(name, None)
    shown = b""
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=plain) as process:
        os.close(theirs)
        with suppress(OSError):  # Linux's way to say that nobody writes any more
            while part := os.read(ours, 65_536):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    lines = shown.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in shown.decode()
    bars = [line for line in lines if line.split()[:1] and line.split()[0].startswith("planted")]
    assert len(bars) == 8
    assert all(len(line.split()[2]) == 24 for line in bars)


def test_exit_statuses(db, key_set, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(key_set.read_bytes()[:-8])
    runs = {
        ("find", db, "--where", "task = 'dense'"): 2,
        ("show", broken): 3,
        ("show",): 0,
    }
    for arguments, status in runs.items():
        command = [sys.executable, "-m", "filterdb", "keys", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr


def test_a_system_that_refuses_is_a_failure():
    refused = KeySetError("It cannot be written.")
    assert not is_failure(refused)
    refused.__cause__ = OSError()
    assert is_failure(refused)
    refused.__cause__ = ReadError("It is cut short.")
    assert is_failure(refused)
