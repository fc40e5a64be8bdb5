"""A worker seen from outside: what it reports, and whether it hangs or dies."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

PATIENCE = 5.0
"""Seconds of processor that an input may take: other programs must not count."""
WAITING = 12 * PATIENCE
"""Seconds on the clock, for what waits instead of working."""
GLANCE = 1.0
WORKER = Path(__file__).with_name("worker.py")
TICK = os.sysconf("SC_CLK_TCK")


def watched(corpus: Path, seed: int, begin: int, end: int) -> Iterator[dict[str, Any]]:
    """Reports on inputs ``begin`` to ``end``, by as many workers as it takes.

    Each is what the worker said of the input; a hang or a crash is told in its place.
    """
    while begin < end:
        at = begin
        for report in one_worker(corpus, seed, begin, end - begin):
            at = report["done"] + 1
            yield report
        if at == begin:
            raise RuntimeError(f"no worker starts on {corpus}: see its traceback above")
        begin = at


def one_worker(corpus: Path, seed: int, begin: int, count: int) -> Iterator[dict[str, Any]]:
    """Reports of one worker, until it is done, or hangs, or dies."""
    command = [sys.executable, "-X", "faulthandler", str(WORKER), str(corpus), str(seed)]
    process = subprocess.Popen(
        [*command, str(begin), str(count)], stdout=subprocess.PIPE, bufsize=0,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    at: int | None = None
    try:
        with selectors.DefaultSelector() as selector:
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ)
            rest, since, used = b"", monotonic(), 0.0
            while True:
                if not selector.select(GLANCE):
                    spent = processor_time(process.pid) - used
                    waited = monotonic() - since
                    if at is not None and (spent > PATIENCE or waited > WAITING):
                        what = f"hang {spent:.1f} s of processor, {waited:.1f} s in all"
                        yield told(at, what, seconds=spent)
                        return
                    continue
                received = os.read(process.stdout.fileno(), 1 << 16)
                if not received:
                    break
                *lines, rest = (rest + received).split(b"\n")
                for line in lines:
                    report = json.loads(line)
                    if "at" in report:
                        at, since = report["at"], monotonic()
                        used = processor_time(process.pid)
                    else:
                        at = None
                        if report["seconds"] > PATIENCE:
                            report["findings"].append(f"hang {report['seconds']:.1f} s")
                        yield report
        if process.wait() and at is not None:
            yield told(at, f"crash: the process ended with {process.returncode}", seconds=0.0)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def told(number: int, what: str, *, seconds: float) -> dict[str, Any]:
    return {"done": number, "result": what.split(" ")[0].strip(":"), "findings": [what],
            "seconds": seconds, "memory": 0, "size": 0}  # fmt: skip


def processor_time(pid: int) -> float:
    """Seconds of processor that a process and its children have had."""
    total = 0.0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children = (thread / "children").read_text().split()
            total += sum(processor_time(int(child)) for child in children)
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += sum(map(int, fields[11:15])) / TICK
    except (OSError, IndexError):
        return total
    return total
