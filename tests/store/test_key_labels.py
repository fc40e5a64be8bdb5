"""Labels and key sets in the catalogue: kept whole, found when changed, gone with their models."""

from __future__ import annotations

import random
import re
import shlex
import shutil
import sqlite3
import tracemalloc
import zlib
from contextlib import closing

import numpy as np
import pytest
from safetensors.numpy import save_file

import filterdb
from filterdb.errors import DamagedStoreError, KeySetError
from filterdb.keys.key_set import KeySet
from filterdb.keys.labels.labelling import label
from filterdb.keys.labels.stored_labels import labels_of_layer, read_labels, stored_key_set
from filterdb.population.preset import Scanning
from filterdb.store.catalogue import Catalogue
from filterdb.store.connection import open_to_write
from filterdb.store.key_labels import (
    LABEL,
    NewLabels,
    labelled_layers,
    packed,
    put_labels,
    select_labels,
    unpacked,
)
from filterdb.store.key_sets import StoredKeySet, forget_labels, read_key_sets
from filterdb.store.query import reading, select_layers, select_models
from filterdb.store.schema import LABEL_COUNTS
from filterdb.store.totals import totals
from filterdb.store.verify import verify
from networks import save
from planted import network
from rows import draw

EIGHT = StoredKeySet("0123456789abcdef", "eight", (3, 3), 8, b"\x00\x01the keys" * 9)
ONE = {(1, 1)}
FOUR = StoredKeySet("fedcba9876543210", "four", (3, 3), 4, b"other keys")


def some_labels(n, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.zeros(n, LABEL)
    labels["key"] = rng.integers(-1, 8, n)
    labels["view"] = rng.integers(0, 255, n)
    for name in ("a", "b", "r2"):
        labels[name] = rng.normal(size=n)
    labels["r2"][0] = np.nan
    labels["kind"] = rng.integers(0, 3, n)
    return labels


def news(folder, seed=0, where=None):
    for row in select_layers(folder, where):
        labels = some_labels(row["n_filters"], seed + row["layer_index"])
        counts = {"n": row["n_filters"], "n_constant": 1, "n_zero": 0, "n_r2_70": 4, "n_r2_80": 3,
                  "n_r2_90": 2, "n_r2_95": 1, "mean_r2": 0.1 + seed}  # fmt: skip
        key = (row["model_id"], row["layer_index"])
        yield NewLabels(key, row["weights_hash"], labels, counts)


@pytest.fixture
def labelled(folder, add):
    """Two models of two and one layers, labelled by two sets."""
    add("a", layers={"conv1": draw(4, 3, 3, 3, seed=1), "conv2": draw(2, 4, 3, 3, seed=2)})
    add("b", seed=3)
    assert put_labels(folder, EIGHT, news(folder)) == 3
    assert put_labels(folder, FOUR, news(folder, 50, "model = 'b'")) == 1
    return folder


def content(folder):
    """All that a reader sees of labels and sets."""
    with reading(folder) as connection:
        connection.text_factory = bytes
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table in ("key_sets", "key_labels")
        ]


def test_labels_come_back_as_they_were(labelled):
    found = dict(select_labels(labelled, EIGHT.id, n_keys=8))
    assert list(found) == [(1, 0), (1, 1), (2, 0)]
    for (model, index), n in zip(found, (12, 8, 12), strict=True):
        assert found[model, index].tobytes() == some_labels(n, index).tobytes()
    assert read_key_sets(labelled) in ([EIGHT, FOUR], [FOUR, EIGHT])
    assert labelled_layers(labelled, EIGHT.id) == {(1, 0), (1, 1), (2, 0)}
    assert labelled_layers(labelled, FOUR.id) == {(2, 0)}
    assert labelled_layers(labelled, "none") == set()
    assert verify(labelled).findings == ()


def test_only_the_chosen_layers_are_read(labelled):
    assert [key for key, _ in select_labels(labelled, EIGHT.id, n_keys=8, chosen=ONE)] == [(1, 1)]
    assert [key for key, _ in select_labels(labelled, FOUR.id, n_keys=8)] == [(2, 0)]


def test_sql_can_count(labelled):
    query = "SELECT sum(n), sum(n_r2_80), avg(mean_r2) FROM key_labels WHERE key_set = ?"
    with reading(labelled) as connection:
        found = connection.execute(query, (EIGHT.id,)).fetchone()
    assert found == (32, 9, pytest.approx(0.1))


def test_labelling_again_replaces_the_labels_of_that_set_alone(labelled):
    before = content(labelled)
    assert put_labels(labelled, EIGHT, news(labelled, 9, "model = 'a'")) == 2
    after = content(labelled)
    assert after[0] == before[0]
    assert [row in before[1] for row in after[1]] == [False, False, True, True]
    assert verify(labelled).findings == ()


