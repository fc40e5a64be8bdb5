"""Whether every byte is still what was stored, and what a kill has left over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filterdb.errors import DamagedStoreError, StoreError
from filterdb.store import connection as connections
from filterdb.store.connection import CATALOGUE, DRAFT_SUFFIX, PAYLOAD, writing
from filterdb.store.digest import digest_of, model_digest
from filterdb.store.lock import cleaning
from filterdb.store.payload import (
    drafts_folder,
    file_hash,
    layer_hash,
    model_hash,
    payload_path,
    read_payload,
)

Progress = Callable[[int, int, str], None]
RESTORE = "Restore the database from a backup, or ingest the files into a new folder."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind
        ``"catalogue"`` or ``"payload"`` (damage), ``"missing"`` (a payload), ``"leftover"``.
    where
        The model or file that it is about.
    message
        What is wrong.
    mend
        What to do about it, or what has been done.
    removed
        True for a leftover that is gone now.
    """

    kind: str
    where: str
    message: str
    mend: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a verification looked at, and what it found.

    Attributes
    ----------
    findings
        Damage first, then leftovers; empty if all is well.
    models, payloads, bytes
        Number of models and of payload files in the catalogue, and bytes of the latter.
    """

    findings: tuple[Finding, ...]
    models: int
    payloads: int
    bytes: int

    @property
    def damaged(self) -> bool:
        """True where a byte changed or a file is missing; leftovers are no damage."""
        return any(finding.kind != "leftover" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return {
            "damaged": self.damaged,
            "models": self.models,
            "payloads": self.payloads,
            "bytes": self.bytes,
            "findings": [asdict(finding) for finding in self.findings],
        }


def verify(
    folder: Path, *, remove_leftovers: bool = True, progress: Progress | None = None
) -> VerifyResult:
    """Check every hash of a database, and find what a kill left behind.

    Damage is only named. Leftovers are removed if asked for, unless the catalogue is damaged
    (then nothing says what a leftover is), an ingest is running, or the disk is read-only.

    Parameters
    ----------
    folder
        The database.
    remove_leftovers
        Remove them after naming them.
    progress
        Called with the number of payloads done, their total and the current one.

    Returns
    -------
    VerifyResult
        The findings, and how much was checked.

    Raises
    ------
    DatabaseNotFoundError, SchemaVersionError, StoreError
        There is no database, it is of a newer program, or it cannot be opened at all.
    """
    with closing(connections.open_to_read(folder)) as connection:
        connection.text_factory = _any_text
        try:
            damage = list(_check_catalogue(connection))
            payloads = _rows(connection, "SELECT weights_hash, sha256, bytes FROM payloads")
            models = _rows(connection, "SELECT weights_hash, name FROM models ORDER BY id")
            hashes = _rows(
                connection,
                "SELECT m.weights_hash, l.tensor, l.weights_hash FROM layers l "
                "JOIN models m ON m.id = l.model_id",
            )
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            unreadable = Finding("catalogue", CATALOGUE, f"It cannot be read: {error}.", RESTORE)
            return VerifyResult((unreadable,), 0, 0, 0)
    expected: dict[str, dict[str, str]] = {}
    for weights, tensor, layer in hashes:
        expected.setdefault(weights, {})[tensor] = layer
    users: dict[str, list[str]] = {}
    for weights, name in models:
        users.setdefault(weights, []).append(name)
    findings = list(damage)
    for done, (weights, sha256, _) in enumerate(payloads, start=1):
        known = (sha256, expected.get(weights, {}), users.get(weights, []))
        findings += _check_payload(folder, weights, *known)
        if progress is not None:
            progress(done, len(payloads), weights)
    findings += _leftovers(folder, remove=remove_leftovers and not damage)
    size = sum(size for _, _, size in payloads if isinstance(size, int))
    return VerifyResult(tuple(findings), len(models), len(payloads), size)


def _check_catalogue(connection: sqlite3.Connection) -> Iterator[Finding]:
    for (message,) in connection.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield Finding("catalogue", CATALOGUE, f"SQLite finds it damaged: {message}.", RESTORE)
    for table, row, *_ in connection.execute("PRAGMA foreign_key_check"):
        message = f"Row {row} of {table} refers to one that does not exist."
        yield Finding("catalogue", CATALOGUE, message, RESTORE)
    for number, name, digest in _rows(connection, "SELECT id, name, digest FROM models"):
        if model_digest(connection, number) != digest:
            yield Finding(
                "catalogue",
                name,
                "What the catalogue says of this model is not what was stored.",
                "Remove the model (`filterdb remove`) and ingest its file again.",
            )
    connection.row_factory = sqlite3.Row
    for row in connection.execute("SELECT * FROM failures"):
        if digest_of(dict(row)) != row["digest"]:
            message = "What the catalogue says of this failed file is not what was stored."
            yield Finding("catalogue", row["path"], message, "Ingest the file again.")
    connection.row_factory = None


def _check_payload(
    folder: Path, weights: str, sha256: str, expected: dict[str, str], names: list[str]
) -> Iterator[Finding]:
    path = payload_path(folder, weights)
    shown = str(path.relative_to(folder))
    used = ", ".join(names) or "no model"
    mend = f"It holds the weights of {used}: remove and ingest their files again."
    if not path.is_file():
        yield Finding("missing", shown, "The payload is missing.", mend)
        return
    try:
        if file_hash(path) == sha256:
            tensors = {name: layer_hash(array) for name, array in read_payload(path).items()}
            if tensors != expected or model_hash(tensors.values()) != weights:
                message = "The payload's layers are not those that the catalogue lists."
                yield Finding("payload", shown, message, mend)
            return
    except (OSError, DamagedStoreError) as error:
        yield Finding("payload", shown, f"The payload cannot be read: {error}", mend)
        return
    wrong = _damaged_layers(path, expected)
    where = ", ".join(wrong) or "its header, or the catalogue's checksum of it"
    yield Finding("payload", shown, f"The payload's bytes have changed: {where}.", mend)


def _damaged_layers(path: Path, expected: dict[str, str]) -> list[str]:
    try:
        tensors = read_payload(path)
    except DamagedStoreError:
        return []
    return [
        name
        for name, wanted in expected.items()
        if name in tensors and layer_hash(tensors[name]) != wanted
    ]


def _leftovers(folder: Path, *, remove: bool) -> list[Finding]:
    """Name drafts and payloads that no row speaks of, and remove them where that is safe."""
    with cleaning(folder) if remove else nullcontext(enter_result=False) as alone:
        drafts = [*folder.glob(f"{CATALOGUE}.*{DRAFT_SUFFIX}*"), *_files(drafts_folder(folder))]
        message = "A temporary file that an interrupted ingest left behind."
        findings = [_leftover(folder, path, message, remove=alone) for path in sorted(drafts)]
    try:
        with closing(connections.open_to_write(folder)) as connection, writing(connection):
            findings += _orphans(folder, connection, remove=remove)
    except StoreError:  # read-only: nobody publishes a payload here, so a look without a lock does
        with closing(connections.open_to_read(folder)) as connection:
            findings += _orphans(folder, connection, remove=False)
    return findings


def _orphans(folder: Path, connection: sqlite3.Connection, *, remove: bool) -> list[Finding]:
    known = {row[0] for row in _rows(connection, "SELECT weights_hash FROM payloads")}
    kept = {payload_path(folder, weights) for weights in known}
    drafts = drafts_folder(folder)
    files = [path for path in _files(folder / PAYLOAD) if drafts not in path.parents]
    message = "A payload that belongs to no model: an ingest or a removal was interrupted."
    return [
        _leftover(folder, path, message, remove=remove)
        for path in sorted(files)
        if path not in kept
    ]


def _leftover(folder: Path, path: Path, message: str, *, remove: bool) -> Finding:
    removed = False
    if remove:
        try:
            path.unlink(missing_ok=True)
            removed = True
        except OSError:  # a read-only disk: named, and left
            removed = False
    mend = "Removed." if removed else "Run `filterdb verify` when no ingest is running."
    return Finding("leftover", str(path.relative_to(folder)), message, mend, removed)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def _rows(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def _any_text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
