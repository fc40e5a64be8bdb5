"""Processes that do calls: fresh interpreters, each fed through a pipe.

Unlike :mod:`multiprocessing`'s they do not run the caller's script a second time, so no
``if __name__ == "__main__"`` is needed; one that dies takes no other call with it than its own,
and that is known; each has a BLAS of one thread, since there is one process a core; and they end
when their parent does.
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
Undelivered = Callable[[Any], object]

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from filterdb.processes import serve; serve(int(sys.argv[2]))"
)
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


class ProcessEndedError(BrokenExecutor):
    """A process died of a call.

    Parameters
    ----------
    end
        How, to be continued from "the process": ``"was ended by signal SIGSEGV"``.
    """

    def __init__(self, end: str) -> None:
        super().__init__(end)
        self.end = end

    def __str__(self) -> str:
        return f"the process {self.end}"


class Processes:
    """Some processes; each starts when it is first needed, and again after it died.

    Functions, arguments and results are pickled; functions have to be importable.

    Parameters
    ----------
    count
        How many. So many threads may call at a time; one more waits.
    undelivered
        Called in a process with a result that its caller does not live to take, or that cannot
        travel: it may hold something that has to be given up.
    """

    def __init__(self, count: int, *, undelivered: Undelivered | None = None) -> None:
        self._all = [_Process(undelivered) for _ in range(count)]
        self._idle: LifoQueue[_Process] = LifoQueue()  # last in, first out: no more than needed
        for process in self._all:
            self._idle.put(process)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Have a call done, and wait for what it returns.

        Raises
        ------
        ProcessEndedError
            The process died of it; else whatever the call raises.
        """
        process = self._idle.get()
        try:
            return process.call(partial(function, *args, **kwargs))
        finally:
            self._idle.put(process)

    def stop(self) -> None:
        """End the processes at once; what they are at is left as by an exception."""
        for process in self._all:
            process.stop()

    def close(self) -> None:
        """Let the processes end, and wait for it; no call may be under way."""
        for process in self._all:
            process.close()


class ProcessExecutor(ThreadPoolExecutor):
    """:class:`Processes` as an executor of the standard library.

    Parameters
    ----------
    jobs
        Number of processes.
    """

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs)
        self.workers = jobs
        self._processes = Processes(jobs)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a call done; its future raises as :meth:`Processes.call`."""
        return super().submit(self._processes.call, fn, *args, **kwargs)

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002  (the signature of its base)
        *,
        cancel_futures: bool = False,
    ) -> None:
        """End the processes when they have done what they are at, or all that was submitted."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._processes.close()


class _Process:
    """One of the processes, as its parent sees it."""

    def __init__(self, undelivered: Undelivered | None) -> None:
        self._undelivered = undelivered
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, call: Callable[[], T]) -> T:
        # Pickled twice: what cannot be pickled fails before a byte of it is on its way.
        request = pickle.dumps((call, self._undelivered))
        process = self._process = self._process or _start()
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            answer: bytes = pickle.load(process.stdout)  # noqa: S301  (our own process)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._process = None
            raise ProcessEndedError(_end(process)) from error
        done, outcome = pickle.loads(answer)  # noqa: S301
        if done:
            result: T = outcome
            return result
        raise outcome

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        if self._process is not None:
            _end(self._process)
            self._process = None


def _start() -> subprocess.Popen[bytes]:
    # -P: no module is taken from the working folder, which may be one of downloaded files.
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path), str(os.getpid())],
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


def serve(parent: int) -> None:
    """What a process does: a request in, its answer out, until there are no more.

    Parameters
    ----------
    parent
        Number of the process that asks; once it is gone, so is the point of answering.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exception: contexts are left
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not come between the answers
    while True:
        try:
            request: bytes = pickle.load(sys.stdin.buffer)  # noqa: S301  (our own parent)
        except (EOFError, pickle.UnpicklingError):  # no more, or cut off
            return
        if os.getppid() != parent:
            return
        answer, give_up = _answer(request)
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except (BrokenPipeError, SystemExit):  # the parent is gone, or has no use for it any more
            give_up()
            os._exit(1)


def _answer(request: bytes) -> tuple[bytes, Callable[[], object]]:
    """Do a pickled call: True with its result, or False with what it raised, pickled.

    With it comes what is to be done if the answer is not delivered.
    """
    undelivered: Undelivered | None = None
    outcome: Any
    try:
        call, undelivered = pickle.loads(request)  # noqa: S301  (our own parent)
        done, outcome = True, call()
    except Exception as error:
        done, outcome = False, error
    give_up = partial(undelivered, outcome) if done and undelivered else _nothing
    try:
        return pickle.dumps((done, outcome)), give_up
    except Exception as error:
        # Some results and errors cannot be pickled: neither is a reason to end the process.
        give_up()
        told = TypeError(f"{outcome!r:.200} cannot travel: {error}")
        return pickle.dumps((False, told)), _nothing


def _nothing() -> None:
    pass
