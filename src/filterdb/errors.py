"""What can go wrong, as one tree.

::

    FilterDBError
    ├── ReadError (ValueError)
    │   ├── UnknownFormatError
    │   ├── UnsupportedFormatError (NotImplementedError)
    │   ├── CorruptFileError
    │   ├── LimitError
    │   └── NoConvolutionError
    ├── StoreError
    │   ├── DatabaseNotFoundError (FileNotFoundError)
    │   ├── DatabasePathError (ValueError)
    │   ├── SchemaVersionError
    │   ├── ModelNotFoundError (LookupError)
    │   └── DamagedStoreError
    ├── QueryError (ValueError)
    ├── MetadataError (ValueError)
    ├── ExportError (ValueError)
    ├── KeySetError (ValueError)
    ├── TransferError (ValueError)
    └── MissingExtraError (ImportError)

Each class is also the builtin that a caller would catch without knowing filterdb. Messages are
whole sentences: what is wrong, and the mend. Low layers need not know the file they work for:
the boundary that does attaches it with :meth:`ReadError.at`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class FilterDBError(Exception):
    """Base of everything that filterdb raises on purpose."""


class ReadError(FilterDBError, ValueError):
    """A file could not be turned into convolution layers.

    Parameters
    ----------
    message
        What is wrong and what to do about it, without the file's name.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.file: str | None = None
        self.layer: str | None = None

    def at(self, *, file: str | None = None, layer: str | None = None) -> Self:
        """Attach the file or the layer, unless a deeper boundary already has."""
        self.file = self.file or file
        self.layer = self.layer or layer
        return self

    @property
    def reason(self) -> str:
        """The message with its layer, but without the file: for a row that names the file."""
        return f"layer {self.layer!r}: {self.message}" if self.layer else self.message

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" if self.file else self.reason

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes hand errors back: the address has to survive the pickling.
        return (type(self), (self.message,), {"file": self.file, "layer": self.layer})


def as_read_error(error: Exception) -> ReadError:
    """Whatever reading a file raised, as a :class:`ReadError`: it never stops other files."""
    if isinstance(error, ReadError):
        return error
    if isinstance(error, MemoryError):
        return ReadError("There is not enough memory to read it.")
    if isinstance(error, OSError):
        return ReadError(f"The file cannot be read: {error.strerror or error}.")
    kind = type(error).__name__
    return CorruptFileError(
        f"Reading it failed in an unforeseen way ({kind}: {error!s:.200}). The file is probably "
        "damaged; if it is not, please report this."
    )


@contextmanager
def while_reading(*, file: str | None = None, layer: str | None = None) -> Iterator[None]:
    """Turn whatever is raised inside into a :class:`ReadError` that names the file or the layer."""
    try:
        yield
    except Exception as error:
        told = as_read_error(error)
        cause = error.__cause__ if told is error else error
        raise told.at(file=file, layer=layer) from cause


class UnknownFormatError(ReadError):
    """The content matches no format that filterdb has heard of."""


class UnsupportedFormatError(ReadError, NotImplementedError):
    """The content is recognised, but there is no reader for it (yet)."""


class CorruptFileError(ReadError):
    """The file is damaged, cut short, or contradicts itself."""


class LimitError(ReadError):
    """The file asks for more memory, depth or time than its size can justify."""


class NoConvolutionError(ReadError):
    """The file was read, and holds no convolution weights."""


class StoreError(FilterDBError):
    """A database could not be used as asked."""


class DatabaseNotFoundError(StoreError, FileNotFoundError):
    """There is no database where one was expected."""


class DatabasePathError(StoreError, ValueError):
    """The folder that was named cannot be the database, or not with these inputs."""


class SchemaVersionError(StoreError):
    """The database was written by a newer (or foreign) program."""


class ModelNotFoundError(StoreError, LookupError):
    """No model of that name or number is in the database."""


class DamagedStoreError(StoreError):
    """A payload is missing or its bytes are not those that were stored."""


class QueryError(FilterDBError, ValueError):
    """A ``--where`` expression is not valid SQL over the catalogue's columns."""


class MetadataError(FilterDBError, ValueError):
    """A metadata CSV cannot be matched with files."""


class ExportError(FilterDBError, ValueError):
    """An export or a picture cannot be written as asked."""


class KeySetError(FilterDBError, ValueError):
    """A set of master key filters cannot be read, found or used for these filters."""


class TransferError(FilterDBError, ValueError):
    """A transfer experiment cannot be run as planned: its plan, its data or its networks."""


class MissingExtraError(FilterDBError, ImportError):
    """An optional dependency is needed; the message has the install line."""
