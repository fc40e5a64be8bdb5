"""Trained networks of an experiment into a database, so that shift and keys apply to them."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filterdb.errors import TransferError
from filterdb.ingest import IngestResult, Progress, ingest
from filterdb.transfer.book import FILE, Book, Row
from filterdb.transfer.comparing import REPEAT
from filterdb.transfer.run import Run

COLUMNS = (
    "training_dataset", "pretraining_dataset", "architecture", "framework", "run", "epoch",
    "experiment", "arm", "repeat", "seed", "accuracy", "frozen", "began_with", "budget",
    "network_settings", "data_settings",
)  # fmt: skip
"""What is told of each network. Those that are the catalogue's own keep their meaning there."""


@dataclass(frozen=True, slots=True)
class IngestedRuns:
    """What became of the networks of an experiment.

    Attributes
    ----------
    files
        What became of every file of weights.
    without
        Runs that were trained, and of which no weights were kept.
    """

    files: IngestResult
    without: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        without = [{"run": row.id, "arm": row.run.arm} for row in self.without]
        return {**self.files.to_dict(), "without_weights": without}


def ingest_runs(
    folder: str | os.PathLike[str],
    database: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> IngestedRuns:
    """Take every network that an experiment has kept into a database.

    They go the way of any other file: measured, judged, and left alone where they are there
    already. Their metadata are the columns of :data:`COLUMNS`: ``run`` is the id of the run, so
    that its epochs count as one network; ``accuracy`` is that of the test images, at the end.

    Parameters
    ----------
    folder
        Of the experiment, as :func:`~filterdb.transfer.engine.execute` left it.
    database
        It is created if there is none.
    jobs, progress
        As of :func:`filterdb.ingest.ingest`.

    Raises
    ------
    TransferError
        The folder holds no experiment, or no weights.
    StoreError
        The book cannot be read, or the database not be written.
    """
    place = Path(folder)
    if not (place / FILE).is_file():
        msg = f"{place} is no folder of an experiment: it has no {FILE}. Name one of --out."
        raise TransferError(msg)
    book = Book(place)
    rows = [row for row in book.rows() if row.finished]
    kept = {row.id: book.kept(row) for row in rows}
    without = tuple(row for row in rows if row.status == "done" and not kept[row.id])
    if not any(kept.values()):
        msg = (
            f"{place}: of {len(rows):,} finished runs no weights were kept. Do them again with "
            "--keep last (or epochs)."
        )
        raise TransferError(msg)
    sources = {row.id: row for row in rows}
    same = Counter(_name(row, place) for row in rows)
    told, names = [], {}
    for row in rows:
        for epoch, path in kept[row.id].items():
            whole = Path(os.path.abspath(path))  # noqa: PTH100  (as ingest has it)
            told.append({"file": whole} | _described(row, epoch, sources))
            name = _name(row, place)
            # Two plans in one folder may call other networks the same.
            which = f"-{row.id[:8]}" if same[name] > 1 else ""
            moment = "" if epoch == len(row.losses) else f"-epoch-{epoch:03}"
            names[whole] = f"{name}{which}{moment}"
    with TemporaryDirectory() as aside:
        table = Path(aside) / "networks.csv"
        _write(table, told)
        files = ingest(database, list(names), metadata=table, names=names, jobs=jobs,
                       progress=progress)  # fmt: skip
    return IngestedRuns(files, without)


def _name(row: Row, folder: Path) -> str:
    """What the database calls a network: ``layers/base-A/seed-0``.

    Rows of earlier versions do not say of which experiment they are: the folder's name has to do.
    """
    experiment = row.run.experiment or folder.resolve().name
    arm = (row.run.arm or row.run.network).replace("->", " to ").replace("/", "-")
    return f"{experiment}/{'-'.join(arm.split())}/seed-{_repeat(row.run)}"


def _repeat(run: Run) -> int:
    return int(run.labels.get(REPEAT, run.seed))


def _described(row: Row, epoch: int, sources: dict[str, Row]) -> dict[str, object]:
    """The columns of one network."""
    run = row.run
    given = [sources[key] for key in run.sources if key in sources]
    return {
        "training_dataset": run.data.name,
        "pretraining_dataset": "; ".join(dict.fromkeys(one.run.data.name for one in given)),
        "architecture": run.network,
        "framework": "torch",
        "run": run.id,
        "epoch": epoch,
        "experiment": run.experiment,
        "arm": run.arm,
        "repeat": _repeat(run),
        "seed": run.seed,
        "accuracy": row.accuracy if epoch == len(row.losses) else None,
        "frozen": "; ".join(start.name for start in run.starts if start.frozen),
        "began_with": "; ".join(
            f"{start.name}: {start.filters or f'run {start.source}'}" for start in run.starts
        ),
        "budget": run.budget.sentence(),
        "network_settings": _settings(run.arguments),
        "data_settings": _settings(asdict(run.data)),
    }


def _settings(told: Mapping[str, Any]) -> str:
    """``"depth=2, width=8"``: those that are set."""
    return ", ".join(f"{key}={value}" for key, value in told.items() if value is not None)


def _write(path: Path, rows: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("file", *COLUMNS))
        writer.writeheader()
        writer.writerows(rows)
