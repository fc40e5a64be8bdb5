"""Kill ingests at random moments and say what is found afterwards, one JSON line a kill.

A script of its own, started by ``test_kill.py``: it imports everything once and forks for each
ingest, so that the moments fall into the ingest and not into the start of Python.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from filterdb.database import Database
from filterdb.errors import DatabaseNotFoundError
from filterdb.ingest import ingest

VARYING = ("id", "added_at", "digest")


def start(db: Path, models: Path, jobs: int) -> int:
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        ingest(db, models, jobs=jobs)
        os._exit(0)
    return child


def wait_for_group(group: int) -> None:
    """Wait for the workers of a killed ingest: they may be in the middle of a file."""
    for _ in range(200):
        stats = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                stats.append(entry.read_text().rpartition(")")[2].split())
        if not any(int(fields[2]) == group and fields[0] != "Z" for fields in stats):
            return
        time.sleep(0.02)
    raise AssertionError("the workers outlived their parent")


def content(db: Path) -> list[dict[str, object]]:
    database = Database(db)
    models = database.models()
    names = {row["id"]: row["name"] for row in models}
    for row in models:
        row["duplicate_of"] = names.get(row["duplicate_of"])
    rows = [*models, *database.layers()]
    return [{k: v for k, v in row.items() if k not in (*VARYING, "model_id")} for row in rows]


def whole_models(db: Path) -> int:
    """Count the models a reader sees, reading every weight of each."""
    database = Database(db)
    for layer in database.layers():
        weights = database.weights(layer["model_id"], layer["layer_index"])
        if weights.shape[:2] != (layer["out_channels"], layer["in_per_group"]):
            raise AssertionError(layer)
    for row in database.models():
        if row["n_layers"] != len(database.layers(model=row["id"])):
            raise AssertionError(row)
    return len(database.models())


def settle(db: Path) -> list[str]:
    """Verify until nothing is left over; what a dying worker holds is only named at first."""
    kinds: list[str] = []
    for _ in range(100):
        findings = Database(db).verify().findings
        kinds += [finding.kind for finding in findings]
        if all(finding.removed for finding in findings):
            return kinds
        time.sleep(0.05)
    return [*kinds, "never clean"]


def once(db: Path, models: Path, jobs: int, delay: float) -> dict[str, object]:
    shutil.rmtree(db, ignore_errors=True)
    child = start(db, models, jobs)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_for_group(child)
    try:
        seen, findings = whole_models(db), settle(db)
        second = [finding.kind for finding in Database(db).verify().findings]
    except DatabaseNotFoundError:
        seen, findings, second = -1, [], []
    ingest(db, models, jobs=1)
    if seen < 0:  # only now is there anything to verify
        findings = settle(db)
    third = [finding.kind for finding in Database(db).verify().findings]
    return {"delay": delay, "seen": seen, "findings": findings, "after": second + third}


def main(place: Path, models: Path, jobs: int, kills: int) -> None:
    chance = random.Random(jobs)
    ingest(place / "whole", models, jobs=1)
    expected = content(place / "whole")
    begin = time.perf_counter()
    os.waitpid(start(place / "timed", models, jobs), 0)
    seconds = time.perf_counter() - begin
    for _ in range(kills):
        delay = chance.uniform(0, seconds)
        found = once(place / "db", models, jobs, delay)
        found["same"] = content(place / "db") == expected
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
