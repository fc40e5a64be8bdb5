"""What a terminal is told of a download: its size before, and how far it is."""

from __future__ import annotations

import sys
import time

from filterdb.errors import LimitError
from filterdb.remote.transport import MOST_BYTES

LARGE = 10 * 10**6
"""Bytes from which on a download is announced."""


def in_words(size: int) -> str:
    """A size for people: ``"46.8 MB"``."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def check_size(size: int | None) -> None:
    """Refuse what is too large to be fetched unasked.

    Raises
    ------
    LimitError
        It is larger than :data:`~filterdb.remote.transport.MOST_BYTES`.
    """
    if size is not None and size > MOST_BYTES:
        msg = (
            f"It has {in_words(size)}; no more than {in_words(MOST_BYTES)} are downloaded. "
            "Download it yourself, and name the file."
        )
        raise LimitError(msg)


def announce(size: int | None, what: str) -> None:
    """Say on a terminal that a large download begins."""
    if size is not None and size >= LARGE and sys.stderr.isatty():
        print(f"Downloading {in_words(size)}: {what}", file=sys.stderr)


class Meter:
    """How far a download is, on one line of a terminal; nothing where there is none."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.shown = sys.stderr.isatty() and total is not None and total >= LARGE
        self.last = time.monotonic()

    def at(self, done: int) -> None:
        """Show how far it is, twice a second."""
        now = time.monotonic()
        if self.shown and self.total and now - self.last >= 0.5:
            self.last = now
            print(
                f"\r  {in_words(done)} ({100 * done / self.total:.0f} %)  ",
                end="", file=sys.stderr, flush=True,
            )  # fmt: skip

    def end(self) -> None:
        """Clear the line."""
        if self.shown:
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
