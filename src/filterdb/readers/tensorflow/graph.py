"""A GraphDef as one flat graph: what functions do is written out where they are called.

The graph is of the same kind as that of an ONNX model, so depths are measured in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.limits import MAX_DEPTH, allowed_bytes, shortened
from filterdb.readers.onnx import graph as flat
from filterdb.readers.tensorflow.nodes import Function, GraphDef, NodeDef

NODE_BYTES = 1000
"""Memory that a node takes with its values, roughly."""
PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault", "_Arg"})
CONSTANTS = frozenset({"Const", "HostConst", "VarHandleOp", "VariableV2", "Variable",
                       "TemporaryVariable", "VarHandlesOp"})  # fmt: skip
"""What holds a value: constants, and variables, whose values lie in a checkpoint."""
BODIES = {
    # operator: its attributes that are functions, and how many inputs are not theirs
    "PartitionedCall": (("f",), 0), "StatefulPartitionedCall": (("f",), 0),
    "TPUPartitionedCall": (("f",), 0), "RemoteCall": (("f",), 1),
    "If": (("then_branch", "else_branch"), 1), "StatelessIf": (("then_branch", "else_branch"), 1),
    "While": (("body",), 0), "StatelessWhile": (("body",), 0),
}  # fmt: skip
LOOPS_BACK = frozenset({"NextIteration", "RefNextIteration"})
"""A value of the turn before: the only way in which a graph of TensorFlow has a cycle."""


@dataclass(slots=True)
class Node(flat.Node):
    """One operator, and how it stands in the file."""

    source: NodeDef | None = None

    @property
    def given(self) -> NodeDef:
        """How it stands in the file.

        Raises
        ------
        LookupError
            It stands in none.
        """
        if self.source is None:
            raise LookupError(self.name)
        return self.source


@dataclass(slots=True)
class Graph(flat.Graph):
    """The flat graph.

    Attributes
    ----------
    held
        Value -> the constant or the variable that it is.
    placeholders
        Value -> the input of the network that it is.
    ports
        Value -> its number among the outputs of its node.
    """

    held: dict[int, NodeDef] = field(default_factory=dict)
    placeholders: dict[int, NodeDef] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)

    def of_file(self) -> Iterable[tuple[int, Node]]:
        """The nodes that stand in the file, with their numbers."""
        for index, node in enumerate(self.nodes):
            if isinstance(node, Node) and node.source is not None:
                yield index, node


@dataclass(slots=True)
class Scope:
    """The nodes of one body, and the values of them that somebody uses."""

    nodes: dict[str, NodeDef]
    path: tuple[str, ...] = ()
    arguments: dict[str, int] = field(default_factory=dict)
    used: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)
    level: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A function to be called on top of a graph, and the variables bound to its last inputs."""

    function: Function
    bound: tuple[NodeDef | None, ...] = ()


