from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import odd_jobs
import pytest

from filterdb.errors import MissingExtraError, StoreError
from filterdb.processes import ProcessExecutor
from filterdb.scan.executors import HereExecutor, executor_for, workers_of


def test_one_job_stays_here():
    with executor_for(jobs=1) as executor:
        assert executor.submit(os.getpid).result() == os.getpid()


def test_processes_are_others_and_end():
    with executor_for(jobs=2) as executor:
        futures = [executor.submit(odd_jobs.whoami) for _ in range(6)]
        found = {future.result() for future in futures}
        assert os.getpid() not in found
        assert len(found) <= 2
    for process in found:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.parametrize(
    ("executor", "count"),
    [(HereExecutor, 1), (lambda: ProcessExecutor(3), 3), (lambda: ThreadPoolExecutor(5), 5),
     (lambda: ProcessPoolExecutor(2), 2)],
)  # fmt: skip
def test_executors_say_how_many_work(executor, count):
    with executor() as pool:
        assert workers_of(pool) == count


def test_without_dask_the_message_has_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(MissingExtraError, match=r"filterdb\[cluster\]"),
        executor_for(scheduler="tcp://127.0.0.1:8786"),
    ):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://127.0.0.1:1", "tcp://x:y"])
def test_a_scheduler_that_is_not_there(address):
    with (
        pytest.raises(StoreError, match="No Dask scheduler"),
        executor_for(scheduler=address, connect_seconds=0.3),
    ):
        pass