def test_the_same_set_under_another_name_is_renamed(labelled):
    renamed = StoredKeySet(EIGHT.id, "acht", (3, 3), 8, b"the keys, renamed")
    put_labels(labelled, renamed, [])
    assert renamed in read_key_sets(labelled)
    assert len(labelled_layers(labelled, EIGHT.id)) == 3
    assert verify(labelled).findings == ()


def test_labelling_is_all_or_nothing(labelled):
    before = content(labelled)

    def breaks_off():
        yield next(news(labelled, 9))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_labels(labelled, EIGHT, breaks_off())
    assert content(labelled) == before
    assert verify(labelled).findings == ()


def test_a_kill_leaves_the_old_labels(labelled, tmp_path):
    """What is on the disk in the midst of the transaction is what a kill leaves."""
    before = content(labelled)
    copies = []

    def copied():
        for new in news(labelled, 9):
            yield new
            copies.append(shutil.copytree(labelled, tmp_path / f"copy{len(copies)}"))

    put_labels(labelled, EIGHT, copied())
    assert len(copies) == 3
    for copy in copies:
        assert content(copy) == before
        assert verify(copy).findings == ()
    assert content(labelled) != before


def test_models_go_with_their_labels(labelled):
    digest = "SELECT digest FROM models WHERE name = 'b'"
    with reading(labelled) as connection:
        before = connection.execute(digest).fetchone()
    with Catalogue(labelled) as catalogue:
        catalogue.remove(["a"])
    assert labelled_layers(labelled, EIGHT.id) == {(2, 0)}
    assert verify(labelled).findings == ()
    with reading(labelled) as connection:
        assert connection.execute(digest).fetchone() == before
    with Catalogue(labelled) as catalogue:
        catalogue.remove(["b"])
    assert read_key_sets(labelled) == []
    assert verify(labelled).findings == ()


def test_labels_leave_the_digests_of_models_alone(folder, add):
    add("a")
    query = "SELECT digest FROM models"
    with reading(folder) as connection:
        before = connection.execute(query).fetchall()
    put_labels(folder, EIGHT, news(folder))
    with reading(folder) as connection:
        assert connection.execute(query).fetchall() == before


def test_a_layer_that_is_gone_or_another_gets_no_labels(labelled, add):
    waiting = list(news(labelled, 9))
    with Catalogue(labelled) as catalogue:
        catalogue.remove(["a", "b"])
    add("c", seed=5)  # takes the number of the first one
    assert put_labels(labelled, EIGHT, waiting) == 0
    assert labelled_layers(labelled, EIGHT.id) == set()
    assert verify(labelled).findings == ()


def test_totals_tell_the_sets(labelled):
    facts = totals(labelled)
    assert facts["labelled_layers"] == 3
    assert facts["key_sets"] == [
        {"key_set": EIGHT.id, "name": "eight", "kernel": "3x3", "keys": 8, "layers": 3, "n": 32,
         "n_constant": 3, "n_zero": 0, "n_r2_70": 12, "n_r2_80": 9, "n_r2_90": 6, "n_r2_95": 3,
         "mean_r2": pytest.approx(0.1)},
        {"key_set": FOUR.id, "name": "four", "kernel": "3x3", "keys": 4, "layers": 1, "n": 12,
         "n_constant": 1, "n_zero": 0, "n_r2_70": 4, "n_r2_80": 3, "n_r2_90": 2, "n_r2_95": 1,
         "mean_r2": pytest.approx(50.1)},
    ]  # fmt: skip


DAMAGE = [
    "UPDATE key_labels SET n = n + 1 WHERE layer_index = 1",
    "UPDATE key_labels SET mean_r2 = mean_r2 * (1 + 1e-15) WHERE layer_index = 1",
    "UPDATE key_labels SET mean_r2 = NULL WHERE layer_index = 1",
    "UPDATE key_labels SET labels = zeroblob(length(labels)) WHERE layer_index = 1",
    "UPDATE key_labels SET digest = replace(digest, 'a', 'b')",
    "UPDATE key_labels SET layer_index = 7 WHERE layer_index = 1",
    "DELETE FROM key_labels WHERE layer_index = 1",
    "DELETE FROM key_labels",
    "UPDATE key_sets SET name = 'eighth' WHERE name = 'eight'",
    "UPDATE key_sets SET content = zeroblob(length(content))",
    "UPDATE key_sets SET added_at = '2001'",
    "DELETE FROM key_labels; DELETE FROM key_sets",
    "PRAGMA foreign_keys = 0; DELETE FROM key_sets WHERE name = 'four'",
    "PRAGMA foreign_keys = 0; UPDATE key_labels SET key_set = 'x' WHERE layer_index = 1",
    "DELETE FROM checks WHERE subject LIKE 'labels%'",
    "UPDATE checks SET subject = replace(subject, 'labels', 'labelz')",
    "UPDATE checks SET digest = replace(digest, 'a', 'b') WHERE subject LIKE 'labels%'",
]


