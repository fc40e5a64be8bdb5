from __future__ import annotations

import random
import shutil
import sqlite3

import pytest

from filterdb.errors import DatabaseNotFoundError, StoreError
from filterdb.population.preset import SCANS
from filterdb.scan import MomentsJob, ScanLayer, scan, split
from filterdb.store.catalogue import Catalogue
from filterdb.store.lock import ingesting
from filterdb.store.query import select_layers, select_models
from filterdb.store.verify import verify
from rows import draw, new_model


@pytest.fixture
def two(folder, add):
    """Two models, a failure, and columns of the user's, one of them without a value."""
    add("a", layers={"conv1": draw(4, 3, 3, 3, seed=1), "conv2": draw(2, 4, 1, 1, seed=2)})
    add("b", seed=3, metadata={"task": "ocr", "mine": 7, "no value": None})
    with Catalogue(folder) as catalogue:
        catalogue.record_failures({"/x.pth": "It is damaged."})
    return folder


def kinds(result):
    return [finding.kind for finding in result.findings]


def flip(path, position, bit=0):
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


def test_a_sound_database_has_no_findings(two):
    result = verify(two)
    assert result.findings == ()
    assert not result.damaged
    assert (result.models, result.payloads) == (2, 2)
    assert result.bytes == sum(path.stat().st_size for path in two.rglob("*.safetensors"))


