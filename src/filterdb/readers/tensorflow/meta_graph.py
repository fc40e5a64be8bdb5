"""Graphs whose weights are variables: a MetaGraphDef, as it lies beside or over a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from filterdb.errors import ReadError
from filterdb.readers.mapping import map_file
from filterdb.readers.tensorflow.convolutions import Found, find_convolutions
from filterdb.readers.tensorflow.graph import Entry, flatten
from filterdb.readers.tensorflow.message import Message
from filterdb.readers.tensorflow.nodes import GraphDef, NodeDef
from filterdb.readers.tensorflow.restore import Restored, Source, restored
from filterdb.readers.tensorflow.variables import Variable

MOST_ENTRIES = 64
"""Functions that are tried where nothing in the graph calls any."""


def beside(checkpoint: Path) -> Path | None:
    """The graph that TensorFlow 1 wrote beside a checkpoint; None where there is none."""
    path = checkpoint.with_name(f"{checkpoint.name.removesuffix('.index')}.meta")
    return path if path.is_file() and path.resolve().parent == checkpoint.parent.resolve() else None


def contents_of_graph(path: Path, variables: Mapping[str, Variable], size: int) -> Found:
    """The convolutions of a graph beside a checkpoint.

    The weights do not depend on it, so a graph that cannot be read is left aside: what is found
    is then nothing, with a note.
    """
    try:
        data = map_file(path)
        return convolutions_of(Message.whole(data), variables, {}, size + len(data))
    except ReadError as error:
        return Found((), (), (f"{path.name} was left aside: {error.reason}",))


def convolutions_of(
    meta_graph: Message, variables: Mapping[str, Variable], objects: Mapping[int, str], size: int
) -> Found:
    """The convolutions of a MetaGraphDef.

    Parameters
    ----------
    meta_graph
        The message.
    variables
        Key -> variable of the checkpoint.
    objects
        Number of an object -> key of its value.
    size
        Bytes of all the files together.

    Raises
    ------
    CorruptFileError
        It is no valid protobuf, or has a cycle.
    LimitError
        It would take memory out of proportion.
    """
    definition = GraphDef.of(meta_graph.message(2))
    graph = flatten(definition, size)
    found = find_convolutions(graph, size, Restored(restored(graph), variables))
    if found.tensors:
        return found
    for entry in entries(meta_graph.message(7), definition, objects):
        graph = flatten(definition, size, entry)
        keys = {node.name: Source(node.name) for node in entry.bound if node is not None}
        other = find_convolutions(graph, size, Restored(keys, variables))
        if len(other.tensors) > len(found.tensors):
            note = f"No signature calls the network: it was read from {entry.function.name}."
            found = Found(other.tensors, other.skipped, (note, *other.notes))
    return found


def entries(saved: Message, definition: GraphDef, objects: Mapping[int, str]) -> list[Entry]:
    """The functions of a saved object graph, with the variables that are bound to them."""
    found = []
    for name, concrete in saved.entries(2).items():
        function = definition.functions.get(name)
        if function is None:
            continue
        bound = tuple(
            NodeDef(objects[number], "VarHandleOp", (), Message(saved.source, 0, 0))
            if number in objects
            else None
            for number in concrete.integers(2)
        )
        found.append(Entry(function, bound))
    # Those with the most nodes first: they are the whole network rather than a part.
    return sorted(found, key=lambda one: -len(one.bound))[:MOST_ENTRIES]
