"""Which formats there are, and which one a file is: the content decides, never the suffix."""

from __future__ import annotations

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
    "pickled_arrays",
    "tfjs.model_file",
    "archives.archive",
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
