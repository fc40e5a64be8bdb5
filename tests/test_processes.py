from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from functools import partial
from math import isqrt
from pathlib import Path

import pytest

import calls
from filterdb.processes import BOOT, ProcessEndedError, Processes, ProcessExecutor

SECONDS = 60


@pytest.fixture
def processes():
    some = Processes(1, undelivered=calls.remove)
    yield some
    some.close()


@pytest.fixture
def gate(tmp_path):
    """A named pipe: a call that reads it waits until the test has opened and closed it."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def run_script(*args):
    """A parent that ends in any way; returned from once all of its processes have, too.

    They hold its stderr, which is read to the end.
    """
    return subprocess.run(
        [sys.executable, "-c", *map(str, args)], capture_output=True, text=True, check=False,
        timeout=SECONDS, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip


class TestCalls:
    def test_results_and_errors_travel(self):
        with ProcessExecutor(2) as executor:
            assert list(executor.map(isqrt, range(20))) == [isqrt(n) for n in range(20)]
            with pytest.raises(ValueError, match="invalid literal"):
                executor.submit(int, "x").result()
            with pytest.raises(TypeError, match="cannot travel"):
                executor.submit(calls.fails_to_travel).result()
            with pytest.raises(BrokenExecutor, match="the process ended with status 3"):
                executor.submit(os._exit, 3).result()
            assert executor.submit(int, "11", base=2).result() == 3

    def test_what_cannot_be_pickled_is_not_sent(self, processes):
        pid = processes.call(os.getpid)
        with pytest.raises(AttributeError, match="pickle"):
            processes.call(lambda: 1)
        assert processes.call(os.getpid) == pid

    def test_what_they_print_does_not_come_between_the_answers(self, processes, capfd):
        processes.call(print, "hello")
        assert processes.call(isqrt, 9) == 3
        assert capfd.readouterr().err == "hello\n"

    def test_more_threads_than_processes_wait(self):
        some = Processes(2)
        with ThreadPoolExecutor(6) as threads:
            found = set(threads.map(lambda _: some.call(os.getpid), range(12)))
        some.close()
        assert os.getpid() not in found
        assert len(found) <= 2

    def test_one_caller_keeps_one_process_busy(self):
        some = Processes(3)
        assert len({some.call(os.getpid) for _ in range(6)}) == 1
        some.close()

    def test_a_process_has_one_blas_thread(self, processes, monkeypatch):
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(name, "2")
        assert set(processes.call(calls.blas_threads)) == {1}

    def test_a_script_needs_no_guard(self, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(
            "import math\n"
            "from filterdb.scan import executor_for\n"
            "with executor_for(jobs=2) as executor:\n"
            "    print(list(executor.map(math.isqrt, [4, 9])))\n"
        )
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
        assert done.stdout == "[2, 3]\n"

    def test_no_module_is_taken_from_the_working_folder(self, processes, tmp_path, monkeypatch):
        for name in ("json", "pickle", "filterdb"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit('run!')\n")
        monkeypatch.chdir(tmp_path)
        assert processes.call(isqrt, 9) == 3


class TestDeath:
    @pytest.mark.parametrize(
        ("number", "end"),
        [(signal.SIGSEGV, "was ended by signal SIGSEGV"),
         (signal.SIGKILL, "was ended by signal SIGKILL, probably for want of memory")],
    )  # fmt: skip
    def test_is_of_one_call_and_says_how(self, processes, number, end):
        first = processes.call(os.getpid)
        with pytest.raises(ProcessEndedError, match=f"the process {end}") as caught:
            processes.call(signal.raise_signal, number)
        assert caught.value.end == end
        assert str(pickle.loads(pickle.dumps(caught.value))) == f"the process {end}"
        assert processes.call(os.getpid) != first

    def test_a_call_that_exits_ends_its_process(self, processes):
        with pytest.raises(ProcessEndedError, match="status 7"):
            processes.call(sys.exit, 7)


class TestEnd:
    def test_closed_they_are_gone_and_may_start_again(self):
        some = Processes(1)
        first = some.call(os.getpid)
        some.close()
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert some.call(os.getpid) != first
        some.close()

    def test_ctrl_c_is_for_the_parent(self, processes):
        os.kill(processes.call(os.getpid), signal.SIGINT)
        assert processes.call(isqrt, 9) == 3

    def test_stopped_they_tidy_up(self, processes, tmp_path, gate):
        draft = tmp_path / "draft"
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(processes.call, calls.hold, draft, gate)
            with gate.open("wb"):  # opens once the process reads it
                assert draft.exists()
                processes.stop()
                with pytest.raises(ProcessEndedError, match="status 1"):
                    call.result(SECONDS)
        assert not draft.exists()

    def test_they_end_with_their_parent(self):
        done = run_script(
            "import os, signal\nfrom filterdb.processes import Processes\n"
            "Processes(1).call(os.getpid)\nos.kill(os.getpid(), signal.SIGKILL)\n"
        )
        assert done.returncode == -signal.SIGKILL
        assert done.stderr == ""

    def test_a_result_that_the_parent_does_not_live_to_take_is_given_up(self, tmp_path, gate):
        draft = tmp_path / "draft"
        seen = []

        def open_gate():
            with gate.open("wb"):
                seen.append(draft.exists())
                parent.kill()
                parent.wait()

        code = (
            "import sys, calls\nfrom pathlib import Path\n"
            "from filterdb.processes import Processes\n"
            "Processes(1, undelivered=calls.remove).call(calls.make, *map(Path, sys.argv[1:]))\n"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", code, draft, gate], stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        )  # fmt: skip
        opener = threading.Thread(target=open_gate)
        opener.start()
        with parent.stderr:
            assert parent.stderr.read() == b""  # to its end: the process has ended, too
        opener.join(SECONDS)
        assert seen == [True]
        assert not draft.exists()

    def test_a_result_that_cannot_travel_is_given_up(self, processes, tmp_path):
        with pytest.raises(TypeError, match="cannot travel"):
            processes.call(calls.Odd, tmp_path / "draft")
        assert not (tmp_path / "draft").exists()

    def test_a_result_that_is_taken_is_not_given_up(self, processes, tmp_path):
        assert processes.call(calls.make, tmp_path / "draft").exists()

    @pytest.mark.parametrize("orphan", [True, False])
    def test_what_a_dead_parent_asked_for_is_not_begun(self, tmp_path, orphan):
        draft = tmp_path / "draft"
        request = pickle.dumps(pickle.dumps((partial(calls.make, draft), None)))
        parent = -1 if orphan else os.getpid()
        command = [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path), str(parent)]
        done = subprocess.run(command, input=request, capture_output=True, check=True)
        assert draft.exists() is not orphan
        assert bool(done.stdout) is not orphan

    def test_a_request_that_is_cut_off_is_none(self):
        request = pickle.dumps(pickle.dumps((partial(isqrt, 9), None)))[:-3]
        command = [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path), str(os.getpid())]
        done = subprocess.run(command, input=request, capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"", b"")
