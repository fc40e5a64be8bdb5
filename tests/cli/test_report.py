"""``filterdb report`` as users call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small database."""
    from filterdb import open as open_database
    from networks import network, save

    folder = tmp_path_factory.mktemp("db")
    file = save(folder / "net.safetensors", network("healthy", "random"))
    open_database(folder / "db").ingest(file, jobs=1)
    return folder / "db"


def test_a_network(run: Run, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("report", folder / "bad.safetensors", "-o", page, "--title", "The bad one")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{page}: ")
    assert result.stdout.endswith("kB\n")
    text = page.read_text()
    assert "<h1>The bad one</h1>" in text
    assert "Report on a network" in text


def test_a_database(run: Run, db: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("report", db, "-o", page, "--where", "verdict = 'healthy'")
    assert result.exit_code == 0, result.stderr
    text = page.read_text()
    assert "Report on a database" in text
    assert "verdict = &#39;healthy&#39;" in text


def test_a_file_of_that_name_is_replaced(run: Run, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("before")
    assert run("report", folder / "good.safetensors", "-o", page).exit_code == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert list(tmp_path.glob("*page*")) == [page]


def test_wrong_usage(run: Run, folder: Path, db: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    good = folder / "good.safetensors"
    for arguments, words in (
        ((good,), "Missing option '-o'"),
        ((good, "-o", tmp_path / "none" / "page.html"), "does not exist"),
        ((good, "-o", tmp_path), "is a directory"),
        ((good, "-o", good), "is SOURCE itself"),
        ((good, "-o", page, "--where", "task = 'x'"), "It chooses within a database"),
        ((folder, "-o", page), "is a folder, but no database"),
    ):
        result = run("report", *arguments)
        assert result.exit_code == 2
        assert words in result.stderr
        assert not page.exists()


def test_what_cannot_be_read_is_told(run: Run, folder: Path, db: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    for arguments, words in (
        ((folder / "page.pth", "-o", page), "HTML"),
        ((folder / "nothing", "-o", page), "does not exist"),
        ((db, "-o", page, "--where", "verdict = 'none'"), "No layer matches"),
        ((db, "-o", page, "--where", "verdct = 'none'"), "Did you mean verdict?"),
    ):
        result = run("report", *arguments)
        assert result.exit_code != 0
        assert words in str(result.exception)
        assert not page.exists()


def test_help_says_what_comes_out(run: Run) -> None:
    result = run("report", "--help")
    assert result.exit_code == 0
    assert "works offline" in result.stdout
