from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import filterdb
from filterdb.cli import cli
from remote.hub_server import Hub, Repository


@pytest.fixture
def name(hub: Hub, two_layers: bytes) -> str:
    hub.repositories["org/net"] = Repository({"model.safetensors": two_layers})
    return "hf://org/net"


def test_ingest(hub: Hub, name: str, tmp_path: Path) -> None:
    database = filterdb.open(tmp_path / "db")
    result = database.ingest([name, "hf://org/none"], jobs=1)
    assert (result.added, result.failed) == (1, 1)
    rows = {row.path: row for row in result.models}
    assert rows[name].name == "org/net"
    assert "no such repository" in (rows["hf://org/none"].reason or "")
    assert database.ingest(name, jobs=1).unchanged == 1


def test_the_command_ingest(hub: Hub, name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["ingest", str(tmp_path / "db"), name])
    assert done.exit_code == 0
    assert "1 added (2 layers, 48 filters)" in done.output
    done = CliRunner().invoke(cli, ["ingest", str(tmp_path / "db"), str(tmp_path / "missing")])
    assert done.exit_code == 2
    assert "does not exist" in done.output


def test_diff(hub: Hub, name: str, two_layers: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(two_layers)
    assert filterdb.diff(name, path).file_a.source == name
    done = CliRunner().invoke(cli, ["diff", name, str(path)])
    assert done.exit_code == 0
    assert "net  (safetensors) → net.safetensors" in done.output


def test_report(hub: Hub, name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["report", name, "-o", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    assert name in (tmp_path / "page.html").read_text(encoding="utf-8")
