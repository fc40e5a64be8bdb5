"""Whether every byte is still what was stored, and what a kill has left over."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filterdb.errors import DamagedStoreError, StoreError
from filterdb.store import connection as connections
from filterdb.store.connection import CATALOGUE, CATALOGUE_DRAFT, PAYLOAD, SCANS, writing
from filterdb.store.digest import LABELS, digest_of, labels_digest, model_digest, schema_is_whole
from filterdb.store.key_sets import ASTRAY, forget, label_again
from filterdb.store.lock import cleaning
from filterdb.store.payload import (
    HASH,
    PAYLOAD_DRAFT,
    drafts_folder,
    file_hash,
    is_payload,
    layer_hash,
    model_hash,
    payload_path,
    read_payload,
)
from filterdb.store.schema import columns_of

Progress = Callable[[int, int, str], None]
SEEN_AS_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
SCAN_FOLDER = re.compile(r"[0-9a-f]{16}")
SCAN_FILE = re.compile(r"[0-9a-f]{16}\.(npz|tmp)")
RESTORE = "Restore the database from a backup, or ingest the files into a new folder."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind
        ``"catalogue"`` or ``"payload"`` (damage), ``"missing"`` (a payload), ``"leftover"``, or
        ``"foreign"`` (a file of somebody else's among ours, which is left alone).
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
        """True where a byte changed or a file is missing; other files are no damage."""
        return any(finding.kind not in ("leftover", "foreign") for finding in self.findings)

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
    (then nothing says what a leftover is), an ingest or a scan is running, or the disk is
    read-only.

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
    try:
        with closing(connections.open_to_read(folder, snapshot=True)) as connection:
            connection.text_factory = _any_text
            wrong = list(_check_tables(connection))
            if wrong:  # then they say neither what a row is nor what a leftover is
                return VerifyResult(tuple(wrong), 0, 0, 0)
            known = _read(connection)
    except SEEN_AS_DAMAGE as error:
        return VerifyResult((_damage(f"It cannot be read: {error}."),), 0, 0, 0)
    findings = list(known.findings)
    for done, (weights, *facts) in enumerate(known.payloads, start=1):
        findings += _check_payload(folder, known, weights, *facts)
        if progress is not None:
            progress(done, len(known.payloads), str(weights))
    findings += _leftovers(folder, known, remove=remove_leftovers and not known.findings)
    size = sum(size for _, _, size in known.payloads if isinstance(size, int))
    return VerifyResult(tuple(findings), known.models, len(known.payloads), size)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the catalogue says, and what is wrong with it.

    Attributes
    ----------
    payloads
        Weights hash, SHA-256 and size of each; of damaged rows anything.
    tensors
        Weights hash -> tensor -> layer hash.
    users
        Weights hash -> names of the models that have them.
    """

    findings: list[Finding]
    models: int
    payloads: list[tuple[Any, ...]]
    tensors: dict[str, dict[str, str]]
    users: dict[str, list[str]]


def _read(connection: sqlite3.Connection) -> _Known:
    findings = list(_check_rows(connection))
    models = _rows(connection, "SELECT weights_hash, name FROM models ORDER BY id")
    users: dict[str, list[str]] = {}
    for weights, name in models:
        users.setdefault(weights, []).append(str(name))
    tensors: dict[str, dict[str, str]] = {}
    query = (
        "SELECT m.weights_hash, l.tensor, l.weights_hash FROM layers l "
        "JOIN models m ON m.id = l.model_id"
    )
    for weights, tensor, layer in _rows(connection, query):
        tensors.setdefault(weights, {})[tensor] = layer
    payloads = _rows(connection, "SELECT weights_hash, sha256, bytes FROM payloads")
    return _Known(findings, len(models), payloads, tensors, users)


def _check_tables(connection: sqlite3.Connection) -> Iterator[Finding]:
    if not schema_is_whole(connection):
        yield _damage("Its tables are not defined as they were.")
    for (message,) in connection.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield _damage(f"SQLite finds it damaged: {message}.")


