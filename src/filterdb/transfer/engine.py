"""Doing runs: sources first, side by side, none twice, and no failure stops the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Literal, get_args

from filterdb.errors import TransferError
from filterdb.extras import require
from filterdb.threads import available_cores
from filterdb.transfer.book import Book, Row
from filterdb.transfer.loaded import refuse_changed
from filterdb.transfer.pool import Pool, pool_for
from filterdb.transfer.run import Run
from filterdb.transfer.worker import Moments, do_run, failed

Keep = Literal["needed", "last", "epochs"]
"""Whose weights are kept: of runs that others take filters from; of all when they are trained; of
all before the training (epoch 0) and after every pass."""


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


def execute(
    runs: Sequence[Run],
    folder: Path | str,
    *,
    jobs: int | None = None,
    device: str = "auto",
    threads: int = 1,
    keep: Keep = "needed",
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
        Weights of which runs stay in the folder; see :data:`Keep`. Runs whose weights are wanted,
        and were not kept, are done again.
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
        A source is neither there nor among the runs, the device is not there, or a finished run
        was done with other images than are there now.
    StoreError
        The folder cannot be written, or there is no Dask scheduler, or none of its workers left.
    MissingExtraError
        torch is not installed, or Dask where its scheduler was named.
    """
    require("torch", extra="transfer")
    from filterdb.transfer.training import checked_device

    if keep not in get_args(Keep):
        msg = f"There is no keep {keep!r}: it is one of {', '.join(get_args(Keep))}."
        raise TransferError(msg)
    device = checked_device(device)
    jobs = jobs or (1 if device != "cpu" else max(available_cores() // threads, 1))
    book = Book(Path(folder))
    wanted = {run.id: run for run in runs}
    rows, todo, doubtful = _settled(book, wanted, keep=keep)
    refuse_changed([*rows.values(), *(row for row, _ in doubtful.values())])
    sources = {source for run in runs for source in run.sources}
    begun, total, earlier = perf_counter(), len({*rows, *todo}), len(rows)
    with pool_for(min(jobs, len(todo)), scheduler if todo else None) as pool:

        def submit(run: Run) -> Future[Row]:
            moments = _moments(run, keep, sources)
            return pool.submit(partial(do_run, run, book.folder, device=device, threads=threads,
                                       keep=moments))  # fmt: skip

        for row in _done(todo, rows, book, submit, pool, doubtful=doubtful):
            if progress is not None:
                each = (perf_counter() - begun) / (len(rows) - earlier)
                progress(Step(row, len(rows), total, each * (total - len(rows))))
    return [replace(rows[run.id], run=run) for run in runs]


def _moments(run: Run, keep: Keep, sources: Collection[str]) -> Moments | None:
    """Which weights of a run are to be kept."""
    if keep == "needed":
        return "last" if run.id in sources else None
    return keep


Doubtful = Mapping[str, tuple[Row, Mapping[str, str]]]
"""Rows of runs whose sources are done again, with what these were (:attr:`Row.trained`)."""


def _settled(
    book: Book, wanted: Mapping[str, Run], *, keep: Keep
) -> tuple[dict[str, Row], dict[str, Run], Doubtful]:
    """Rows of runs that need not be done (again), and the others, sources first.

    Among these are the doubtful: they need not be done if their sources come to the same again.
    """
    told = {row.id: row for row in book.rows()}

    def began_with(row: Row) -> dict[str, str]:
        """What the sources were; rows of earlier versions do not say, and are believed."""
        there = {key: told[key].trained if key in told else "" for key in row.run.sources}
        return there | dict(row.fingerprints.get("sources", {}))

    def usable(row: Row | None, moments: Moments | None) -> bool:
        if row is None or not row.finished or _stale(began_with(row), told):
            return False
        if moments is None or row.status == "diverged":
            return True
        kept = book.kept(row)
        passes = len(row.losses)
        return passes in kept and (moments == "last" or len(kept) == passes + 1)

    rows = {key: told[key] for key, run in wanted.items()
            if usable(told.get(key), _moments(run, keep, ()))}  # fmt: skip
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
            if row is not None and usable(row, "last"):
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
    doubtful: dict[str, tuple[Row, Mapping[str, str]]] = {}
    while some := [key for key, row in rows.items() if todo.keys() & set(row.run.sources)]:
        for key in some:
            row = rows.pop(key)
            doubtful[key] = row, began_with(row)
            todo[key] = wanted.get(key, row.run)
            sources.update(row.run.sources)
    place = {key: at for at, key in enumerate(wanted)}
    order = sorted(todo, key=lambda key: (key not in sources, place.get(key, -1)))
    return rows, {key: todo[key] for key in order}, doubtful


def _stale(began_with: Mapping[str, str], rows: Mapping[str, Row]) -> bool:
    """Whether a run began with other filters than its sources have now."""
    return any(
        rows[key].status == "done" and rows[key].trained != trained
        for key, trained in began_with.items()
        if key in rows
    )


def _done(
    todo: Mapping[str, Run],
    rows: dict[str, Row],
    book: Book,
    submit: Submit,
    pool: Pool,
    *,
    doubtful: Doubtful,
) -> Iterator[Row]:
    """Do runs whose sources are done, so many at a time; rows are added as they come."""
    waiting = dict(todo)
    flying: dict[Future[Row], Run] = {}
    while waiting or flying:
        ready = [run for run in waiting.values() if rows.keys() >= set(run.sources)]
        for run in ready:
            if len(flying) >= pool.workers:
                break
            del waiting[run.id]
            row, began_with = doubtful.get(run.id, (None, {}))
            if row is not None and not _stale(began_with, rows):
                rows[run.id] = row
                yield row
            elif reason := _without_source(run, rows):
                rows[run.id] = failed(run, book, reason)
                yield rows[run.id]
            else:
                flying[submit(run)] = run
        for future in pool.wait(flying):
            run = flying.pop(future)
            try:
                rows[run.id] = pool.row(future)
            except BrokenExecutor as error:
                rows[run.id] = failed(run, book, f"{error}")
            yield rows[run.id]


def _without_source(run: Run, rows: Mapping[str, Row]) -> str | None:
    """Why a run cannot begin, or None."""
    for source in run.sources:
        if rows[source].status != "done":
            return f"Its source, {rows[source].run.name}, {rows[source].status}."
    return None
