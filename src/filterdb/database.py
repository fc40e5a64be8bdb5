"""What users hold: a database of networks, their filters, and what is known of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from operator import index
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

from filterdb.errors import DamagedStoreError, ModelNotFoundError
from filterdb.questions import Questions
from filterdb.store import connection
from filterdb.store.folded import weight_states
from filterdb.store.inferred import all_inferred, provenance
from filterdb.store.query import Row, reading, select_layers, select_models
from filterdb.store.totals import totals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from filterdb.ingest import IngestResult, Progress
    from filterdb.ingest.setting import SetResult
    from filterdb.published.exporting import ExportResult
    from filterdb.published.importing import ImportResult
    from filterdb.store.verify import VerifyResult

PathLike = str | os.PathLike[str]


def open_database(path: PathLike) -> Database:
    """Open a database folder; there need not be one yet: the first ingest creates it.

    Parameters
    ----------
    path
        The folder.

    Examples
    --------
    >>> import filterdb
    >>> filterdb.open("mydb")
    <Database 'mydb': not created yet>
    """
    return Database(path)


class Database(Questions):
    """A folder of networks: what is known of each layer, and the weights.

    Reading changes nothing on the disk, works on a read-only one, and while another process
    ingests: it sees whole models only. No file stays open between calls.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    DatabaseNotFoundError
        From everything but :meth:`ingest`, while there is no database in the folder.
    SchemaVersionError
        The database was written by a newer program.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def ingest(
        self,
        paths: PathLike | Iterable[PathLike],
        *,
        metadata: PathLike | None = None,
        infer: bool = True,
        jobs: int | None = None,
        progress: Progress | None = None,
    ) -> IngestResult:
        """Take files and folders in; see :func:`filterdb.ingest.ingest`.

        Parameters
        ----------
        paths
            Files and folders of checkpoints.
        metadata
            CSV keyed by file name or path; unknown columns are kept.
        infer
            Take what the files say of themselves where the metadata has no word.
        jobs
            Number of processes; the available cores if not given.
        progress
            Called with the number of files done, their total and the last one's path.

        Returns
        -------
        IngestResult
            What became of every file. One that fails never stops the rest.

        Raises
        ------
        StoreError
            The database cannot be written. What was complete stays.
        MetadataError
            The CSV cannot be read.
        """
        from filterdb.ingest import ingest

        return ingest(
            self.path, paths, metadata=metadata, infer=infer, jobs=jobs, progress=progress
        )

    def set(
        self,
        values: Mapping[str, Any] | PathLike,
        *,
        model: str | int | None = None,
        where: str | None = None,
    ) -> SetResult:
        """Say something of models: of some the same, or of each what a CSV has.

        Parameters
        ----------
        values
            Column -> value, ``{"task": "segmentation"}``; an empty text or None empties the
            column. Or a CSV as :meth:`template` writes it.
        model
            Name, number, beginning of the file's hash, or a wildcard (``"resnet*"``).
        where
            SQL expression over the columns of the models, instead of ``model``.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        MetadataError
            A column is what filterdb itself keeps; the CSV cannot be read.
        """
        from filterdb.ingest.setting import chosen_models, set_from_table, set_values

        if isinstance(values, Mapping):
            return set_values(self.path, chosen_models(self.path, model, where=where), values)
        return set_from_table(self.path, values)

    def template(self, out: PathLike, *, where: str | None = None, force: bool = False) -> int:
        """Write the CSV that users fill in; see :func:`filterdb.ingest.setting.template`."""
        from filterdb.ingest.setting import template

        return template(self.path, out, where=where, force=force)

    def import_dataset(
        self, dataset: PathLike, *, jobs: int | None = None, progress: Progress | None = None
    ) -> ImportResult:
        """Take in the published CNN Filter DB (:mod:`filterdb.published.importing`).

        Parameters
        ----------
        dataset
            The published HDF5 file, v1.0.0 or v0.1.0.
        jobs
            Number of networks at a time.
        progress
            Called with the number of networks done, their total and the last one's name.
        """
        from filterdb.published.importing import import_dataset

        return import_dataset(self.path, dataset, jobs=jobs, progress=progress)

    def export(self, out: PathLike, *, where: str | None = None, **how: Any) -> ExportResult:
        """Write the filters for other programs; see :func:`filterdb.published.exporting.export`.

        Parameters
        ----------
        out
            ``.h5`` (the published layout), a folder ending in ``.parquet``, or a folder of
            safetensors.
        where
            Only layers that meet this condition.
        **how
            ``layout``, ``dtype``, ``force``, ``progress``.
        """
        from filterdb.published.exporting import export

        return export(self.path, out, where=where, **how)

    def models(self, where: str | None = None) -> list[Row]:
        """Models, in the order in which they joined: the catalogue's columns, lists as lists.

        Of each, ``weight_states`` counts the layers that are raw, folded, ...; ``inferred`` says
        which values are not the user's own but the file's, and ``own_words`` how the user wrote
        what the vocabulary calls otherwise.

        Parameters
        ----------
        where
            SQL expression over the columns, e.g. ``"task = 'segmentation' AND n_layers > 20"``.

        Raises
        ------
        QueryError
            The expression is not valid; the message lists the columns.
        """
        rows = select_models(self.path, where)
        told = all_inferred(self.path)
        states = weight_states(self.path)
        return [
            row
            | {name: _listed(row[name]) for name in JSON_COLUMNS}
            | {"weight_states": states.get(row["id"], {})}
            | provenance(told.get(row["id"], {}))
            for row in rows
        ]

    def layers(
        self,
        where: str | None = None,
        model: str | int | None = None,
        *,
        also: Sequence[str] = (),
    ) -> list[Row]:
        """Layers with every measure and verdict, each with its ``model``'s name.

        Parameters
        ----------
        where
            SQL expression over the columns of layers and models; a column that both have is
            the layer's, the model's is then called ``model_...``.
        model
            Only those of one model: its name, number, or the beginning of its file's hash.
        also
            Columns of the models that the rows are to have: ``("task", "epoch")``, for
            pictures that group by them.

        Raises
        ------
        QueryError
            The expression is not valid, or there is no such column; the message lists them.
        ModelNotFoundError
            There is no such model.
        """
        number = None if model is None else self._number(model)
        return select_layers(self.path, where, model=number, also=also)

    def weights(self, model: str | int, layer: str | int) -> NDArray[np.float32]:
        """Weights of one layer, mapped from the payload and read-only.

        Parameters
        ----------
        model
            Name, number, or the beginning of the file's hash.
        layer
            Name, or index from 0.

        Returns
        -------
        ndarray of float32, shape (C_out, C_in/groups, kh, kw)
            As in the file: float16 and bfloat16 widened, quantised values dequantised.

        Raises
        ------
        ModelNotFoundError
            There is no such model, or no such layer in it.
        DamagedStoreError
            The payload is missing or damaged.
        """
        from filterdb.store.naming import clean
        from filterdb.store.payload import payload_path, read_payload

        number = self._number(model)
        column, value = ("name", clean(layer)) if isinstance(layer, str) else ("layer_index", layer)
        found = None
        with suppress(OverflowError), reading(self.path) as catalogue:  # no layer has such an index
            found = catalogue.execute(
                "SELECT m.weights_hash, l.tensor FROM layers l JOIN models m ON m.id = l.model_id "  # noqa: S608
                f"WHERE l.model_id = ? AND l.{column} = ?",
                (number, value if isinstance(value, str) else index(value)),
            ).fetchone()
        if found is None:
            msg = f"Model {model!r} has no layer {layer!r}. `filterdb layers` lists them."
            raise ModelNotFoundError(msg)
        path = payload_path(self.path, found[0])
        tensors = read_payload(path)
        if found[1] not in tensors:
            msg = f"The payload {path} lacks the tensor {found[1]!r}. `filterdb verify` tells more."
            raise DamagedStoreError(msg)
        return tensors[found[1]]

    def info(self) -> dict[str, Any]:
        """Totals and coverage: what is in, of which kind, what was left out, and why."""
        return totals(self.path)

    def verify(
        self, *, remove_leftovers: bool = True, progress: Progress | None = None
    ) -> VerifyResult:
        """Check every hash, and find and remove what an interrupted ingest or scan left behind.

        Parameters
        ----------
        remove_leftovers
            False to name them only.
        progress
            Called with the number of payloads done, their total and the current one.
        """
        from filterdb.store.verify import verify

        return verify(self.path, remove_leftovers=remove_leftovers, progress=progress)

    def remove(self, models: str | int | Iterable[str | int]) -> list[str]:
        """Take models out, with the weights that no other model shares; returns their names.

        Parameters
        ----------
        models
            Names, numbers, or beginnings of the files' hashes.

        Raises
        ------
        ModelNotFoundError
            One of them is not there; then none is removed.
        """
        from filterdb.store.catalogue import Catalogue

        chosen = [models] if isinstance(models, str | SupportsIndex) else list(models)
        with Catalogue(self.path) as catalogue:
            return catalogue.remove(chosen)

    def __repr__(self) -> str:
        if not connection.exists(self.path):
            return f"<Database {str(self.path)!r}: not created yet>"
        with reading(self.path) as catalogue:
            models, filters = catalogue.execute(
                "SELECT count(*), coalesce(sum(n_filters), 0) FROM models"
            ).fetchone()
        return f"<Database {str(self.path)!r}: {models:,} models, {filters:,} filters>"


JSON_COLUMNS = ("companions", "reasons", "notes")


def _listed(text: str) -> list[str]:
    try:
        values: list[str] = json.loads(text)
    except ValueError:  # damaged: `verify` says so, and what is left can still be looked at
        return [text]
    return values
