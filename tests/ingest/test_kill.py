from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

SCRIPT = Path(__file__).with_name("killing.py")


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    for number in range(12):
        values = np.random.default_rng(number % 9).normal(size=(4, 3, 3, 3)).astype(np.float32)
        name = f"conv{number % 2}.weight"  # other names, same weights: duplicates
        save_file(
            {name: values, "fc.weight": values.reshape(4, 27)}, folder / f"{number}.safetensors"
        )
    (folder / "broken.pth").write_bytes(b"\x80\x02 no pickle")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "kills"), [(1, 42), (2, 8)])
def test_a_kill_at_any_moment_leaves_whole_models_only(tmp_path, models, jobs, kills):
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, models, str(jobs), str(kills)],
        capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == kills
    for kill in found:
        assert set(kill["findings"]) <= {"leftover"}, kill
        assert kill["after"] == [], kill
        assert kill["same"], kill
    if jobs == 1:
        seen = {kill["seen"] for kill in found}
        assert len(seen) > 4, f"the kills all fell on the same moment: {seen}"
