"""Processes that do calls: fresh interpreters, each fed through a pipe by a thread.

Unlike :class:`concurrent.futures.ProcessPoolExecutor` they do not run the caller's script a
second time, so no ``if __name__ == "__main__"`` is needed; one that dies takes no other call with
it than its own; and each has a BLAS of one thread, since there is one process a core.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import LifoQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from filterdb.scan.processes import serve; serve()"
)
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


class ProcessExecutor(ThreadPoolExecutor):
    """An executor whose calls are done by processes; they start when they are first needed.

    Functions, arguments and results are pickled; functions have to be importable.

    Parameters
    ----------
    jobs
        Number of processes.
    """

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs)
        self.workers = jobs
        self._processes = [Worker() for _ in range(jobs)]
        self._idle: LifoQueue[Worker] = LifoQueue()
        for process in self._processes:
            self._idle.put(process)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a call done; its future raises what it raises, BrokenExecutor if it died of it."""
        return super().submit(self._call, partial(fn, *args, **kwargs))

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002  (the signature of its base)
        *,
        cancel_futures: bool = False,
    ) -> None:
        """End the processes when they have done what they are at, or all that was submitted."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            for process in self._processes:
                process.close()

    def _call(self, call: partial[T]) -> T:
        process = self._idle.get()
        try:
            return process.call(call)
        finally:
            self._idle.put(process)


class Worker:
    """One process, started when it is first needed and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, call: partial[T]) -> T:
        """Have a call done.

        Raises
        ------
        BrokenExecutor
            The process died of it.
        """
        request = pickle.dumps(call)
        process = self._process = self._process or _start()
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            answer: bytes = pickle.load(process.stdout)  # noqa: S301  (our own process)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._process = None
            msg = f"the process {_end(process)}"
            raise BrokenExecutor(msg) from error
        done, outcome = pickle.loads(answer)  # noqa: S301
        if done:
            result: T = outcome
            return result
        raise outcome

    def close(self) -> None:
        """Let the process end, and wait for it."""
        if self._process is not None:
            _end(self._process)
            self._process = None


def _start() -> subprocess.Popen[bytes]:
    # -P: no module is taken from the working folder, which may be one of downloaded files.
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | ONE_THREAD,
    )


def _end(process: subprocess.Popen[bytes]) -> str:
    """Close the pipes of a process, wait for its end, and say what it was."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    code = process.wait()
    if code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = ", probably for want of memory" if name == "SIGKILL" else ""
    return f"was ended by signal {name}{hint}"


def serve() -> None:
    """What a process does: a call in, its outcome out, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not come between the answers
    while True:
        try:
            request: bytes = pickle.load(sys.stdin.buffer)  # noqa: S301  (our own parent)
        except EOFError:
            return
        try:
            pickle.dump(outcome(request), answers)
            answers.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(1)


def outcome(request: bytes) -> bytes:
    """Do a pickled call: True with its result, or False with what it raised, pickled."""
    answer: tuple[bool, Any]
    try:
        answer = True, pickle.loads(request)()  # noqa: S301  (our own parent)
    except Exception as error:
        answer = False, error
    try:
        return pickle.dumps(answer)
    except Exception as error:
        # Some results and errors cannot be pickled: neither is a reason to end the process.
        return pickle.dumps((False, TypeError(f"{answer[1]!r:.200} cannot travel: {error}")))
