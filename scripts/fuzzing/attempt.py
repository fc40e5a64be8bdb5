"""One input, read in full: every layer, every scale, both multiplied, and what it cost."""

from __future__ import annotations

import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import filterdb
from filterdb.errors import FilterDBError
from filterdb.variant import in_variant
from fuzzing.case import Case
from fuzzing.guard import Guard, forget_peak, peak_memory, resident_memory

EXPANSION, ALLOWANCE = 10, 200 * 2**20


@dataclass(frozen=True)
class Outcome:
    """What came of an input; ``findings`` is empty where all was as it should be."""

    result: str
    findings: tuple[str, ...]
    seconds: float
    memory: int


def attempt(case: Case, folder: Path, guard: Guard) -> Outcome:
    """Write a case, read all of it under guard, and say what is wrong."""
    path = case.write(folder)
    forget_peak()
    before, began = resident_memory(), process_time()
    guard.arm()
    try:
        result, wrong = read_all(path)
    finally:
        seen = guard.disarm()
    seconds, memory = process_time() - began, peak_memory() - before
    findings = [wrong, *dict.fromkeys(seen)] if wrong else list(dict.fromkeys(seen))
    if memory > EXPANSION * case.size + ALLOWANCE:
        findings.append(f"memory {memory:,} bytes for {case.size:,}")
    return Outcome(result, tuple(findings), seconds, memory)


def read_all(path: Path) -> tuple[str, str]:
    """Read a file and every layer: what came of it, and what of that is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = filterdb.read(path)
            for layer in file.layers:
                weights = layer.weights
                if weights.shape != layer.shape:
                    return "read", f"shape of {layer.name}: {weights.shape}, not {layer.shape}"
                if layer.norm is not None:
                    layer.norm.scale()  # how many there are is checked where they are used
            if any(layer.norm is not None for layer in file.layers):
                for layer in in_variant(file, "folded").layers:
                    assert layer.weights.shape == layer.shape
    except FilterDBError as error:
        # The reader's boundary turns whatever is raised into an error of ours: not foreseen.
        if "unforeseen" in str(error):
            return "refused", f"unforeseen {error}\n{told(error.__cause__ or error)}"
        if "not enough memory" in str(error):
            return "refused", f"memory {error}\n{told(error.__cause__ or error)}"
        return f"refused: {type(error).__name__}", ""
    except Exception as error:
        return "raised", f"exception {type(error).__name__}: {error!s:.300}\n{told(error)}"
    return "read", ""


def told(error: BaseException) -> str:
    """The end of a traceback."""
    return "".join(traceback.format_exception(error))[-2500:]
