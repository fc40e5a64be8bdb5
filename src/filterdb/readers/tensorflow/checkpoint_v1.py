"""The TensorFlow reader for V1 checkpoints: one table, the values of the tensors in it."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.layer import Contents, Loader, Skipped
from filterdb.readers.elements import decode
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.limits import check_expansion
from filterdb.readers.tensorflow.bundle import load_parts
from filterdb.readers.tensorflow.message import AGAIN, Message, damaged
from filterdb.readers.tensorflow.meta_graph import beside, contents_of_graph
from filterdb.readers.tensorflow.slices import Part, extents_of
from filterdb.readers.tensorflow.sorted_table import entries, holds_values, is_table
from filterdb.readers.tensorflow.tensor_proto import dtype_name, dtype_words, shape_of, values_of
from filterdb.readers.tensorflow.variables import GUESSED, Variable, by_names, network_of

FORMAT = Format(
    "tf-checkpoint-v1",
    "TensorFlow checkpoint (V1: one file)",
    (".ckpt",),
    reads="variables with their slices; the graph of a .meta beside it",
)


def matches(head: Head) -> bool:
    """A table whose empty first key holds a list of tensors."""
    return not head.is_folder and is_table(head.path) and holds_values(head.path)


def read(head: Head) -> Contents:
    """Read a checkpoint: with the graph beside it (``.meta``) where there is one.

    Raises
    ------
    CorruptFileError
        The table is damaged, or values are missing.
    LimitError
        The table unfolds out of proportion.
    """
    variables, skipped = variables_of(head)
    graph = beside(head.path)
    if graph is not None:
        found = contents_of_graph(graph, {one.key: one for one in variables}, head.size)
        if found.tensors:
            return Contents(
                FORMAT.name, found.tensors, (*skipped, *found.skipped), producer="tensorflow",
                notes=(f"The graph was read from {graph.name}.", *found.notes),
                companions=(graph,),
            )  # fmt: skip
    tensors, further = network_of(variables)
    return Contents(
        FORMAT.name,
        tuple(tensors),
        (*skipped, *further),
        producer="tensorflow",
        notes=(GUESSED.format("their names"),),
    )


def variables_of(head: Head) -> tuple[list[Variable], list[Skipped]]:
    """The variables in the order of their names, and what cannot be read."""
    listed: list[Message] = []
    parts: dict[str, list[tuple[Part, Message]]] = {}
    for key, value in entries(head.path):
        message = Message.whole(value)
        if not key:
            listed = list(message.message(1).messages(1))
            continue
        held = message.message(2)
        part = Part(held.text(1), extents_of(held.message(2)))
        parts.setdefault(part.name, []).append((part, held.message(3)))
    variables: list[Variable] = []
    skipped: list[Skipped] = []
    for about in listed:
        name, shape = about.text(1), shape_of(about.message(2))
        dtype = dtype_name(about.integer(3))
        if dtype is None:
            skipped.append(Skipped(name, f"its values are {dtype_words(about.integer(3))}"))
            continue
        try:
            load = loader(shape, dtype, parts.get(name, []), head.size)
        except ReadError as error:
            raise error.at(layer=name) from error.__cause__
        variables.append(Variable(name, shape, dtype, load))
    if len({variable.key for variable in variables}) != len(variables):
        raise damaged(what="a tensor is listed twice")
    return by_names(variables), skipped


def loader(
    shape: tuple[int, ...], dtype: str, parts: list[tuple[Part, Message]], file_size: int
) -> Loader:
    """The loader of a tensor, from its parts (as a rule one).

    Raises
    ------
    CorruptFileError
        They do not make up the tensor.
    LimitError
        They stand for more than the file can hold.
    """
    check_expansion(prod(shape) * 8, file_size, "A tensor of the checkpoint")
    placed = []
    for part, held in parts:
        place = part.within(shape)
        if place is None:
            raise damaged(what="a part does not fit its tensor")
        own = tuple(one.stop - one.start for one in place)
        placed.append((place, own, partial(load_values, held, dtype, own)))
    if sum(prod(own) for _, own, _ in placed) != prod(shape):
        raise damaged(what="parts of a tensor are missing")
    return placed[0][2] if len(placed) == 1 else partial(load_parts, shape, placed)


def load_values(held: Message, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of one part: listed one by one, or as they lie in memory."""
    listed = values_of(held, dtype)
    content = held.content(4)
    if not len(listed) and content:
        if len(content) % listed.itemsize:
            raise damaged(what="the values are cut within a number")
        listed = np.frombuffer(content, listed.dtype)
    if len(listed) != prod(shape):
        msg = f"The part of shape {shape} has {len(listed):,} values. {AGAIN}"
        raise CorruptFileError(msg)
    return decode(listed, dtype, shape)
