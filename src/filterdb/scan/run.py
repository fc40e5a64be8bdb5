"""One pass over the parts of a selection: in order, checked against the catalogue, resumable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from filterdb.errors import DamagedStoreError, FilterDBError, StoreError
from filterdb.scan.checkpoint import Checkpoint
from filterdb.scan.executors import HereExecutor, result_of, workers_of
from filterdb.scan.job import Arrays, Job
from filterdb.scan.parts import Part, ScanLayer
from filterdb.store.connection import PAYLOAD
from filterdb.store.lock import keeping
from filterdb.store.payload import read_payload

Value = TypeVar("Value")
Progress = Callable[[int, int, str], None]
AHEAD = 2
"""Parts for each worker that are under way at a time: it never waits for the next one."""


class Scanned(NamedTuple, Generic[Value]):
    """An answer, and the layers that it is about: one, or all of a part (``Job.per_layer``)."""

    layers: tuple[ScanLayer, ...]
    value: Value


def scan(
    parts: Sequence[Part],
    job: Job[Value],
    *,
    executor: Executor | None = None,
    checkpoint: Path | None = None,
    keep: bool = False,
    progress: Progress | None = None,
) -> Iterator[Scanned[Value]]:
    """Put a question to every layer, and hand over the answers in the layers' order.

    Memory does not grow with the number of filters: a few parts are under way at a time, and a
    worker holds some blocks of filters.

    Parameters
    ----------
    parts
        What to go through; :func:`~filterdb.scan.parts.split` makes them.
    job
        The question.
    executor
        Who works: any :class:`concurrent.futures.Executor` whose workers see the database under
        the same path; this process if not given. It is not shut down.
    checkpoint
        Folder in which finished parts are kept while the scan runs. A later scan with the same
        job takes them from there; in a database, `verify` removes those of abandoned scans.
    keep
        Leave them there at the end, until :func:`forget`.
    progress
        Called after every part with how many are done, of how many, and its payload.

    Yields
    ------
    Scanned
        The layers, and what the job found.

    Raises
    ------
    DamagedStoreError
        A payload is missing, or is not what the catalogue says.
    StoreError
        A layer cannot be scanned, or a worker failed. What is finished stays in the checkpoint.
    """
    with keeping(checkpoint):
        kept = Checkpoint(checkpoint, job)
        found = _in_order(parts, job, executor=executor or HereExecutor(), kept=kept)
        for done, (part, answers) in enumerate(found, 1):
            values = map(job.value, answers)
            if job.per_layer:
                for layer, value in zip(part.layers, values, strict=True):
                    yield Scanned((layer,), value)
            else:
                yield Scanned(part.layers, next(values))
            if progress is not None:
                progress(done, len(parts), part.label)
        if not keep:
            kept.remove()


def forget(checkpoint: Path | None, *jobs: Job[Any]) -> None:
    """Remove what scans with these jobs have kept."""
    for job in jobs:
        Checkpoint(checkpoint, job).remove()


class _Task(NamedTuple):
    """A part that is under way, or was done in an earlier scan."""

    part: Part
    future: Future[list[Arrays]]
    new: bool


def _in_order(
    parts: Sequence[Part], job: Job[Any], *, executor: Executor, kept: Checkpoint
) -> Iterator[tuple[Part, list[Arrays]]]:
    """Keep some parts under way, and hand over the oldest when it is done."""
    pending: deque[_Task] = deque()
    limit = AHEAD * workers_of(executor)

    def oldest() -> tuple[Part, list[Arrays]]:
        part, future, new = pending[0]
        answers = _checked(part, future, job, executor=executor)
        if new:
            kept.save(part, answers)
        pending.popleft()  # interrupted before this, it is still pending
        return part, answers

    try:
        for part in parts:
            pending.append(_start(part, job, executor=executor, kept=kept))
            if len(pending) >= limit:
                yield oldest()
        while pending:
            yield oldest()
    finally:
        for part, future, new in pending:
            finished = not future.cancel() and future.done() and future.exception() is None
            if new and finished and job.fits(part, future.result()):
                kept.save(part, future.result())


def _start(part: Part, job: Job[Any], *, executor: Executor, kept: Checkpoint) -> _Task:
    """Take a part's answers from the checkpoint, or have somebody look for them."""
    known = kept.load(part)
    if known is None:
        try:
            return _Task(part, executor.submit(job.answers, part), new=True)
        except Exception as error:  # a worker ended while others were given their parts
            raise _failed(part, error) from error
    future: Future[list[Arrays]] = Future()
    future.set_result(known)
    return _Task(part, future, new=False)


def _checked(
    part: Part, future: Future[list[Arrays]], job: Job[Any], *, executor: Executor
) -> list[Arrays]:
    """Wait for the answers about a part; whatever went wrong names its payload."""
    try:
        answers = result_of(future, executor)
    except FilterDBError:
        raise
    except FileNotFoundError as error:
        raise _unseen(part) from error
    except Exception as error:
        raise _failed(part, error) from error
    if not job.fits(part, answers):
        msg = (
            f"The scan of {part.label} did not go through the {part.n_filters:,} filters that the "
            "catalogue says are there. `filterdb verify` names what is damaged; remove those "
            "models and ingest their files again."
        )
        raise DamagedStoreError(msg)
    return answers


def _failed(part: Part, error: BaseException) -> StoreError:
    reason = f"{type(error).__name__}: {error!s:.300}".removesuffix(": ")
    return StoreError(
        f"The worker that scanned {part.label} failed ({reason}). "
        "Run the same again; if it was ended for want of memory, with fewer jobs."
    )


def _unseen(part: Part) -> StoreError:
    """A worker misses a payload: so does the database, or only the worker."""
    folder = part.folder
    if not any((folder / PAYLOAD).rglob("*.safetensors")):
        return StoreError(
            f"{folder} has a catalogue and no weights, which this question needs. Copy the folder "
            f"{PAYLOAD!r} beside the catalogue."
        )
    for path in part.paths:
        try:
            read_payload(path)
        except DamagedStoreError as error:
            return error
    return StoreError(
        f"The workers cannot see {part.label}, which is there. The database must lie on a disk "
        "that all of them share, under the same path."
    )
