from __future__ import annotations

import sqlite3
import threading

import pytest

from filterdb.errors import DatabaseNotFoundError, DatabasePathError, SchemaVersionError, StoreError
from filterdb.store.catalogue import Catalogue
from filterdb.store.connection import create, open_to_read, open_to_write, writing
from filterdb.store.lock import ingesting
from filterdb.store.query import select_models
from filterdb.store.schema import SCHEMA_VERSION
from filterdb.store.verify import verify


def listing(folder):
    return {
        path.relative_to(folder): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_no_database_is_said_so(tmp_path):
    for opening in (open_to_read, open_to_write):
        with pytest.raises(DatabaseNotFoundError, match="filterdb ingest"):
            opening(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_to_read(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_new_database_is_durable_and_versioned(folder):
    connection = open_to_write(folder)
    settings = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "foreign_keys", "synchronous", "user_version")
    ]
    connection.close()
    assert settings == ["wal", 1, 2, SCHEMA_VERSION]
    before = listing(folder)
    create(folder)
    assert listing(folder) == before


def test_creating_at_once_makes_one_database(tmp_path):
    threads = [threading.Thread(target=create, args=(tmp_path / "db",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in (tmp_path / "db").iterdir() if path.is_file()] == [
        "catalogue.sqlite"
    ]
    assert select_models(tmp_path / "db") == []


@pytest.mark.parametrize(
    ("version", "words"), [(SCHEMA_VERSION + 1, "update filterdb"), (0, "damaged")]
)
def test_an_unknown_schema_is_refused(folder, version, words):
    with sqlite3.connect(folder / "catalogue.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    for opening in (open_to_read, open_to_write):
        with pytest.raises(SchemaVersionError, match=words):
            opening(folder)


def test_a_foreign_sqlite_file_and_a_text_are_refused(folder):
    path = folder / "catalogue.sqlite"
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
    with pytest.raises(SchemaVersionError, match="not a filterdb catalogue"):
        open_to_read(folder)
    path.write_text("hello " * 1000)
    for opening in (open_to_read, open_to_write):
        with pytest.raises(StoreError, match="cannot be opened"):
            opening(folder)


def test_reading_leaves_no_trace(folder, add):
    add("net")
    before = listing(folder)
    assert len(select_models(folder)) == 1
    assert listing(folder) == before


def test_a_reader_cannot_write(folder):
    connection = open_to_read(folder)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM models")
    connection.close()


def test_reading_goes_on_while_another_writes(folder, add):
    add("net")
    writer = open_to_write(folder)
    with writing(writer):
        writer.execute("UPDATE models SET task = 'half'")
        assert select_models(folder)[0]["task"] is None
    assert select_models(folder)[0]["task"] == "half"
    writer.close()


@pytest.fixture
def read_only(folder, add, read_only_view):
    add("net")
    return read_only_view(folder)


def test_a_read_only_folder_can_be_read_and_verified(read_only):
    assert [row["name"] for row in select_models(read_only)] == ["net"]
    assert verify(read_only).findings == ()
    with pytest.raises(StoreError, match="read-only"), Catalogue(read_only) as catalogue:
        catalogue.remove(["net"])
    with pytest.raises(StoreError, match="read-only"), ingesting(read_only):
        pass


def test_a_path_with_odd_characters(tmp_path):
    place = tmp_path / "a b?c#d%41é"
    create(place)
    assert select_models(place) == []


@pytest.mark.parametrize(
    "name", ["thesis.txt", "payload/thesis.txt", "catalogue.sqlite.backup.tmp", "catalogue.txt"]
)
def test_no_database_is_made_among_other_files(tmp_path, name):
    (tmp_path / "home" / "payload").mkdir(parents=True)
    (tmp_path / "home" / name).write_text("years of work")
    before = listing(tmp_path)
    with pytest.raises(DatabasePathError, match="new or an empty folder"):
        create(tmp_path / "home")
    assert listing(tmp_path) == before


def test_an_interrupted_creation_is_taken_up(tmp_path):
    (tmp_path / "payload").mkdir()
    (tmp_path / "catalogue.sqlite.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "catalogue.sqlite.0123456789abcdef.tmp-wal").write_bytes(b"half")
    create(tmp_path)
    assert [finding.kind for finding in verify(tmp_path).findings] == ["leftover"] * 2
    assert verify(tmp_path).findings == ()
