from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from filterdb import processes
from filterdb.database import open_database
from filterdb.errors import DatabasePathError, StoreError
from filterdb.ingest import ingest, intake, workers


def network(seed=0, width=4):
    draw = np.random.default_rng(seed).normal
    return {
        "conv1.weight": draw(size=(width, 3, 3, 3)).astype(np.float32),
        "conv2.weight": draw(size=(2, width, 5, 5)).astype(np.float32),
        "fc.weight": draw(size=(10, 2)).astype(np.float32),
    }


def save(path, seed=0, width=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **network(seed, width))
    else:
        save_file(network(seed, width), path)
    return path


@pytest.fixture
def models(tmp_path):
    """Five networks, one of them twice, one in two formats; and files that are none."""
    folder = tmp_path / "models"
    for number, name in enumerate(["b/net.safetensors", "a/net.safetensors", "c.safetensors"]):
        save(folder / name, seed=number)
    save(folder / "b" / "copy.safetensors", seed=0)
    save(folder / "same_weights.npz", seed=2)
    (folder / "README.md").write_text("# Models\n\nTwo lines of text.\n")
    (folder / "page.pth").write_text("<!doctype html><html><body>404</body></html>")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "cut.safetensors").write_bytes((folder / "c.safetensors").read_bytes()[:300])
    (folder / ".hidden.pth").write_bytes(b"x")
    return folder


def statuses(result):
    return {Path(row.path).name: row.status for row in result.models}


def content(folder):
    """Everything in a catalogue but numbers and times, for comparison."""
    rows = []
    db = open_database(folder)
    models = db.models()
    named = {row["id"]: row["name"] for row in models}
    for row in models:
        row["duplicate_of"] = named.get(row["duplicate_of"])
        rows.append({k: v for k, v in row.items() if k not in ("id", "added_at", "digest")})
    layers = [{k: v for k, v in row.items() if k != "model_id"} for row in db.layers()]
    return rows, layers


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_is_taken_in_and_every_file_accounted_for(tmp_path, models, jobs):
    result = ingest(tmp_path / "db", [models], jobs=jobs)
    assert (result.added, result.unchanged, result.failed) == (4, 1, 3)
    assert statuses(result) == {
        "net.safetensors": "added", "copy.safetensors": "added", "c.safetensors": "added",
        "cut.safetensors": "failed", "empty.onnx": "failed", "page.pth": "failed",
        "same_weights.npz": "added",
    } | {"net.safetensors": "unchanged"}  # fmt: skip
    assert [row.path for row in result.models] == sorted(row.path for row in result.models)
    reasons = {Path(row.path).name: row.reason for row in result.models if row.reason}
    assert "HTML" in reasons["page.pth"]
    assert "empty" in reasons["empty.onnx"]
    ignored = {Path(item.path).name: item.reason for item in result.ignored}
    assert set(ignored) == {"README.md", ".hidden.pth"}
    assert ignored[".hidden.pth"] == "a hidden file"
    db = open_database(tmp_path / "db")
    assert [row["name"] for row in db.models()] == [
        "a/net.safetensors", "b/copy.safetensors", "c.safetensors", "same_weights.npz",
    ]  # fmt: skip
    assert db.models("duplicate_of IS NOT NULL")[0]["name"] == "same_weights.npz"
    assert db.verify().findings == ()
    assert {Path(row["path"]).name for row in db.info()["failed_files"]} == set(reasons)


def test_the_result_is_the_json_of_the_contract(tmp_path, models):
    result = ingest(tmp_path / "db", models)
    data = json.loads(json.dumps(result.to_dict()))
    assert {"added", "unchanged", "failed", "models"} <= set(data)
    row = data["models"][0]
    assert row == {
        "path": str(models / "a" / "net.safetensors"), "status": "added", "reason": None,
        "name": "a/net.safetensors", "n_layers": 2, "n_filters": 20,
    }  # fmt: skip
    assert data["metadata"] == {
        "unmatched_rows": [],
        "files_without_row": [],
        "renamed_columns": {},
        "outside_vocabulary": [],
        "respelt": [],
    }
    assert repr(result) == "<IngestResult: 4 added, 1 unchanged, 3 failed, 2 ignored>"
    assert list(result.to_pandas()["status"]) == [row["status"] for row in data["models"]]


