"""An HDF5 file seen from a safe distance: what datasets it has, and their values.

libhdf5 crashes or loops on some damaged files, so it runs in a helper process
(``hdf5_worker.py``) that is started once, told apart from a healthy one by its death, and
replaced. Values that lie in one piece are mapped from the file here, without the helper.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from threading import Lock, Timer
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Loader, Skipped
from filterdb.readers.elements import MAX_DIMENSIONS, widen_bfloat16
from filterdb.readers.limits import allowed_bytes, check_expansion
from filterdb.readers.mapping import map_file

SIGNATURE = b"\x89HDF\r\n\x1a\n"
PATIENCE = 4.0
"""Seconds that the helper may take for a file, before its size is counted in."""
START = 10.0
"""Seconds more for a helper that has to start first: on a busy machine that takes its time."""
BYTES_PER_SECOND = 2e7
WORKER = Path(__file__).with_name("hdf5_worker.py")
HELPER_MEMORY = 2**28
"""Bytes of address space that the helper takes by itself (about 150 MB), generously."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of an HDF5 file lie: a file, part of it, or a compressed ``member``."""

    path: Path
    begin: int
    length: int
    member: str | None = None

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """The bytes, mapped."""
        return map_file(self.path)[self.begin : self.begin + self.length]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset of plain numbers; ``dtype`` as in the file, ``"bfloat16"`` by its own name."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    load: Loader = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What an HDF5 file holds.

    Attributes
    ----------
    datasets
        Path -> dataset, in the file's order.
    attributes
        Path of a group (``""`` for the root) -> its attributes, of those that Keras writes.
    skipped
        Datasets whose values are not taken, and links that are not followed.
    """

    datasets: Mapping[str, Dataset]
    attributes: Mapping[str, Mapping[str, Any]]
    skipped: tuple[Skipped, ...]


def take_inventory(place: Place) -> Inventory:
    """List what an HDF5 file holds.

    Raises
    ------
    CorruptFileError
        libhdf5 refuses it, or breaks down on it.
    LimitError
        Its datasets claim more bytes than its size can justify, or it keeps libhdf5 busy.
    """
    reply, _ = HELPER.ask(place, None, PATIENCE + place.length / BYTES_PER_SECOND)
    skipped = [
        Skipped(path, "a link to another place or file, which is not followed")
        for path in reply["refused"]
    ]
    skipped += [Skipped(path, "its name is too long") for path in reply["long"]]
    datasets = {}
    total = 0
    for entry in reply["datasets"]:
        path, shape = entry["path"], tuple(entry["shape"] or ())
        if entry["reason"]:
            skipped.append(Skipped(path, entry["reason"]))
            continue
        if len(shape) > MAX_DIMENSIONS:
            msg = f"It has {len(shape)} dimensions. The file is damaged."
            raise CorruptFileError(msg).at(layer=path)
        stored = np.dtype("<u2" if entry["dtype"] == "bfloat16" else entry["dtype"])
        wanted = prod(shape) * stored.itemsize
        total += wanted
        check_expansion(total, place.length, "Its datasets together")
        if entry["offset"] is None or place.member is not None:
            load = partial(load_through_helper, place, path, shape, stored, entry["dtype"])
        else:
            if entry["offset"] + wanted > place.length:
                msg = "Its values reach beyond the end of the file: it is cut short or damaged."
                raise CorruptFileError(msg).at(layer=path)
            load = partial(load_mapped, place, entry["offset"], shape, stored, entry["dtype"])
        name = "bfloat16" if entry["dtype"] == "bfloat16" else stored.name
        datasets[path] = Dataset(path, shape, name, load)
    return Inventory(datasets, reply["attributes"], tuple(skipped))


def load_mapped(
    place: Place, offset: int, shape: tuple[int, ...], stored: np.dtype[Any], dtype: str
) -> NDArray[Any]:
    """The values of a dataset that lies in one piece: a view of the file."""
    content = place.bytes[offset : offset + prod(shape) * stored.itemsize]
    return decode(content, shape, stored, dtype)


def load_through_helper(
    place: Place, path: str, shape: tuple[int, ...], stored: np.dtype[Any], dtype: str
) -> NDArray[Any]:
    """The values of a dataset in chunks, decompressed by libhdf5."""
    wanted = prod(shape) * stored.itemsize
    _, content = HELPER.ask(place, path, PATIENCE + wanted / BYTES_PER_SECOND)
    return decode(np.frombuffer(content, np.uint8), shape, stored, dtype)


def decode(
    content: NDArray[np.uint8], shape: tuple[int, ...], stored: np.dtype[Any], dtype: str
) -> NDArray[Any]:
    """Bytes to values; bool as uint8, bfloat16 widened."""
    if content.nbytes != prod(shape) * stored.itemsize:
        msg = "Its values are not as many as its shape says: the file changed or is damaged."
        raise CorruptFileError(msg)
    values = content.view(np.dtype("u1") if stored.kind == "b" else stored).reshape(shape)
    return widen_bfloat16(values) if dtype == "bfloat16" else values


class Helper:
    """The helper process of this process: started when first needed, replaced when it dies."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = 0
        self.inherited: list[object] = []

    def ask(
        self, place: Place, dataset: str | None, patience: float
    ) -> tuple[dict[str, Any], bytes]:
        """Ask for the inventory of a file, or for the values of one dataset.

        Raises
        ------
        CorruptFileError
            libhdf5 refuses the file, or the helper died on it.
        LimitError
            It took longer than ``patience`` seconds.
        """
        request = {
            "file": str(place.path.absolute()),
            "begin": place.begin,
            "length": place.length,
            "member": place.member,
            "dataset": dataset,
            # Values are held twice: as an array, and as the bytes that are sent.
            "memory": HELPER_MEMORY + (2 if dataset else 1) * allowed_bytes(place.length),
        }
        line = json.dumps(request).encode() + b"\n"
        with self.lock:
            fresh = self.start()
            answer = self.exchange(line, patience + START * fresh)
            if answer is None and not fresh:
                # It may have died of the file before: only a fresh one is a witness.
                self.start()
                answer = self.exchange(line, patience + START)
        if answer is None:
            msg = "The HDF5 library broke down on it: the file is damaged. Download it again."
            raise CorruptFileError(msg)
        reply, content = answer
        if "error" in reply:
            msg = f"HDF5 cannot read it ({reply['error']}). Download or copy the file again."
            raise CorruptFileError(msg)
        return reply, content

    def exchange(self, line: bytes, patience: float) -> tuple[dict[str, Any], bytes] | None:
        """One request and its reply; None where the helper died instead."""
        process = self.process
        assert process is not None and process.stdin and process.stdout  # noqa: S101, PT018
        timer = Timer(patience, process.kill)
        timer.daemon = True
        began = monotonic()
        timer.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            reply = json.loads(process.stdout.readline())
            content = process.stdout.read(reply.get("bytes", 0))
        except (OSError, ValueError):
            overdue = monotonic() - began >= patience
            self.stop()
            if overdue:
                msg = f"It kept the HDF5 library busy for {patience:.0f} s, so it was given up."
                raise LimitError(msg) from None
            return None
        finally:
            timer.cancel()
        if reply.get("spent"):
            self.stop()
        return reply, content

    def start(self) -> bool:
        """Make sure that a helper of this very process runs; True if it is a new one."""
        if self.owner != os.getpid():
            # After a fork the helper is the parent's: leave it alone.
            self.inherited.append(self.process)
            self.process, self.owner = None, os.getpid()
        if self.process is not None and self.process.poll() is None:
            return False
        self.stop()
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # No filter plug-ins, whatever a file asks for; no threads that it does not need.
            env={**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"},
        )
        return True

    def stop(self) -> None:
        """End the helper, if it is this process's own."""
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue
        process.wait()


HELPER = Helper()
atexit.register(HELPER.stop)
