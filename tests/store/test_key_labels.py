"""Labels and key sets in the catalogue: kept whole, found when changed, gone with their models."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from filterdb.errors import DamagedStoreError, StoreError
from filterdb.store.catalogue import Catalogue
from filterdb.store.connection import open_to_write
from filterdb.store.key_labels import (
    LABEL,
    NewLabels,
    StoredKeySet,
    labelled_layers,
    packed,
    put_labels,
    read_key_sets,
    select_labels,
    unpacked,
)
from filterdb.store.query import reading, select_layers
from filterdb.store.totals import totals
from filterdb.store.verify import verify
from rows import draw

EIGHT = StoredKeySet("0123456789abcdef", "eight", (3, 3), 8, b"\x00\x01the keys" * 9)
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
    found = dict(select_labels(labelled, EIGHT.id))
    assert list(found) == [(1, 0), (1, 1), (2, 0)]
    for (model, index), n in zip(found, (12, 8, 12), strict=True):
        assert found[model, index].tobytes() == some_labels(n, index).tobytes()
    assert read_key_sets(labelled) in ([EIGHT, FOUR], [FOUR, EIGHT])
    assert labelled_layers(labelled, EIGHT.id) == {(1, 0), (1, 1), (2, 0)}
    assert labelled_layers(labelled, FOUR.id) == {(2, 0)}
    assert labelled_layers(labelled, "none") == set()
    assert verify(labelled).findings == ()


def test_only_the_chosen_layers_are_read(labelled):
    assert [key for key, _ in select_labels(labelled, EIGHT.id, chosen={(1, 1)})] == [(1, 1)]
    assert [key for key, _ in select_labels(labelled, FOUR.id)] == [(2, 0)]


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
    assert len(read_key_sets(labelled)) == 2  # a set that no label uses may stay
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
        {"key_set": EIGHT.id, "name": "eight", "kernel": "3x3", "keys": 8, "layers": 3},
        {"key_set": FOUR.id, "name": "four", "kernel": "3x3", "keys": 4, "layers": 1},
    ]


@pytest.mark.parametrize(
    "change",
    [
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
    ],
)
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
    assert unpacked(blob, 5).tobytes() == some_labels(5).tobytes()
    for bad, n in ((blob, 4), (blob[:-4], 5), (b"", 5), (None, 5)):
        with pytest.raises(DamagedStoreError, match="filterdb verify"):
            unpacked(bad, n)
    with closing(open_to_write(labelled)) as connection:
        connection.execute("UPDATE key_labels SET labels = x'00'")
    with pytest.raises(DamagedStoreError):
        list(select_labels(labelled, EIGHT.id))


def test_a_database_of_an_older_schema_is_refused_with_its_mend(labelled):
    with closing(sqlite3.connect(labelled / "catalogue.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match=r"schema version 2.*Ingest the models into a new folder"):
        read_key_sets(labelled)
