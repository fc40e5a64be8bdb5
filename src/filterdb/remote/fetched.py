"""What a name led to: a file in a cache on this machine, and where it is from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Fetched:
    """A network that was fetched.

    Attributes
    ----------
    path
        The file, with its companions beside it. It may be a link into the cache.
    source
        The name as it was given, without secrets.
    names
        What the network may be called, the best first.
    url
        Where exactly this content is: of a repository, with the commit.
    revision
        The commit, or ``sha256:`` and that of the content.
    notes
        Sentences on what was taken and what not.
    """

    path: Path
    source: str
    names: tuple[str, ...]
    url: str
    revision: str
    notes: tuple[str, ...] = ()
