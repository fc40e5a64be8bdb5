"""Start-up: `import filterdb` and `filterdb --help`, each in a fresh interpreter.

The bare interpreter is timed beside them: what it takes is not ours.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = {
    "interpreter": ["-c", "pass"],
    "import": ["-c", "import filterdb"],
    "help": ["-m", "filterdb", "--help"],
}


@pytest.mark.benchmark(group="start")
@pytest.mark.parametrize("name", COMMANDS)
def test_start(benchmark, name):
    command = [sys.executable, *COMMANDS[name]]
    benchmark.pedantic(subprocess.run, args=(command,), kwargs={"check": True, "stdout": -3},
                       rounds=10, warmup_rounds=1)  # fmt: skip
