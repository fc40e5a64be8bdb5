"""What every reader must do, as tests: for this package's readers, and for those of others.

A package that registers a reader subclasses :class:`ReaderContract` in its tests::

    from filterdb.readers.contract import ReaderContract
    from mypackage import reader

    class TestMyReader(ReaderContract):
        reader = reader

        def make(self, folder):
            path = folder / "model.mine"
            path.write_bytes(...)
            return path

pytest collects the tests from the subclass; the package has to be installed, with its entry
point, so that filterdb finds the reader by itself.
"""

# ruff: noqa: S101  (these are tests)

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from filterdb.errors import NoConvolutionError, ReadError
from filterdb.layer import Contents
from filterdb.readers.format import Format, Reader
from filterdb.readers.head import Head
from filterdb.readers.limits import allowed_bytes

CUTS = 24
MOST_FILES = 12
"""Files of a sample that are cut short, one after the other."""
FOREIGN = {
    "empty": b"",
    "text": b"Nothing to see here.\n",
    "zeros": bytes(5000),
    "noise": np.random.default_rng(8).bytes(5000),
    "page": b"<!DOCTYPE html><html><body>404</body></html>",
    "json": b'{"a": [1, 2]}',
}


class ReaderContract:
    """Tests of one reader.

    Attributes
    ----------
    reader
        The module (or object) with ``FORMAT``, ``matches`` and ``read``.
    starts_processes
        True for a reader that parses in a process of its own, on purpose.
    """

    reader: Reader
    starts_processes: bool = False

    def make(self, folder: Path) -> Path:
        """Write a small sample with at least one 2-D convolution; return its path.

        Parameters
        ----------
        folder
            An empty folder, in which only the sample may lie (with the files it consists of).
        """
        raise NotImplementedError

    def make_without_convolutions(self, folder: Path) -> Path | None:
        """Write a sound file without any convolution, if the format can have one."""
        del folder
        return None

    def read(self, path: Path) -> Contents:
        """What the reader finds."""
        return self.reader.read(Head.of(path))

    def test_the_format_is_described(self) -> None:
        """A name for the catalogue, and words for people."""
        found = self.reader.FORMAT
        assert isinstance(found, Format)
        assert found.name == found.name.lower().strip()
        assert found.title
        assert found.suffixes
        assert all("." in suffix or suffix.startswith("_") for suffix in found.suffixes)
        assert found.reads, "FORMAT.reads says what is read of the format"

    def test_its_files_are_recognised_by_their_content(self, tmp_path: Path) -> None:
        """The sample matches, and under another name as well where it is one file."""
        path = self.make(tmp_path)
        assert self.reader.matches(Head.of(path))
        if path.is_file() and len(files_in(tmp_path)) == 1:
            disguised = path.rename(path.with_name("holiday.jpg"))
            assert self.reader.matches(Head.of(disguised))

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        """Text, noise, zeros, an empty file, an empty folder."""
        for name, content in FOREIGN.items():
            (tmp_path / name).write_bytes(content)
            assert not self.reader.matches(Head.of(tmp_path / name)), name
        (tmp_path / "folder").mkdir()
        assert not self.reader.matches(Head.of(tmp_path / "folder"))

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        """It does not match, or is refused in an error of ours."""
        path = self.make(tmp_path)
        if path.is_dir():
            shutil.rmtree(path)
            path.mkdir()
        else:
            path.write_bytes(b"")
        assert read_or_refuse(self.reader, path) is None

    def test_files_cut_short_are_refused_or_read(self, tmp_path: Path) -> None:
        """At many places, each file of the sample: a result or an error of ours."""
        path = self.make(tmp_path)
        refused = 0
        for file in files_in(tmp_path)[:MOST_FILES]:
            whole = file.read_bytes()
            for cut in cuts(len(whole)):
                file.write_bytes(whole[:cut])
                refused += read_or_refuse(self.reader, path) is None
            file.write_bytes(whole)
        assert refused
        assert read_or_refuse(self.reader, path)

    def test_a_file_without_convolutions_says_so(self, tmp_path: Path) -> None:
        """It is read, and holds no layer."""
        import pytest

        import filterdb

        path = self.make_without_convolutions(tmp_path)
        if path is None:
            pytest.skip("no such file was made")
        with pytest.raises(NoConvolutionError):
            filterdb.read(path)

    def test_what_it_finds_keeps_its_promises(self, tmp_path: Path) -> None:
        """Names are unique; values are plain numbers of the shape that was promised."""
        contents = self.read(self.make(tmp_path))
        assert contents.format
        names = [tensor.name for tensor in contents.tensors]
        assert len(set(names)) == len(names)
        for tensor in contents.tensors:
            values = tensor.load()
            assert isinstance(values, np.ndarray)
            assert values.shape == tensor.shape, tensor.name
            assert values.dtype.kind in "fiu", tensor.name
        for path in contents.companions:
            assert path.is_file()
            assert path.resolve().is_relative_to(tmp_path.resolve())

    def test_nothing_vanishes(self, tmp_path: Path) -> None:
        """Every array of four dimensions is a layer, or left out with a reason."""
        import filterdb

        path = self.make(tmp_path)
        contents, model = self.read(path), filterdb.read(path)
        assert model.layers
        assert all(item.reason and not item.reason.endswith(".") for item in model.skipped)
        spatial = sum(len(tensor.shape) == 4 for tensor in contents.tensors)
        left_out = {item.name for item in model.skipped}
        left_out &= {tensor.name for tensor in contents.tensors if len(tensor.shape) == 4}
        assert spatial == len(model.layers) + len(left_out)

    def test_twice_the_same(self, tmp_path: Path) -> None:
        """Order, names, reasons and values do not change from one reading to the next."""
        path = self.make(tmp_path)
        assert fingerprint(self.read(path)) == fingerprint(self.read(path))

    def test_it_changes_nothing(self, tmp_path: Path) -> None:
        """The files are as they were, and there are no new ones."""
        path = self.make(tmp_path)
        before = {file: file.read_bytes() for file in files_in(tmp_path)}
        fingerprint(self.read(path))
        assert {file: file.read_bytes() for file in files_in(tmp_path)} == before

    def test_it_reads_its_files_alone_and_within_bounds(self, tmp_path: Path) -> None:
        """No network, no process, no file elsewhere; memory in proportion to the files."""
        path = self.make(tmp_path)
        done = watched(self.reader, path, tmp_path)
        allowed = {"process"} if self.starts_processes else set()
        strange = [event for event in done["events"] if event[0] not in allowed]
        assert strange == [], f"while reading it touched {strange[:9]}"
        assert done["peak"] <= allowed_bytes(
            sum(file.stat().st_size for file in files_in(tmp_path))
        )