def test_jobs_do_not_change_the_content(tmp_path, models):
    ingest(tmp_path / "one", models, jobs=1)
    ingest(tmp_path / "two", models, jobs=3)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_second_ingest_changes_nothing_and_reads_nothing(tmp_path, models, monkeypatch):
    db = tmp_path / "db"
    ingest(db, models)
    before = (db / "catalogue.sqlite").read_bytes()
    monkeypatch.setattr(intake, "check_model", None)
    again = ingest(db, models, jobs=1)
    assert (again.added, again.unchanged, again.failed) == (0, 5, 3)
    assert (db / "catalogue.sqlite").read_bytes() == before
    moved = models.rename(tmp_path / "elsewhere")
    assert ingest(db, moved, jobs=1).unchanged == 5


def test_paths_that_overlap_count_once(tmp_path, models, monkeypatch):
    monkeypatch.chdir(models)
    paths = [models, models / "a", "a/net.safetensors", models / "b" / ".." / "c.safetensors"]
    result = ingest(tmp_path / "db", paths)
    assert len(result.models) == 8
    assert result.added == 4


def test_a_file_that_is_given_is_named_by_its_name_and_never_ignored(tmp_path, models):
    paths = [models / "a" / "net.safetensors", models / "b" / "net.safetensors",
             models / "README.md", tmp_path / "nowhere.pth"]  # fmt: skip
    result = ingest(tmp_path / "db", paths)
    assert [row.name for row in result.models] == [
        None,
        "net.safetensors",
        "b/net.safetensors",
        None,
    ]
    assert "text" in result.models[0].reason
    assert "does not exist" in result.models[3].reason


def test_a_failure_is_forgotten_when_the_file_is_mended(tmp_path, models):
    ingest(tmp_path / "db", models)
    save(models / "cut.safetensors", seed=8)
    assert ingest(tmp_path / "db", models).added == 1
    failed = open_database(tmp_path / "db").info()["failed_files"]
    assert [Path(row["path"]).name for row in failed] == ["empty.onnx", "page.pth"]


def test_a_database_is_never_taken_into_a_database(tmp_path, models):
    db = models / "db"
    ingest(db, models)
    again = ingest(db, models)
    assert again.added == 0
    assert {item.path: item.reason for item in again.ignored}[str(db)] == "a database of filterdb"


def test_links_to_files_are_followed_and_links_to_folders_not(tmp_path, models):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link.safetensors").symlink_to(models / "c.safetensors")
    (tree / "folder").symlink_to(models)
    (tree / "broken.pth").symlink_to(tmp_path / "nothing")
    result = ingest(tmp_path / "db", tree)
    assert statuses(result) == {"link.safetensors": "added", "broken.pth": "failed"}
    assert "not a regular file" in result.models[0].reason or "exist" in result.models[0].reason
    assert [Path(item.path).name for item in result.ignored] == ["folder"]


def test_metadata_is_kept_reported_and_updated(tmp_path, models):
    csv = tmp_path / "models.csv"
    csv.write_text("file,task,format,year\na/net.safetensors,ocr,st,2020\nnix.pth,x,y,2021\n")
    result = ingest(tmp_path / "db", models, metadata=csv)
    assert result.unmatched_rows == ["line 3: nix.pth (no such file)"]
    assert str(models / "c.safetensors") in result.files_without_row
    assert result.renamed_columns == {"format": "csv_format"}
    db = open_database(tmp_path / "db")
    (row,) = db.models("task = 'ocr' AND year = 2020")
    assert (row["name"], row["format"], row["csv_format"]) == (
        "a/net.safetensors",
        "safetensors",
        "st",
    )
    csv.write_text("file,task\na/net.safetensors,detection\nc.safetensors,denoising\n")
    assert ingest(tmp_path / "db", models, metadata=csv).added == 0
    tasks = {row["name"]: (row["task"], row["year"]) for row in db.models("task IS NOT NULL")}
    assert tasks == {"a/net.safetensors": ("detection", 2020), "c.safetensors": ("denoising", None)}
    assert db.verify().findings == ()


def test_the_first_of_two_equal_files_describes_the_model(tmp_path, models):
    csv = tmp_path / "models.csv"
    csv.write_text("file,task\nb/copy.safetensors,first\nb/net.safetensors,second\n")
    for _ in range(2):
        ingest(tmp_path / "db", models, metadata=csv)
        assert [row["task"] for row in open_database(tmp_path / "db").models("task > ''")] == [
            "first"
        ]