@pytest.mark.parametrize("change", DAMAGE)
def test_verify_finds_every_change_and_labelling_again_mends_it(labelled, change):
    with closing(open_to_write(labelled)) as connection:
        connection.executescript(change)
    result = verify(labelled)
    assert result.damaged
    assert {finding.kind for finding in result.findings} == {"catalogue"}
    for key_set, seed in ((EIGHT, 0), (FOUR, 50)):
        put_labels(labelled, key_set, news(labelled, seed))
    assert verify(labelled).findings == ()


def test_a_finding_names_the_layer_the_set_and_the_mend(labelled):
    with closing(open_to_write(labelled)) as connection:
        connection.execute("UPDATE key_labels SET n = 99 WHERE layer_index = 1")
    (finding,) = verify(labelled).findings
    assert finding.where == "a"
    assert "layer 1" in finding.message
    assert f"--set {EIGHT.id} --force" in finding.mend


@pytest.mark.parametrize("change", DAMAGE)
def test_forgetting_what_verify_names_mends_every_change(labelled, change):
    with closing(open_to_write(labelled)) as connection:
        connection.executescript(change)
    for _ in range(3):
        named = [re.search(r"--forget ('.*'|\S+?)`", finding.mend)[1]
                 for finding in verify(labelled).findings]  # fmt: skip
        if named:
            forget_labels(labelled, *shlex.split(named[0]))
    assert verify(labelled).findings == ()
    assert [row["name"] for row in select_models(labelled)] == ["a", "b"]


def test_a_forgotten_set_goes_with_its_labels_and_leaves_the_others(labelled):
    before = content(labelled)
    assert forget_labels(labelled, EIGHT.id) == 3
    assert read_key_sets(labelled) == [FOUR]
    assert labelled_layers(labelled, EIGHT.id) == set()
    assert content(labelled)[1] == [row for row in before[1] if FOUR.id.encode() in row]
    assert verify(labelled).findings == ()
    assert forget_labels(labelled, "four") == 1
    assert content(labelled) == [[], []]
    assert verify(labelled).findings == ()


def test_only_one_set_that_is_there_is_forgotten(labelled):
    before = content(labelled)
    with pytest.raises(KeySetError, match=f"eight \\({EIGHT.id}\\)"):
        forget_labels(labelled, "nine")
    assert content(labelled) == before
    put_labels(labelled, StoredKeySet("aa", "four", (3, 3), 4, b"more keys"), news(labelled, 7))
    with pytest.raises(KeySetError, match=f"aa, {FOUR.id}"):
        forget_labels(labelled, "four")
    assert forget_labels(labelled, "aa") == 3
    assert content(labelled) == before


def test_a_set_of_no_labels_does_not_stay(labelled):
    put_labels(labelled, StoredKeySet("aa", "none", (3, 3), 4, b"more keys"), [])
    assert {found.id for found in read_key_sets(labelled)} == {EIGHT.id, FOUR.id}
    with Catalogue(labelled) as catalogue:
        catalogue.remove(["b"])
    assert read_key_sets(labelled) == [EIGHT]
    assert verify(labelled).findings == ()


def test_no_flipped_byte_changes_what_a_reader_sees_unnoticed(labelled):
    path = labelled / "catalogue.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound, before = path.read_bytes(), content(labelled)
    place = sound.index(EIGHT.content)
    chance = random.Random(3)
    positions = [*range(place, place + len(EIGHT.content), 9)]
    with reading(labelled) as connection:
        blobs = [blob for (blob,) in connection.execute("SELECT labels FROM key_labels")]
    for blob in blobs:
        start = sound.index(blob)
        positions += chance.sample(range(start, start + len(blob)), 8)
    for position in positions:
        damaged = bytearray(sound)
        damaged[position] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        assert verify(labelled).damaged, position
    path.write_bytes(sound)
    assert content(labelled) == before
    assert verify(labelled).findings == ()


