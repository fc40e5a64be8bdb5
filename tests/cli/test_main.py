"""The program as a shell sees it: exit statuses, pipes, encodings. In processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from networks import network, save

Done = subprocess.CompletedProcess[bytes]


def filterdb(*arguments: object, shell: str = "", **environment: str) -> Done:
    """Run the program; ``shell`` is what its output is piped into."""
    line = [sys.executable, "-m", "filterdb", *map(os.fsencode, map(str, arguments))]
    env = {**os.environ, **environment}
    if not shell:
        return subprocess.run(line, capture_output=True, check=False, env=env)
    script = f'"$@" | {shell}; exit "${{PIPESTATUS[0]}}"'
    command = ["bash", "-c", script, "bash", *line]
    return subprocess.run(command, capture_output=True, check=False, env=env)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["check", "good.safetensors"], 0),
        (["check", "bad.safetensors"], 0),
        (["check", "good.safetensors", "--fail-on", "degenerate"], 0),
        (["check", "bad.safetensors", "--fail-on", "degenerate"], 1),
        (["check"], 2),
        (["check", "good.safetensors", "--nonsense"], 2),
        (["check", "good.safetensors", "--threshold", "nonsense=1"], 2),
        (["models", "no-database"], 2),
        (["check", "page.pth"], 3),
        (["check", "nothing-here", "good.safetensors"], 3),
        (["ingest", "db", "good.safetensors"], 0),
        (["ingest", "db", "."], 3),
        (["nonsense"], 2),
        (["--version"], 0),
    ],
)
def test_exit_status(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int
) -> None:
    monkeypatch.chdir(folder)
    done = filterdb(*arguments)
    assert done.returncode == status, done.stderr
    assert b"Traceback" not in done.stderr


def test_verify_says_no(folder: Path, tmp_path: Path) -> None:
    db = tmp_path / "db"
    assert filterdb("ingest", db, folder / "good.safetensors").returncode == 0
    assert filterdb("verify", db).returncode == 0
    payload = next((db / "payload").rglob("*.safetensors"))
    payload.chmod(0o644)
    payload.write_bytes(payload.read_bytes()[:-1] + b"\x00")
    assert filterdb("verify", db).returncode == 1


def test_a_reader_that_goes_is_no_error() -> None:
    done = filterdb("formats", shell="true")
    assert done.returncode == 0
    assert done.stderr == b""


def test_any_encoding_will_do(tmp_path: Path) -> None:
    arrays = network("healthy")
    arrays["größe.weight"] = arrays.pop("conv0.weight")
    path = save(tmp_path / "net.safetensors", arrays)
    for encoding in ("ascii", "latin-1", "utf-8"):
        for options in ([], ["--json"]):
            done = filterdb("check", path, *options, PYTHONIOENCODING=encoding)
            assert done.returncode == 0, done.stderr
    assert filterdb("ingest", tmp_path / "db", path).returncode == 0
    done = filterdb("layers", tmp_path / "db", "--csv", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", network("healthy"))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.pth"))
    path.rename(odd)
    done = filterdb("check", odd, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["verdict"] == "healthy"


def test_stdout_has_data_only(folder: Path) -> None:
    done = filterdb("check", folder / "good.safetensors", folder / "page.pth", "--json")
    assert len(json.loads(done.stdout)) == 2
    assert b"HTML" in done.stderr
