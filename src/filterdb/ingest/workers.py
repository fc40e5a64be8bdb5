"""Files prepared side by side: whatever one does to its process, the rest go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from filterdb.errors import ReadError, StoreError, as_read_error
from filterdb.ingest.intake import Fingerprint, prepare
from filterdb.processes import ProcessEndedError, Processes
from filterdb.store.catalogue import NewModel

Outcome = NewModel | ReadError | StoreError
Prepare = Callable[[Fingerprint], Outcome]
Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4
"""Files for each process that may be done before the oldest one is."""


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
    processes = Processes(jobs, undelivered=_discard)
    threads = ThreadPoolExecutor(jobs)
    pending: deque[tuple[Item, Future[Result]]] = deque()

    def submit(item: Item) -> Future[Result]:
        return threads.submit(work, item, partial(_attempt_in, processes, folder))

    try:
        yield _ordered(items, submit, pending, limit=AHEAD * jobs)
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        processes.stop()
        raise
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        processes.close()
        for _, future in pending:
            if not future.cancelled() and future.exception() is None:
                _discard(future.result())


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


def _attempt_in(processes: Processes, folder: Path, fingerprint: Fingerprint) -> Outcome:
    """As :func:`attempt`, in a process; if that dies, it died of this file."""
    try:
        return processes.call(attempt, folder, fingerprint)
    except ProcessEndedError as error:
        return ReadError(f"The process that read it {error.end}.")
    except Exception as error:
        return as_read_error(error)


def _discard(result: object) -> None:
    """Remove the draft that nobody will commit."""
    if isinstance(result, NewModel):
        result.draft.discard()
