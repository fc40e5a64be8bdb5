"""What is known of every model: rows in, rows changed, rows out, each a single transaction."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any, Self

from filterdb._version import __version__
from filterdb.errors import StoreError
from filterdb.layer import Statement
from filterdb.stats.basis import Basis
from filterdb.stats.summary import LayerSummary
from filterdb.store import connection as connections
from filterdb.store import schema
from filterdb.store.columns import ensure_columns
from filterdb.store.connection import write_failure, writing
from filterdb.store.described import describe, undescribe
from filterdb.store.digest import digest_of, refresh_digest
from filterdb.store.folded import FoldedLayer, put_folded
from filterdb.store.inferred import put_inferred
from filterdb.store.key_sets import settle_labels
from filterdb.store.naming import clean, resolve
from filterdb.store.payload import Draft, is_whole, payload_path
from filterdb.store.schema import now
from filterdb.store.summaries import chosen_bases, put_basis, put_summary

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model that is about to join: its rows, and its weights as a draft.

    Attributes
    ----------
    model
        Columns of ``models`` that the file decides; the catalogue adds the name, ids, counts
        of rows, time and digest.
    layers
        Columns of ``layers``, in order, with the ``tensor`` of the draft.
    skipped
        Columns ``name`` and ``reason``, in order.
    draft
        The payload, complete but not published.
    summaries
        Index of the layer -> its summary; layers that have none are left out.
    bases
        The bases that their histograms are in.
    folded
        Index of the layer -> what it is with the norm that follows it.
    statements
        What the file itself says of the model.
    """

    model: Row
    layers: list[Row]
    skipped: list[Row]
    draft: Draft
    summaries: Mapping[int, LayerSummary] = field(default_factory=dict)
    bases: Sequence[Basis] = ()
    folded: Mapping[int, FoldedLayer] = field(default_factory=dict)
    statements: Sequence[Statement] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A model that is in the catalogue.

    Attributes
    ----------
    added
        False where the same file was there already.
    companions
        Further files that belong to it, relative to the file's folder.
    """

    id: int
    name: str
    n_layers: int
    n_filters: int
    companions: tuple[str, ...]
    added: bool


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What tells a file again before it is read: its hash, and where its companions lie."""

    sha256: str
    companions: tuple[str, ...]


