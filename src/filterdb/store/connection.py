"""How the catalogue is opened: to read without leaving a trace, or to write durably."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

from filterdb.errors import (
    DamagedStoreError,
    DatabaseNotFoundError,
    DatabasePathError,
    StoreError,
)
from filterdb.store import schema
from filterdb.store.digest import refresh_schema_digest, schema_is_whole

CATALOGUE = "catalogue.sqlite"
PAYLOAD = "payload"
SCANS = "scans"
"""Folder in a database where the finished parts of a scan are kept while it runs."""
DRAFT_SUFFIX = ".tmp"
CATALOGUE_DRAFT = re.compile(r"catalogue\.sqlite\.[0-9a-f]{16}\.tmp(-wal|-shm|-journal)?")
LOCK = "ingest.lock"
BUSY_SECONDS = 60.0
READ_ONLY = "The database is on a read-only disk or in a folder that you may not write to."


def exists(folder: Path) -> bool:
    """True where there is a database in a folder."""
    return (folder / CATALOGUE).is_file()


def open_to_read(folder: Path, *, snapshot: bool = False) -> sqlite3.Connection:
    """Open a catalogue to read, also on a read-only disk and while others write.

    A catalogue of an older version is read as if the tables that it lacks were there, empty,
    and the columns, undefined.

    In a folder that may be written to, SQLite needs its two helper files while the connection
    is open; it removes them at the end only for a connection that could write. So that one is
    taken where possible, and told to refuse every statement that writes.

    Parameters
    ----------
    folder
        The database.
    snapshot
        All that is read is of one moment, whatever others write meanwhile.

    Raises
    ------
    DatabaseNotFoundError
        There is no catalogue in the folder.
    SchemaVersionError, StoreError
        It is of a newer program or of one from before version 2, or no readable catalogue.
    """
    path = _existing(folder)
    writable = os.access(folder, os.W_OK) and os.access(path, os.W_OK)
    wal = path.with_name(CATALOGUE + "-wal")
    modes = ["mode=rw"] if writable else ["mode=ro"]
    if not (wal.exists() and wal.stat().st_size):
        modes.append("mode=ro&immutable=1")  # nothing is pending, and nobody can write here
    for mode in modes:
        connection = _connect(path, mode)
        try:
            if snapshot:
                connection.execute("BEGIN")
            version = schema.check_version(connection)
            if version < schema.SCHEMA_VERSION:
                connection.execute("PRAGMA temp_store = MEMORY")
                schema.stand_in(connection, version)
            connection.execute("PRAGMA query_only = ON")
        except sqlite3.OperationalError as error:
            connection.close()
            if mode == modes[-1]:
                raise _unusable(folder, error) from error
        except sqlite3.DatabaseError as error:
            connection.close()
            raise _unusable(folder, error) from error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise AssertionError  # the last mode returned or raised


def open_to_write(folder: Path) -> sqlite3.Connection:
    """Open a catalogue to write; each commit is on the disk when it returns.

    One of an older version is brought up to date.

    Raises
    ------
    DatabaseNotFoundError, SchemaVersionError, StoreError
        As :func:`open_to_read`; also where the folder is read-only.
    DamagedStoreError
        The catalogue is of an older version, and its tables are not as they were defined.
    """
    path = _existing(folder)
    if not (os.access(folder, os.W_OK) and os.access(path, os.W_OK)):
        raise StoreError(READ_ONLY)
    connection = _connect(path, "mode=rw")
    try:
        version = schema.check_version(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if version < schema.SCHEMA_VERSION:
            _bring_up_to_date(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _unusable(folder, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Add what a catalogue of an older version lacks: all of it, or nothing."""
    with writing(connection):
        version = schema.check_version(connection)
        if version == schema.SCHEMA_VERSION:  # another process was faster
            return
        if not schema_is_whole(connection):  # a digest taken anew would hide it
            msg = (
                "The tables of the database are not defined as they were: it is damaged, and is "
                "left as it is. Restore it from a backup, or ingest the files into a new folder."
            )
            raise DamagedStoreError(msg)
        schema.add_tables(connection, version)
        refresh_schema_digest(connection)