def test_damaged_labels_are_not_handed_out(labelled):
    blob = packed(some_labels(5))
    assert unpacked(blob, 5, n_keys=8).tobytes() == some_labels(5).tobytes()
    assert unpacked(packed(some_labels(5)[:0]), 0, n_keys=8).shape == (0,)
    for bad, n in ((blob, 4), (blob, 6), (blob, -1), (blob, "5"), (blob, None), (blob, 2**62),
                   (blob[:-4], 5), (blob + b"more", 5), (b"", 5), (None, 5)):  # fmt: skip
        with pytest.raises(DamagedStoreError, match="filterdb verify"):
            unpacked(bad, n, n_keys=8)
    with closing(open_to_write(labelled)) as connection:
        connection.execute("UPDATE key_labels SET labels = x'00'")
    with pytest.raises(DamagedStoreError):
        list(select_labels(labelled, EIGHT.id, n_keys=8))


def test_no_more_is_inflated_than_there_were_labels():
    bomb = zlib.compress(bytes(64 * 2**20), 9)
    tracemalloc.start()
    with pytest.raises(DamagedStoreError):
        unpacked(bomb, 100, n_keys=8)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("key", [8, 2**15 - 1, -2, -(2**15)])
def test_a_key_that_is_none_of_the_set_is_damage(labelled, key):
    labels = some_labels(8)
    labels["key"][3] = key
    (new,) = news(labelled, where="layer_index = 1")
    put_labels(labelled, EIGHT, [NewLabels(new.key, new.weights_hash, labels, new.counts)])
    assert verify(labelled).findings == ()  # they are what was stored
    with pytest.raises(DamagedStoreError, match="keys label"):
        list(select_labels(labelled, EIGHT.id, n_keys=8))


def test_labels_of_another_number_of_filters_are_damage(labelled):
    (new,) = news(labelled, where="layer_index = 1")
    counts = {**new.counts, "n": 9}
    put_labels(labelled, EIGHT, [NewLabels(new.key, new.weights_hash, some_labels(9), counts)])
    with pytest.raises(DamagedStoreError, match="keys label"):
        list(select_labels(labelled, EIGHT.id, n_keys=8))


def test_totals_count_weights_of_several_models_once_as_labels_do(tmp_path):
    layers = [draw(8, 9, seed=1), draw(8, 9, seed=2)]
    layers[0][2], layers[1][4] = 0.5, 0
    layers[1][5:] = layers[0][0] * 2 + 1
    keys = KeySet("one", layers[0][:1].reshape(1, 3, 3))
    files = [save(tmp_path / "a.safetensors", network(layers, (3, 3))),
             save(tmp_path / "b.safetensors", network(layers[:1], (3, 3))),
             tmp_path / "copy.safetensors"]  # fmt: skip
    save_file(network(layers, (3, 3)), files[2], metadata={"another": "file"})
    database = filterdb.open(tmp_path / "db")
    for file in files:
        database.ingest([file], jobs=1)
    found = label(database, keys, scanning=Scanning(jobs=1))
    (facts,) = database.info()["key_sets"]
    total = found.total
    assert facts["layers"] == len(found.layers) == 5
    assert (facts["n"], facts["n_constant"], facts["n_zero"]) == (total.n, 2, 1)
    assert (total.constant, total.zero) == (2, 1)
    assert facts["n_r2_80"] == total.counts.sum()
    assert facts["mean_r2"] == pytest.approx(total.mean_r2, rel=1e-12)


@pytest.mark.parametrize(("field", "value"), [("key", -1), ("key", 1), ("kind", 1), ("kind", 9)])
def test_stored_labels_that_contradict_themselves_are_damage(tmp_path, field, value):
    database = filterdb.open(tmp_path / "db")
    layers = [draw(8, 9, seed=1)]
    database.ingest([save(tmp_path / "a.safetensors", network(layers, (3, 3)))], jobs=1)
    keys = KeySet("one", layers[0][:1].reshape(1, 3, 3))
    label(database, keys, scanning=Scanning(jobs=1))
    ((key, labels),) = select_labels(database.path, keys.id, n_keys=1)
    labels[field][3] = value
    with reading(database.path) as connection:
        row = connection.execute(f"SELECT {', '.join(LABEL_COUNTS)} FROM key_labels").fetchone()
        (hash_,) = connection.execute(
            "SELECT weights_hash FROM layers WHERE model_id = ? AND layer_index = ?", key
        ).fetchone()
    counts = dict(zip(LABEL_COUNTS, row, strict=True))
    put_labels(database.path, stored_key_set(keys), [NewLabels(key, hash_, labels, counts)])
    for read in (read_labels, lambda place, id_: labels_of_layer(place, id_, key)):
        with pytest.raises(DamagedStoreError, match="keys label"):
            read(database.path, keys.id)
