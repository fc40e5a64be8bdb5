"""The book of an experiment: what came of each run, in a file that several processes write.

``runs.sqlite`` in the experiment's folder has a row a run, ``weights/ID.safetensors`` the trained
networks that other runs need, ``weights/ID-epoch-003.safetensors`` what they were on the way. All
are complete or not there. No torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ReadError, SchemaVersionError, StoreError, TransferError
from filterdb.figures.saving import write_whole
from filterdb.readers.mapping import map_file
from filterdb.readers.safetensors import check_tiling, checked_entry, load_view, parse_header
from filterdb.transfer.run import Run

Weights = Mapping[str, NDArray[Any]]
Status = Literal["done", "diverged", "failed"]

FILE = "runs.sqlite"
PLAN, RESULT = "effective-plan.toml", "result.json"
"""What the folder has beside it: the plan with every default, and the result as JSON."""
WEIGHTS = "weights"
VERSION = 3
"""Counted up when a column joins: 2 has ``digest`` and ``guess``, 3 ``left_out``, ``mirrored``."""
PATIENCE = 60
"""Seconds to wait for another process that writes."""
CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
TYPES = {code: name for name, code in CODES.items()}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many there are that were not used, and the names of the first few."""

    count: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a run.

    Attributes
    ----------
    run
        The run; its id is the row's.
    status
        ``"done"``; ``"diverged"``: a loss was not finite; ``"failed"``: ``reason`` says why.
    accuracy, test_loss
        On the test images at the end: share, nats.
    losses
        Mean training loss of each pass, nats.
    fingerprints
        SHA-256 of filters and of all else, by moment and part: ``"built"`` (the network's own
        random weights), ``"given"`` (after its starts), ``"trained"``; in each ``"depthwise"``,
        or what else :attr:`~filterdb.transfer.run.Start.name` says, and ``"rest"``. In
        ``"source"``, those of the filters that were copied; in ``"sources"``, by the id of each
        source, :attr:`trained` of its row.
    parameters, trainable
        How many numbers the network has, and how many of them learn.
    classes, guess
        How many it tells apart, and what whoever always names the largest gets right: its share
        of the test images. Rows of earlier versions have no ``guess``.
    images, steps
        Training images; steps done.
    digest
        SHA-256 of the images and labels it was trained and tested on; rows of earlier versions
        have none.
    left_out
        Reason -> images (or classes) of the data set that were not used.
    mirrored
        Whether images were mirrored in augmentation.
    seconds, threads, device, versions, when
        How long the training took, on what, with which versions, and when it ended (UTC).
    """

    run: Run
    status: Status
    reason: str | None = None
    accuracy: float | None = None
    test_loss: float | None = None
    losses: tuple[float | None, ...] = ()
    fingerprints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    parameters: int | None = None
    trainable: int | None = None
    classes: int | None = None
    guess: float | None = None
    images: int | None = None
    steps: int | None = None
    digest: str | None = None
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    mirrored: bool | None = None
    seconds: float | None = None
    threads: int | None = None
    device: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    when: str | None = None

    @property
    def id(self) -> str:
        """That of the run."""
        return self.run.id

    @property
    def trained(self) -> str:
        """Fingerprint of the whole trained network; empty where there is none."""
        told = self.fingerprints.get("trained", {})
        text = json.dumps(told, sort_keys=True).encode()
        return hashlib.sha256(text).hexdigest()[:16] if told else ""

    @property
    def finished(self) -> bool:
        """Whether doing it again would come to the same: a failure may pass."""
        return self.status != "failed"


JSON = ("losses", "fingerprints", "left_out", "versions")
COLUMNS = ("id", "settings", *(each.name for each in fields(Row) if each.name != "run"))


class Book:
    """The rows and weights in an experiment's folder, which is made where there is none.

    Parameters
    ----------
    folder
        Of the experiment.

    Raises
    ------
    StoreError
        The folder cannot be used, or its book is of a newer filterdb or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        with self._telling():
            (self.folder / WEIGHTS).mkdir(parents=True, exist_ok=True)
            with self._open() as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version > VERSION:
                    msg = (
                        f"{self.folder / FILE} was written by a newer filterdb. "
                        "Update filterdb, or name another folder."
                    )
                    raise SchemaVersionError(msg)
                if version < VERSION:
                    connection.execute("PRAGMA journal_mode = WAL")
                    _bring_up_to_date(connection)

    def get(self, run_id: str) -> Row | None:
        """The row of a run, or None."""
        rows = self._select(" WHERE id = ?", (run_id,))
        return rows[0] if rows else None

    def rows(self) -> list[Row]:
        """All rows, in the order in which they were first written."""
        return self._select(" ORDER BY rowid", ())

    def put(self, row: Row) -> None:
        """Write a row; one of the same id is replaced."""
        told: dict[str, Any] = {name: getattr(row, name) for name in COLUMNS if name != "settings"}
        told["settings"] = row.run.to_dict()
        told["left_out"] = {reason: asdict(one) for reason, one in row.left_out.items()}
        for name in (*JSON, "settings"):
            told[name] = json.dumps(told[name])
        marks = ", ".join("?" * len(COLUMNS))
        names = ", ".join(f'"{name}"' for name in COLUMNS)
        renewed = ", ".join(f'"{name}" = excluded."{name}"' for name in COLUMNS[1:])
        statement = (
            f"INSERT INTO runs ({names}) VALUES ({marks}) "  # noqa: S608 - our own names
            f"ON CONFLICT (id) DO UPDATE SET {renewed}"
        )
        with self._telling(), self._open() as connection, connection:
            connection.execute(statement, [told[name] for name in COLUMNS])

    def _select(self, clause: str, values: tuple[str, ...]) -> list[Row]:
        names = ", ".join(f'"{name}"' for name in COLUMNS)
        with self._telling(), self._open() as connection:
            found = connection.execute(f"SELECT {names} FROM runs{clause}", values).fetchall()  # noqa: S608
            return [_row(dict(zip(COLUMNS, each, strict=True))) for each in found]

    def weights_path(self, run_id: str, epoch: int | None = None) -> Path:
        """Where the weights of a run are, if they were kept.

        Parameters
        ----------
        run_id
            Of the run.
        epoch
            After how many passes; at the end of the training if not given.
        """
        moment = "" if epoch is None else f"-epoch-{epoch:03}"
        return self.folder / WEIGHTS / f"{run_id}{moment}.safetensors"

    def kept(self, row: Row) -> dict[int, Path]:
        """The weights that are there of a run, by the number of passes after which they were."""
        passes = len(row.losses)
        paths = {epoch: self.weights_path(row.id, epoch) for epoch in range(passes)}
        paths[passes] = self.weights_path(row.id)
        return {epoch: path for epoch, path in paths.items() if path.is_file()}

    def put_weights(self, run: Run, weights: Weights, *, epoch: int | None = None) -> Path:
        """Keep the weights of a network as safetensors: filterdb ingests them too.

        Parameters
        ----------
        run
            The run; its settings go into the file's metadata.
        weights
            Arrays by name, as in a state dict.
        epoch
            As in :meth:`weights_path`.
        """
        path = self.weights_path(run.id, epoch)
        told = {"run": run.id, "settings": json.dumps(run.to_dict())}
        if epoch is not None:
            told["epoch"] = str(epoch)
        with self._telling():
            write_whole(encoded(weights, told), path)
        return path

    def get_weights(self, run_id: str) -> dict[str, NDArray[Any]]:
        """The weights of a trained network.

        Raises
        ------
        TransferError
            They are not there, damaged, or those of another run.
        """
        path = self.weights_path(run_id)
        try:
            data = map_file(path)
            told = parse_header(data).get("__metadata__", {}).get("run")
            if told != run_id:
                msg = (
                    f"{path}: these are not the weights of the run {run_id}, but of "
                    f"{f'the run {told}' if told else 'no run'}. Delete the file: the run is done "
                    "again."
                )
                raise TransferError(msg)
            return decoded(data)
        except ReadError as error:
            msg = f"{path}: {error.reason} If it is damaged, delete it: its run is done again."
            raise TransferError(msg) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.folder / FILE, timeout=PATIENCE)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say what went wrong with the files, and what to do."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            if full or getattr(error, "errno", None) in NO_ROOM:
                mend = "Make room"
            else:
                mend = "Check that the folder can be written and that its files are whole"
            msg = (
                f"{self.folder}: the results cannot be kept or read ({error}). {mend}, and give "
                "the same command again: finished runs are not repeated."
            )
            raise StoreError(msg) from error


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make the table, or give that of an earlier version the columns that it lacks."""
    columns = ", ".join(f'"{name}"' for name in COLUMNS[1:])
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # of two processes that do this, one waits
        connection.execute(f"CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, {columns})")
        there = {name for _, name, *_ in connection.execute("PRAGMA table_info(runs)")}
        for name in COLUMNS:
            if name not in there:
                connection.execute(f'ALTER TABLE runs ADD COLUMN "{name}"')
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _row(told: dict[str, Any]) -> Row:
    del told["id"]
    run = Run.from_dict(json.loads(told.pop("settings")))
    told |= {name: json.loads(told[name] or "{}") for name in JSON}
    told["losses"] = tuple(told["losses"])
    told["left_out"] = {
        reason: LeftOut(one["count"], tuple(one["names"]))
        for reason, one in told["left_out"].items()
    }
    told["mirrored"] = None if told["mirrored"] is None else bool(told["mirrored"])
    return Row(run=run, **told)


def encoded(weights: Weights, metadata: Mapping[str, str]) -> bytes:
    """Arrays as the bytes of a safetensors file.

    Raises
    ------
    TransferError
        The format has no such type.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"} | dict(metadata)}
    pieces, end = [], 0
    for name, values in weights.items():
        if values.dtype.name not in CODES:
            msg = f"Weights of type {values.dtype}, as {name!r} has, cannot be kept."
            raise TransferError(msg)
        piece = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        begin, end = end, end + len(piece)
        header[name] = {
            "dtype": CODES[values.dtype.name], "shape": values.shape, "data_offsets": [begin, end],
        }  # fmt: skip
        pieces.append(piece)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *pieces])


def decoded(data: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The arrays in the bytes of a file that :func:`encoded` wrote.

    Raises
    ------
    ReadError
        The bytes are damaged.
    """
    header = parse_header(data)
    header.pop("__metadata__", None)
    entries = [checked_entry(name, value) for name, value in header.items()]
    body = data[8 + int.from_bytes(data[:8].tobytes(), "little") :]
    check_tiling([(name, begin, end) for name, _, _, begin, end in entries], len(body))
    return {
        name: np.array(load_view(body[begin:end], TYPES[code], shape))
        for name, code, shape, begin, end in entries
    }