def test_external_data_belongs_to_its_model(tmp_path):
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(network()["conv1.weight"], "conv.weight")
    node = onnx.helper.make_node("Conv", ["x", "conv.weight"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g",
        [onnx.helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", 1, [1, 4, 6, 6])], [weight],
    )  # fmt: skip
    folder = tmp_path / "m"
    folder.mkdir()
    onnx.save_model(onnx.helper.make_model(graph), folder / "net.onnx", save_as_external_data=True,
                    location="a_weights.bin", size_threshold=0)  # fmt: skip
    for status in ("added", "unchanged"):
        result = ingest(tmp_path / "db", folder, jobs=1)
        assert [(row.status, Path(row.path).name) for row in result.models] == [
            (status, "net.onnx")
        ]
        assert [item.reason for item in result.ignored] == [
            f"external data of {folder / 'net.onnx'}"
        ]
    assert open_database(tmp_path / "db").info()["failures"] == 0
    data = bytearray((folder / "a_weights.bin").read_bytes())
    data[3] ^= 1
    (folder / "a_weights.bin").write_bytes(data)
    assert ingest(tmp_path / "db", folder, jobs=1).added == 1


def test_progress_counts_every_file(tmp_path, models):
    seen = []
    ingest(tmp_path / "db", models, jobs=2, progress=lambda *step: seen.append(step))
    assert [done for done, _, _ in seen] == list(range(1, 9))
    assert {total for _, total, _ in seen} == {8}
    assert seen[0][2] == str(models / "a" / "net.safetensors")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("odd"), RecursionError("deep")])
def test_no_exception_of_one_file_stops_the_rest(tmp_path, models, monkeypatch, error):
    real = intake.read

    def read(path):
        if path.name == "c.safetensors":
            raise error
        return real(path)

    monkeypatch.setattr(intake, "read", read)
    result = ingest(tmp_path / "db", models, jobs=1)
    assert result.added == 3
    assert statuses(result)["c.safetensors"] == "failed"
    assert not list((tmp_path / "db" / "payload" / ".tmp").iterdir())


DYING = """
import os, signal, filterdb.ingest.intake as intake
real = intake.read
def read(path):
    if path.name == "c.safetensors":
        os.kill(os.getpid(), signal.{name})
    return real(path)
intake.read = read
"""


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_process_that_dies_fails_its_file_only(tmp_path, models, monkeypatch, name):
    monkeypatch.setattr(processes, "BOOT", DYING.format(name=name) + processes.BOOT)
    result = ingest(tmp_path / "db", models, jobs=2)
    assert (result.added, result.failed) == (3, 4)
    (row,) = (row for row in result.models if row.path.endswith("c.safetensors") and row.reason)
    assert row.reason.startswith(f"The process that read it was ended by signal {name}")
    assert open_database(tmp_path / "db").verify().damaged is False


def test_no_module_is_taken_from_a_folder_of_downloads(tmp_path, models, monkeypatch):
    for name in ("json", "filterdb", "numpy"):
        (models / f"{name}.py").write_text("open('ran', 'w')\nraise SystemExit('run!')\n")
    monkeypatch.chdir(models)
    monkeypatch.syspath_prepend("/nowhere")
    assert ingest(tmp_path / "db", models, jobs=2).added == 4
    assert not (models / "ran").exists()


def test_a_script_needs_no_main_guard(tmp_path, models):
    script = tmp_path / "script.py"
    script.write_text(
        "import filterdb\n"
        f"result = filterdb.open({str(tmp_path / 'db')!r}).ingest([{str(models)!r}], jobs=2)\n"
        "print(result.added)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "4\n"


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interruption_keeps_what_is_finished(tmp_path, models, jobs):
    def interrupt(done, *_):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path / "db", models, jobs=jobs, progress=interrupt)
    db = open_database(tmp_path / "db")
    assert [row["name"] for row in db.models()] == ["a/net.safetensors", "b/copy.safetensors"]
    assert db.verify().findings == ()
    ingest(tmp_path / "db", models, jobs=jobs)
    ingest(tmp_path / "whole", models, jobs=jobs)
    assert content(tmp_path / "db") == content(tmp_path / "whole")


def test_ingests_at_once_make_every_model_once(tmp_path):
    for number in range(12):
        save(tmp_path / "models" / f"{number % 3}" / f"{number}.safetensors", seed=number % 8)
    code = (
        "import sys\nfrom filterdb.ingest import ingest\nsys.stdin.read()\n"
        "result = ingest(sys.argv[1], sys.argv[2:], jobs=1)\nprint(result.added, result.failed)\n"
    )
    folders = [tmp_path / "models", tmp_path / "models" / "1", tmp_path / "models" / "2"]
    ingests = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "db", *paths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for paths in (folders[:1], folders[1:], folders[:1])
    ]  # fmt: skip
    for process in ingests:  # all are started: let them go together
        process.stdin.close()
    counts = []
    for process in ingests:
        counts.append(tuple(map(int, process.stdout.read().split())))
        process.stdout.close()
        assert process.wait() == 0
    assert sum(added for added, _ in counts) == 8
    assert sum(failed for _, failed in counts) == 0
    db = open_database(tmp_path / "db")
    assert len({row["sha256"] for row in db.models()}) == len(db.models()) == 8
    assert db.verify().findings == ()


