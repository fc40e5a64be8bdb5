"""Files into a database: in processes, each model whole or not at all, and resumable."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from filterdb.errors import DatabasePathError, ReadError, StoreError
from filterdb.ingest.discover import Candidate, Discovery, Ignored, discover
from filterdb.ingest.inferring import settle
from filterdb.ingest.intake import Fingerprint
from filterdb.ingest.metadata import Metadata, load_metadata
from filterdb.ingest.origin import with_origin
from filterdb.ingest.tally import Status, Tally
from filterdb.ingest.workers import Prepare, guarded, in_turn
from filterdb.reading import read
from filterdb.store.catalogue import Catalogue, Kept, KnownFile, NewModel
from filterdb.store.connection import create
from filterdb.store.lock import ingesting
from filterdb.threads import available_cores

PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, str], None]


BYTES_WORTH_A_PROCESS = 8 * 2**20


@dataclass(frozen=True, slots=True)
class IngestedFile:
    """What became of one file.

    Attributes
    ----------
    path
        As it was given, or found below a folder that was.
    status
        Added, unchanged (its content is there already; weights that had gone missing from the
        database are restored from it) or failed.
    reason
        Why it failed; None otherwise.
    name
        Of the model in the database; None if it failed.
    n_layers, n_filters
        Of the model; None if it failed.
    """

    path: str
    status: Status
    reason: str | None = None
    name: str | None = None
    n_layers: int | None = None
    n_filters: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class IngestResult(Tally):
    """What became of every file, sorted by path, and what the metadata did not match.

    Attributes
    ----------
    models
        One row a file.
    ignored
        Files and folders that were passed over, with reasons.
    unmatched_rows, files_without_row, renamed_columns, outside_vocabulary, respelt
        As in :class:`~filterdb.ingest.metadata.Metadata`.
    """

    models: tuple[IngestedFile, ...]
    ignored: tuple[Ignored, ...]
    unmatched_rows: list[str]
    files_without_row: list[str]
    renamed_columns: dict[str, str]
    outside_vocabulary: list[str]
    respelt: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The result as in the JSON of ``filterdb ingest``."""
        return {
            "added": self.added,
            "unchanged": self.unchanged,
            "failed": self.failed,
            "models": [asdict(row) for row in self.models],
            "ignored": [asdict(row) for row in self.ignored],
            "metadata": {
                "unmatched_rows": list(self.unmatched_rows),
                "files_without_row": list(self.files_without_row),
                "renamed_columns": dict(self.renamed_columns),
                "outside_vocabulary": list(self.outside_vocabulary),
                "respelt": list(self.respelt),
            },
        }

    def __repr__(self) -> str:
        return (
            f"<IngestResult: {self.added} added, {self.unchanged} unchanged, "
            f"{self.failed} failed, {len(self.ignored)} ignored>"
        )


@dataclass(frozen=True, slots=True)
class Known:
    """A file that is in the database already, by its hash."""

    sha256: str


Outcome = NewModel | Known | ReadError | StoreError


