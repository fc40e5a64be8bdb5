"""Fuzzing by coverage: atheris keeps the inputs that reach new branches of the readers.

Run as a script, it is the process that reads; inputs are judged as they are without coverage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzzing.case import Case
from fuzzing.mutations import damaged, damaged_bytes

LARGEST = 400_000
CLOCK = 60
"""Seconds on the clock after which an input hangs; a busy machine has other programs."""
MEGABYTES = 6000


def guided(corpus: Path, home: Path, seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Reports on ``count`` inputs to one format; the corpus grows in ``home``, and is kept."""
    grown, artifacts, log = home / "corpus", home / "artifacts", home / "reports.jsonl"
    for folder in (grown, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    done = 0
    while done < count:
        for old in artifacts.iterdir():
            old.unlink()
        log.unlink(missing_ok=True)
        command = [sys.executable, __file__, str(log), f"-artifact_prefix={artifacts}/",
                   f"-seed={seed + done}", f"-runs={count - done}", f"-timeout={CLOCK}",
                   f"-rss_limit_mb={MEGABYTES}", f"-max_len={LARGEST}", "-len_control=0",
                   str(grown), str(corpus)]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with (home / "log").open("ab") as file:
            ended = subprocess.run(
                command, stdout=file, stderr=file, env=environment, check=False
            ).returncode
        reports = [json.loads(line) for line in log.open()] if log.exists() else []
        if not reports:
            raise RuntimeError(f"atheris does not start: see {home / 'log'}")
        for report in reports:
            if "packed" in report:
                report["case"] = Case.unpacked(bytes.fromhex(report.pop("packed")))
            yield report
        done = done + len(reports)
        for artifact in sorted(artifacts.iterdir()):
            done += 1
            what = f"{artifact.name.split('-')[0]}: the process ended with {ended}"
            yield {"done": done, "result": "crash", "findings": [what], "seconds": 0.0,
                   "memory": 0, "case": Case.unpacked(artifact.read_bytes())}  # fmt: skip
        if not ended and len(reports) < 2:
            return


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["filterdb"]):
        import filterdb  # noqa: F401
        from filterdb import reading, roles  # noqa: F401
        from filterdb.readers.registry import READERS, load_reader

        for module in READERS:
            load_reader(module)
    from fuzzing.attempt import attempt
    from fuzzing.worker import corpus, prepare

    cases = corpus(Path(sys.argv[-1]))
    report = open(sys.argv[1], "w", buffering=1)  # noqa: PTH123, SIM115  (open until the end)
    place = TemporaryDirectory(prefix="fuzz-")
    folder, number = Path(place.name), 0
    guard = prepare(cases, folder)

    def one_input(data: bytes) -> None:
        nonlocal number
        try:
            case = Case.unpacked(data)
            outcome = attempt(case, folder / "input", guard)
        except (ValueError, OSError):  # no case, or names that no file can have
            return
        told = {"done": number, "result": outcome.result, "findings": outcome.findings,
                "seconds": outcome.seconds, "memory": outcome.memory}  # fmt: skip
        if outcome.findings:
            told["packed"] = data.hex()
        report.write(json.dumps(told) + "\n")
        number += 1
        for name in case.files:
            (folder / "input" / name).unlink(missing_ok=True)

    def mutated(data: bytes, largest: int, seed: int) -> bytes:
        """Half by our own damage, half by that of libFuzzer, which knows what is compared."""
        source = Random(seed)
        try:
            case = Case.unpacked(data)
        except ValueError:
            return source.choice(cases).packed()
        if source.random() < 0.5:
            changed = damaged(case, source, cases)
        else:
            name = source.choice(sorted(case.files))
            content = case.files[name]
            room = largest - case.size + len(content)
            content = (atheris.Mutate(content, max(room, 1)) if content
                       else damaged_bytes(content, source, b"\0"))  # fmt: skip
            changed = Case(case.entry, {**case.files, name: content})
        packed = changed.packed()
        return packed if len(packed) <= largest else data

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one_input, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