class Catalogue:
    """The catalogue of one database, open to write.

    Raises
    ------
    StoreError
        From every method that writes: the disk is full, or the database is held by another
        process for too long. Nothing of the change is then visible.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connection = connections.open_to_write(folder)
        self._connection.row_factory = sqlite3.Row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was committed is there."""
        self._connection.close()

    def known_files(self) -> dict[str, list[KnownFile]]:
        """Hash of the file alone -> the files known to begin with it.

        A file whose weights are missing here, or cut short, is left out: :meth:`add` restores
        them.
        """
        known: dict[str, list[KnownFile]] = defaultdict(list)
        whole = {
            weights_hash
            for weights_hash, size in self._connection.execute(
                "SELECT weights_hash, bytes FROM payloads"
            )
            if is_whole(payload_path(self.folder, weights_hash), size)
        }
        query = "SELECT file_sha256, sha256, companions, weights_hash FROM models"
        for main, sha256, companions, weights_hash in self._connection.execute(query):
            if weights_hash in whole:
                known[main].append(KnownFile(sha256, tuple(json.loads(companions))))
        return dict(known)

    def find_file(self, sha256: str) -> Kept | None:
        """The model that came from a file of this hash."""
        query = "SELECT id, name, n_layers, n_filters, companions FROM models WHERE sha256 = ?"
        row = self._connection.execute(query, (sha256,)).fetchone()
        if row is None:
            return None
        number, name, n_layers, n_filters, companions = row
        return Kept(number, name, n_layers, n_filters, tuple(json.loads(companions)), added=False)

    def add(
        self,
        new: NewModel,
        names: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
        *,
        sources: Sequence[Statement] = (),
    ) -> Kept:
        """Take a model in, with its weights: all of it, or nothing.

        Where its weights are known, but their payload is missing or cut short, it is restored.

        Parameters
        ----------
        new
            The model. Its draft is published or, where the weights or the file are there
            already, discarded.
        names
            Names to give it, best first; the last one gets a number if all are taken.
        metadata
            Columns of the user; :meth:`ensure_columns` has made room for them.
        sources
            Where those of them come from that are not the user's own words.
        """
        try:
            with writing(self._connection):
                there = self.find_file(new.model["sha256"])
                if there is not None:
                    self._restore(new.draft)
                    return there
                self._publish(new.draft)
                kept = self._insert(new, self._free_name(names), dict(metadata or {}))
                if sources:
                    put_inferred(self._connection, kept.id, sources)
                    refresh_digest(self._connection, kept.id)
                return kept
        except BaseException:
            with suppress(StoreError):
                self._sweep(new.draft.weights_hash)
            raise
        finally:
            new.draft.discard()

    def set_metadata(
        self, model_id: int, metadata: Mapping[str, Any], *, sources: Sequence[Statement] = ()
    ) -> bool:
        """Change what users say of a model; True where anything was different.

        None takes back what a user said, but nothing that the file itself says.

        Parameters
        ----------
        model_id
            Number of the model.
        metadata
            Columns of the user; :meth:`ensure_columns` has made room for them.
        sources
            The words by which the user said some of them.
        """
        return describe(self._connection, model_id, metadata, sources=sources)

    def clear_metadata(self, model_id: int, columns: Sequence[str]) -> bool:
        """Empty columns of a model, whoever filled them; True where anything was there."""
        return undescribe(self._connection, model_id, columns)

    def ensure_columns(self, names: Iterable[str]) -> None:
        """As :func:`filterdb.store.columns.ensure_columns`."""
        ensure_columns(self._connection, names)

    def record_failures(self, failures: Mapping[str, str], settled: Iterable[str] = ()) -> None:
        """Remember the files that could not be taken in, and forget those that now were.

        Parameters
        ----------
        failures
            Path -> reason.
        settled
            Paths that are no failures any more.
        """
        failures = {clean(path): clean(reason) for path, reason in failures.items()}
        before = dict(self._connection.execute("SELECT path, reason FROM failures").fetchall())
        fresh = {path: why for path, why in failures.items() if before.get(path) != why}
        gone = (set(map(clean, settled)) & set(before)) - set(failures)
        if not fresh and not gone:
            return
        with writing(self._connection):
            self._connection.executemany(
                "DELETE FROM failures WHERE path = ?", [(path,) for path in gone | set(fresh)]
            )
            for path, reason in fresh.items():
                row = {"path": path, "reason": reason, "failed_at": now()}
                row["filterdb_version"] = __version__
                self._put("failures", row | {"digest": digest_of(row)})

    def remove(self, references: Iterable[str | int]) -> list[str]:
        """Take models out, with the weights that no other has; returns their names.

        Their labels go with them, and key sets that no labels are by any more.

        Raises
        ------
        ModelNotFoundError
            One of them is not there; then none is removed.
        """
        with writing(self._connection):
            chosen = list(
                dict.fromkeys(resolve(self._connection, reference) for reference in references)
            )
            removed = [self._delete(model_id) for model_id in chosen]
            settle_labels(self._connection)
            self._connection.execute(
                "DELETE FROM payloads WHERE weights_hash NOT IN (SELECT weights_hash FROM models)"
            )
        for _, weights_hash in removed:
            self._sweep(weights_hash)
        return [name for name, _ in removed]

    def _publish(self, draft: Draft) -> None:
        query = "SELECT 1 FROM payloads WHERE weights_hash = ?"
        if self._connection.execute(query, (draft.weights_hash,)).fetchone():
            self._restore(draft)
            return
        draft.publish(self.folder)
        row = {"weights_hash": draft.weights_hash, "sha256": draft.sha256, "bytes": draft.size}
        self._put("payloads", row)

    def _restore(self, draft: Draft) -> None:
        """Put known weights back if their payload is missing or cut short."""
        query = "SELECT bytes FROM payloads WHERE weights_hash = ?"
        row = self._connection.execute(query, (draft.weights_hash,)).fetchone()
        if row is None or is_whole(payload_path(self.folder, draft.weights_hash), row[0]):
            return
        draft.publish(self.folder)
        self._connection.execute(
            "UPDATE payloads SET sha256 = ?, bytes = ? WHERE weights_hash = ?",
            (draft.sha256, draft.size, draft.weights_hash),
        )
        query = "SELECT id FROM models WHERE weights_hash = ?"
        for (model_id,) in self._connection.execute(query, (draft.weights_hash,)).fetchall():
            self._rename_tensors(model_id, draft)
            refresh_digest(self._connection, model_id)

    def _rename_tensors(self, model_id: int, draft: Draft) -> None:
        """Point a model's layers to the tensors of a payload that came from another file."""
        names = defaultdict(list)
        for tensor, layer_hash in draft.tensors.items():
            names[layer_hash].append(tensor)
        query = "SELECT layer_index, weights_hash FROM layers WHERE model_id = ? ORDER BY 1"
        for index, layer_hash in self._connection.execute(query, (model_id,)).fetchall():
            self._connection.execute(
                "UPDATE layers SET tensor = ? WHERE model_id = ? AND layer_index = ?",
                (names[layer_hash].pop(0), model_id, index),
            )

    def _sweep(self, weights_hash: str) -> None:
        """Remove a payload file that no row speaks of; under the write lock, so none can come."""
        query = "SELECT 1 FROM payloads WHERE weights_hash = ?"
        with writing(self._connection):
            if not self._connection.execute(query, (weights_hash,)).fetchone():
                try:
                    payload_path(self.folder, weights_hash).unlink(missing_ok=True)
                except OSError as error:
                    raise write_failure(error) from error

    def _insert(self, new: NewModel, name: str, metadata: Row) -> Kept:
        weights_hash = new.draft.weights_hash
        first = self._connection.execute(
            "SELECT min(id) FROM models WHERE weights_hash = ?", (weights_hash,)
        ).fetchone()[0]
        layers = new.layers if first is None else self._tensors_of(first, new.layers)
        row = new.model | {
            "name": name,
            "weights_hash": weights_hash,
            "duplicate_of": first,
            "n_layers": len(layers),
            "n_skipped": len(new.skipped),
            "added_at": now(),
            "filterdb_version": __version__,
            "digest": "",
        }
        model_id = self._put("models", row | metadata)
        for index, layer in enumerate(layers):
            self._put("layers", layer | {"model_id": model_id, "layer_index": index})
        for position, item in enumerate(new.skipped):
            self._put("skipped", item | {"model_id": model_id, "position": position})
        self._put_summaries(model_id, new)
        refresh_digest(self._connection, model_id)
        companions = tuple(json.loads(row["companions"]))
        return Kept(model_id, name, len(layers), row["n_filters"], companions, added=True)

    def _put_summaries(self, model_id: int, new: NewModel) -> None:
        there = chosen_bases(self._connection)
        for basis in new.bases:
            put_basis(self._connection, basis)
            if there.setdefault(basis.kernel, basis).id != basis.id:
                msg = "The basis of the database was changed meanwhile. Ingest the file again."
                raise StoreError(msg)
        for index, summary in new.summaries.items():
            put_summary(self._connection, (model_id, index), summary)
        for index, layer in new.folded.items():
            put_folded(self._connection, (model_id, index), layer)

    def _tensors_of(self, model_id: int, layers: list[Row]) -> list[Row]:
        """Layers with the tensor names of the payload that another file of these weights made."""
        names = defaultdict(list)
        query = "SELECT weights_hash, tensor FROM layers WHERE model_id = ? ORDER BY layer_index"
        for layer_hash, tensor in self._connection.execute(query, (model_id,)):
            names[layer_hash].append(tensor)
        return [layer | {"tensor": names[layer["weights_hash"]].pop(0)} for layer in layers]

    def _free_name(self, names: Sequence[str]) -> str:
        query = "SELECT 1 FROM models WHERE name = ?"
        numbered = (f"{names[-1]}~{number}" for number in count(2))
        for name in map(clean, chain(names, numbered)):
            if not self._connection.execute(query, (name,)).fetchone():
                return name
        raise AssertionError

    def _delete(self, model_id: int) -> tuple[str, str]:
        name, weights_hash = self._connection.execute(
            "SELECT name, weights_hash FROM models WHERE id = ?", (model_id,)
        ).fetchone()
        copies = [
            row[0]
            for row in self._connection.execute(
                "SELECT id FROM models WHERE duplicate_of = ? ORDER BY id", (model_id,)
            )
        ]
        for copy in copies:
            heir = None if copy == copies[0] else copies[0]
            self._connection.execute(
                "UPDATE models SET duplicate_of = ? WHERE id = ?", (heir, copy)
            )
            refresh_digest(self._connection, copy)
        self._connection.execute("DELETE FROM models WHERE id = ?", (model_id,))
        return name, weights_hash

    def _put(self, table: str, row: Row) -> int:
        columns = ", ".join(schema.quoted(name) for name in row)
        places = ", ".join("?" * len(row))
        values = [clean(value) if isinstance(value, str) else value for value in row.values()]
        query = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608
        return int(self._connection.execute(query, values).lastrowid or 0)
