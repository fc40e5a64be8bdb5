"""What a format is: one that can be read, one that is only recognised, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from filterdb.layer import Contents
from filterdb.readers.head import Head


@dataclass(frozen=True, slots=True)
class Format:
    """A format that can be read.

    Attributes
    ----------
    name
        Short name, as in JSON and in the catalogue: ``"pytorch"``.
    title
        For people: ``"PyTorch checkpoint (zip)"``.
    suffixes
        Usual file names, only to be shown: the content decides.
    reads
        What is read of it, a clause for the table of formats.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    reads: str = ""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A format that is told apart but cannot be read: what it is, and the way out.

    ``model`` is False for what is no network at all (text, images): such a file found while
    walking a folder is passed over with its reason instead of counting as a failure.
    """

    name: str
    title: str
    mend: str
    matches: Callable[[Head], bool]
    model: bool = True


class Reader(Protocol):
    """What each module in ``registry.READERS`` offers. Importing one must be cheap."""

    FORMAT: Format

    def matches(self, head: Head) -> bool:
        """Tell from the content whether this reader is the right one."""

    def read(self, head: Head) -> Contents:
        """Turn the file into tensors, running nothing in it."""