def test_progress_is_told(two):
    seen = []
    verify(two, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_every_flipped_byte_of_a_payload_is_found(two):
    for path in two.rglob("*.safetensors"):
        for position in range(0, path.stat().st_size, 7):
            flip(path, position, bit=position % 8)
            result = verify(two)
            assert kinds(result) == ["payload"], position
            assert result.damaged
            flip(path, position, bit=position % 8)
    assert verify(two).findings == ()


def test_a_finding_names_layer_and_models_and_the_mend(two):
    (row,) = select_models(two, "name = 'a'")
    path = two / "payload" / row["weights_hash"][:2] / f"{row['weights_hash']}.safetensors"
    flip(path, path.stat().st_size - 1)
    (finding,) = verify(two).findings
    assert finding.where == str(path.relative_to(two))
    assert finding.message.endswith("conv2.")
    assert "a: remove" in finding.mend
    assert path.exists()


def test_a_missing_and_a_short_payload_are_found(two):
    first, second = sorted(two.rglob("*.safetensors"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    assert sorted(kinds(verify(two))) == ["missing", "payload"]


def rows_of(folder):
    connection = sqlite3.connect(
        f"file:{folder / 'catalogue.sqlite'}?mode=ro&immutable=1", uri=True
    )
    connection.text_factory = bytes
    try:
        found = [
            connection.execute(f"SELECT * FROM {table}")
            for table in ("models", "layers", "skipped", "payloads", "failures")
        ]
        return [(rows.description, rows.fetchall()) for rows in found]
    finally:
        connection.close()


def test_no_flipped_byte_of_the_catalogue_changes_what_a_reader_sees_unnoticed(two, tmp_path):
    path = two / "catalogue.sqlite"
    content = rows_of(two)
    sound = path.read_bytes()
    found = 0
    chance = random.Random(5)
    used = [position for position, byte in enumerate(sound) if byte]
    for position in chance.sample(used, 250):
        flip(path, position, bit=chance.randrange(8))
        try:
            damaged = verify(two).damaged
        except StoreError:
            damaged = True
        found += damaged
        if not damaged:
            assert rows_of(two) == content, position
        path.write_bytes(sound)
        assert len(list(two.rglob("*.safetensors"))) == 2, "damage must never lead to removal"
    assert found > 200
    assert not (two / "catalogue.sqlite-wal").exists()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE models SET verdict = 'healthx' WHERE id = 1",
        "UPDATE models SET mine = 8",
        "UPDATE layers SET sparsity = sparsity + 1e-12",
        "UPDATE layers SET name = 'conv3' WHERE name = 'conv2'",
        "DELETE FROM layers WHERE name = 'conv2'",
        "DELETE FROM skipped WHERE model_id = 1",
        "UPDATE failures SET reason = 'none'",
        "UPDATE payloads SET bytes = bytes + 1",
        "UPDATE payloads SET weights_hash = CAST(weights_hash AS BLOB)",
        "PRAGMA foreign_keys = 0; UPDATE payloads SET weights_hash = CAST(x'ff41' AS TEXT) "
        "WHERE weights_hash = (SELECT weights_hash FROM models WHERE id = 1)",
        "UPDATE models SET name = x'ff00' WHERE id = 1",
        "ALTER TABLE models RENAME COLUMN task TO uask",
        'ALTER TABLE models RENAME COLUMN "no value" TO "mo value"',
        "DELETE FROM checks",
        "DROP TABLE checks",
        "DROP INDEX models_by_file",
        "UPDATE payloads SET sha256 = replace(sha256, 'a', 'b')",
        "PRAGMA foreign_keys = 0; UPDATE layers SET model_id = 77 WHERE model_id = 2",
    ],
)
def test_a_change_of_the_rows_is_found(two, change):
    connection = sqlite3.connect(two / "catalogue.sqlite")
    connection.executescript(change)
    connection.close()
    assert verify(two).damaged


def test_leftovers_are_named_removed_and_gone(two):
    new_model(two, "cc", {"c": draw(1, 1, 3, 3)})  # a draft that nobody commits
    orphan = new_model(two, "dd", {"c": draw(1, 1, 5, 5)}).draft.publish(two)
    (two / "catalogue.sqlite.0123456789abcdef.tmp").write_bytes(b"half")
    named = verify(two, remove_leftovers=False)
    assert kinds(named) == ["leftover"] * 3
    assert not named.damaged
    assert not any(finding.removed for finding in named.findings)
    assert orphan.exists()
    result = verify(two)
    assert [finding.removed for finding in result.findings] == [True] * 3
    assert not orphan.exists()
    assert verify(two).findings == ()


def test_drafts_are_left_alone_while_an_ingest_is_running(two):
    draft = new_model(two, "cc", {"c": draw(1, 1, 3, 3)}).draft
    with ingesting(two):
        (finding,) = verify(two).findings
        assert not finding.removed
        assert draft.path.exists()
    (finding,) = verify(two).findings
    assert finding.removed


def test_nothing_is_removed_on_the_word_of_a_damaged_catalogue(two):
    connection = sqlite3.connect(two / "catalogue.sqlite")
    connection.execute("DELETE FROM payloads")
    connection.commit()
    connection.close()
    result = verify(two)
    assert result.damaged
    assert len(list(two.rglob("*.safetensors"))) == 2


def test_a_copied_database_is_sound(two, tmp_path):
    shutil.copytree(two, tmp_path / "copy")
    assert verify(tmp_path / "copy").findings == ()


def test_there_must_be_a_database(tmp_path):
    with pytest.raises(DatabaseNotFoundError):
        verify(tmp_path)


def test_a_catalogue_without_its_payload_can_still_be_read(two, add):
    shutil.rmtree(two / "payload")
    assert len(select_models(two)) == 2
    assert kinds(verify(two)) == ["missing", "missing"]
    add("c", seed=8)
    assert len(list(two.rglob("*.safetensors"))) == 1


def test_what_others_add_to_the_catalogue_is_theirs(two):
    connection = sqlite3.connect(two / "catalogue.sqlite")
    connection.executescript("CREATE VIEW mine AS SELECT 1; ANALYZE;")
    connection.close()
    assert verify(two).findings == ()


def test_files_of_others_are_never_removed(two):
    digits = "0" * 64
    foreign = [
        "payload/mine/thesis.txt",
        "payload/notes.safetensors",
        f"payload/ff/{digits}.safetensors",
        f"payload/00/{digits}.txt",
        f"payload/00/{digits.replace('0', 'A')}.safetensors",
        "payload/.tmp/thesis.txt",
        f"payload/.tmp/deeper/{digits[:32]}",
        "scans/thesis.npz",
        f"scans/{digits[:16]}.npz",
        f"scans/mine/{digits[:16]}.npz",
        f"scans/{digits[:16]}/thesis.npz",
        f"scans/{digits[:16]}/{digits[:16]}.npy",
        f"scans/{digits[:16]}/deeper/{digits[:16]}.npz",
    ]
    beside = ["catalogue.sqlite.backup.tmp", "catalogue.sqlite.backup", "thesis.txt"]
    for name in foreign + beside:
        (two / name).parent.mkdir(parents=True, exist_ok=True)
        (two / name).write_text("years of work")
    result = verify(two)
    assert {finding.where for finding in result.findings} == set(foreign)
    assert set(kinds(result)) == {"foreign"}
    assert not result.damaged
    assert all((two / name).exists() for name in foreign + beside)


@pytest.fixture
def start_scan(two):
    """Begin a scan of every layer, which keeps what is finished in the database."""

    def start():
        weights = {row["id"]: row["weights_hash"] for row in select_models(two)}
        rows = select_layers(two)
        layers = [ScanLayer.of(r | {"model_weights_hash": weights[r["model_id"]]}) for r in rows]
        found = scan(split(two, layers, part_bytes=1), MomentsJob(), checkpoint=two / SCANS)
        for _ in range(2):
            next(found)
        return found

    return start


def test_an_abandoned_scan_is_a_leftover(two, start_scan):
    start_scan().close()
    parts = sorted((two / SCANS).rglob("*.npz"))
    assert parts
    draft = parts[0].with_name("0123456789abcdef.tmp")  # of a scan that was killed
    draft.write_bytes(b"half")
    (two / SCANS / "fedcba9876543210").mkdir()
    named = verify(two, remove_leftovers=False)
    assert kinds(named) == ["leftover"] * (len(parts) + 1)
    assert {two / finding.where for finding in named.findings} == {*parts, draft}
    assert all("scan" in finding.message for finding in named.findings)
    assert draft.exists()
    assert not named.damaged
    assert all(finding.removed for finding in verify(two).findings)
    assert not (two / SCANS).exists()
    assert verify(two).findings == ()


def test_a_running_scan_is_left_alone(two, start_scan):
    running = start_scan()
    kept = sorted((two / SCANS).rglob("*.npz"))
    result = verify(two)
    assert [two / finding.where for finding in result.findings] == kept
    assert not any(finding.removed for finding in result.findings)
    assert all("no scan is running" in finding.mend for finding in result.findings)
    assert sorted((two / SCANS).rglob("*.npz")) == kept
    running.close()
    with ingesting(two):
        assert not any(finding.removed for finding in verify(two).findings)
    assert all(finding.removed for finding in verify(two).findings)


def test_a_scan_goes_on_when_its_parts_are_removed(two, start_scan):
    running = start_scan()
    shutil.rmtree(two / SCANS)
    assert len(list(running)) == len(select_layers(two)) - 2
    assert verify(two).findings == ()


def test_what_others_keep_beside_a_scan_stays(two, start_scan):
    start_scan().close()
    (job,) = (two / SCANS).iterdir()
    (job / "notes.txt").write_text("years of work")
    result = verify(two)
    assert kinds(result)[-1] == "foreign"
    assert kinds(result).count("foreign") == 1
    assert [path.name for path in job.iterdir()] == ["notes.txt"]
    assert kinds(verify(two)) == ["foreign"]