def _check_rows(connection: sqlite3.Connection) -> Iterator[Finding]:
    for table, row, *_ in connection.execute("PRAGMA foreign_key_check"):
        if table != "key_labels":  # those are told below, with their mend
            yield _damage(f"Row {row} of {table} refers to one that does not exist.")
    for number, name, digest in _rows(connection, "SELECT id, name, digest FROM models"):
        if model_digest(connection, number) != digest:
            yield _changed_model(name, "What the catalogue says of this model is")
    names = dict(_rows(connection, "SELECT id, name FROM models"))
    for table, key, told in (
        ("summaries", "layer_index", "The summary of its layer {} is"),
        ("folded", "layer_index", "The measures of its layer {} as folded are"),
        ("inferred", "column", "The {} that its file says is"),
    ):
        for number, value in _changed(connection, table, "model_id", key):
            yield _changed_model(names.get(number, number), told.format(value))
    for height, width in _changed(connection, "bases", "kh", "kw"):
        yield Finding(
            "catalogue",
            CATALOGUE,
            f"The basis of its {height}x{width} filters is not what was stored.",
            "Take the histograms anew: `filterdb basis DB --adopt reference`.",
        )
    yield from _check_labels(connection, names)
    for (path,) in _changed(connection, "failures", "path"):
        message = "What the catalogue says of this failed file is not what was stored."
        yield Finding("catalogue", str(path), message, "Ingest the file again.")


def _check_labels(connection: sqlite3.Connection, names: dict[Any, Any]) -> Iterator[Finding]:
    """Key sets and labels against their own digests, and against that of all by one set."""
    wrong = set()
    told = ("model_id", "layer_index", "key_set")
    query = f"SELECT {', '.join(told)} FROM key_labels WHERE {ASTRAY}"  # noqa: S608
    astray = set(_rows(connection, query))
    changed = astray.union(_changed(connection, "key_labels", *told))
    for number, index, key_set in sorted(changed, key=str):
        wrong.add(key_set)
        message = f"The labels of its layer {index} by key set {key_set} are not what was stored."
        lost = (number, index, key_set) in astray
        mend = forget(key_set) if lost else label_again(connection, key_set)
        yield Finding("catalogue", str(names.get(number, number)), message, mend)
    for (key_set,) in _changed(connection, "key_sets", "id"):
        wrong.add(key_set)
        message = f"The key set {key_set} is not what was stored."
        mend = forget(key_set)
        yield Finding("catalogue", CATALOGUE, message, mend)
    checks = dict(_rows(connection, "SELECT subject, digest FROM checks"))
    known = {LABELS + str(row[0]): row[0] for row in _rows(connection, "SELECT id FROM key_sets")}
    for subject in sorted({*known, *map(str, checks)} - {"schema"}):
        key_set = known.get(subject, subject.removeprefix(LABELS))
        whole = subject in known and checks.get(subject) == labels_digest(connection, key_set)
        if not whole and key_set not in wrong:
            message = f"The labels by key set {key_set} are not all that were stored."
            mend = label_again(connection, key_set) if subject in known else forget(key_set)
            yield Finding("catalogue", CATALOGUE, message, mend)


def _changed(connection: sqlite3.Connection, table: str, *told: str) -> Iterator[tuple[Any, ...]]:
    """What is to be told of the rows of a table that contradict their own digest."""
    columns = columns_of(connection, table)
    for values in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608
        row = dict(zip(columns, values, strict=True))
        if digest_of(row) != row["digest"]:
            yield tuple(row[name] for name in told)


def _changed_model(name: object, what: str) -> Finding:
    mend = "Remove the model (`filterdb remove`) and ingest its file again."
    return Finding("catalogue", str(name), f"{what} not what was stored.", mend)


def _damage(message: str) -> Finding:
    return Finding("catalogue", CATALOGUE, message, RESTORE)


