"""A published file seen from a safe distance: its filters and the parts of its table of layers.

libhdf5 crashes or loops on some damaged files, so it runs in a helper process
(``hdf5_worker.py``). Filters that lie in one piece, as in the published files, are read without
it, straight from their place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from threading import Lock, Timer
from time import monotonic
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError, UnsupportedFormatError, while_reading
from filterdb.published.hdf5_worker import MAX_BLOCK
from filterdb.readers.limits import check_expansion

PATIENCE = 120.0
"""Seconds for one answer: even a table of a million rows takes fewer."""
HELPER_MEMORY = 2**31
"""Bytes of address space of the helper: it never holds more than a block or the table."""
TAPS = ((3, 3), (9,))
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from filterdb.published.hdf5_worker import serve; serve(sys.argv[2], int(sys.argv[3]))"
)


@dataclass(frozen=True, slots=True)
class Part:
    """One dataset of a pandas frame.

    Attributes
    ----------
    values
        Its array; for an object that was pickled, the bytes of the pickle.
    attributes
        Texts and numbers; bytes that are no text have a character each.
    """

    values: NDArray[Any] | bytes = field(repr=False)
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of the published layout, open.

    Attributes
    ----------
    path, size
        The file, and its bytes.
    count
        Number of filters.
    dtype
        Their type in the file.
    offset
        Where they begin, if they lie in one piece.
    name
        Of the data set that has them.
    attributes, parts
        Of the table of layers, as pandas wrote them.
    """

    path: Path
    size: int
    count: int
    dtype: np.dtype[Any]
    offset: int | None
    name: str
    attributes: dict[str, Any] = field(repr=False)
    parts: dict[str, Part] = field(repr=False)
    helper: Helper = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file and read its table of layers; the filters stay where they are.

        Raises
        ------
        UnsupportedFormatError
            It is no published data set: no /filters of 3x3 filters, or no /meta.
        CorruptFileError
            libhdf5 refuses it or breaks down on it, or it is shorter than it says.
        LimitError
            It claims more than its size can justify.
        ReadError
            There is no such file, or it may not be read.
        """
        helper = Helper(path)
        try:
            with while_reading():
                size = path.stat().st_size
                path.open("rb").close()
                about, content = helper.ask({})
                return cls(path, size, *_filters(about, size), *_meta(about, content), helper)
        except BaseException:
            helper.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.helper.close()

    def filters(self, start: int, stop: int) -> NDArray[Any]:
        """The filters from ``start`` to before ``stop``, in the file's type.

        Returns
        -------
        ndarray, shape (stop - start, 3, 3)

        Raises
        ------
        CorruptFileError
            The file is shorter than it was, or libhdf5 cannot read them.
        """
        if self.offset is not None:
            begin = self.offset + start * 9 * self.dtype.itemsize
            count = (stop - start) * 9
            values = np.fromfile(self.path, self.dtype, count, offset=begin)
            if values.size != count:
                msg = "The file ends before its filters do: it is cut short. Download it again."
                raise CorruptFileError(msg)
            return values.reshape(-1, 3, 3)
        result = np.empty((stop - start, 3, 3), self.dtype)
        step = MAX_BLOCK // (9 * self.dtype.itemsize)
        for begin in range(start, stop, step):
            end = min(begin + step, stop)
            _, content = self.helper.ask({"name": self.name, "start": begin, "stop": end})
            block = np.frombuffer(content, self.dtype)
            if block.size != (end - begin) * 9:
                msg = "HDF5 gave fewer filters than there should be: the file is damaged."
                raise CorruptFileError(msg)
            result[begin - start : end - start] = block.reshape(-1, 3, 3)
        return result


def _filters(about: dict[str, Any], size: int) -> tuple[int, np.dtype[Any], int | None, str]:
    """Number, type and place of the filters."""
    if "missing" in about:
        msg = f"This is no published CNN Filter DB data set: it lacks {about['missing']}."
        raise UnsupportedFormatError(msg)
    shape, name, offset = tuple(about["shape"]), str(about["name"]), about["offset"]
    dtype = np.dtype(about["dtype"])
    if shape[1:] not in TAPS or dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        msg = (
            f"/{name} has shape {shape} and type {dtype}. The published data set has floating "
            "point numbers of shape (N, 3, 3) or (N, 9)."
        )
        raise UnsupportedFormatError(msg)
    wanted = prod(shape) * dtype.itemsize
    check_expansion(wanted, size, f"/{name}")
    if wanted and not about["stored"]:
        msg = f"The values of /{name} were never written: the file is incomplete."
        raise CorruptFileError(msg)
    if offset is not None and offset + wanted > size:
        msg = f"/{name} reaches beyond the end of the file: it is cut short. Download it again."
        raise CorruptFileError(msg)
    return shape[0], dtype, offset, name


def _meta(about: dict[str, Any], content: bytes) -> tuple[dict[str, Any], dict[str, Part]]:
    """Attributes and parts of the table of layers."""
    parts, begin = {}, 0
    for entry in about["parts"]:
        raw = content[begin : begin + entry["bytes"]]
        begin += entry["bytes"]
        values: NDArray[Any] | bytes = raw
        if entry["dtype"] != "pickle":
            values = np.frombuffer(raw, _dtype(entry["dtype"])).reshape(entry["shape"])
        parts[entry["name"]] = Part(values, entry["attributes"])
    return about["attributes"], parts


def _dtype(described: Any) -> np.dtype[Any]:
    if isinstance(described, str):
        return np.dtype(described)
    names, bases, shapes, offsets = zip(*described["fields"], strict=True)
    formats = [(base, tuple(shape)) for base, shape in zip(bases, shapes, strict=True)]
    return np.dtype(
        {
            "names": list(names),
            "formats": formats,
            "offsets": list(offsets),
            "itemsize": described["itemsize"],
        }
    )


class Helper:
    """The process that holds the file open: started when first needed, and again if it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """One question and its answer.

        Raises
        ------
        CorruptFileError
            libhdf5 refuses, or broke down.
        LimitError
            It took longer than :data:`PATIENCE` seconds.
        """
        with self.lock:
            reply, content = self._exchange(json.dumps(request).encode() + b"\n")
        if "error" in reply:
            msg = f"HDF5 cannot read it ({reply['error']}). Download or copy the file again."
            raise CorruptFileError(msg)
        return reply, content

    def _exchange(self, line: bytes) -> tuple[dict[str, Any], bytes]:
        process = self.process = self.process or self._start()
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        timer = Timer(PATIENCE, process.kill)
        timer.daemon = True
        began = monotonic()
        timer.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            reply = json.loads(process.stdout.readline())
            content = process.stdout.read(reply["bytes"])
        except (OSError, ValueError) as error:
            self.close()
            if monotonic() - began >= PATIENCE:
                msg = f"It kept the HDF5 library busy for {PATIENCE:.0f} s, so it was given up."
                raise LimitError(msg) from None
            msg = "The HDF5 library broke down on it: the file is damaged. Download it again."
            raise CorruptFileError(msg) from error
        finally:
            timer.cancel()
        return reply, content

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = [json.dumps(sys.path), str(self.path.absolute()), str(HELPER_MEMORY)]
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", BOOT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # No filter plug-ins, whatever a file asks for; no threads that it does not need.
            env={**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"},
        )

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()
