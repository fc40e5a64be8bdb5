"""The TensorFlow reader for SavedModels: a folder with a graph, and a checkpoint in it."""

from __future__ import annotations

from pathlib import Path

from filterdb.errors import CorruptFileError, ReadError
from filterdb.layer import Contents, Skipped
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.mapping import map_file
from filterdb.readers.recognise.protobuf_outline import is_saved_model
from filterdb.readers.tensorflow.bundle import Bundle
from filterdb.readers.tensorflow.checkpoint import variables_of
from filterdb.readers.tensorflow.message import Message
from filterdb.readers.tensorflow.meta_graph import convolutions_of
from filterdb.readers.tensorflow.object_graph import Objects
from filterdb.readers.tensorflow.variables import GUESSED, Variable, network_of

FORMAT = Format(
    "saved-model",
    "TensorFlow SavedModel (folder)",
    ("saved_model.pb",),
    reads="graph and functions joined with the variables beside it; norms and depth from the graph",
)

GRAPH = "saved_model.pb"
VARIABLES = "variables/variables.index"


def matches(head: Head) -> bool:
    """The folder of a SavedModel, or the graph in it."""
    if head.is_folder:
        return (head.path / GRAPH).is_file()
    return head.start[:2] == b"\x08\x01" and is_saved_model(head)


def main_file(head: Head) -> Path | None:
    """The file that stands for a folder; None for a file, which stands for itself."""
    return head.path / GRAPH if head.is_folder else None


def read(head: Head) -> Contents:
    """Follow the graph to the variables; where it cannot be followed, go by their names.

    Raises
    ------
    CorruptFileError
        The graph or the checkpoint is damaged.
    LimitError
        They would take memory out of proportion to their size.
    ReadError
        A file of the checkpoint is missing.
    """
    path = main_file(head) or head.path
    data = map_file(path)
    message = Message.whole(data)
    graph, notes = chosen(message)
    index = path.parent / VARIABLES
    variables: list[Variable] = []
    skipped: list[Skipped] = []
    companions: tuple[Path, ...] = (path,) if head.is_folder else ()
    objects, guess = Objects({}, {}, {}), ""
    size = len(data)
    if index.is_file():
        if path.parent.resolve() not in index.resolve().parents and not path.is_symlink():
            msg = "Its variables lie behind a link that leads out of the folder: put them there."
            raise ReadError(msg)
        bundle = Bundle.of(index)
        variables, skipped, guess = variables_of(bundle)
        objects = Objects.of(bundle.object_graph())
        companions = (*companions, index, *bundle.companions())
        size = sum(one.stat().st_size for one in (path, index, *bundle.companions()))
    found = convolutions_of(graph, {one.key: one for one in variables}, objects.keys, size)
    tensors, further, producer = found.tensors, found.skipped, producer_of(graph)
    if not tensors and variables:
        bare, others = network_of(variables)
        tensors, further = tuple(bare), (*further, *others)
        notes = (*notes, "No convolution of its graph was followed to its weight.",
                 GUESSED.format(guess))  # fmt: skip
    return Contents(
        FORMAT.name, tensors, (*skipped, *further), producer=producer,
        notes=(*notes, *found.notes), companions=companions,
    )  # fmt: skip


def chosen(message: Message) -> tuple[Message, tuple[str, ...]]:
    """The graph that serves, and a note on others.

    Raises
    ------
    CorruptFileError
        There is none.
    """
    graphs = [(graph, graph.message(1).texts(4)) for graph in message.messages(2)]
    if not graphs:
        msg = "It holds no graph. Download or copy the folder again."
        raise CorruptFileError(msg)
    taken = next((one for one in graphs if "serve" in one[1]), graphs[0])
    if len(graphs) == 1:
        return taken[0], ()
    others = ", ".join(
        "/".join(tags) or "untagged" for graph, tags in graphs if graph is not taken[0]
    )
    own = "/".join(taken[1]) or "untagged"
    return taken[0], (f"It holds {len(graphs)} graphs: {own} was taken, not {others}.",)


def producer_of(graph: Message) -> str:
    """TensorFlow, with its version where that is stated."""
    return f"tensorflow {graph.message(1).text(5)}".strip()
