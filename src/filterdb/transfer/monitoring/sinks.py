"""Where records go as they come: a CSV file, TensorBoard, or a function."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from filterdb.errors import ExportError, TransferError
from filterdb.transfer.monitoring.record import COLUMNS, SCALARS, Record

Sink = Callable[[tuple[Record, ...]], object]
"""Takes the records of an epoch, one a layer."""


@runtime_checkable
class Writer(Protocol):
    """What ``torch.utils.tensorboard.SummaryWriter`` can, and others with it."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int, /) -> object:
        """Add a point to a curve."""


Target = str | os.PathLike[str] | Writer | Sink
"""A path of a CSV file, a writer with ``add_scalar``, or a function of an epoch's records."""


def sinks_of(to: Target | Iterable[Target]) -> tuple[Sink, ...]:
    """Sinks of one target or of several.

    Raises
    ------
    ExportError
        A CSV file cannot be written.
    TransferError
        A target is none of those.
    """
    several = isinstance(to, Iterable) and not isinstance(to, str | os.PathLike | Writer)
    targets: Any = to if several and not callable(to) else [to]
    return tuple(sink_of(target) for target in targets)


def sink_of(target: Target) -> Sink:
    """The sink of one target."""
    if isinstance(target, str | os.PathLike):
        return CsvFile(target)
    if isinstance(target, Writer):
        return Curves(target)
    if callable(target):
        return target
    msg = (
        f"Records cannot go to {target!r}. Name a CSV file, or pass a SummaryWriter (anything with "
        "add_scalar) or a function that takes the records of an epoch."
    )
    raise TransferError(msg)


class Curves:
    """TensorBoard: a curve a measure and layer, under ``measure/layer``."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __call__(self, records: tuple[Record, ...]) -> None:
        """Add the defined measures of an epoch."""
        for record in records:
            for name in SCALARS:
                value = getattr(record, name)
                if value is not None:
                    self._writer.add_scalar(f"{name}/{record.layer}", value, record.epoch)


class CsvFile:
    """A CSV file, one row a record: it is appended to, and holds whole lines at any time.

    A file that is there already goes on if it holds such records: then no second header is
    written, and a last line that a killed run left unfinished is taken off.

    Raises
    ------
    ExportError
        It cannot be written, or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._waiting = b""
        try:
            with self.path.open("a+b") as file:
                file.seek(0)
                header = lines([COLUMNS])
                first = file.readline(len(header))  # no more: it may be of anything, and endless
                if not first:
                    file.write(header)
                elif first != header:
                    msg = (
                        f"{self.path}: there is a file of something else, which is not written to. "
                        "Name another one."
                    )
                    raise ExportError(msg)
                else:
                    end = len(first)
                    for line in file:
                        end += len(line) if line.endswith(b"\n") else 0
                    file.truncate(end)
        except OSError as error:
            msg = (
                f"{self.path}: no records can be written there: {error.strerror or error}. "
                "Name a file in a folder that is there."
            )
            raise ExportError(msg) from error

    def __call__(self, records: tuple[Record, ...]) -> None:
        """Append an epoch; a disk that is full ends no training, and gets the rows later."""
        self._waiting += lines(map(cells, records))
        before = None
        try:
            with self.path.open("ab") as file:
                before = file.tell()
                file.write(self._waiting)
        except OSError as error:
            if before is not None:
                os.truncate(self.path, before)
            warnings.warn(
                f"{self.path}: epoch {records[0].epoch} could not be written: "
                f"{error.strerror or error}. Its rows wait for the next epoch.",
                RuntimeWarning,
                stacklevel=4,
            )
        else:
            self._waiting = b""


def cells(record: Record) -> list[object]:
    """A row of the CSV; undefined numbers are empty cells."""
    values = [getattr(record, name) for name in COLUMNS]
    return ["x".join(map(str, value)) if isinstance(value, tuple) else value for value in values]


def lines(rows: Iterable[Iterable[object]]) -> bytes:
    """Rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
