"""Where output may go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from filterdb.errors import ExportError
from filterdb.store.connection import create
from filterdb.store.output import output_file, output_outside


@pytest.fixture
def db(tmp_path: Path) -> Path:
    create(tmp_path / "db")
    return tmp_path / "db"


@pytest.mark.parametrize(
    "name",
    ["catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm", "Catalogue.SQLite",
     "catalogue.sqlite.0123456789abcdef.tmp", "ingest.lock", "payload", "payload/0a",
     "payload/0a/x.png", "scans", "scans/x/y.svg", "payload/../catalogue.sqlite"],
)  # fmt: skip
def test_a_database_is_no_place(db: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(db.parent)
    Path("link").symlink_to(db)
    for place in (db / name, Path("db", name), Path("link", name)):
        with pytest.raises(ExportError, match="of the database"):
            output_file(place)
        with pytest.raises(ExportError, match="in the database"):
            output_outside(place)


def test_beside_the_catalogue_is_a_place_for_a_page_only(db: Path) -> None:
    for name in ("report.html", "pages/payload/x.html", "payloads"):
        assert output_file(db / name) == db / name
        with pytest.raises(ExportError, match="outside of it"):
            output_outside(db / name)
    for name in ("payload", "catalogue.sqlite-wal", "out.h5"):  # not of a database
        assert output_file(db.parent / name) == output_outside(db.parent / name)


def test_links_lead_to_what_is_meant(db: Path, tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to(tmp_path / "file")
    assert output_file(tmp_path / "there") == output_outside(tmp_path / "there")
    assert output_file(tmp_path / "there") == tmp_path / "file"
    (tmp_path / "inside").symlink_to(db / "catalogue.sqlite")
    (db / "payload" / "0a").symlink_to(tmp_path)
    for place in (tmp_path / "inside", db / "payload" / "0a" / "x"):
        with pytest.raises(ExportError, match="of the database"):
            output_file(place)
        with pytest.raises(ExportError, match="in the database"):
            output_outside(place)
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(ExportError, match="to one another"):
        output_file(tmp_path / "one")


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for place in (tmp_path / "fifo", tmp_path / "link", tmp_path, Path(os.devnull)):
        with pytest.raises(ExportError, match="no regular file"):
            output_file(place)