def files_in(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def cuts(length: int) -> Iterator[int]:
    """Where to cut a file of so many bytes: evenly, and near both ends."""
    near = (0, 1, 2, 7, 16, length - 1, length - 4, length - 9)
    even = (length * i // CUTS for i in range(CUTS))
    yield from sorted({cut for cut in (*near, *even) if 0 <= cut < length})


def read_or_refuse(reader: Reader, path: Path) -> Contents | None:
    """What is found, all of it loaded, or None where the reader refuses as it should."""
    try:
        head = Head.of(path)
        if not reader.matches(head):
            return None
        contents = reader.read(head)
        for tensor in contents.tensors:
            assert tensor.load().shape == tensor.shape
    except ReadError as error:
        text = str(error)
        assert text.endswith((".", ")", "`")), f"no whole sentence: {text}"
        assert "unforeseen" not in text, text
        return None
    return contents if contents.tensors else None


def fingerprint(contents: Contents) -> list[object]:
    """All that a reader says, with a digest of each array."""
    return [
        [
            (t.name, t.shape, t.dtype, t.scheme, t.conv and t.conv.depth,
             hashlib.sha256(t.load().tobytes()).hexdigest())
            for t in contents.tensors
        ],
        contents.skipped, contents.producer, contents.notes, contents.companions,
    ]  # fmt: skip


def watched(reader: Reader, path: Path, folder: Path) -> dict[str, Any]:
    """Read in a process that notes what it touches.

    Returns
    -------
    dict
        ``events``: pairs of what happened (``network``, ``process``, ``file``) and to what;
        ``peak``: bytes of memory at the worst.
    """
    name = getattr(reader, "__name__", "")
    search = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    places = [str(path.absolute()), str(folder.absolute())]
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", WATCHER, name, *places, scratch],
            capture_output=True, text=True, timeout=250, check=False, cwd=scratch,
            env={**os.environ, "PYTHONPATH": search, "TMPDIR": scratch, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


WATCHER = """
import importlib, json, os, pathlib, sys, tracemalloc

name, path, folder, scratch = sys.argv[1:]
from filterdb.readers.head import Head
reader = importlib.import_module(name)

def read():
    for tensor in reader.read(Head.of(pathlib.Path(path))).tensors:
        tensor.load()

read()  # libraries are imported by now
homes = [os.path.realpath(home) for home in
         (folder, scratch, sys.prefix, sys.base_prefix, *sys.path) if home]
homes = [home for home in homes if os.path.realpath(folder) == home
         or not os.path.realpath(folder).startswith(home + os.sep)]
events, watching = [], []
KINDS = {"subprocess.Popen": "process", "os.system": "process", "os.fork": "process",
         "os.forkpty": "process", "os.exec": "process", "os.posix_spawn": "process",
         "os.spawn": "process"}

def hook(event, args):
    if not watching:
        return
    if event.startswith("socket.") and event not in ("socket.__new__",):
        events.append(("network", event))
    elif event in KINDS:
        events.append((KINDS[event], str(args[0])[:200]))
    elif event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        real = os.path.realpath(os.fsdecode(args[0]))
        if real != os.devnull and not any(
            real == home or real.startswith(home + os.sep) for home in homes
        ):
            events.append(("file", real))

sys.addaudithook(hook)
tracemalloc.start()
watching.append(True)
read()
watching.clear()
print(json.dumps({"events": events, "peak": tracemalloc.get_traced_memory()[1]}))
"""
