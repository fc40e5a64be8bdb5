"""Rows and weights come out of an experiment's folder as they went in."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import filterdb
from filterdb.errors import SchemaVersionError, StoreError, TransferError
from filterdb.transfer.beginning import restored, weights_of
from filterdb.transfer.book import Book, LeftOut, Row
from filterdb.transfer.networks.building import build
from filterdb.transfer.run import Budget, Data, Run, Start

RUN = Run(
    "mobilenet", Data("digits", 8, 1), Budget(2), {"width": 4, "stages": 1, "blocks": 2},
    starts=(Start("depthwise", filters="random"),), arm="base", labels={"cut": 1},
)  # fmt: skip
ROW = Row(
    RUN, "done", accuracy=0.5, test_loss=1.25, losses=(2.0, None, 0.1), steps=7, classes=10,
    fingerprints={"given": {"rest": "ab"}}, parameters=3, trainable=2, images=9, seconds=0.25,
    threads=1, device="cpu", digest="cd", guess=0.3, mirrored=False,
    left_out={"damaged": LeftOut(4, ("a.png", "b.png", "c.png"))},
    versions={"torch": "2"}, when="2024-01-01T00:00:00+00:00",
)  # fmt: skip


def test_a_row_comes_back_equal(tmp_path: Path) -> None:
    book = Book(tmp_path / "a" / "b")
    book.put(ROW)
    assert book.get(RUN.id) == ROW
    assert Book(tmp_path / "a" / "b").rows() == [ROW]
    assert book.get("0" * 16) is None


def test_a_row_of_the_same_id_is_replaced_in_its_place(tmp_path: Path) -> None:
    book = Book(tmp_path)
    other = replace(ROW, run=replace(RUN, seed=1))
    for row in (replace(ROW, status="failed", reason="a reason"), other, ROW):
        book.put(row)
    assert book.rows() == [ROW, other]


def test_any_sqlite_reads_it(tmp_path: Path) -> None:
    Book(tmp_path).put(ROW)
    with sqlite3.connect(tmp_path / "runs.sqlite") as connection:
        query = "SELECT status, accuracy, settings ->> '$.data.spec' FROM runs"
        assert connection.execute(query).fetchall() == [("done", 0.5, "digits")]
    connection.close()


def test_several_processes_write(tmp_path: Path) -> None:
    Book(tmp_path)
    code = (
        "import sys; from dataclasses import replace; from test_book import ROW, RUN, Book\n"
        "for seed in range(20):\n"
        "    run = replace(RUN, seed=100 * int(sys.argv[2]) + seed)\n"
        "    Book(sys.argv[1]).put(replace(ROW, run=run))"
    )
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)], cwd=here)
        for n in range(2)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert {row.run.seed for row in Book(tmp_path).rows()} == {*range(20), *range(100, 120)}


def test_weights_come_back_bit_by_bit(tmp_path: Path) -> None:
    model = build("mobilenet", classes=10, channels=1, size=8, seed=4, **RUN.arguments)
    book = Book(tmp_path)
    path = book.put_weights(RUN, weights_of(model))
    again = restored(RUN, 10, book.get_weights(RUN.id)).state_dict()
    for name, values in model.state_dict().items():
        assert torch.equal(again[name], values)
        assert again[name].dtype == values.dtype
    theirs = load_file(path)
    assert {name: values.tobytes() for name, values in theirs.items()} == {
        name: values.numpy().tobytes() for name, values in model.state_dict().items()
    }


def test_filterdb_ingests_the_weights(tmp_path: Path) -> None:
    model = build("mobilenet", classes=10, channels=1, size=8, **RUN.arguments)
    path = Book(tmp_path).put_weights(RUN, weights_of(model))
    layers = filterdb.read(path).layers
    expected = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [layer.shape for layer in layers] == [tuple(own.weight.shape) for own in expected]
    assert sum(layer.kind == "depthwise" for layer in layers) == 2
    assert np.array_equal(layers[0].weights, expected[0].weight.detach().numpy())


def test_weights_of_all_types(tmp_path: Path) -> None:
    book = Book(tmp_path)
    weights = {
        "scalar": np.array(5), "half": np.ones((2, 3), np.float16), "none": np.empty((0, 2)),
        "true": np.array([True, False]), "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    }  # fmt: skip
    book.put_weights(RUN, weights)
    for name, values in book.get_weights(RUN.id).items():
        assert np.array_equal(values, weights[name])
        assert values.shape == weights[name].shape
    with pytest.raises(TransferError, match="complex64"):
        book.put_weights(RUN, {"a": np.ones(2, np.complex64)})


def test_weights_that_are_damaged_or_not_there_are_named(tmp_path: Path) -> None:
    book = Book(tmp_path)
    with pytest.raises(TransferError, match=RUN.id):
        book.get_weights(RUN.id)
    path = book.put_weights(RUN, {"a": np.ones(9)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(TransferError, match="done again"):
        book.get_weights(RUN.id)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Book(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "runs.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="other"):
        Book(tmp_path / "other")


def test_a_newer_book_is_left_alone(tmp_path: Path) -> None:
    Book(tmp_path)
    connection = sqlite3.connect(tmp_path / "runs.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SchemaVersionError, match="newer"):
        Book(tmp_path)


def test_a_book_of_version_1_gets_the_column_that_it_lacks(tmp_path: Path) -> None:
    Book(tmp_path).put(ROW)
    connection = sqlite3.connect(tmp_path / "runs.sqlite")
    for column in ("digest", "guess"):
        connection.execute(f"ALTER TABLE runs DROP COLUMN {column}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    book = Book(tmp_path)
    assert book.rows() == [replace(ROW, digest=None, guess=None)]
    book.put(ROW)
    assert Book(tmp_path).rows() == [ROW]


def test_weights_of_an_epoch_lie_beside_the_trained_ones(tmp_path: Path) -> None:
    book = Book(tmp_path)
    assert book.kept(ROW) == {}
    for epoch in (0, 2, 7):
        book.put_weights(RUN, {"a": np.full(2, epoch)}, epoch=epoch)
    book.put_weights(RUN, {"a": np.full(2, 3)})
    kept = book.kept(ROW)
    assert list(kept) == [0, 2, 3]  # of three passes: what was kept after a seventh is not its
    assert kept[2].name == f"{RUN.id}-epoch-002.safetensors"
    assert {epoch: load_file(path)["a"][0] for epoch, path in kept.items()} == {0: 0, 2: 2, 3: 3}


def fill(book: Book) -> None:
    """Write more than the file may hold, as on a disk without room."""
    with book._telling(), book._open() as connection, connection:
        connection.execute("PRAGMA max_page_count = 1")  # what it has already is the least
        connection.execute("CREATE TABLE more (a)")
        connection.execute("INSERT INTO more VALUES (zeroblob(1000000))")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Make room, and give the same command again"):
        fill(Book(tmp_path))


def test_weights_of_another_run_are_refused(tmp_path: Path) -> None:
    book = Book(tmp_path)
    other = replace(RUN, seed=8)
    path = book.put_weights(other, {"a": np.zeros(3, np.float32)})
    assert set(book.get_weights(other.id)) == {"a"}
    path.rename(book.weights_path(RUN.id))
    with pytest.raises(TransferError, match=f"run {RUN.id}, but of the run {other.id}.*Delete"):
        book.get_weights(RUN.id)
