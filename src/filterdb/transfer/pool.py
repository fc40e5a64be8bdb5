"""Who does the runs: this process, several processes, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager

from filterdb.errors import FilterDBError, StoreError
from filterdb.extras import require
from filterdb.processes import Processes
from filterdb.scan.executors import ClusterExecutor, HereExecutor, executor_for
from filterdb.transfer.book import Row

Call = Callable[[], Row]


class Pool:
    """Does runs, so many at a time.

    Parameters
    ----------
    workers
        How many at a time.
    submit
        Has one done.
    """

    def __init__(self, workers: int, submit: Callable[[Call], Future[Row]]) -> None:
        self.workers, self.submit = workers, submit

    def wait(self, futures: Collection[Future[Row]]) -> set[Future[Row]]:
        """Those that are done, as soon as one is.

        Raises
        ------
        StoreError
            Nobody is left who would do them.
        """
        return wait(futures, return_when=FIRST_COMPLETED).done

    def row(self, future: Future[Row]) -> Row:
        """What came of a run that is done.

        Raises
        ------
        BrokenExecutor
            Whoever did it died of it; else whatever the call raises.
        """
        return future.result()


class ClusterPool(Pool):
    """The workers of a Dask cluster.

    Parameters
    ----------
    executor
        Of the cluster.
    """

    def __init__(self, executor: ClusterExecutor) -> None:
        super().__init__(executor.workers, executor.submit)
        self._executor = executor

    def wait(self, futures: Collection[Future[Row]]) -> set[Future[Row]]:
        """As of any pool; a cluster may lose all its workers, or its scheduler."""
        if not futures:
            return set()
        try:
            self._executor.wait(*futures)
        except BrokenExecutor as error:
            msg = (
                f"The runs cannot go on: {error}. Start workers and give the same command again: "
                "finished runs are not repeated."
            )
            raise StoreError(msg) from error
        return super().wait(futures)

    def row(self, future: Future[Row]) -> Row:
        """As of any pool; Dask tries several workers before it says that they died.

        Raises
        ------
        BrokenExecutor
            They died of it, one after the other.
        StoreError
            The cluster cannot do runs at all, or its scheduler is gone.
        """
        killed = require("distributed", extra="cluster").KilledWorker
        try:
            return future.result()
        except FilterDBError:
            raise
        except killed as error:
            msg = "the workers that did it died, one after the other"
            raise BrokenExecutor(msg) from error
        except CancelledError as error:
            msg = (
                "The Dask scheduler was lost. Start it again and give the same command again: "
                "finished runs are not repeated."
            )
            raise StoreError(msg) from error
        except Exception as error:
            msg = (
                f"The workers cannot do runs ({type(error).__name__}: {error}). Each needs "
                "filterdb[transfer] of this version, and the user's own modules. Give the same "
                "command again: finished runs are not repeated."
            )
            raise StoreError(msg) from error


@contextmanager
def pool_for(jobs: int, scheduler: str | None) -> Iterator[Pool]:
    """A pool; what is under way in it ends with an error or Ctrl-C.

    Parameters
    ----------
    jobs
        Runs at a time, each in a process; 1 or none: in this one.
    scheduler
        Address of a Dask scheduler, whose workers then do the runs.

    Raises
    ------
    MissingExtraError
        A scheduler was named, and Dask is not installed.
    StoreError
        The scheduler cannot be reached, or has no workers.
    """
    if scheduler is not None:
        with executor_for(scheduler=scheduler) as executor:
            assert isinstance(executor, ClusterExecutor)  # noqa: S101
            yield ClusterPool(executor)
        return
    if jobs < 2:
        yield Pool(1, HereExecutor().submit)
        return
    processes = Processes(jobs)
    with ThreadPoolExecutor(jobs) as waiters:

        def submit(call: Call) -> Future[Row]:
            return waiters.submit(processes.call, call)

        try:
            yield Pool(jobs, submit)
        except BaseException:
            processes.stop()
            raise
        finally:
            waiters.shutdown(wait=True, cancel_futures=True)
            processes.close()
