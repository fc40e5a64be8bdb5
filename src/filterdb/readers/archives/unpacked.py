"""An archive, unpacked into a private folder that goes when nobody needs it any more."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path, PurePosixPath

from filterdb.layer import Skipped
from filterdb.readers.archives.members import Container, Member, members, while_unpacking
from filterdb.readers.head import Head
from filterdb.readers.limits import MAX_NAME, shortened

BLOCK = 2**20
NO_NETWORKS = frozenset({
    ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".svg", ".pdf", ".mp4",
    ".avi", ".mov", ".mkv", ".wav", ".mp3", ".flac", ".html", ".css", ".js", ".py", ".ipynb",
    ".cpp", ".cc", ".c", ".h", ".hpp", ".so", ".dll", ".exe", ".csv", ".md",
})  # fmt: skip
"""What is not worth unpacking: no reader asks for such a file."""


class Unpacked:
    """A folder with the members of an archive in it.

    It is removed with the last reference to this object, or when the program ends.

    Attributes
    ----------
    folder
        Path of the folder, which only its owner can enter.
    skipped
        What was not unpacked, and why.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="filterdb-"))
        self.skipped: list[Skipped] = []
        self.remove = weakref.finalize(self, remove, str(self.folder), os.getpid())

    @classmethod
    def of(cls, head: Head, container: Container) -> Unpacked:
        """Unpack an archive.

        Raises
        ------
        CorruptFileError
            It is damaged, or encrypted.
        LimitError
            It holds or unfolds to more than its size can justify.
        """
        result = cls()
        try:
            for member in members(head, container):
                result.take(member)
        except BaseException:
            result.remove()
            raise
        return result

    def take(self, member: Member) -> None:
        """Unpack a member, or note why not."""
        if member.path is None or member.content is None:
            if member.reason:
                self.skipped.append(Skipped(shortened(member.name), member.reason))
            return
        if not is_wanted(member.path):
            return
        target = self.folder / member.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        except (OSError, ValueError):
            reason = "its name cannot be given to a file here"
            self.skipped.append(Skipped(shortened(member.name), reason))
            return
        with file, while_unpacking():
            while content := member.content.read(BLOCK):
                file.write(content)


def is_wanted(path: PurePosixPath) -> bool:
    """False for what is hidden, or certainly no part of a network."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() not in NO_NETWORKS and len(str(path)) <= MAX_NAME


def remove(folder: str, owner: int) -> None:
    """Remove the folder, unless this is a copy of the process that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
