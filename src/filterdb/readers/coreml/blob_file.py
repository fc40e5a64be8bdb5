"""The file beside an ML program that holds its weights: blobs, each behind its own header."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.readers.companion import is_beside
from filterdb.readers.mapping import map_file

HEADER = struct.Struct("<4sIQQ")
"""Of a blob: sentinel, element type, bytes, where they begin; more follows, not needed."""
SENTINEL = (0xDEADBEEF).to_bytes(4, "little")
VERSION = 2
ROOT = "@model_path"


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A mapped file of blobs."""

    path: Path
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, model: Path, name: str) -> BlobFile:
        """The file that a program names, in the folder that the program itself lies in.

        Raises
        ------
        ReadError
            It lies elsewhere, or is not there.
        CorruptFileError
            It is of another format.
        """
        path = inside(model, name)
        data = map_file(path)
        if len(data) < 8 or data[4:8].view("<u4")[0] != VERSION:
            msg = (
                f"{path.name} is no file of weights of version {VERSION}: it is cut short or "
                "damaged. Download or copy the package again."
            )
            raise CorruptFileError(msg)
        return cls(path, data)

    def bytes_at(self, offset: int) -> NDArray[np.uint8]:
        """The content of the blob whose header stands at an offset.

        Raises
        ------
        CorruptFileError
            There is none, or it reaches beyond the end of the file.
        """
        header = self.data[offset : offset + HEADER.size] if offset >= 0 else self.data[:0]
        if len(header) == HEADER.size:
            sentinel, _, size, begin = HEADER.unpack(header.tobytes())
            if sentinel == SENTINEL and begin + size <= len(self.data):
                return self.data[begin : begin + size]
        msg = (
            f"{self.path.name} has no whole blob at byte {offset:,}: it is cut short or damaged. "
            "Download or copy the package again."
        )
        raise CorruptFileError(msg)


def inside(model: Path, name: str) -> Path:
    """The path of a file in the folder of a model, or below.

    Raises
    ------
    ReadError
        It would lead out of the folder, or there is no such file.
    """
    parts = PurePosixPath(name).parts
    if parts[:1] != (ROOT,) or len(name) > 1000 or ".." in parts or "\0" in name or "\\" in name:
        msg = f"Its weights lie at {name[:200]!r}, outside its package: that file is not opened."
        raise ReadError(msg)
    path = model.parent.joinpath(*parts[1:])
    try:
        below = path.resolve().is_relative_to(model.parent.resolve())
        within = below or is_beside(path, model)  # in a cache, both are links into one folder
        there = within and path.is_file()
    except (OSError, RuntimeError, ValueError):  # a loop of links, an impossible name
        within = there = False
    if not there:
        why = "is not there: give the whole package" if within else "leads out of the package"
        msg = f"The file {'/'.join(parts[1:])[:200]!r} with its weights {why}."
        raise ReadError(msg)
    return path
