"""The first look at a file: enough bytes to tell its format, nothing parsed yet."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filterdb.errors import CorruptFileError, ReadError

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Head:
    """Path, size and first bytes of a file (or the path of a folder).

    Attributes
    ----------
    path
        The file or folder.
    size
        Size in bytes; 0 for a folder.
    start
        The first :data:`HEAD_BYTES` bytes; empty for a folder.
    """

    path: Path
    size: int
    start: bytes

    @classmethod
    def of(cls, path: Path) -> Head:
        """Look at a file or folder.

        A TensorFlow checkpoint may be named by the prefix of its files, as TensorFlow names it.

        Raises
        ------
        ReadError
            It does not exist, or cannot be opened.
        """
        try:
            if path.is_dir():
                return cls(path, 0, b"")
            if not path.exists() and path.with_name(f"{path.name}.index").is_file():
                path = path.with_name(f"{path.name}.index")
            if not path.is_file():
                what = "is not a regular file" if path.exists() else "does not exist"
                msg = f"The path {what}. Check its spelling."
                raise ReadError(msg).at(file=str(path))
            with path.open("rb") as file:
                return cls(path, path.stat().st_size, file.read(HEAD_BYTES))
        except OSError as error:
            msg = f"The file cannot be opened: {error.strerror or error}."
            raise ReadError(msg).at(file=str(path)) from error

    @property
    def is_folder(self) -> bool:
        """True for a folder."""
        return self.path.is_dir()

    @cached_property
    def is_zip(self) -> bool:
        """True where the content is a ZIP archive."""
        return self.start[:4] in (b"PK\x03\x04", b"PK\x05\x06")

    @cached_property
    def zip_names(self) -> tuple[str, ...]:
        """Names of the members of a ZIP archive; empty for anything else.

        Raises
        ------
        CorruptFileError
            It begins like a ZIP archive but its directory cannot be read.
        """
        if not self.is_zip:
            return ()
        try:
            with zipfile.ZipFile(self.path) as archive:
                return tuple(archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            msg = (
                f"It begins like a ZIP archive, but its directory cannot be read ({error}). "
                "The file is probably cut short: download or copy it again."
            )
            raise CorruptFileError(msg) from error
