"""A short run of ``scripts/fuzz_readers.py``, and every finding of the long ones once more."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from filterdb.readers.registry import READERS
from fuzz_readers import stored
from fuzzing import guard, seeds, watch
from fuzzing.case import Case
from fuzzing.mutations import damaged
from fuzzing.watch import watched
from fuzzing.worker import corpus, input_of

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux does"
)

INPUTS = 24
LARGEST = 60_000


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files of every format, in a folder a format."""
    folder = tmp_path_factory.mktemp("fuzz")
    files = seeds.found([seeds.STORED], largest=LARGEST)
    seeds.keep([*seeds.tiny(slow=False), *files], folder, most=4)
    return folder


def test_every_reader_but_one_has_files(corpora: Path) -> None:
    found = {path.name for path in corpora.iterdir()}
    # Keras 3 takes seconds to be imported: its archives are left to the long runs.
    assert set(READERS) - found <= {"keras.archive", "tensorflow.saved_model"}


def test_inputs_are_read_or_refused(corpora: Path, tmp_path: Path) -> None:
    # Everything in one folder: to start a process for each format takes longer than to read.
    everything = tmp_path / "all"
    everything.mkdir()
    count = 0
    for folder in sorted(corpora.iterdir()):
        cases = corpus(folder)
        for number in range(INPUTS):
            case = input_of(cases, 0, number)
            (everything / f"{folder.name}-{number:03d}.pack").write_bytes(case.packed())
            count += 1
    reports = list(watched(everything, 0, 0, count))
    assert len(reports) == count
    assert [report for report in reports if report["findings"]] == []
    assert {"read", "refused: CorruptFileError"} <= {report["result"] for report in reports}


def test_findings_do_not_come_back(tmp_path: Path) -> None:
    cases = stored(seeds.REGRESSIONS)
    for name, case in cases.items():
        (tmp_path / f"{name}.pack").write_bytes(case.packed())
    reports = watched(tmp_path, 0, 0, len(cases))
    found = {name: report["findings"] for name, report in zip(sorted(cases), reports, strict=True)}
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_the_guard_sees_what_is_forbidden(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = """
import sys, pathlib, tempfile
sys.path.insert(0, sys.argv[2])
from fuzzing.guard import Guard
import socket, subprocess
folder = pathlib.Path(sys.argv[1])
(folder / "inside").write_text("x")
guard = Guard(folder)

def seen(do):
    guard.arm()
    try:
        do()
    except Exception:
        pass
    return " ".join(entry.split()[0] for entry in guard.disarm())

print(seen(lambda: (folder / "inside").read_text()), "|",
      seen(lambda: pathlib.Path("/etc/passwd").read_text()), "|",
      seen(lambda: (folder / "other").write_text("x")), "|",
      seen(lambda: subprocess.run(["true"])), "|",
      seen(lambda: socket.create_connection(("127.0.0.1", 1))), "|",
      seen(lambda: exec("1")), "|",
      seen(lambda: tempfile.TemporaryDirectory(prefix="filterdb-").cleanup()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(seeds.TESTS.parents[1] / "scripts")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = [part.strip() for part in done.stdout.split("|")]
    assert words == ["", "opened", "wrote", "process", "network", "code code", ""]


def test_damage_is_the_same_on_every_run(corpora: Path) -> None:
    cases = [case for folder in sorted(corpora.iterdir()) for case in corpus(folder)[:1]]
    once, twice = ([damaged(case, Random(i), cases) for case in cases for i in range(3)]
                   for _ in range(2))  # fmt: skip
    assert once == twice
    assert sum(one.files == case.files for one, case in zip(once[::3], cases, strict=True)) < 5


def test_a_case_packs_and_unpacks() -> None:
    case = Case("a/b", {"a/b": b"12", "c": b""})
    assert Case.unpacked(case.packed()) == case
    for wrong in (b"", b"\x01\0\0\0{", Case("a", {"../a": b"1"}).packed()):
        with pytest.raises(ValueError, match=r"short|index|out|JSON|Expecting"):
            Case.unpacked(wrong)


def test_a_crash_and_a_hang_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("""
import json, os, sys
for number in range(int(sys.argv[3]), int(sys.argv[3]) + int(sys.argv[4])):
    print(json.dumps({"at": number}), flush=True)
    if number == 1:
        os._exit(7)
    while number == 2:
        pass
    print(json.dumps({"done": number, "findings": [], "seconds": 0}), flush=True)
""")
    monkeypatch.setattr(watch, "WORKER", worker)
    monkeypatch.setattr(watch, "PATIENCE", 0.3)
    monkeypatch.setattr(watch, "GLANCE", 0.1)
    reports = list(watched(tmp_path, 0, 0, 4))
    assert [report["done"] for report in reports] == [0, 1, 2, 3]
    assert [" ".join(report["findings"])[:5] for report in reports] == ["", "crash", "hang ", ""]


def test_memory_is_measured() -> None:
    guard.forget_peak()
    before = guard.resident_memory()
    np.ones(50_000_000, np.uint8)
    assert 45e6 < guard.peak_memory() - before < 90e6