def ingest(
    folder: PathLike,
    paths: PathLike | Iterable[PathLike],
    *,
    metadata: PathLike | None = None,
    names: Mapping[Path, str] | None = None,
    infer: bool = True,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> IngestResult:
    """Take files and folders into a database, creating it if there is none.

    Each model is there with its weights, or not at all; after an interruption the same call
    completes the rest. Models join in the order of their paths, whatever ``jobs`` is.

    Parameters
    ----------
    folder
        The database.
    paths
        Files and folders of checkpoints.
    metadata
        CSV keyed by file name or path; see :func:`~filterdb.ingest.metadata.load_metadata`. It also
        updates models that are there already.
    names
        Absolute path of a file -> what its model is to be called, where that is not to be taken
        from the path.
    infer
        Take what the files say of themselves (:func:`~filterdb.ingest.inferring.infer`) where the
        metadata has no word.
    jobs
        Number of processes; if not given, up to the available cores, as far as the files are
        worth it. With 1 all is done in this process.
    progress
        Called with the number of files done, their total and the last one's path.

    Returns
    -------
    IngestResult
        What became of each file. One that fails never stops the rest.

    Raises
    ------
    DatabasePathError
        The folder holds other files and no database, or is itself all there is to ingest.
    StoreError
        The database cannot be written, for instance for want of room. What was complete stays.
    MetadataError
        The CSV cannot be read.
    """
    place = Path(folder)
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = _called(discover(given), names or {})
    if not found.candidates and any(_is_same(place, path) for path in given):
        msg = (
            f"{place} is the database itself, so there is nothing to take in: name the database "
            "first, then the files and folders of models."
        )
        raise DatabasePathError(msg)
    said = Metadata()
    if metadata is not None:
        said = load_metadata(metadata, [candidate.path for candidate in found.candidates])
    create(place)
    jobs = jobs or worthwhile_jobs(found.candidates)
    with ingesting(place), Catalogue(place) as catalogue:
        catalogue.ensure_columns(said.columns)
        run = _Run(catalogue, said, infer)
        look = partial(_look, known=catalogue.known_files())
        try:
            with in_turn(place, found.candidates, look, jobs=jobs) as outcomes:
                for candidate, outcome in outcomes:
                    row = run.settle(candidate, outcome)
                    if progress is not None:
                        progress(len(run.rows), len(found.candidates), row.path)
        except BaseException:
            with suppress(StoreError):  # the first error says what is wrong
                run.conclude()
            raise
        rows, parts = run.conclude()
    return IngestResult(
        models=tuple(rows),
        ignored=tuple(sorted([*found.ignored, *parts], key=lambda item: item.path)),
        unmatched_rows=list(said.unmatched_rows),
        files_without_row=list(said.files_without_row),
        renamed_columns=dict(said.renamed_columns),
        outside_vocabulary=list(said.outside_vocabulary),
        respelt=list(said.respelt),
    )


def _called(found: Discovery, names: Mapping[Path, str]) -> Discovery:
    """What was found, some of it by names of the caller's choice; its own stay second best."""
    candidates = (
        replace(item, names=(names[item.path], *item.names)) if item.path in names else item
        for item in found.candidates
    )
    return replace(found, candidates=tuple(candidates))


def _is_same(one: PathLike, other: PathLike) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def worthwhile_jobs(candidates: Sequence[Candidate]) -> int:
    """Number of processes that are worth their start: few files are quicker done in this one."""
    size = sum(os.path.getsize(item.path) for item in candidates if item.readable)  # noqa: PTH202
    return max(1, min(available_cores(), len(candidates), size // BYTES_WORTH_A_PROCESS))


@dataclass(slots=True)
class _Run:
    """One ingest: settles outcomes in the order of the files, and keeps account of them."""

    catalogue: Catalogue
    metadata: Metadata
    infer: bool = True
    rows: dict[Path, IngestedFile] = field(default_factory=dict)
    parts: dict[Path, str] = field(default_factory=dict)  # files that belong to a model: to which
    described: set[int] = field(default_factory=set)

    def settle(self, candidate: Candidate, outcome: Outcome) -> IngestedFile:
        """Commit a model, or note why there is none.

        Raises
        ------
        StoreError
            The database cannot be written: no use in going on.
        """
        if isinstance(outcome, StoreError):
            raise outcome
        kept, reason = None, None
        if isinstance(outcome, ReadError):
            reason = outcome.reason
        else:
            kept = self._keep(candidate, outcome)
            reason = None if kept else "It was removed meanwhile. Ingest it again."
        self.rows[candidate.path] = row = _row(candidate.shown, kept, reason)
        return row

    def _keep(self, candidate: Candidate, outcome: NewModel | Known) -> Kept | None:
        said = self.metadata.of_file.get(candidate.path, {})
        if isinstance(outcome, NewModel) and candidate.origin is not None:
            outcome = with_origin(outcome, candidate.origin)
        stated = outcome.statements if self.infer and isinstance(outcome, NewModel) else ()
        values, sources = settle(said, stated)
        if isinstance(outcome, NewModel):
            kept: Kept | None = self.catalogue.add(
                outcome, candidate.names, values, sources=sources
            )
        else:
            kept = self.catalogue.find_file(outcome.sha256)
        if kept is None:
            return None
        if not kept.added and kept.id not in self.described:
            self.catalogue.set_metadata(kept.id, values, sources=sources)
        self.described.add(kept.id)
        for companion in kept.companions:
            whole = Path(os.path.abspath(candidate.path.parent / companion))  # noqa: PTH100
            self.parts[whole] = f"external data of {candidate.shown}"
        return kept

    def conclude(self) -> tuple[list[IngestedFile], list[Ignored]]:
        """Tell files that are part of a model from failures, and remember the failures."""
        part = {
            path: Ignored(row.path, self.parts[path])
            for path, row in self.rows.items()
            if row.status == "failed" and path in self.parts
        }
        kept = {path: row for path, row in self.rows.items() if path not in part}
        failed = {
            str(path): row.reason or "" for path, row in kept.items() if row.status == "failed"
        }
        self.catalogue.record_failures(failed, settled=map(str, self.rows))
        return list(kept.values()), list(part.values())


def _look(
    candidate: Candidate, prepare: Prepare, *, known: Mapping[str, Sequence[KnownFile]]
) -> Outcome:
    """What becomes of a file: known by its hash, prepared, or refused."""
    if candidate.refusal is not None:
        return ReadError(candidate.refusal)
    found = guarded(partial(_recognise, candidate, known))
    return prepare(found) if isinstance(found, Fingerprint) else found


def _recognise(
    candidate: Candidate, known: Mapping[str, Sequence[KnownFile]]
) -> Known | Fingerprint:
    """Hash a file, and tell it again if it is in the database."""
    if not candidate.readable:
        read(candidate.path)  # raises, and says what it is instead
    fingerprint = Fingerprint.of(candidate.path)
    for file in known.get(fingerprint.sha256, ()):
        companions = [candidate.path.parent / name for name in file.companions]
        if fingerprint.covers(companions, file.sha256):
            return Known(file.sha256)
    return fingerprint


def _row(path: str, kept: Kept | None, reason: str | None) -> IngestedFile:
    if kept is None:
        return IngestedFile(path, "failed", reason)
    status: Status = "added" if kept.added else "unchanged"
    return IngestedFile(path, status, None, kept.name, kept.n_layers, kept.n_filters)
