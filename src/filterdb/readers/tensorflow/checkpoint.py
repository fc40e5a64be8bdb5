"""The TensorFlow reader for V2 checkpoints: an index, and the data beside it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from filterdb.errors import CorruptFileError
from filterdb.layer import Contents, Skipped
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.tensorflow.bundle import OBJECT_GRAPH, SUFFIX, Bundle
from filterdb.readers.tensorflow.meta_graph import beside, contents_of_graph
from filterdb.readers.tensorflow.object_graph import Objects
from filterdb.readers.tensorflow.sorted_table import holds_values, is_table
from filterdb.readers.tensorflow.variables import GUESSED, Variable, by_names, network_of

FORMAT = Format(
    "tf-checkpoint",
    "TensorFlow checkpoint (V2: index and data)",
    (".index", ".ckpt.index"),
    reads=(
        "variables from any number of data files; the graph of a .meta beside it, or the tree of "
        "objects"
    ),
)
PARTS = re.compile(r"(.+)\.(index|meta|data-\d{5}-of-\d{5})|checkpoint")
MAX_FILES = 1000


def matches(head: Head) -> bool:
    """A table that is no V1 checkpoint, or a folder that holds one checkpoint and no more."""
    if head.is_folder:
        return index_in(head.path) is not None
    return is_table(head.path) and not holds_values(head.path)


def index_in(folder: Path) -> Path | None:
    """The index in a folder of nothing but one checkpoint; None for any other."""
    try:
        names = [path.name for _, path in zip(range(MAX_FILES), folder.iterdir(), strict=False)]
    except OSError:
        return None
    parts = [PARTS.fullmatch(name) for name in names if not name.startswith(".")]
    if not parts or not all(parts) or len({part[1] for part in parts if part and part[1]}) != 1:
        return None
    found = [folder / name for name in names if name.endswith(SUFFIX)]
    return found[0] if len(found) == 1 and is_table(found[0]) else None


def main_file(head: Head) -> Path | None:
    """The file that stands for a folder, or for the variables of a SavedModel; else None."""
    if head.is_folder:
        return index_in(head.path)
    if head.path.parts[-2:] == ("variables", "variables.index"):
        graph = head.path.parent.with_name("saved_model.pb")
        return graph if graph.is_file() else None
    return None


def read(head: Head) -> Contents:
    """Read a checkpoint: with the graph beside it (``.meta``) where there is one.

    Raises
    ------
    CorruptFileError
        The table is damaged, or a tensor lies outside its file.
    LimitError
        The table unfolds out of proportion.
    ReadError
        A file of data is missing.
    """
    index = main_file(head) if head.is_folder else head.path
    if index is None:
        msg = "The folder holds no checkpoint any more. Give the .index file of one."
        raise CorruptFileError(msg)
    bundle = Bundle.of(index)
    variables, skipped, guess = variables_of(bundle)
    companions = bundle.companions()
    if head.is_folder:
        companions = (index, *companions)
    graph = beside(index)
    if graph is not None:
        found = contents_of_graph(graph, {one.key: one for one in variables}, head.size)
        if found.tensors:
            return Contents(
                FORMAT.name, found.tensors, (*skipped, *found.skipped), producer="tensorflow",
                notes=(f"The graph was read from {graph.name}.", *found.notes),
                companions=(*companions, graph),
            )  # fmt: skip
    tensors, further = network_of(variables)
    return Contents(
        FORMAT.name, tuple(tensors), (*skipped, *further), producer="tensorflow",
        notes=(GUESSED.format(guess),), companions=companions,
    )  # fmt: skip


def variables_of(bundle: Bundle) -> tuple[list[Variable], list[Skipped], str]:
    """The variables of a checkpoint, what cannot be read, and what their order is.

    Objects are written in the order in which they were met; bare variables by name.
    """
    objects = Objects.of(bundle.object_graph())
    count = Counter(objects.names.values())
    variables: list[Variable] = []
    skipped: list[Skipped] = []
    for key, entry in bundle.entries.items():
        if key == OBJECT_GRAPH:
            continue
        try:
            found = bundle.array(key)
            if not entry.sliced and not isinstance(found, str):
                bundle.check(key, entry, found[1])
        except CorruptFileError as error:
            raise error.at(layer=key) from error.__cause__
        if isinstance(found, str):
            skipped.append(Skipped(key, found))
            continue
        name = objects.names.get(key, "")
        slot = objects.slots.get(key, "")
        if not slot and "/.OPTIMIZER_SLOT/" in key:
            slot = key.split("/.OPTIMIZER_SLOT/")[0]
        variables.append(
            Variable(
                key, *found,
                name=name if count[name] == 1 and "/" in name else "",
                serves=slot, place=(entry.shard, entry.offset),
            )
        )  # fmt: skip
    if objects.names:
        return sorted(variables, key=lambda one: one.place), skipped, "the objects that hold them"
    return by_names(variables), skipped, "their names"
