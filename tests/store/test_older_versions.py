"""A catalogue of version 2 or 3: read as it is, and brought up to date by whoever writes."""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

import filterdb
from filterdb.errors import DamagedStoreError, SchemaVersionError, StoreError
from filterdb.keys.key_set import KeySet
from filterdb.keys.labels.labelling import label
from filterdb.keys.labels.stored_labels import stored_keys
from filterdb.population.preset import Scanning
from filterdb.store.catalogue import Catalogue
from filterdb.store.connection import create, open_to_read, open_to_write
from filterdb.store.digest import model_digest, refresh_schema_digest
from filterdb.store.key_sets import read_key_sets
from filterdb.store.query import select_layers, select_models
from filterdb.store.schema import SCHEMA_VERSION, SINCE, STATES, stand_in
from filterdb.store.totals import totals
from filterdb.store.verify import verify
from networks import save
from planted import network, random_keys

KEYS = KeySet("some", random_keys(2, (3, 3)).reshape(2, 3, 3))
HERE = Scanning(jobs=1)
OLD_SCHEMAS = {
    2: "902a4179de2da3f0a941d9e244ca2ee4da252359bacbf27e052c557d838b387a",
    3: "17c274c2c31a9891dff8b1ccced0a110a34605cfc83422f46b7b8bbc807daed6",
}
"""Version -> digest of the tables as its last program defined them."""


def make_old(folder, version):
    """Turn a catalogue without labels into the one that an older program would have made."""
    with closing(sqlite3.connect(folder / "catalogue.sqlite")) as connection:
        for since, tables in SINCE.items():
            for table in reversed(tables) if since > version else ():
                connection.execute(f"DROP TABLE {table}")
        connection.execute("DELETE FROM summaries WHERE part LIKE 'folded%'")
        for column in STATES:
            connection.execute(f"ALTER TABLE layers DROP COLUMN {column}")
        connection.execute(f"PRAGMA user_version = {version}")
        with closing(sqlite3.connect(":memory:")) as empty:  # what the program's digest was over
            connection.commit()
            connection.backup(empty)
            stand_in(empty, version)
            for (number,) in empty.execute("SELECT id FROM models").fetchall():
                digest = model_digest(empty, number)
                connection.execute("UPDATE models SET digest = ? WHERE id = ?", (digest, number))
        refresh_schema_digest(connection)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert version_of(folder) == version


def version_of(folder):
    with closing(open_to_read(folder)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def definitions(folder):
    with closing(open_to_read(folder)) as connection:
        return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


@pytest.fixture(params=OLD_SCHEMAS)
def version(request):
    return request.param


@pytest.fixture
def old(folder, add, version):
    add("a", seed=1)
    add("b", seed=2, metadata={"mine": 7})
    make_old(folder, version)
    return folder


@pytest.fixture
def old_network(tmp_path, version):
    """A database of a depthwise network, of an older version."""
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(8, 9)).astype(np.float32) for _ in range(2)]
    database = filterdb.open(tmp_path / "net")
    database.ingest([save(tmp_path / "net.safetensors", network(rows, (3, 3)))], jobs=1)
    make_old(database.path, version)
    return database


def opens(folder, start):
    start.wait()
    open_to_write(folder).close()


def test_the_tables_of_older_versions_are_what_they_were(tmp_path, version):
    create(tmp_path)
    make_old(tmp_path, version)
    with closing(open_to_read(tmp_path)) as connection:
        query = "SELECT digest FROM checks WHERE subject = 'schema'"
        assert connection.execute(query).fetchone() == (OLD_SCHEMAS[version],)


