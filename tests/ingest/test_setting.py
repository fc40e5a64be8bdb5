from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import filterdb
from filterdb.database import Database
from filterdb.errors import ExportError, MetadataError, ModelNotFoundError, QueryError
from filterdb.store.connection import open_to_write

NAMES = ("net.safetensors", "sub/net.safetensors", "other_epoch_3.safetensors")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        weights = np.random.default_rng(seed).normal(size=(4, 3, 3, 3)).astype(np.float32)
        save_file({"conv.weight": weights}, folder / name, {"license": "MIT"})
    return folder


@pytest.fixture
def db(tmp_path: Path, models: Path) -> Database:
    database = filterdb.open(tmp_path / "db")
    database.ingest(models, jobs=1)
    return database


def row(db: Database, name: str) -> dict[str, Any]:
    (found,) = (model for model in db.models() if model["name"] == name)
    return found


def sound(db: Database) -> bool:
    return db.verify().findings == ()


def test_what_a_file_says_is_marked(db: Database) -> None:
    said = row(db, NAMES[2])
    assert (said["epoch"], said["license"], said["task"]) == (3, "MIT", None)
    assert said["inferred"]["epoch"] == {"value": "3", "source": "the name of the file"}
    assert said["inferred"]["license"]["source"] == "__metadata__ of the file: license"
    assert said["own_words"] == {}
    assert sound(db)


def test_without_inferring_nothing_is_said(tmp_path: Path, models: Path) -> None:
    database = filterdb.open(tmp_path / "db")
    database.ingest(models, jobs=1, infer=False)
    assert {model["license"] for model in database.models()} == {None}
    assert row(database, NAMES[2])["inferred"] == {}


def test_users_words_go_before_and_an_empty_cell_says_nothing(db: Database, models: Path) -> None:
    path = models.parent / "said.csv"
    path.write_text(f"model,license,task,epoch\n{NAMES[2]},GPL,seg,\n")
    result = db.ingest(models, metadata=path, jobs=1)
    assert result.outside_vocabulary == []
    said = row(db, NAMES[2])
    assert (said["license"], said["task"], said["epoch"]) == ("GPL", "segmentation", 3)
    assert set(said["inferred"]) == {"epoch", "precision"}
    assert said["own_words"] == {"task": "seg"}
    path.write_text(f"model,license,task,epoch\n{NAMES[2]},,weather,\n")
    assert db.ingest(models, metadata=path, jobs=1).outside_vocabulary == ["task: weather (1)"]
    said = row(db, NAMES[2])
    assert (said["license"], said["task"], said["epoch"]) == (None, "weather", 3)
    assert said["own_words"] == {}
    assert sound(db)


def test_a_second_ingest_of_the_same_words_changes_nothing(db: Database, models: Path) -> None:
    path = models.parent / "said.csv"
    path.write_text("model,task,license\nother_epoch_3,seg,\n")
    db.ingest(models, metadata=path, jobs=1)
    before = db.models()
    db.ingest(models, metadata=path, jobs=1)
    assert db.models() == before


@pytest.mark.parametrize(
    ("model", "where", "chosen"),
    [
        (NAMES[0], None, {NAMES[0]}), ("sub/net", None, {NAMES[1]}),
        ("*net*", None, set(NAMES[:2])),
        (None, "epoch = 3", {NAMES[2]}), (3, None, None), (None, "TRUE", set(NAMES)),
    ],
)  # fmt: skip
def test_models_by_name_number_wildcard_or_condition(
    db: Database, model: Any, where: str | None, chosen: set[str] | None
) -> None:
    result = db.set(
        {"Visual Category": "Face", "own": "7", "note": "a=b"}, model=model, where=where
    )
    chosen = chosen or {db.models(where="id = 3")[0]["name"]}
    assert set(result.models) == set(result.changed) == chosen
    assert result.new_columns == ("own", "note")
    for name in NAMES:
        values = tuple(row(db, name)[column] for column in ("visual_category", "own", "note"))
        assert values == (("faces", 7, "a=b") if name in chosen else (None, None, None))
    assert sound(db)
    again = db.set({"visual_category": "faces", "own": 7}, model=model, where=where)
    assert (again.changed, again.new_columns) == ((), ())


