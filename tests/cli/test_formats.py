"""``filterdb formats`` lists both kinds; the group itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from click.testing import Result

from filterdb.cli import COMMANDS


def test_both_kinds(run: Callable[..., Result], run_json: Callable[..., Any]) -> None:
    result = run("formats")
    assert result.exit_code == 0
    assert "Can be read" in result.stdout
    assert "TFLite" in result.stdout
    rows = run_json("formats")
    readable = {row["name"] for row in rows if row["readable"]}
    assert {"pytorch", "safetensors", "onnx", "keras-hdf5", "keras", "npz"} <= readable
    assert all(row["mend"] for row in rows if not row["readable"])


def test_every_command_is_there_and_documented(run: Callable[..., Result]) -> None:
    listed = run("--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in listed
        shown = run(name, "--help")
        assert shown.exit_code == 0
        assert "Usage:" in shown.stdout
