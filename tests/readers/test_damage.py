"""Damaged files of every format end in a result or a ReadError: no crash, no hang, nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_files import FILES

TRUNCATIONS, FLIPS = 50, 200
PATIENCE = 280


@pytest.mark.slow
@pytest.mark.parametrize("what", FILES)
def test_damage_is_an_error_or_a_result(tmp_path: Path, what: str) -> None:
    module, name, write = FILES[what]
    if find_spec(f"filterdb.readers.{module}") is None:
        pytest.skip(f"no reader {module}")
    original = tmp_path / name
    write(original)
    copies = tmp_path / "copies"
    copies.mkdir()
    script = Path(__file__).with_name("damage.py")
    command = [sys.executable, "-X", "faulthandler", str(script), str(original), str(copies)]
    try:
        done = subprocess.run(
            [*command, str(TRUNCATIONS), str(FLIPS)],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        last = (error.stdout or b"").decode().splitlines()[-1:]
        pytest.fail(f"hangs: {last}")
    lines = done.stdout.splitlines()
    failures = done.stdout[done.stdout.find("FAILED") :][:4000]
    assert done.returncode == 0, f"{done.returncode} after {lines[-1:]}\n{failures}{done.stderr}"
    counts = re.fullmatch(r"done: (\d+) read, (\d+) refused, 0 wrong", lines[-1])
    assert counts is not None, lines[-1]
    read, refused = map(int, counts.groups())
    assert read + refused == TRUNCATIONS + FLIPS
    assert refused > 0