@pytest.mark.parametrize("nothing", ["", "  ", None])
def test_an_empty_value_clears_whoever_said_it(db: Database, nothing: Any) -> None:
    db.set({"task": "seg", "own": 1}, model=NAMES[2])
    result = db.set({"task": nothing, "own": nothing, "license": nothing}, model=NAMES[2])
    assert result.changed == (NAMES[2],)
    said = row(db, NAMES[2])
    assert (said["task"], said["own"], said["license"]) == (None, None, None)
    assert set(said["inferred"]) == {"epoch", "precision"}
    assert said["own_words"] == {}
    assert not db.set({"license": nothing}, model=NAMES[2]).changed
    assert sound(db)


def test_words_outside_the_vocabulary_are_kept_and_told(db: Database) -> None:
    result = db.set({"task": "Weather Forecast"}, model=NAMES[0])
    assert result.outside_vocabulary == ("task: Weather Forecast (1)",)
    assert row(db, NAMES[0])["task"] == "Weather Forecast"


@pytest.mark.parametrize(
    ("values", "choice", "error", "words"),
    [
        ({"a": 1}, {"model": "nett.safetensors"}, ModelNotFoundError, "Did you mean"),
        ({"a": 1}, {"model": "zz*"}, ModelNotFoundError, "named like 'zz"),
        ({"a": 1}, {"where": "id > 9"}, ModelNotFoundError, "meets the condition"),
        ({"a": 1}, {"where": "nonsense ="}, QueryError, "not valid SQL"),
        ({"verdict": 1}, {"where": "TRUE"}, MetadataError, "for example csv_verdict"),
        ({" ": 1}, {"where": "TRUE"}, MetadataError, "needs a column"),
    ],
)
def test_what_cannot_be_set_changes_nothing(
    db: Database, values: Any, choice: Any, error: type[Exception], words: str
) -> None:
    before = db.models()
    with pytest.raises(error, match=words):
        db.set(values, **choice)
    assert db.models() == before


def test_a_template_goes_round(db: Database, tmp_path: Path) -> None:
    db.set({"task": "seg", "own": 7, "note": 'say "hi",\nand 1'}, model=NAMES[0])
    db.set({"note": "007", "precision": "mine"}, model=NAMES[1])
    before = db.models()
    out = tmp_path / "fill in.csv"
    assert db.template(out) == 3
    result = db.set(out)
    assert (set(result.models), result.changed) == (set(NAMES), ())
    assert db.models() == before
    with out.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header[:3] == ["model", "task", "visual_category"]
    assert header[-2:] == ["own", "note"]
    for cells in rows:
        cells[header.index("task")] = "Semantic Segmentation"
        cells[header.index("own")] = "9"
        cells[header.index("license")] = ""  # said by the file: stays
        cells[header.index("note")] = ""
    with out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([header, *rows])
    assert set(db.set(out).changed) == set(NAMES)
    for name in NAMES:
        said = row(db, name)
        values = tuple(said[column] for column in ("task", "own", "license", "note"))
        assert values == ("segmentation", 9, "MIT", None)
    assert sound(db)


def test_a_template_fits_ingest_too(db: Database, models: Path, tmp_path: Path) -> None:
    db.template(tmp_path / "t.csv", where="name LIKE 'other%'")
    before = db.models()
    result = db.ingest(models / NAMES[2], metadata=tmp_path / "t.csv", jobs=1)
    assert result.unmatched_rows == []
    assert result.renamed_columns == {}
    assert db.models() == before


def test_a_table_by_path_and_rows_that_fit_no_model(
    db: Database, models: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    rows = (f"{models / NAMES[2]},ocr", "nothing,ocr", ",ocr", f"{NAMES[0]},a", "1,b")
    table.write_text("\n".join(["path,task", *rows]))
    first = db.models()[0]["name"]
    table.write_text(table.read_text().replace(NAMES[0], first))
    result = db.set(table)
    assert result.changed == ((NAMES[2],) if first != NAMES[2] else ())
    assert [text.split(":")[0] for text in result.unmatched_rows][:2] == ["line 3", "line 4"]
    assert "rows are about" in result.unmatched_rows[-1]


def test_a_template_replaces_no_file_unasked(db: Database, tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    out.write_text("mine")
    with pytest.raises(ExportError, match="--force"):
        db.template(out)
    assert out.read_text() == "mine"
    assert db.template(out, force=True, where="epoch = 3") == 1
    with pytest.raises(ExportError, match="part of the database"):
        db.template(db.path / "catalogue.sqlite", force=True)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM inferred",
        "UPDATE inferred SET value = 'x'",
        "UPDATE inferred SET source = 'x' WHERE model_id = 1",
    ],
)
def test_verify_notices_changed_statements(db: Database, change: str) -> None:
    connection = open_to_write(db.path)
    connection.execute(change)
    connection.close()
    assert db.verify().damaged
