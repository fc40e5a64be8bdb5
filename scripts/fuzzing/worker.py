"""A process that reads inputs one after the other, so that a crash or a hang is seen from outside.

Run as a script: the corpus of a format, a folder to write to, the seed, the first input, how many.
Prints a line of JSON before each input, and one after it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzzing.case import Case
from fuzzing.guard import ADDRESS_SPACE, Guard
from fuzzing.mutations import damaged


def corpus(folder: Path) -> list[Case]:
    """The cases of a format, in a fixed order."""
    return [Case.unpacked(path.read_bytes()) for path in sorted(folder.glob("*.pack"))]


def input_of(cases: list[Case], seed: int, number: int) -> Case:
    """Input ``number`` of a run: it depends on nothing that came before it."""
    source = Random(f"{seed}-{number}")
    # The first ones are the whole files themselves.
    if number < len(cases):
        return cases[number]
    return damaged(source.choice(cases), source, cases)


def prepare(cases: list[Case], folder: Path) -> Guard:
    """Import what reading needs, limit memory, and put up the guard."""
    import resource

    from fuzzing.attempt import read_all

    for case in cases:
        read_all(case.write(folder / "whole"))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return Guard(folder / "input")


def main() -> None:
    cases, seed = corpus(Path(sys.argv[1])), int(sys.argv[2])
    begin, count = int(sys.argv[3]), int(sys.argv[4])
    from fuzzing.attempt import attempt

    # Nothing that a library prints may come between the lines.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place)
        guard = prepare(cases, folder)
        for number in range(begin, begin + count):
            case = input_of(cases, seed, number)
            home = folder / "input"
            report.write(json.dumps({"at": number}) + "\n")
            outcome = attempt(case, home, guard)
            report.write(json.dumps({
                "done": number, "result": outcome.result, "findings": outcome.findings,
                "seconds": outcome.seconds, "memory": outcome.memory, "size": case.size,
            }) + "\n")  # fmt: skip
            for name in case.files:
                (home / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
