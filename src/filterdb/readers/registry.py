"""Which formats there are, and which one a file is: the content decides, never the suffix."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from filterdb.errors import (
    UnknownFormatError,
    UnsupportedFormatError,
    as_read_error,
)
from filterdb.layer import Contents
from filterdb.readers.format import Format, Reader, Recognised
from filterdb.readers.head import Head
from filterdb.readers.recognise.recognised import RECOGNISED

# In order of detection: the surest signature first.
READERS = (
    "safetensors",
    "pytorch.zip_checkpoint",
    "keras.archive",
    "npz",
    "keras.hdf5",
    "pytorch.stream_checkpoint",
    "pytorch.tar_checkpoint",
    "onnx.graph_file",
)


@cache
def load_reader(module: str) -> Reader:
    """Import one reader."""
    return cast("Reader", import_module(f"filterdb.readers.{module}"))


def readable() -> tuple[Format, ...]:
    """All formats that can be read, in order of detection."""
    return tuple(load_reader(module).FORMAT for module in READERS)


def identify(head: Head) -> Reader | Recognised | None:
    """The reader for a file, or what it is recognised as, or None.

    Raises
    ------
    CorruptFileError
        It begins like a known container whose directory cannot be read.
    """
    for module in READERS:
        reader = load_reader(module)
        if reader.matches(head):
            return reader
    return next((known for known in RECOGNISED if known.matches(head)), None)


def read_contents(head: Head) -> Contents:
    """Read a file with the reader that its content asks for.

    Raises
    ------
    UnknownFormatError, UnsupportedFormatError
        There is no reader for it.
    ReadError
        The reader gave up; the error names the file.
    """
    try:
        return reader_for(head).read(head)
    except Exception as error:
        told = as_read_error(error)
        cause = error.__cause__ if told is error else error
        raise told.at(file=str(head.path)) from cause


def reader_for(head: Head) -> Reader:
    """The reader for a file.

    Raises
    ------
    UnknownFormatError, UnsupportedFormatError
        There is none; the message says what the file is, and what to do with it.
    """
    found = identify(head)
    if found is None:
        msg = (
            "The content matches no known format. `filterdb formats` lists what can be read; if "
            "this is one of them, the file may be damaged or encrypted."
        )
        raise UnknownFormatError(msg)
    if isinstance(found, Recognised):
        what = "which cannot be read yet" if found.model else "not a network"
        msg = f"This is {found.title}, {what}. {found.mend}"
        raise UnsupportedFormatError(msg)
    return found