def create(folder: Path) -> None:
    """Create an empty database; nothing happens where there is one, even made just now.

    The catalogue is built under a temporary name and linked to its own when it is whole: a
    kill leaves no half-made one, and of two processes one wins.

    Raises
    ------
    DatabasePathError
        There are other files in the folder, which `verify` should never have to tell from ours.
    StoreError
        The folder cannot be made or written to.
    """
    draft = folder / f"{CATALOGUE}.{token_hex(8)}{DRAFT_SUFFIX}"
    try:
        if exists(folder):
            return
        if _holds_other_files(folder) and not exists(folder):  # nor was one made meanwhile
            msg = f"{folder} holds other files and no database. Name a new or an empty folder."
            raise DatabasePathError(msg)
        (folder / PAYLOAD).mkdir(parents=True, exist_ok=True)
        connection = _connect(draft, "mode=rwc")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            with writing(connection):
                schema.create_tables(connection)
                refresh_schema_digest(connection)
        finally:
            connection.close()
        link_new(draft, folder / CATALOGUE)
        sync_folder(folder)
    except (OSError, sqlite3.Error) as error:
        msg = f"No database can be created at {folder}: {error}."
        raise StoreError(msg) from error
    finally:
        with suppress(OSError):  # as where the parent is a file: that error has been told
            draft.unlink(missing_ok=True)


def link_new(draft: Path, final: Path) -> None:
    """Give a finished file its name unless the name is taken."""
    try:
        os.link(draft, final)
    except OSError:  # the name is taken, or it is a file system without hard links
        if not final.exists():
            draft.rename(final)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction that holds the write lock from the start: all of it, or nothing.

    Raises
    ------
    StoreError
        The disk is full, or another process holds the lock for too long.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.DatabaseError as error:
        raise write_failure(error) from error


def write_failure(error: sqlite3.DatabaseError | OSError) -> StoreError:
    """Put a failed write into a sentence with its mend."""
    text = str(getattr(error, "strerror", None) or error)
    if _no_room(error):
        msg = (
            f"There is no room left for the database ({text}). What was complete is kept: free "
            "some space and run the same command again. Even `filterdb remove` needs some "
            "hundred kB while it runs."
        )
    elif "locked" in text:
        msg = (
            f"Another process has been writing to the database for over {BUSY_SECONDS:.0f} "
            "seconds. Wait for it to end and run the same command again."
        )
    elif "readonly" in text or "Read-only" in text:
        msg = READ_ONLY
    else:
        msg = f"The database could not be written ({text})."
    return StoreError(msg)


def _no_room(error: sqlite3.DatabaseError | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    code = getattr(error, "sqlite_errorcode", None)
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def _holds_other_files(folder: Path) -> bool:
    """True where a folder holds more than an interrupted creation leaves behind."""
    if not folder.is_dir():
        return False
    return any(
        any(path.iterdir())
        if path.name == PAYLOAD and path.is_dir()
        else path.name != LOCK and not CATALOGUE_DRAFT.fullmatch(path.name)
        for path in folder.iterdir()
    )


def _existing(folder: Path) -> Path:
    path = folder / CATALOGUE
    if not path.is_file():
        msg = (
            f"There is no filterdb database at {folder}. Check the path, or create one with "
            f"`filterdb ingest {folder} PATH...`."
        )
        raise DatabaseNotFoundError(msg)
    return path


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _unusable(folder: Path, error: sqlite3.DatabaseError) -> StoreError:
    if _no_room(error):
        return write_failure(error)
    msg = (
        f"The catalogue in {folder} cannot be opened ({error}). If it was copied, copy "
        "catalogue.sqlite together with its -wal file; if it is damaged, restore it from a "
        "backup or ingest the models into a new folder."
    )
    return StoreError(msg)
