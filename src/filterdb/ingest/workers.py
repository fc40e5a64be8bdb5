"""Processes that prepare files: whatever a file does to one of them, the rest go on.

Each is a fresh interpreter that is fed through a pipe. Unlike :mod:`multiprocessing`'s it does
not run the caller's script a second time, so no ``if __name__ == "__main__"`` is needed; the
file that it died of is known; and it ends when its parent does.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import LifoQueue
from typing import IO, TypeVar

from filterdb.errors import ReadError, StoreError, as_read_error
from filterdb.ingest.intake import Fingerprint, prepare
from filterdb.store.catalogue import NewModel

Outcome = NewModel | ReadError | StoreError
Prepare = Callable[[Fingerprint], Outcome]
Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4
"""Files for each process that may be done before the oldest one is."""

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from filterdb.ingest.workers import serve; serve(int(sys.argv[2]))"
)
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


@contextmanager
def in_turn(
    folder: Path,
    items: Iterable[Item],
    work: Callable[[Item, Prepare], Result],
    *,
    jobs: int,
) -> Iterator[Iterator[tuple[Item, Result]]]:
    """Work on items side by side, and hand each over with its result in their order.

    Parameters
    ----------
    folder
        The database that drafts are written into.
    items
        What to work on.
    work
        Called in a thread with an item and a function that prepares a file, in a process of
        its own unless there is one job only.
    jobs
        Number of items at a time.
    """
    if jobs == 1:
        yield ((item, work(item, partial(attempt, folder))) for item in items)
        return
    workers = [Worker(folder) for _ in range(jobs)]
    idle: LifoQueue[Worker] = LifoQueue()
    for worker in workers:
        idle.put(worker)

    def run(item: Item) -> Result:
        worker = idle.get()
        try:
            return work(item, worker.attempt)
        finally:
            idle.put(worker)

    def submit(item: Item) -> Future[Result]:
        return threads.submit(run, item)

    threads = ThreadPoolExecutor(jobs)
    pending: deque[tuple[Item, Future[Result]]] = deque()
    try:
        yield _ordered(items, submit, pending, limit=AHEAD * jobs)
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.stop()
        raise
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        for worker in workers:
            worker.close()
        for _, future in pending:
            failed = future.cancelled() or future.exception() is not None
            result = None if failed else future.result()
            if isinstance(result, NewModel):
                result.draft.discard()


def _ordered(
    items: Iterable[Item],
    submit: Callable[[Item], Future[Result]],
    pending: deque[tuple[Item, Future[Result]]],
    *,
    limit: int,
) -> Iterator[tuple[Item, Result]]:
    """Keep up to ``limit`` items under way, and hand over the oldest when it is done."""

    def take_oldest() -> tuple[Item, Result]:
        item, future = pending[0]
        result = future.result()  # interrupted here, it is still pending
        pending.popleft()
        return item, result

    for item in items:
        pending.append((item, submit(item)))
        if len(pending) == limit:
            yield take_oldest()
    while pending:
        yield take_oldest()


def attempt(folder: Path, fingerprint: Fingerprint) -> Outcome:
    """Prepare a file; whatever goes wrong with it is the outcome."""
    return guarded(partial(prepare, folder, fingerprint))


def guarded(work: Callable[[], Result]) -> Result | ReadError | StoreError:
    """Do some work on a file; an exception is a result, too: one bad file never stops the rest."""
    try:
        return work()
    except StoreError as error:
        return error
    except Exception as error:
        return as_read_error(error)


class Worker:
    """One process, started when it is first needed and again after it died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def attempt(self, fingerprint: Fingerprint) -> Outcome:
        """As :func:`attempt`, in the process."""
        process = self._process = self._process or _start()
        to_worker, from_worker = process.stdin, process.stdout
        assert to_worker is not None  # noqa: S101
        assert from_worker is not None  # noqa: S101
        try:
            pickle.dump((self._folder, fingerprint), to_worker)
            to_worker.flush()
            outcome: Outcome = pickle.load(from_worker)  # noqa: S301  (our own process)
        except (OSError, EOFError, pickle.UnpicklingError):
            self._process = None
            return ReadError(f"The process that read it {_end(process)}.")
        return outcome

    def stop(self) -> None:
        """End the process at once; it removes its draft."""
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """Let the process end, and wait for it."""
        if self._process is not None:
            _close_pipes(self._process)
            self._process.wait()
            self._process = None


def _start() -> subprocess.Popen[bytes]:
    # -P: no module is taken from the working folder, which may be one of downloaded files.
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | ONE_THREAD,
    )


def _end(process: subprocess.Popen[bytes]) -> str:
    """Say how a process ended."""
    _close_pipes(process)
    code = process.wait()
    if code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = ", probably for want of memory" if name == "SIGKILL" else ""
    return f"was ended by signal {name}{hint}"


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def serve(parent: int) -> None:
    """What the process does: a request in, an outcome out, until there are no more.

    Parameters
    ----------
    parent
        Number of the process that asks; once it is gone, so is the point of answering.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not come between the answers
    requests: IO[bytes] = sys.stdin.buffer
    while True:
        try:
            folder, fingerprint = pickle.load(requests)  # noqa: S301  (our own parent)
        except EOFError:
            return
        if os.getppid() != parent:
            return
        outcome = attempt(folder, fingerprint)
        try:
            pickle.dump(outcome, answers)
            answers.flush()
        except BrokenPipeError:  # the parent is gone
            if isinstance(outcome, NewModel):
                outcome.draft.discard()
            os._exit(1)