def test_readers_take_it_as_it_is(old):
    before = (old / "catalogue.sqlite").read_bytes()
    assert [row["name"] for row in select_models(old)] == ["a", "b"]
    (layer,) = select_layers(old, "mine = 7 AND weight_state IS NULL")
    assert [layer[name] for name in STATES] == [None] * len(STATES)
    assert read_key_sets(old) == []
    assert (totals(old)["labelled_layers"], totals(old)["key_sets"]) == (0, [])
    assert verify(old, remove_leftovers=False).findings == ()
    assert (old / "catalogue.sqlite").read_bytes() == before
    assert sorted(path.name for path in old.iterdir()) == ["catalogue.sqlite", "payload"]
    with closing(open_to_read(old)) as connection:
        for table in ("models", "key_sets", "folded"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute(f"DELETE FROM {table}")


def test_a_writer_brings_it_up_to_date(old, tmp_path):
    create(tmp_path / "new")
    with Catalogue(tmp_path / "new") as catalogue:
        catalogue.ensure_columns(["mine"])
    models = select_models(old)
    assert verify(old, remove_leftovers=False).findings == ()
    open_to_write(old).close()
    assert version_of(old) == SCHEMA_VERSION
    assert definitions(old) == definitions(tmp_path / "new")
    assert select_models(old) == models
    assert verify(old).findings == ()
    with Catalogue(old) as catalogue:
        catalogue.remove(["a"])
    assert verify(old).findings == ()


def test_several_processes_at_once_bring_it_up_to_date_once(old):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    processes = [context.Process(target=opens, args=(old, start)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert version_of(old) == SCHEMA_VERSION
    assert verify(old).findings == ()


def test_a_kill_leaves_the_old_version_or_the_new_one(old, tmp_path, version):
    """The log is written from its begin on: a kill leaves it cut anywhere."""
    with closing(open_to_read(old)) as reader:  # so that closing does not empty the log
        reader.execute("SELECT * FROM models").fetchone()
        open_to_write(old).close()
        log = (old / "catalogue.sqlite-wal").read_bytes()
        seen = []
        for number, cut in enumerate([*range(0, len(log), 1500), len(log)]):
            copy = tmp_path / f"cut{number}"
            shutil.copytree(old / "payload", copy / "payload")
            shutil.copy(old / "catalogue.sqlite", copy)
            (copy / "catalogue.sqlite-wal").write_bytes(log[:cut])
            seen.append(version_of(copy))
            assert verify(copy, remove_leftovers=False).findings == (), cut
            open_to_write(copy).close()
            assert version_of(copy) == SCHEMA_VERSION
            assert verify(copy).findings == (), cut
    assert seen == sorted(seen)
    assert set(seen) == {version, SCHEMA_VERSION}


def test_a_reader_keeps_its_snapshot_while_another_brings_it_up_to_date(old, version):
    with closing(open_to_read(old, snapshot=True)) as reader:
        open_to_write(old).close()
        assert reader.execute("PRAGMA user_version").fetchone() == (version,)
        assert reader.execute("SELECT count(*) FROM key_sets").fetchone() == (0,)
    assert version_of(old) == SCHEMA_VERSION


def test_damaged_tables_are_not_brought_up_to_date(old, version):
    with closing(sqlite3.connect(old / "catalogue.sqlite")) as connection:
        connection.execute("ALTER TABLE layers ADD COLUMN more")
    assert verify(old).damaged
    with pytest.raises(DamagedStoreError, match="backup"):
        open_to_write(old)
    assert version_of(old) == version
    assert verify(old).damaged


def test_version_1_is_refused_with_its_mend(old):
    with closing(sqlite3.connect(old / "catalogue.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 1")
    for opening in (open_to_read, open_to_write):
        with pytest.raises(SchemaVersionError, match=r"version 1.*Ingest the models into a new"):
            opening(old)


def test_labelling_without_keeping_leaves_the_old_version(old_network, version):
    found = label(old_network, KEYS, store=False, scanning=HERE)
    assert len(found.layers) == 2
    assert stored_keys(old_network.path) == []
    assert version_of(old_network.path) == version


def test_weights_of_an_older_version_are_of_an_unknown_state(old_network):
    for _ in range(2):
        for weights in ("stored", "raw", "folded"):
            found = old_network.select(weights=weights)
            told = {"asked": weights, "raw": 0, "folded": 0, "no_norm": 0, "unknown": 3}
            assert found.measured == told
            assert found.summary().n == old_network.select().summary().n
        (model,) = old_network.models()
        assert model["weight_states"] == {"unknown": 5}
        open_to_write(old_network.path).close()


def test_labelling_brings_it_up_to_date(old_network):
    label(old_network, KEYS, scanning=HERE)
    assert [keys.id for keys in stored_keys(old_network.path)] == [KEYS.id]
    assert version_of(old_network.path) == SCHEMA_VERSION
    assert verify(old_network.path).findings == ()


def test_a_read_only_one_can_be_read(old_network, read_only_view, version):
    place = read_only_view(old_network.path)
    database = filterdb.open(place)
    assert [row["name"] for row in database.models()] == ["net.safetensors"]
    assert len(database.layers("kind = 'depthwise'")) == 2
    assert database.info()["key_sets"] == []
    assert len(label(place, KEYS, store=False, scanning=HERE).layers) == 2
    assert verify(place).findings == ()
    for writes in (lambda: label(place, KEYS, scanning=HERE), lambda: open_to_write(place)):
        with pytest.raises(StoreError, match="read-only"):
            writes()
    assert version_of(place) == version
