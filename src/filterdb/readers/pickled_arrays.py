"""The reader for plain pickles of NumPy arrays: lists and dicts of them, nested, of any Python.

Nothing in the pickle runs; the network in it is chosen as in a checkpoint (``state_dict.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ReadError
from filterdb.layer import Contents, Loader, Tensor
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.mapping import map_file
from filterdb.readers.name_order import natural_key
from filterdb.readers.pytorch.inert_objects import Persistent
from filterdb.readers.pytorch.inert_pickle import unpickle
from filterdb.readers.pytorch.tensors import TorchObjects, checkpoint_contents
from filterdb.readers.recognise.signatures import (
    contains,
    is_joblib,
    is_paddle_parameters,
    is_pickle,
)

FORMAT = Format(
    "pickle",
    "pickle of NumPy arrays",
    (".pkl", ".pickle", ".model"),
    reads="protocols 0 to 5, never run",
)

TORCH_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
NUMBERED = re.compile(r"([A-Za-z]+)_?(\d+)")
LARGEST_KERNEL = 15
NOTE = "A plain pickle says nothing of the network: kinds and layout are inferred from the arrays."


def matches(head: Head) -> bool:
    """A pickle that neither PyTorch nor PaddlePaddle nor joblib wrote."""
    if head.is_folder or not is_pickle(head) or is_joblib(head):
        return False
    torch = TORCH_MAGIC in head.start[:64] or head.start.startswith(b"L%d" % 0x1950A86A20F9469CFC6C)
    return not torch and not is_paddle_parameters(head)


def read(head: Head) -> Contents:
    """Follow the pickle and take the arrays of its largest network.

    Raises
    ------
    CorruptFileError
        The stream is damaged, or an array contradicts itself.
    ReadError
        It holds tensors in a form that only running it would open.
    LimitError
        It is endless, or its arrays are out of proportion to the file.
    """
    if contains(head.path, b"_load_from_bytes"):
        msg = (
            "This is a pickle of PyTorch tensors, written by pickle itself. If you trust its "
            "source, load it in Python and write its state dict with torch.save or safetensors."
        )
        raise ReadError(msg)
    root = unpickle(map_file(head.path).data).value
    objects = TorchObjects(no_storage)
    contents = checkpoint_contents(root, objects, file_size=head.size, format_name="pickle")
    tensors, notes = out_first(in_order(contents.tensors))
    return replace(
        contents, tensors=tuple(tensors), producer="python", notes=(NOTE, *contents.notes, *notes)
    )


def no_storage(_: Persistent) -> None:
    """A plain pickle refers to nothing outside itself."""


def in_order(tensors: Sequence[Tensor]) -> list[Tensor]:
    """By the numbers in their names, where all are named so (``W1``, ``b1``) and stand otherwise.

    Dicts had no order before Python 3.7.
    """
    found = [NUMBERED.fullmatch(tensor.name[-100:]) for tensor in tensors]
    if not tensors or not all(found):
        return list(tensors)
    numbers = [int(match[2]) for match in found if match]
    by_name = sorted(tensors, key=lambda tensor: natural_key(tensor.name))
    by_number = sorted(by_name, key=lambda t: int(re.sub(r"\D", "", t.name[-100:])[-18:]))
    return list(tensors) if numbers == sorted(numbers) else by_number


def out_first(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[str]]:
    """Turn arrays whose first two extents are the kernel, as TensorFlow and Keras have them.

    Only where every array of four dimensions is square in its first two extents, small there,
    and none could as well be output-first.
    """
    spatial = [tensor.shape for tensor in tensors if len(tensor.shape) == 4]
    kernel_first = [h == w <= LARGEST_KERNEL for h, w, *_ in spatial]
    ambiguous = [c == d <= LARGEST_KERNEL for *_, c, d in spatial]
    wide = any(max(c, d) > LARGEST_KERNEL for *_, c, d in spatial)
    if not wide or not all(kernel_first) or any(ambiguous):
        return list(tensors), []
    turned = [
        replace(
            tensor,
            shape=tuple(tensor.shape[axis] for axis in (3, 2, 0, 1)),
            load=partial(load_out_first, tensor.load),
        )
        if len(tensor.shape) == 4
        else tensor
        for tensor in tensors
    ]
    return turned, ["Its arrays begin with the kernel (height, width, in, out): they were turned."]


def load_out_first(load: Loader) -> NDArray[Any]:
    """Load (height, width, in, out) as (out, in, height, width)."""
    return np.ascontiguousarray(load().transpose(3, 2, 0, 1))
