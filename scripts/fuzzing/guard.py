"""What reading may touch: an audit hook that notes all else, and stops what would leave a trace.

Seen is what Python does. What a C library opens by itself is not; of the readers' libraries only
HDF5 could, and it runs in its helper process.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FRAMEWORKS = {"torch", "tensorflow", "jax", "keras", "paddle", "coremltools", "openvino", "caffe",
              "flax", "orbax", "tensorstore", "tf_keras"}  # fmt: skip
PROCESSES = ("subprocess.", "os.system", "os.fork", "os.exec", "os.posix_spawn", "os.spawn",
             "pty.", "os.startfile")  # fmt: skip
NETWORK = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "sqlite3.")
CODE = ("exec", "compile", "code.", "function.__new__", "pickle.find_class", "marshal.",
        "ctypes.dlopen")  # fmt: skip
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
           "os.chmod", "os.chown", "shutil.")  # fmt: skip
LOOKS = ("open", "os.listdir", "os.scandir", "glob.glob", "os.chdir")
OWN_TEMPORARY = "filterdb-"
"""How the private folders of archives are named."""
HELPER = "hdf5_worker.py"
"""The one process that may be started: libhdf5 crashes on some files, and does so alone."""
ADDRESS_SPACE = 6 * 2**30


class BlockedError(Exception):
    """Something that a reader must not do, stopped."""


class Guard:
    """Notes what happens between :meth:`arm` and :meth:`disarm`; one for each process."""

    def __init__(self, folder: Path) -> None:
        # What Python itself needs: libraries, and what the system knows of itself.
        homes = [*sys.path, sys.prefix, sys.base_prefix, "/proc", "/sys", "/usr/share/zoneinfo"]
        self.homes = tuple(os.path.realpath(home) for home in homes if home)
        self.folder = os.path.realpath(folder)
        self.temporary = os.path.join(os.path.realpath(tempfile.gettempdir()), OWN_TEMPORARY)  # noqa: PTH118
        self.armed = False
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def arm(self) -> None:
        self.seen = []
        self.armed = True

    def disarm(self) -> list[str]:
        """Stop, and give what was seen that should not have happened."""
        self.armed = False
        return self.seen

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed or event in ("import", "object.__getattr__", "sys._getframe"):
            if self.armed and event == "import" and str(args[0]).split(".")[0] in FRAMEWORKS:
                self.seen.append(f"framework {args[0]}")
            return
        self.armed = False  # what follows asks the system itself
        try:
            what = self.judged(event, args)
        finally:
            self.armed = True
        if what:
            self.seen.append(what)
            if not what.startswith(("opened", "code")):
                raise BlockedError(what)

    def judged(self, event: str, args: tuple[Any, ...]) -> str:
        """What is wrong with an event; empty where nothing is."""
        if event.startswith(PROCESSES):
            return "" if of_helper(event, args) else f"process {event} {args!r:.200}"
        if event.startswith(NETWORK):
            return f"network {event} {args!r:.200}"
        if event.startswith(CODE):
            return "" if importing() or parsing(event) else f"code {event} {args!r:.200}"
        if event.startswith(CHANGES):
            # Relative to a folder that was opened, and looked at then.
            within = isinstance(args[-1], int) and args[-1] > 0
            fine = within or self.is_temporary(args[0])
            return "" if fine else f"changed {event} {args!r:.200}"
        if event in LOOKS and args and isinstance(args[0], str | bytes | os.PathLike):
            return self.judged_look(event, args)
        return ""

    def judged_look(self, event: str, args: tuple[Any, ...]) -> str:
        given = os.fsdecode(args[0])
        if not given.startswith("/") and any(file.endswith("shutil.py") for file in frames()[:6]):
            return ""  # within a folder that is removed, which was looked at then
        path = os.path.realpath(given)
        if self.is_temporary(path) or path == os.devnull:
            return ""
        flags = args[2] if event == "open" and len(args) > 2 and isinstance(args[2], int) else 0
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return f"wrote {path}"
        if path == self.folder or path.startswith(self.folder + os.sep):
            return ""
        inside = any(path == home or path.startswith(home + os.sep) for home in self.homes)
        return "" if inside else f"opened {path}"

    def is_temporary(self, path: str | bytes) -> bool:
        return os.path.realpath(os.fsdecode(path)).startswith(self.temporary)


def frames() -> list[str]:
    """The files of the code that runs now, innermost first."""
    frame, found = sys._getframe(1), []
    while frame is not None and len(found) < 60:
        found.append(frame.f_code.co_filename)
        frame = frame.f_back  # type: ignore[assignment]
    return found


def importing() -> bool:
    """Whether it is a module's own code that runs, for the first time."""
    return any(file.startswith("<frozen importlib") for file in frames())


def parsing(event: str) -> bool:
    """Whether text is taken for a literal, as in the header of an array of NumPy's: none runs."""
    return event == "compile" and any(Path(file).name == "ast.py" for file in frames()[:6])


def of_helper(event: str, args: tuple[Any, ...]) -> bool:
    """Whether it is the start of the one process that is allowed."""
    if event == "subprocess.Popen":
        return Path(str(args[1][-1])).name == HELPER
    return any(file.endswith("hdf5_file.py") for file in frames())


def peak_memory() -> int:
    """Bytes that were resident at the worst since :func:`forget_peak`."""
    return status("VmHWM")


def resident_memory() -> int:
    return status("VmRSS")


def status(name: str) -> int:
    with open("/proc/self/status") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith(name))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")
