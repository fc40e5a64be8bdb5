"""Answers of finished parts on the disk: an interrupted scan goes on where it was.

A file is trusted only if its digest says that it is this job's answer about this part, whole. A
place that cannot be written to means no checkpoint, and no fuss: the scan does not need it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.scan.job import Arrays, Job
from filterdb.scan.parts import Part

SUFFIX = ".npz"
DRAFT_SUFFIX = ".tmp"
DIGEST = "digest"


class Checkpoint:
    """The answers to a job that are kept in ``<folder>/<job key>/<part key>.npz``.

    Parameters
    ----------
    folder
        Where the checkpoints of all jobs lie; None keeps nothing.
    job
        What was asked.
    """

    def __init__(self, folder: Path | None, job: Job[Any]) -> None:
        self._job = job
        self._folder = None if folder is None else folder / job.key

    def load(self, part: Part) -> list[Arrays] | None:
        """The answers about a part; None where they are not there, damaged or others'."""
        if self._folder is None:
            return None
        try:
            path = self._folder / (part.key + SUFFIX)
            # Opened here, since numpy.load would leave a damaged file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = dict(stored)
            digest = str(arrays.pop(DIGEST))
            answers = _answers(arrays)
            whole = digest == self._digest(part, arrays)
        except Exception:
            # Damage takes any form (zipfile alone has five kinds of exception); the part is then
            # simply scanned again.
            return None
        return answers if whole else None

    def save(self, part: Part, answers: Sequence[Arrays]) -> None:
        """Keep the answers about a part: the whole file or none."""
        if self._folder is None:
            return
        arrays = {
            f"{index}.{name}": np.asarray(array)
            for index, answer in enumerate(answers)
            for name, array in answer.items()
        }
        digest = np.array(self._digest(part, arrays))
        draft = self._folder / (token_hex(8) + DRAFT_SUFFIX)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with draft.open("xb") as file:
                np.savez(file, **arrays, **{DIGEST: digest})  # type: ignore[arg-type]
            draft.replace(self._folder / (part.key + SUFFIX))
        except OSError:
            with suppress(OSError):
                draft.unlink()

    def remove(self) -> None:
        """Remove all that is kept for the job, and the folders that this leaves empty."""
        if self._folder is None:
            return
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.suffix in (SUFFIX, DRAFT_SUFFIX):
                    path.unlink()
            self._folder.rmdir()
            self._folder.parent.rmdir()

    def _digest(self, part: Part, arrays: Arrays) -> str:
        """Hash of the question, of what it was put to, and of the answers."""
        digest = hashlib.sha256(f"{self._job.key} {part.key}".encode())
        for name, array in sorted(arrays.items()):
            digest.update(f" {name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _answers(arrays: Arrays) -> list[Arrays]:
    """Arrays by answer: their names begin with its number."""
    found: dict[int, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        index, _, rest = name.partition(".")
        found.setdefault(int(index), {})[rest] = array
    return [found[index] for index in range(len(found))]