def flatten(definition: GraphDef, file_size: int, entry: Entry | None = None) -> Graph:
    """Write a graph out flat.

    Parameters
    ----------
    definition
        The graph and its functions.
    file_size
        Size of the file in bytes, which bounds what comes out.
    entry
        A function that nothing in the graph calls, to be written out instead of the graph.

    Raises
    ------
    CorruptFileError
        A function calls itself.
    LimitError
        Written out, the functions are out of proportion to the file.
    """
    flattener = Flattener(definition, allowed_bytes(file_size) // 2)
    if entry is None:
        flattener.add(Scope({node.name: node for node in definition.nodes}))
        return flattener.graph
    names = entry.function.inputs
    free = max(len(names) - len(entry.bound), 0)
    arguments = [flattener.placeholder(name) for name in names[:free]]
    for name, variable in zip(names[free:], entry.bound, strict=False):
        value = flattener.new_value(name) if variable else flattener.placeholder(name)
        if variable is not None:
            flattener.graph.held[value] = variable
        arguments.append(value)
    flattener.call(entry.function, arguments, Scope({}))
    return flattener.graph


class Flattener:
    """Builds a :class:`Graph`, body by body."""

    def __init__(self, definition: GraphDef, most_bytes: int) -> None:
        self.graph = Graph()
        self.functions = definition.functions
        self.left = most_bytes

    def new_value(self, name: str, port: int = 0) -> int:
        """A fresh value."""
        value = len(self.graph.names)
        self.graph.names.append(name)
        self.graph.ports[value] = port
        return value

    def placeholder(self, name: str) -> int:
        """A value that comes from outside."""
        value = self.new_value(name)
        self.graph.inputs.add(value)
        return value

    def spend(self) -> None:
        """Count a node."""
        self.left -= NODE_BYTES
        if self.left < 0:
            msg = (
                "Written out, the functions that its graph calls are out of proportion to the "
                "file, so it was not read. Freeze the graph, and give that."
            )
            raise LimitError(msg)

    def resolve(self, reference: str, scope: Scope) -> int:
        """The value that an input names: ``node``, ``node:1``, or ``node:output:1``."""
        name, *rest = reference.split(":")
        if name in scope.arguments:
            return scope.arguments[name]
        port = int(rest[-1]) if rest and rest[-1].isdecimal() and len(rest[-1]) < 10 else 0
        key = (rest[0] if len(rest) > 1 else "", port)
        used = scope.used.setdefault(name, {})
        if key not in used:
            used[key] = self.new_value(name, port)
            if name not in scope.nodes:
                self.graph.undefined.add(used[key])
        return used[key]

    def add(self, scope: Scope, results: Iterable[str] = ()) -> list[int]:
        """Add the nodes of a body, which stand in any order; return the values of ``results``."""
        inputs: dict[str, list[int]] = {}
        for node in scope.nodes.values():
            self.spend()
            inputs[node.name] = [
                self.resolve(reference, scope)
                for reference in node.inputs
                if not loops_back(reference, scope)
            ]
        leaving = [self.resolve(reference, scope) for reference in results]
        # By now every value that somebody uses has its number.
        for node in scope.nodes.values():
            self.add_node(node, inputs[node.name], scope)
        return leaving

    def add_node(self, node: NodeDef, inputs: list[int], scope: Scope) -> None:
        """Add one node: a constant, an input, a call, or an operator."""
        outputs = scope.used.get(node.name, {})
        if node.op in PLACEHOLDERS:
            self.graph.inputs.update(outputs.values())
            self.graph.placeholders.update(dict.fromkeys(outputs.values(), node))
            return
        if node.op in CONSTANTS:
            self.graph.held.update(dict.fromkeys(outputs.values(), node))
            return
        names, skip = BODIES.get(node.op, ((), 0))
        called = [self.functions.get(node.function(name)) for name in names]
        if node.op in self.functions:
            called = [self.functions[node.op]]
        bodies = [self.call(body, inputs[skip:], scope) for body in called if body is not None]
        if len(bodies) == 1 and node.op not in {"While", "StatelessWhile"}:
            for (_, port), value in outputs.items():
                if port < len(bodies[0]):
                    self.joint((bodies[0][port],), (value,))
                else:
                    self.graph.undefined.add(value)
            return
        entering = (*inputs, *(value for body in bodies for value in body))
        self.graph.nodes.append(
            Node(node.op, "", node.name, entering, tuple(outputs.values()), source=node)
        )

    def joint(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        """Let values go under another number, which adds nothing to a path."""
        self.spend()
        self.graph.nodes.append(Node("Identity", "", "", inputs, outputs, cost=0))

    def call(self, function: Function, arguments: list[int], caller: Scope) -> list[int]:
        """Write a function out; return the values that leave it."""
        if caller.level >= MAX_DEPTH:
            msg = (
                f"Its functions are nested more than {MAX_DEPTH} deep; {function.name!r} may be "
                "calling itself, which TensorFlow forbids."
            )
            raise CorruptFileError(shortened(msg))
        scope = Scope(
            {node.name: node for node in function.nodes},
            (function.name,),
            dict(zip(function.inputs, arguments, strict=False)),
            level=caller.level + 1,
        )
        results = [function.results.get(name, name) for name in function.outputs]
        return self.add(scope, results)


def loops_back(reference: str, scope: Scope) -> bool:
    """True for what a turn of a loop hands to the next."""
    node = scope.nodes.get(reference.split(":")[0])
    return node is not None and node.op in LOOPS_BACK
