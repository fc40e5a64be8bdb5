"""An advisory lock on a database folder: who writes payload shares it, who cleans needs it alone.

It protects temporary files only. All else is decided under SQLite's own write lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filterdb.store.connection import LOCK, exists, write_failure

try:
    import fcntl
except ImportError:  # not a POSIX system: cleaning then never finds itself alone
    fcntl = None  # type: ignore[assignment]


@contextmanager
def ingesting(folder: Path) -> Iterator[None]:
    """Hold the lock together with every other ingest; wait while leftovers are being removed.

    Raises
    ------
    StoreError
        The folder cannot be written to.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise write_failure(error) from error
    try:
        _try_lock(handle, exclusive=False)
        yield
    finally:
        os.close(handle)


@contextmanager
def keeping(place: Path | None) -> Iterator[None]:
    """Share the lock of the database that a scan keeps parts in: `verify` then leaves them alone.

    Nobody is waited for. Who has the lock alone either removes leftovers, and a part that goes
    with them would only be scanned again; or takes another basis, by this very scan.

    Parameters
    ----------
    place
        The folder of the parts; None where there is none. Elsewhere than in a database nothing
        is locked.
    """
    if place is None or fcntl is None or not exists(place.parent):
        yield
        return
    try:
        handle = os.open(place.parent / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # a read-only place: nothing is kept there, nor removed
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        with suppress(OSError):  # by name: a forked worker may have the handle, too
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


@contextmanager
def cleaning(folder: Path) -> Iterator[bool]:
    """Try for the lock alone: False where an ingest or a scan is running, or none can tell."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield False
        return
    try:
        yield _try_lock(handle, exclusive=True)
    finally:
        os.close(handle)


def _try_lock(handle: int, *, exclusive: bool) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
    except OSError:  # taken, or a file system without locks
        return False
    return True
