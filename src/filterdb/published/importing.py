"""The published data set into a database: a network at a time, resumable, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from filterdb.errors import ReadError, StoreError
from filterdb.ingest.run import Known, Outcome
from filterdb.ingest.tally import Status, Tally
from filterdb.ingest.workers import guarded, in_turn
from filterdb.published.frame import Frame, read_frame
from filterdb.published.hdf5 import PublishedFile
from filterdb.published.intake import filters_read, identity, prepare, with_filters
from filterdb.published.layout import Layout, PublishedModel, read_layout
from filterdb.published.naming import OWN, Naming, name_published
from filterdb.store.catalogue import Catalogue, Kept, NewModel
from filterdb.store.connection import create
from filterdb.store.lock import ingesting
from filterdb.threads import available_cores

PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """What became of one network of the data set.

    Attributes
    ----------
    id
        The data set's ``model_id``.
    status
        Added, unchanged (it is there already) or failed.
    reason
        Why it failed; None otherwise.
    name, n_layers, n_filters
        Of the model in the database; None if it failed.
    """

    id: str
    status: Status
    reason: str | None = None
    name: str | None = None
    n_layers: int | None = None
    n_filters: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ImportResult(Tally):
    """What became of every network, and how the file was read.

    Attributes
    ----------
    path
        The file.
    version
        Of the data set, as its columns tell.
    dtype, filters
        Type and number of the filters.
    ends
        Whether the ends of its ranges are inclusive or exclusive.
    models
        One row a network, in the file's order.
    notes
        Sentences on how it was read.
    renamed_columns
        Column of the file -> column of the catalogue.
    left_out_columns
        Column of the file -> why it is not kept.
    """

    path: str
    version: str
    dtype: str
    filters: int
    ends: str
    models: tuple[ImportedModel, ...]
    notes: tuple[str, ...]
    renamed_columns: dict[str, str]
    left_out_columns: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The result as in the JSON of ``filterdb import``."""
        counts = {"added": self.added, "unchanged": self.unchanged, "failed": self.failed}
        return counts | asdict(self) | {"notes": list(self.notes)}

    def __repr__(self) -> str:
        return (
            f"<ImportResult of CNN Filter DB {self.version}: {self.added} added, "
            f"{self.unchanged} unchanged, {self.failed} failed>"
        )


