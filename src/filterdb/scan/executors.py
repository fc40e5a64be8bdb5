"""Who works: this process, several processes, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from filterdb.errors import StoreError
from filterdb.extras import require
from filterdb.processes import ProcessExecutor
from filterdb.threads import available_cores

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_SECONDS = 10.0
PATIENCE = 60.0
UNKNOWN_WORKERS = 16
"""Workers that an executor is taken to have that does not say."""


@contextmanager
def executor_for(
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    connect_seconds: float = CONNECT_SECONDS,
) -> Iterator[Executor]:
    """An executor for scans, shut down at the end.

    Parameters
    ----------
    jobs
        Number of processes, 1 for this one; the available cores if not given.
    scheduler
        Address of a Dask scheduler, ``"tcp://host:8786"``: its workers do the work. They need
        filterdb, and have to see the database under the same path.
    connect_seconds
        How long to try to reach the scheduler, and to wait for its first worker.

    Raises
    ------
    MissingExtraError
        A scheduler was named, and Dask is not installed.
    StoreError
        The scheduler cannot be reached, or has no workers.
    """
    if scheduler is not None:
        with _cluster(scheduler, connect_seconds) as cluster:
            yield cluster
        return
    count = available_cores() if jobs is None else jobs
    executor = HereExecutor() if count == 1 else ProcessExecutor(count)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def workers_of(executor: Executor) -> int:
    """How many calls an executor works on at a time."""
    # The executors of the standard library know, and do not say.
    count = getattr(executor, "workers", None) or getattr(executor, "_max_workers", None)
    return int(count or UNKNOWN_WORKERS)


def result_of(future: Future[T], executor: Executor) -> T:
    """Wait for what a call returns.

    Raises
    ------
    BrokenExecutor
        Nobody is left who would do it; else whatever the call raises.
    """
    if isinstance(executor, ClusterExecutor):
        executor.wait(future)
    return future.result()


class HereExecutor(Executor):
    """Does each call at once, in the process and the thread that submits it."""

    workers = 1

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do a call; the future is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class ClusterExecutor(Executor):
    """The workers of a Dask cluster, through its futures only.

    Parameters
    ----------
    client
        A connected :class:`distributed.Client`.
    patience
        Seconds that the cluster may be without any worker before a call is given up: some start
        their workers by need, and all replace those that died.
    """

    def __init__(self, client: Any, *, patience: float = PATIENCE) -> None:
        self._client, self._patience = client, patience
        # Not pure: results are not looked up by a hash of the arguments, which would cost more.
        self._executor: Executor = client.get_executor(pure=False)
        self.workers = sum(client.nthreads().values())

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a call done by a worker; a lost one's is done by another, up to three times."""
        return self._executor.submit(fn, *args, **kwargs)

    def wait(self, *futures: Future[Any]) -> None:
        """Wait for the end of one of some calls, but not for ever.

        Raises
        ------
        BrokenExecutor
            There are no workers left.
        """
        while not wait(futures, self._patience / 10, FIRST_COMPLETED).done:
            try:
                self._client.wait_for_workers(1, timeout=self._patience)
            except TimeoutError as error:
                msg = f"the cluster has had no workers for {self._patience:g} seconds"
                raise BrokenExecutor(msg) from error


@contextmanager
def _cluster(address: str, seconds: float) -> Iterator[ClusterExecutor]:
    distributed = require("distributed", extra="cluster")
    try:
        distributed.comm.get_address_host(address)  # a client of no address takes long to end
        client = distributed.Client(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError) as error:
        msg = (
            f"No Dask scheduler can be reached at {address} within {seconds:g} seconds ({error}). "
            "Check that `dask scheduler` is running and that the address is the one it prints."
        )
        raise StoreError(msg) from error
    try:
        try:
            client.wait_for_workers(1, timeout=seconds)
        except TimeoutError as error:
            msg = (
                f"The Dask scheduler at {address} has no workers after {seconds:g} seconds. Start "
                f"some with `dask worker {address}`."
            )
            raise StoreError(msg) from error
        yield ClusterExecutor(client)
    finally:
        client.close()
