"""Which tensor of the checkpoint is which variable of a graph: as the graph restores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from filterdb.layer import Loader
from filterdb.readers.tensorflow.constants import (
    THROUGH,
    Constant,
    NotFollowedError,
    Variables,
)
from filterdb.readers.tensorflow.graph import Graph, Node
from filterdb.readers.tensorflow.message import as_text
from filterdb.readers.tensorflow.nodes import NodeDef
from filterdb.readers.tensorflow.slices import Part, written
from filterdb.readers.tensorflow.tensor_proto import strings
from filterdb.readers.tensorflow.variables import Variable

ASSIGNS = frozenset({"AssignVariableOp", "Assign"})
RESTORES = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
MAX_STEPS = 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where in a checkpoint a variable lies: its key, and which part (empty for all) of it."""

    key: str
    part: str = ""


def restored(graph: Graph) -> dict[str, Source]:
    """Name of each variable's node -> its place in the checkpoint, as far as the graph says."""
    producers = graph.producers()
    found: dict[str, Source] = {}
    for _, node in graph.of_file():
        if node.op not in ASSIGNS or len(node.inputs) < 2:
            continue
        target, source = (back(graph, producers, value) for value in node.inputs[:2])
        variable = graph.held.get(target)
        index = producers.get(source)
        restoring = graph.nodes[index] if index is not None else None
        if variable is None or not isinstance(restoring, Node) or restoring.op not in RESTORES:
            continue
        keys, parts = (texts(graph, producers, restoring, number) for number in (1, 2))
        port = graph.ports[source]
        if port < len(keys):
            part = parts[port] if port < len(parts) else ""
            found.setdefault(variable.name, Source(keys[port], part))
    return found


def back(graph: Graph, producers: Mapping[int, int], value: int | None) -> int:
    """The value that another one is only a name for; -1 where there is none."""
    if value is None:
        return -1
    for _ in range(MAX_STEPS):
        index = producers.get(value)
        if index is None or graph.nodes[index].op not in THROUGH:
            break
        before = graph.nodes[index].inputs[:1]
        if not before or before[0] is None:
            break
        value = before[0]
    return value


def texts(graph: Graph, producers: Mapping[int, int], node: Node, number: int) -> list[str]:
    """The texts that enter a restoring node: keys, or parts."""
    names = back(graph, producers, node.inputs[number] if len(node.inputs) > number else None)
    held = graph.held.get(names)
    if held is None:
        return []
    return [as_text(content) for content in strings(held.attribute("value").message(8))]


@dataclass(frozen=True)
class Restored(Variables):
    """The variables of a graph with their values in a checkpoint.

    Attributes
    ----------
    places
        Name of a variable's node -> its place, as the graph restores them.
    variables
        Key -> variable of the checkpoint.
    """

    places: Mapping[str, Source]
    variables: Mapping[str, Variable]

    def value(self, node: NodeDef) -> Constant:
        """The value of a variable.

        Raises
        ------
        NotFollowedError
            The checkpoint has none for it.
        """
        shared = node.text("shared_name")
        place = self.places.get(node.name, Source(node.name))
        for source in (place, Source(shared)):
            variable = self.variables.get(source.key)
            if variable is not None:
                return self.constant(variable, source, node)
        msg = f"its weight is the variable {node.name!r}, which is not in the checkpoint"
        raise NotFollowedError(msg)

    def find(self, name: str) -> Constant | None:
        """The variable of that name; None where there is none."""
        variable = self.variables.get(name)
        return as_constant(variable, variable.shown) if variable is not None else None

    def constant(self, variable: Variable, source: Source, node: NodeDef) -> Constant:
        """A variable of the checkpoint, or a part of it, as a constant."""
        shown = variable.name or node.text("shared_name") or variable.shown
        whole = as_constant(variable, shown)
        extents = written(source.part) if source.part.strip() else None
        place = Part(source.key, extents).within(variable.shape) if extents else None
        if place is None:
            return whole
        shape = tuple(one.stop - one.start for one in place)
        if shape == variable.shape:
            return whole
        load = partial(load_part, variable.load, place)
        return replace(whole, shape=shape, load=load, identity=(variable.key, source.part))


def as_constant(variable: Variable, name: str) -> Constant:
    """A variable of the checkpoint as a constant of that name."""
    return Constant(name, variable.shape, variable.dtype, variable.load, variable.key, trained=True)


def load_part(load: Loader, place: tuple[slice, ...]) -> NDArray[Any]:
    """Load a part of an array."""
    return load()[place]
