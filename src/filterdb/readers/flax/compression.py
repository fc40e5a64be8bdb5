"""Bytes that Zarr and OCDBT keep compressed: Zstandard through whatever is installed, and zlib."""

from __future__ import annotations

import io
import zlib
from importlib import import_module
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError, ReadError

MAGIC = b"\x28\xb5\x2f\xfd"
CHUNK = 2**20


def unzstd(data: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """The content of a Zstandard frame, of at most so many bytes.

    Raises
    ------
    ReadError
        No library for it is installed.
    CorruptFileError
        The frame is damaged.
    LimitError
        There is more.
    """
    try:
        found = read_at_most(opened(io.BytesIO(data.tobytes())), most)
    except (ReadError, MemoryError):
        raise
    except Exception as error:  # each library has errors of its own
        msg = f"Compressed data is damaged ({error!s:.100}). Download or copy it again."
        raise CorruptFileError(msg) from error
    return np.frombuffer(found, np.uint8)


def opened(source: IO[bytes]) -> Any:
    """A stream that decompresses another, from the first library that there is.

    Raises
    ------
    ReadError
        There is none.
    """
    for name in ("compression.zstd", "zstandard", "pyarrow"):
        try:
            library: Any = import_module(name)
        except ImportError:
            continue
        if name == "pyarrow":
            return library.CompressedInputStream(source, "zstd")
        return library.ZstdFile(source) if name != "zstandard" else library.open(source)
    msg = (
        "Its arrays are compressed with Zstandard, for which no library is installed: "
        "`pip install zstandard`, then try again."
    )
    raise ReadError(msg)


def unzlib(data: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """The content of gzip or zlib data, of at most so many bytes.

    Raises
    ------
    CorruptFileError
        It is damaged.
    LimitError
        There is more.
    """
    try:
        found = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data.tobytes(), most + 1)
    except zlib.error as error:
        msg = f"Compressed data is damaged ({error}). Download or copy it again."
        raise CorruptFileError(msg) from error
    return np.frombuffer(checked(found, most), np.uint8)


def read_at_most(stream: Any, most: int) -> bytes:
    """All of a stream, unless it is longer."""
    parts, held = [], 0
    while held <= most:
        part = stream.read(min(CHUNK, most + 1 - held))
        if not part:
            break
        parts.append(part)
        held += len(part)
    return checked(b"".join(parts), most)


def checked(found: bytes, most: int) -> bytes:
    """Refuse what is longer than it may be."""
    if len(found) > most:
        msg = f"Compressed data unfolds to more than the {most:,} bytes that it may have."
        raise LimitError(msg)
    return found
