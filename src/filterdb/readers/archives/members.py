"""The members of a ZIP, tar or gzip archive, one after the other, within limits."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any, Literal

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.head import Head
from filterdb.readers.limits import MAX_NAME, allowed_bytes
from filterdb.readers.recognise.signatures import gunzipped, is_tar

Container = Literal["ZIP", "tar", "gzip"]

MAX_MEMBERS = 10_000
MAX_PARTS = 20
"""Folders inside one another."""
BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, OSError,
          NotImplementedError, RuntimeError, UnicodeError, ValueError)  # fmt: skip
ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Member:
    """A member that may be unpacked, or the reason why it is not.

    Attributes
    ----------
    name
        As in the archive.
    path
        Where it belongs, below the folder that it is unpacked into; None where it is left out.
    content
        Its bytes, to be read before the next member is asked for.
    reason
        Why it is left out; empty for a folder, or where it is not.
    """

    name: str
    path: PurePosixPath | None
    content: IO[bytes] | None = field(default=None, repr=False)
    reason: str = ""


class Bounded(io.RawIOBase):
    """A stream of which no more than so many bytes can be read."""

    def __init__(self, source: Any, most: int) -> None:
        self.source = source
        self.left = most

    def readable(self) -> bool:
        """True: it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes.

        Raises
        ------
        LimitError
            There are more than were allowed.
        """
        content = self.source.read(min(len(buffer), 2**20))
        self.left -= len(content)
        if self.left < 0:
            raise too_large()
        buffer[: len(content)] = content
        return len(content)


def container_of(head: Head) -> Container | None:
    """What kind of archive a file is; None where it is none."""
    if head.is_folder:
        return None
    if head.is_zip:
        return "ZIP"
    if is_tar(head):
        return "tar"
    if head.start.startswith(b"\x1f\x8b"):
        return "tar" if is_tar(Head(head.path, head.size, gunzipped(head))) else "gzip"
    return None


@contextmanager
def while_unpacking() -> Iterator[None]:
    """Turn what the unpackers raise into an error of this package."""
    try:
        yield
    except (CorruptFileError, LimitError):
        raise
    except BROKEN as error:
        msg = f"The archive is damaged ({error!s:.200}). Download or copy it again."
        raise CorruptFileError(msg) from error


def members(head: Head, container: Container, *, most: int | None = None) -> Iterator[Member]:
    """The members of an archive in its order.

    Parameters
    ----------
    head, container
        The archive, and what kind it is.
    most
        Bytes that all members together may have; if not given, what the size of the archive
        can justify.

    Raises
    ------
    CorruptFileError
        It is damaged, or encrypted.
    LimitError
        It holds more members, or unfolds to more bytes, than its size can justify.
    """
    allowed = allowed_bytes(head.size)
    most = allowed if most is None else min(most, allowed)
    walk = {"ZIP": zip_members, "tar": tar_members, "gzip": gzip_members}[container]
    seen: set[PurePosixPath] = set()
    with while_unpacking():
        for count, member in enumerate(walk(head, most)):
            if count >= MAX_MEMBERS:
                msg = f"The archive holds more than {MAX_MEMBERS:,} members. {UNPACK}"
                raise LimitError(msg)
            if member.path in seen:
                yield Member(member.name, None, reason="a second member of the same name")
                continue
            if member.path is not None:
                seen.add(member.path)
            yield member


def zip_members(head: Head, most: int) -> Iterator[Member]:
    """The members of a ZIP archive."""
    with zipfile.ZipFile(head.path) as archive:
        for info in archive.infolist():
            kind = info.external_attr >> 28
            if info.flag_bits & ENCRYPTED:
                msg = "The archive is encrypted: decrypt it first."
                raise CorruptFileError(msg)
            # Not `is_dir`, which fails on a name that is empty.
            if info.filename.endswith("/"):
                yield Member(info.filename, None)
            elif kind not in {0, 8}:  # neither unknown nor a regular file
                yield Member(info.filename, None, reason="a link, which is not followed")
            else:
                with archive.open(info) as content:
                    bounded = Bounded(content, most)
                    yield placed(info.filename, io.BufferedReader(bounded))
                most = bounded.left


def tar_members(head: Head, most: int) -> Iterator[Member]:
    """The members of a tar archive, compressed with gzip or not."""
    with head.path.open("rb") as file:
        plain: Any = gzip.GzipFile(fileobj=file) if head.start[:2] == b"\x1f\x8b" else file
        stream = io.BufferedReader(Bounded(plain, most))
        unpacked = 0
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for info in archive:
                if info.isdir():
                    yield Member(info.name, None)
                elif info.issym() or info.islnk():
                    yield Member(info.name, None, reason="a link, which is not followed")
                elif not info.isfile() or info.issparse():
                    yield Member(info.name, None, reason="no regular file")
                else:
                    unpacked += info.size
                    if unpacked > most:
                        raise too_large()
                    yield placed(info.name, archive.extractfile(info))


def gzip_members(head: Head, most: int) -> Iterator[Member]:
    """The one content of a gzip file, under the file's name without ``.gz``."""
    name = head.path.name
    name = name[:-3] if name.lower().endswith(".gz") and len(name) > 3 else name
    with gzip.open(head.path) as content:
        yield placed(name, io.BufferedReader(Bounded(content, most)))


def placed(name: str, content: IO[bytes] | None) -> Member:
    """A member with the place where it belongs, or the reason why it has none."""
    path = PurePosixPath(name)
    if len(name) > MAX_NAME or len(path.parts) > MAX_PARTS:
        return Member(name, None, reason="its name is longer than any that is needed")
    odd = any(letter in name for letter in "\\\0") or (len(name) > 1 and name[1] == ":")
    if path.is_absolute() or ".." in path.parts or not path.parts or odd:
        return Member(name, None, reason="its path leads out of the archive")
    return Member(name, path, content)


UNPACK = "Unpack it, and give the file of the network."


def too_large() -> LimitError:
    """The error for an archive that unfolds out of proportion."""
    return LimitError(
        f"The archive unfolds to more than ten times its size: that is out of proportion. {UNPACK}"
    )
