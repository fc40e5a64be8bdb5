"""Doing runs: sources first, side by side, none twice, and no failure stops the others.

torch is imported where a run is done, not here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from math import isfinite
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from filterdb._version import __version__
from filterdb.errors import FilterDBError, TransferError
from filterdb.extras import require
from filterdb.processes import Processes
from filterdb.scan.executors import HereExecutor, executor_for, workers_of
from filterdb.threads import available_cores
from filterdb.transfer.book import Book, Row
from filterdb.transfer.run import Data, Run

if TYPE_CHECKING:
    from filterdb.transfer.data import Images
    from filterdb.transfer.parts import Slot

Network = Any
"""A ``torch.nn.Module``; torch is not named here."""

SETS = 4
"""Data sets that a process keeps in memory."""
ALONE = Lock()
"""torch has one state of random numbers a process: the threads of a Dask worker take turns."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where an execution stands, after each run that it has done.

    Attributes
    ----------
    row
        What came of that run.
    done, total
        Runs that are done and that there are, those of earlier executions counted in both.
    seconds_left
        Estimated: as long for each run as for those done so far.
    """

    row: Row
    done: int
    total: int
    seconds_left: float


Progress = Callable[[Step], object]
Submit = Callable[[Run], Future[Row]]
Pool = Callable[[Callable[[], Row]], Future[Row]]


def execute(
    runs: Sequence[Run],
    folder: Path | str,
    *,
    jobs: int | None = None,
    device: str = "auto",
    threads: int = 1,
    keep: bool = False,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Do runs that are not done yet.

    Rows go into the book in the folder as they come, so that an execution that was interrupted,
    by Ctrl-C too, goes on where it was. A run that diverged is finished; one that failed is tried
    again by the next execution.

    Parameters
    ----------
    runs
        In any order. Those of the same id are done once. Sources of others are among them, or
        were done before.
    folder
        Of the experiment.
    jobs
        How many at a time, each in a process; 1: in this one. By default the available cores, and
        1 on a GPU.
    device
        ``"cpu"``, ``"cuda"`` or ``"auto"``: a GPU where there is one.
    threads
        Of torch, for each run: results on a CPU are the same for the same number.
    keep
        Whether to keep the trained weights of all runs, not only of those that others need.
    scheduler
        Address of a Dask scheduler, ``"tcp://host:8786"``, whose workers do the runs: they see
        the same folder and data, and have the ``device``; ``jobs`` does not count. Each does one
        run at a time: give it one thread.
    progress
        Called in this thread after each run.

    Returns
    -------
    list of Row
        One for each of ``runs``, in their order, with the arm and labels that are asked for here.

    Raises
    ------
    TransferError
        A source is neither there nor among the runs, the folder cannot be written, or the device
        is not there.
    MissingExtraError
        torch is not installed.
    """
    require("torch", extra="transfer")
    from filterdb.transfer.training import checked_device

    device = checked_device(device)
    jobs = jobs or (1 if device != "cpu" else max(available_cores() // threads, 1))
    book = Book(Path(folder))
    wanted = {run.id: run for run in runs}
    rows, todo = _settled(book, wanted, keep=keep)
    kept = {source for run in runs for source in run.sources} | (set(wanted) if keep else set())
    begun, total, earlier = perf_counter(), len({*rows, *todo}), len(rows)
    with _pool(min(jobs, len(todo)), scheduler) as (workers, pool):

        def submit(run: Run) -> Future[Row]:
            return pool(partial(do_run, run, book.folder, device=device, threads=threads,
                                keep=run.id in kept))  # fmt: skip

        for row in _done(todo, rows, book, submit, workers):
            if progress is not None:
                each = (perf_counter() - begun) / (len(rows) - earlier)
                progress(Step(row, len(rows), total, each * (total - len(rows))))
    return [replace(rows[run.id], run=run) for run in runs]


def _settled(
    book: Book, wanted: Mapping[str, Run], *, keep: bool
) -> tuple[dict[str, Row], dict[str, Run]]:
    """Rows of runs that need not be done (again), and the others, sources first."""

    def usable(row: Row | None, *, weights: bool) -> bool:
        if row is None or not row.finished:
            return False
        return not weights or row.status == "diverged" or book.weights_path(row.id).is_file()

    told = {row.id: row for row in book.rows()}
    rows = {key: told[key] for key in wanted if usable(told.get(key), weights=keep)}
    todo = {}
    stack = [run for key, run in wanted.items() if key not in rows]
    sources = set()
    while stack:
        run = stack.pop()
        todo[run.id] = run
        for key in run.sources:
            sources.add(key)
            row = told.get(key)
            if key in todo:
                continue
            if row is not None and usable(row, weights=True):
                rows[key] = row
                continue
            rows.pop(key, None)  # done, but its weights are gone
            if key not in wanted and row is None:
                msg = (
                    f"{run.name} takes filters from the run {key}, which is neither among the runs "
                    f"nor in {book.folder}. Add it to the runs."
                )
                raise TransferError(msg)
            stack.append(wanted[key] if row is None or key in wanted else row.run)
    place = {key: at for at, key in enumerate(wanted)}
    order = sorted(todo, key=lambda key: (key not in sources, place.get(key, -1)))
    return rows, {key: todo[key] for key in order}


def _done(
    todo: Mapping[str, Run], rows: dict[str, Row], book: Book, submit: Submit, jobs: int
) -> Iterator[Row]:
    """Do runs whose sources are done, so many at a time; rows are added as they come."""
    waiting = dict(todo)
    flying: dict[Future[Row], Run] = {}
    while waiting or flying:
        ready = [run for run in waiting.values() if rows.keys() >= set(run.sources)]
        for run in ready:
            if len(flying) >= jobs:
                break
            del waiting[run.id]
            if reason := _without_source(run, rows):
                rows[run.id] = _failed(run, book, reason)
                yield rows[run.id]
            else:
                flying[submit(run)] = run
        for future in wait(flying, return_when=FIRST_COMPLETED).done:
            run = flying.pop(future)
            try:
                rows[run.id] = future.result()
            except BrokenExecutor as error:
                rows[run.id] = _failed(run, book, f"{error}")
            yield rows[run.id]


def _without_source(run: Run, rows: Mapping[str, Row]) -> str | None:
    """Why a run cannot begin, or None."""
    for source in run.sources:
        if rows[source].status != "done":
            return f"Its source, {rows[source].run.name}, {rows[source].status}."
    return None


def _failed(run: Run, book: Book, reason: str) -> Row:
    row = Row(run, "failed", reason=reason, when=_now())
    book.put(row)
    return row


@contextmanager
def _pool(jobs: int, scheduler: str | None) -> Iterator[tuple[int, Pool]]:
    """Who does the runs, and how many at a time; what is under way ends with an error or Ctrl-C."""
    if scheduler is not None:
        with executor_for(scheduler=scheduler) as executor:
            yield workers_of(executor), executor.submit
        return
    if jobs < 2:
        yield 1, HereExecutor().submit
        return
    processes = Processes(jobs)
    with ThreadPoolExecutor(jobs) as waiters:

        def submit(call: Callable[[], Row]) -> Future[Row]:
            return waiters.submit(processes.call, call)

        try:
            yield jobs, submit
        except BaseException:
            processes.stop()
            raise
        finally:
            waiters.shutdown(wait=True, cancel_futures=True)
            processes.close()


def do_run(run: Run, folder: Path, *, device: str, threads: int, keep: bool) -> Row:
    """Do one run here and now, and write its row, and its weights if they are to be kept.

    A run that fails is such a row too. Its sources are done, and their weights in the folder.

    Raises
    ------
    TransferError
        The row or the weights cannot be written.
    """
    book = Book(folder)
    try:
        with ALONE:
            row, model = _outcome(run, book, device, threads)
    except Exception as error:
        told = (
            str(error) if isinstance(error, FilterDBError) else f"{type(error).__name__}: {error}"
        )
        return _failed(run, book, told)
    if keep and row.status == "done":
        from filterdb.transfer.beginning import weights_of

        book.put_weights(run, weights_of(model))
    book.put(row)
    return row


def _outcome(run: Run, book: Book, device: str, threads: int) -> tuple[Row, Network]:
    """Build, begin, train and test a network; its filters are looked at in between."""
    from filterdb.transfer.beginning import begin, slots_of
    from filterdb.transfer.networks.building import build
    from filterdb.transfer.parts import trainable
    from filterdb.transfer.training import torch_threads, train

    train_set, test_set = _images(run.data)
    classes = len(train_set.classes)
    with torch_threads(threads):
        model = build(
            run.network, classes=classes, channels=run.data.channels, size=run.data.size,
            seed=run.seed, **run.arguments,
        )  # fmt: skip
        slots = {start.name: slots_of(model, start) for start in run.starts}
        prints = {"built": _fingerprints(model, slots)}
        given = begin(model, run, partial(_source, book))
        prints["given"] = _fingerprints(model, slots)
        prints["source"] = {each.start.name: each.source for each in given if each.source}
        trained = train(model, train_set, test_set, budget=run.budget, seed=run.seed, device=device)
        prints["trained"] = _fingerprints(model, slots)
    _check(run, prints)
    row = Row(
        run,
        "diverged" if trained.diverged else "done",
        reason=f"The loss was not finite within {trained.steps:,} steps."
        if trained.diverged
        else None,
        accuracy=trained.accuracy,
        test_loss=trained.test_loss,
        losses=tuple(loss if isfinite(loss) else None for loss in trained.train_loss),
        fingerprints=prints,
        parameters=sum(each.numel() for each in model.parameters()),
        trainable=sum(each.numel() for each in trainable(model)),
        classes=classes,
        images=len(train_set),
        steps=trained.steps,
        seconds=trained.seconds,
        threads=threads,
        device=device,
        versions=_versions(),
        when=_now(),
    )
    return row, model


@lru_cache(maxsize=SETS)
def _images(data: Data) -> tuple[Images, Images]:
    return data.load()


def _source(book: Book, run_id: str) -> Network:
    """The trained network of a run that is done."""
    from filterdb.transfer.beginning import restored

    row = book.get(run_id)
    if row is None or row.classes is None:
        msg = f"The run {run_id} that filters are to be taken from is not done."
        raise TransferError(msg)
    return restored(row.run, row.classes, book.get_weights(run_id))


def _fingerprints(model: Network, slots: Mapping[str, Iterable[Slot]]) -> dict[str, str]:
    """Of each part that is given filters, and of all else."""
    from filterdb.transfer.parts import fingerprint, fingerprint_of_rest

    rest = fingerprint_of_rest(model, [slot for part in slots.values() for slot in part])
    return {name: fingerprint(part) for name, part in slots.items()} | {"rest": rest}


def _check(run: Run, prints: Mapping[str, Mapping[str, str]]) -> None:
    """Do not believe a network that moved its filters by itself: a result would mean nothing."""
    moved = [
        start.name
        for start in run.starts
        if start.frozen and prints["given"][start.name] != prints["trained"][start.name]
    ]
    if moved:
        msg = f"The frozen filters ({', '.join(moved)}) of the network {run.network!r} changed."
        raise TransferError(msg)


def _versions() -> dict[str, str]:
    """Of whatever has a say in the last bit."""
    torch, numpy = (require(name, extra="transfer") for name in ("torch", "numpy"))
    return {
        "filterdb": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
