"""Calls for processes: some cannot answer, some wait until they are told to go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("no way")


def fails_to_travel():
    raise Unpicklable("lost")


def blas_threads() -> list[int]:
    from threadpoolctl import threadpool_info

    np.ones((4, 4)) @ np.ones((4, 4))
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def hold(draft: Path, gate: Path) -> None:
    """Keep a draft until the gate, a named pipe, is opened and closed."""
    draft.touch()
    try:
        gate.read_bytes()
    finally:
        draft.unlink()


def make(draft: Path, gate: Path | None = None) -> Path:
    """Return a draft, once the gate is opened and closed."""
    draft.touch()
    if gate is not None:
        gate.read_bytes()
    return draft


class Odd:
    """A result that holds a draft and cannot be pickled."""

    def __init__(self, draft: Path) -> None:
        draft.touch()
        self.draft = draft

    def __reduce__(self):
        raise TypeError("no way")


def remove(result: Path | Odd) -> None:
    (result.draft if isinstance(result, Odd) else result).unlink()