def import_dataset(
    folder: PathLike,
    dataset: PathLike,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> ImportResult:
    """Take the published CNN Filter DB into a database, creating it if there is none.

    Reads v1.0.0 and v0.1.0: ``/filters`` or ``/filter`` of shape ``(N, 3, 3)`` or ``(N, 9)``,
    any floating point type, and ``/meta`` as pandas writes it. Neither pandas nor PyTables is
    needed, and nothing that the file has pickled is run. Each network is there as a whole or not
    at all; after an interruption the same call completes the rest. What is there already, filter
    by filter, is left as it is; a network that is there with other filters, as after a damaged
    download, is added beside it, and a note says so.

    Parameters
    ----------
    folder
        The database.
    dataset
        The file, ``dataset.h5``.
    jobs
        Number of networks at a time, in threads; the available cores if not given. Each holds
        one layer in memory.
    progress
        Called with the number of networks done, their total and the last one's name.

    Returns
    -------
    ImportResult
        What became of each network. One that fails never stops the rest.

    Raises
    ------
    UnsupportedFormatError
        The file is no published data set.
    CorruptFileError, LimitError
        It is damaged as a whole.
    DatabasePathError
        The folder holds other files and no database.
    StoreError
        The database cannot be written. What was complete stays.
    """
    place, path = Path(folder), Path(dataset)
    try:
        with PublishedFile.open(path) as file:
            frame, layout, naming = read_table(file)
            run = _take_in(place, file, layout, naming, jobs or available_cores(), progress)
    except ReadError as error:
        raise error.at(file=str(path)) from error.__cause__
    varying = dict.fromkeys(layout.varying, "it differs between the layers of a network")
    return ImportResult(
        path=str(path),
        version=naming.version,
        dtype=file.dtype.name,
        filters=file.count,
        ends=layout.ends,
        models=tuple(run.rows),
        notes=(*notes_on(layout), *run.notes(place)),
        renamed_columns=naming.renamed,
        left_out_columns=frame.left_out | varying,
    )


def read_table(file: PublishedFile) -> tuple[Frame, Layout, Naming]:
    """What the table of layers says, which filters are whose, and what the columns are called.

    Raises
    ------
    UnsupportedFormatError, CorruptFileError
        It cannot be understood.
    """
    frame = read_frame(file.attributes, file.parts)
    layout = read_layout(frame, file.count)
    return frame, layout, name_published(_kept(frame.columns, layout))


def _kept(columns: dict[str, Any], layout: Layout) -> list[str]:
    known = layout.models[0].columns if layout.models else {}
    return [name for name in columns if name in known]


def notes_on(layout: Layout) -> list[str]:
    """Sentences on how the ranges of filters were read."""
    if not layout.certain:
        how = f"Nothing in the file tells whether ranges include their end: taken as {layout.ends}."
    elif layout.ends == "exclusive":
        how = (
            "The ends of its ranges are exclusive, unlike those of the published v1.0.0: so read, "
            "they lie end to end."
        )
    else:
        how = "The ends of its ranges are inclusive: so read, they lie end to end."
    if not layout.uncovered:
        return [how]
    return [how, f"{layout.uncovered:,} filters belong to no layer that could be read."]


def _take_in(
    place: Path,
    file: PublishedFile,
    layout: Layout,
    naming: Naming,
    jobs: int,
    progress: Progress | None,
) -> _Run:
    """Commit network after network, in the file's order, whatever the number of jobs is."""
    create(place)
    with ingesting(place), Catalogue(place) as catalogue:
        catalogue.ensure_columns([*naming.columns.values(), *OWN])
        files = catalogue.known_files()
        known = {main: {item.sha256 for item in items} for main, items in files.items()}
        run = _Run(catalogue, naming, file.path.absolute(), frozenset(known))

        def look(model: PublishedModel, _: object) -> Outcome:
            return guarded(partial(_outcome, place, file, model, known))

        try:
            with (
                _one_blas_thread(jobs),
                in_turn(place, layout.models, look, jobs=jobs) as outcomes,
            ):
                for model, outcome in outcomes:
                    row = run.settle(model, outcome)
                    if progress is not None:
                        progress(len(run.rows), len(layout.models), row.name or model.id)
        except BaseException:
            with suppress(StoreError):  # the first error says what is wrong
                run.conclude()
            raise
        run.conclude()
        return run


def _outcome(
    place: Path, file: PublishedFile, model: PublishedModel, known: dict[str, set[str]]
) -> NewModel | Known:
    """A network that seems to be known is read and compared: it may have other filters now."""
    if model.fault is None and (here := identity(file, model)) in known:
        sha256 = with_filters(here, filters_read(file, model))
        if sha256 in known[here]:
            return Known(sha256)
    return prepare(place, file, model)


@contextmanager
def _one_blas_thread(jobs: int) -> Iterator[None]:
    """Keep BLAS from starting threads of its own below several of ours."""
    if jobs == 1:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@dataclass(slots=True)
class _Run:
    """One import: settles outcomes in the order of the file, and keeps account of them."""

    catalogue: Catalogue
    naming: Naming
    path: Path
    known: frozenset[str]
    rows: list[ImportedModel] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def settle(self, model: PublishedModel, outcome: Outcome) -> ImportedModel:
        """Commit a network, or note why there is none.

        Raises
        ------
        StoreError
            The database cannot be written: no use in going on.
        """
        if isinstance(outcome, StoreError):
            raise outcome
        if isinstance(outcome, ReadError):
            row = ImportedModel(model.id, "failed", outcome.reason)
        elif isinstance(outcome, NewModel):
            names = self.naming.candidates(model.id, model.columns)
            said = self.naming.row(model.id, model.columns)
            row = _row(model.id, self.catalogue.add(outcome, names, said))
            if row.status == "added" and outcome.model["file_sha256"] in self.known:
                self.changed.append(row.name or model.id)
        else:
            row = _row(model.id, self.catalogue.find_file(outcome.sha256))
        self.rows.append(row)
        return row

    def notes(self, place: Path) -> Iterator[str]:
        """A sentence on the networks that are there with other filters, too."""
        if self.changed:
            yield (
                f"{len(self.changed):,} networks were there with other filters, as after a damaged "
                f"download: they were added beside, as {self.changed[0]!r}. Remove those that are "
                f"wrong: filterdb remove {place} NAME"
            )

    def conclude(self) -> None:
        """Remember the failures, so that ``info`` names them."""
        places = {row.id: f"{self.path}#{row.id}" for row in self.rows}
        failed = {places[row.id]: row.reason or "" for row in self.rows if row.status == "failed"}
        self.catalogue.record_failures(failed, settled=places.values())


def _row(model_id: str, kept: Kept | None) -> ImportedModel:
    if kept is None:
        return ImportedModel(model_id, "failed", "It was removed meanwhile. Import it again.")
    status: Status = "added" if kept.added else "unchanged"
    return ImportedModel(model_id, status, None, kept.name, kept.n_layers, kept.n_filters)
