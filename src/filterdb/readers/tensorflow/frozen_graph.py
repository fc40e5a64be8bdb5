"""The TensorFlow reader for frozen graphs: a GraphDef with the weights as constants in it."""

from __future__ import annotations

from filterdb.errors import CorruptFileError
from filterdb.layer import Contents
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.mapping import map_file
from filterdb.readers.recognise.protobuf_outline import is_node, outline
from filterdb.readers.tensorflow.convolutions import find_convolutions
from filterdb.readers.tensorflow.graph import flatten
from filterdb.readers.tensorflow.message import Message
from filterdb.readers.tensorflow.nodes import GraphDef

FORMAT = Format(
    "tensorflow-pb",
    "TensorFlow frozen graph (GraphDef)",
    (".pb",),
    reads=(
        "constants through Identity, Cast, Dequantize and the like; functions; norms and depth "
        "from the graph"
    ),
)


def matches(head: Head) -> bool:
    """A protobuf message that begins with nodes of TensorFlow."""
    if head.is_folder or head.start[:1] != b"\n":
        return False
    (number, value), *_ = outline(head, most=1) or [(0, 0)]
    return number == 1 and is_node(value)


def read(head: Head) -> Contents:
    """Find the convolutions of a frozen graph.

    Raises
    ------
    CorruptFileError
        It is no valid protobuf, has a cycle, or a constant contradicts itself.
    LimitError
        It would take memory out of proportion to its size.
    """
    message = Message.whole(map_file(head.path))
    definition = GraphDef.of(message)
    if not definition.nodes:
        msg = "Its graph has no node. Download or copy the file again."
        raise CorruptFileError(msg)
    found = find_convolutions(flatten(definition, head.size), head.size)
    return Contents(
        format=FORMAT.name,
        tensors=found.tensors,
        skipped=found.skipped,
        producer=producer_of(message),
        notes=found.notes,
    )


def producer_of(graph: Message) -> str:
    """The program that wrote a graph, with the version of its operators where that is stated."""
    version = graph.message(4).integer(1)
    return f"tensorflow (graph version {version})" if version > 0 else "tensorflow"