def _check_payload(
    folder: Path, known: _Known, weights: object, sha256: object, size: object
) -> Iterator[Finding]:
    if not isinstance(weights, str) or not HASH.fullmatch(weights):
        yield _damage(f"It names a payload {weights!r}, which is no hash.")
        return
    path = payload_path(folder, weights)
    shown = str(path.relative_to(folder))
    used = ", ".join(known.users.get(weights, [])) or "no model"
    mend = f"It holds the weights of {used}: remove and ingest their files again."
    if not path.is_file():
        again = f"It holds the weights of {used}: ingest their files again."
        yield Finding("missing", shown, "The payload is missing.", again)
        return
    expected = known.tensors.get(weights, {})
    try:
        if file_hash(path) == sha256 and path.stat().st_size == size:
            tensors = {name: layer_hash(array) for name, array in read_payload(path).items()}
            if tensors != expected or model_hash(tensors.values()) != weights:
                message = "The payload's layers are not those that the catalogue lists."
                yield Finding("payload", shown, message, mend)
            return
    except (OSError, DamagedStoreError) as error:
        yield Finding("payload", shown, f"The payload cannot be read: {error}", mend)
        return
    wrong = ", ".join(_damaged_layers(path, expected))
    where = wrong or "its header, or what the catalogue says of the file"
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


def _leftovers(folder: Path, known: _Known, *, remove: bool) -> list[Finding]:
    """Name temporary files and payloads of no row, and remove them where that is safe."""
    with cleaning(folder) if remove else nullcontext(enter_result=False) as alone:
        found = ((path, _temporary(folder, path)) for path in sorted(_files(folder)))
        findings = [_leftover(folder, path, what, remove=alone) for path, what in found if what]
        if alone:
            _remove_empty(folder / SCANS)
    kept = {weights for weights, *_ in known.payloads}
    if not remove:
        return findings + _strangers(folder, kept, remove=False)
    try:
        with closing(connections.open_to_write(folder)) as connection, writing(connection):
            kept = {row[0] for row in _rows(connection, "SELECT weights_hash FROM payloads")}
            return findings + _strangers(folder, kept, remove=True)
    except StoreError:  # read-only: nobody publishes a payload here, so a look without a lock does
        return findings + _strangers(folder, kept, remove=False)


def _strangers(folder: Path, kept: set[str], *, remove: bool) -> list[Finding]:
    """Payloads without a row, which are ours to remove, and files that never were ours."""
    message = "A payload that belongs to no model: an ingest or a removal was interrupted."
    findings = []
    for path in sorted(_files(folder)):
        if is_payload(folder, path):
            if path.stem not in kept:
                findings.append(_leftover(folder, path, message, remove=remove))
        elif path.parent != folder and _temporary(folder, path) is None:
            shown, foreign = str(path.relative_to(folder)), "This file is not one of filterdb's."
            findings.append(Finding("foreign", shown, foreign, "It is left alone."))
    return findings


def _leftover(folder: Path, path: Path, message: str, *, remove: bool) -> Finding:
    removed = False
    if remove:
        try:
            path.unlink(missing_ok=True)
            removed = True
        except OSError:  # a read-only disk: named, and left
            removed = False
    again = "Run `filterdb verify` when no ingest and no scan is running."
    mend = "Removed." if removed else again
    return Finding("leftover", str(path.relative_to(folder)), message, mend, removed)


def _files(folder: Path) -> list[Path]:
    """Files of the database folder itself, and all below its payload and its scans."""
    below = (path for name in (PAYLOAD, SCANS) for path in (folder / name).rglob("*"))
    return [path for path in (*folder.iterdir(), *below) if path.is_file()]


def _temporary(folder: Path, path: Path) -> str | None:
    """Say what a temporary file of ours is; one that is only named alike is somebody else's."""
    name, place = path.name, path.parent
    if (place == drafts_folder(folder) and PAYLOAD_DRAFT.fullmatch(name)) or (
        place == folder and CATALOGUE_DRAFT.fullmatch(name)
    ):
        return "A temporary file that an interrupted ingest left behind."
    ours = place.parent == folder / SCANS and SCAN_FOLDER.fullmatch(place.name)
    if ours and SCAN_FILE.fullmatch(name):
        return "A temporary file that an abandoned scan left behind."
    return None


def _remove_empty(scans: Path) -> None:
    """Remove the folders of scans that have nothing in them any more."""
    with suppress(OSError):  # there are none, or they may not be removed
        for place in scans.iterdir():
            if SCAN_FOLDER.fullmatch(place.name):
                with suppress(OSError):  # others keep something there
                    place.rmdir()
        scans.rmdir()


def _rows(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def _any_text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
