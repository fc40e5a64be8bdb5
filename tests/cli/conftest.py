"""A runner and a few files with known verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from filterdb.cli import cli
from networks import network, save


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run ``filterdb`` with the arguments given."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def run_json(run: Callable[..., Result]) -> Callable[..., Any]:
    """Run with ``--json`` and parse stdout."""

    def call(*arguments: object) -> Any:
        return json.loads(run(*arguments, "--json").stdout)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of networks: two that read, one that is no network."""
    folder = tmp_path / "networks"
    folder.mkdir()
    save(folder / "good.safetensors", network("healthy", "healthy", seed=1))
    save(folder / "bad.safetensors", network("random", "sparse", "low diversity", seed=2))
    (folder / "page.pth").write_text("<!DOCTYPE html><html><body>Not found</body></html>")
    return folder
