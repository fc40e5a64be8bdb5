"""Which formats there are, and which one a file is: the content decides, never the suffix.

Other packages add readers as entry points of the group ``filterdb.readers``, each the name of a
module with ``FORMAT``, ``matches`` and ``read``. They are asked after the readers here, and one
that does not work is left out with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import cast

from filterdb.errors import UnknownFormatError, UnsupportedFormatError, while_reading
from filterdb.layer import Contents, Skipped
from filterdb.readers.format import Format, Reader, Recognised
from filterdb.readers.head import Head
from filterdb.readers.limits import MAX_NAME, shortened
from filterdb.readers.recognise.recognised import RECOGNISED

# In order of detection: the surest signature first.
READERS = (
    "safetensors",
    "tflite.model_file",
    "pytorch.zip_checkpoint",
    "keras.archive",
    "npz",
    "keras.hdf5",
    "pytorch.stream_checkpoint",
    "pytorch.tar_checkpoint",
    "onnx.graph_file",
    "coreml.model_file",
    "tensorflow.saved_model",
    "tensorflow.frozen_graph",
    "tensorflow.checkpoint_v1",
    "tensorflow.checkpoint",
    "caffe.network",
    "ncnn.network",
    "openvino.network",
    "darknet.network",
    "katago",
    "flax.serialised",
    "flax.orbax",
    "paddle.parameters",
    "paddle.inference",
    "pickled_arrays",
    "tfjs.model_file",
    "sharded",
    "archives.archive",
)

GROUP = "filterdb.readers"
"""The group of entry points under which other packages register readers."""


@cache
def load_reader(module: str) -> Reader:
    """Import one reader."""
    return cast("Reader", import_module(f"filterdb.readers.{module}"))


@cache
def registered() -> tuple[Reader, ...]:
    """The readers of other packages, by name; those that do not work are left out."""
    return tuple(found_elsewhere())


def found_elsewhere() -> Iterator[Reader]:
    """Import the readers of other packages, warning of each that is none."""
    from importlib.metadata import entry_points

    taken = {load_reader(module).FORMAT.name for module in READERS}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        try:
            reader = entry.load()
            known = reader.FORMAT
            if not (isinstance(known, Format) and callable(reader.matches)):
                msg = "it has no FORMAT or no matches"
                raise TypeError(msg)  # noqa: TRY301
            if known.name in taken or not callable(reader.read):
                msg = f"its format {known.name!r} has a reader already, or it has no read"
                raise TypeError(msg)  # noqa: TRY301
        except Exception as error:
            left_out(entry.value, error)
            continue
        taken.add(known.name)
        yield reader


def left_out(what: str, error: Exception) -> None:
    """Warn of a reader of another package that does not work."""
    warnings.warn(
        f"The reader {what!r}, which another package registers, is left out: "
        f"{type(error).__name__}: {error!s:.200}. Update or remove that package.",
        stacklevel=2,
    )


def claimed_elsewhere(head: Head) -> Reader | None:
    """The first reader of another package that takes a file."""
    for reader in registered():
        try:
            if reader.matches(head):
                return reader
        except Exception as error:
            left_out(reader.FORMAT.name, error)
    return None


def readable() -> tuple[Format, ...]:
    """All formats that can be read, in order of detection."""
    ours = (load_reader(module).FORMAT for module in READERS)
    return (*ours, *(reader.FORMAT for reader in registered()))


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
    other = claimed_elsewhere(head)
    if other is not None:
        return other
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
    with while_reading(file=str(head.path)):
        return without_long_names(reader_for(head).read(head))


def without_long_names(contents: Contents) -> Contents:
    """Leave out what has a name that no network gives, so that none has to be shown or stored."""
    long = [tensor.name for tensor in contents.tensors if len(tensor.name) > MAX_NAME]
    reason = f"its name is longer than {MAX_NAME} characters"
    return replace(
        contents,
        tensors=tuple(tensor for tensor in contents.tensors if len(tensor.name) <= MAX_NAME),
        skipped=(
            *(Skipped(shortened(item.name), shortened(item.reason)) for item in contents.skipped),
            *(Skipped(shortened(name), reason) for name in long),
        ),
        notes=tuple(map(shortened, contents.notes)),
    )


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
