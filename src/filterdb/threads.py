"""Layers side by side: one thread a core, each with a single-threaded BLAS."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, threads: int | None = None
) -> list[Result]:
    """Apply a function to every item, in threads, and return the results in order.

    NumPy lets go of the interpreter while it works on large arrays, so threads do for them what
    processes would, without copying. BLAS would start threads of its own below each of ours,
    which then wait for one another: meanwhile it gets one. (The limit holds for the whole
    process while this runs.)

    Parameters
    ----------
    function, items
        What to do with what.
    threads
        How many; the available cores if not given.
    """
    count = min(threads or available_cores(), len(items))
    if count < 2:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with one_blas_thread(), ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, items))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS without threads of its own: where products are small they cost more than they bring."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