def test_few_files_are_not_worth_a_process(tmp_path, models, monkeypatch):
    monkeypatch.setattr(workers, "Processes", None)
    assert ingest(tmp_path / "db", models).added == 4


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_is_an_error_and_leaves_nothing_half_done(tmp_path, small_disk, jobs):
    for number in range(8):
        save(tmp_path / "models" / f"{number}.safetensors", seed=number, width=64)
    with pytest.raises(StoreError, match="no room left"):
        ingest(small_disk / "db", tmp_path / "models", jobs=jobs)
    db = open_database(small_disk / "db")
    kept = [row["name"] for row in db.models()]
    assert 0 < len(kept) < 8
    assert kept == [f"{number}.safetensors" for number in range(len(kept))]
    assert not db.verify().damaged
    assert db.verify().findings == ()


def test_a_file_that_changes_while_it_is_read_fails(tmp_path, monkeypatch):
    path = save(tmp_path / "net.safetensors")
    real = intake.check_model

    def check_model(*args, **keywords):
        path.touch()
        os.utime(path, ns=(1, 1))
        return real(*args, **keywords)

    monkeypatch.setattr(intake, "check_model", check_model)
    result = ingest(tmp_path / "db", path, jobs=1)
    assert "changed while it was read" in result.models[0].reason
    assert not list((tmp_path / "db" / "payload" / ".tmp").iterdir())


def test_file_names_that_are_no_text(tmp_path):
    folder = tmp_path / "models"
    path = save(folder / "net.safetensors")
    path.rename(os.fsdecode(os.fsencode(folder) + b"/n\xff.safetensors"))
    (folder / os.fsdecode(b"t\xfe.onnx")).write_text("text")
    result = ingest(tmp_path / "db", folder)
    assert (result.added, result.failed) == (1, 1)
    (row,) = open_database(tmp_path / "db").models()
    assert row["name"] == "n\\udcff.safetensors"
    assert open_database(tmp_path / "db").verify().findings == ()


def test_the_catalogue_has_every_measure_and_the_source(tmp_path, models):
    ingest(tmp_path / "db", models / "c.safetensors")
    (row, _) = open_database(tmp_path / "db").layers()
    assert row["name"] == "conv1"
    assert 0 < row["variance_entropy"] < 1
    assert row["n_clean"] <= row["n_filters"] == 12
    (model,) = open_database(tmp_path / "db").models()
    assert model["path"] == str(models / "c.safetensors")
    assert model["size_bytes"] == (models / "c.safetensors").stat().st_size
    assert isinstance(model["reasons"], list)
    with sqlite3.connect(tmp_path / "db" / "catalogue.sqlite") as connection:
        skipped = connection.execute("SELECT name, reason FROM skipped").fetchall()
    assert skipped[0][0] == "fc.weight"


def test_removing_on_a_full_disk_says_that_there_is_no_room(tmp_path, small_disk):
    save(tmp_path / "net.safetensors")
    ingest(small_disk / "db", tmp_path / "net.safetensors")
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    db = open_database(small_disk / "db")
    with pytest.raises(StoreError, match="no room left"):
        db.remove("net.safetensors")
    assert len(db.models()) == 1
    filler.unlink()
    assert db.remove("net.safetensors") == ["net.safetensors"]


def test_a_database_that_is_itself_what_is_ingested_is_an_error(tmp_path, models, monkeypatch):
    ingest(tmp_path / "db", models)
    monkeypatch.chdir(tmp_path / "db")
    for paths in (".", [tmp_path / "db"], ["../db/"]):
        with pytest.raises(DatabasePathError, match="is the database itself"):
            ingest(".", paths)
    assert ingest(".", [".", models]).unchanged == 5
    monkeypatch.chdir(models)
    with pytest.raises(DatabasePathError, match="holds other files"):
        ingest(".", ".")
    assert not (models / "payload").exists()


def test_the_current_folder_can_be_ingested_with_the_database_in_it(models, monkeypatch):
    monkeypatch.chdir(models)
    assert ingest("db", ".").added == 4
    again = ingest("db", ".")
    assert again.unchanged == 5
    assert "db" in {item.path for item in again.ignored}


def test_weights_that_went_missing_come_back_with_their_file(tmp_path, models):
    db = open_database(tmp_path / "db")
    db.ingest(models)
    for path in db.path.rglob("*.safetensors"):
        path.unlink()
    assert len(db.verify().findings) == 3
    again = db.ingest(models)
    assert (again.added, again.unchanged) == (0, 5)
    assert db.verify().findings == ()
