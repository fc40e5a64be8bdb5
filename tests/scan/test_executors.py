from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor

import odd_jobs
import pytest

from filterdb.errors import MissingExtraError, StoreError
from filterdb.scan.executors import HereExecutor, executor_for, workers_of
from filterdb.scan.processes import ProcessExecutor


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


def test_results_and_errors_travel():
    with ProcessExecutor(2) as executor:
        assert list(executor.map(odd_jobs.double, range(20))) == list(range(0, 40, 2))
        with pytest.raises(ValueError, match="invalid literal"):
            executor.submit(int, "x").result()
        with pytest.raises(TypeError, match="cannot travel"):
            executor.submit(odd_jobs.fails_to_travel).result()
        with pytest.raises(BrokenExecutor, match="status 3"):
            executor.submit(os._exit, 3).result()
        assert executor.submit(odd_jobs.double, 2).result() == 4


def test_what_a_call_prints_does_not_come_between_the_answers(capfd):
    with ProcessExecutor(1) as executor:
        executor.submit(print, "hello").result()
        assert executor.submit(odd_jobs.double, 2).result() == 4


def test_a_process_has_one_blas_thread(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    with ProcessExecutor(1) as executor:
        assert set(executor.submit(odd_jobs.blas_threads).result()) == {1}


def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import math\n"
        "from filterdb.scan import executor_for\n"
        "with executor_for(jobs=2) as executor:\n"
        "    print(list(executor.map(math.isqrt, [4, 9])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 3]\n"


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
