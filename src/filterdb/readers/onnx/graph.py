"""An ONNX model as one flat list of nodes.

Subgraphs (the bodies of If, Loop, Scan) and calls of the model's own functions are written out
where they stand, once, so that all that follows (depth, constants) sees one kind of thing. Values
are numbered: a name means different values in different scopes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.limits import MAX_DEPTH, allowed_bytes

if TYPE_CHECKING:
    import onnx

NODE_BYTES, VALUE_BYTES = 300, 300
"""Memory that a node and a value take, roughly; a node once as protobuf and once in the graph."""
STANDARD = ("", "ai.onnx")


@dataclass(slots=True)
class Node:
    """One operator with its values resolved to numbers.

    ``cost`` is what it adds to a path: 1, or 0 for the joints at which bodies are put in.
    """

    op: str
    domain: str
    name: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int | None, ...]
    attributes: Mapping[str, onnx.AttributeProto] = field(default_factory=dict)
    cost: int = 1

    @property
    def standard(self) -> bool:
        """True for an operator of ONNX itself."""
        return self.domain in STANDARD


@dataclass(slots=True)
class Graph:
    """The flat graph.

    Attributes
    ----------
    nodes
        In the order of the file, bodies before the node that holds them.
    names, origins
        Of each value: its name, and the scope path that makes the name unique.
    constants
        Value -> what holds it: a (sparse) tensor, or an attribute of a Constant node.
    inputs, outputs, undefined
        Values that come from outside, that go there, and that nothing defines.
    redefined
        Initialisers that stand more than once with different values, value -> name. ONNX forbids
        it, and runtimes differ in what they compute with: onnxruntime takes the last of them where
        it is of 127 bytes or less, and else the last but one; onnx's own evaluator the last.
    """

    nodes: list[Node] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    origins: list[tuple[str, ...]] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)
    undefined: set[int] = field(default_factory=set)
    redefined: dict[int, str] = field(default_factory=dict)

    def producers(self) -> dict[int, int]:
        """Value -> index of the node that yields it."""
        return {v: i for i, node in enumerate(self.nodes) for v in node.outputs if v is not None}


@dataclass(slots=True)
class Scope:
    """The names visible in one body, and the attributes bound by a function call."""

    path: tuple[str, ...]
    parent: Scope | None = None
    values: dict[str, int] = field(default_factory=dict)
    attributes: Mapping[str, onnx.AttributeProto] | None = None
    level: int = 0

    def find(self, name: str) -> int | None:
        """The value of that name here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return None


def flatten(model: onnx.ModelProto, file_size: int) -> Graph:
    """Write a model out as one flat graph.

    Raises
    ------
    CorruptFileError
        A value is the output of two nodes, or a function calls itself.
    LimitError
        Written out, the functions are out of proportion to the file.
    """
    # The other half is for the parsed model.
    flattener = Flattener(model, allowed_bytes(file_size) // 2 - file_size)
    scope = Scope(())
    flattener.open_graph(model.graph, scope)
    graph = flattener.graph
    graph.inputs = {
        value
        for value in (scope.values[info.name] for info in model.graph.input)
        if value not in graph.constants
    }
    flattener.add_nodes(model.graph.node, scope)
    found = (scope.find(text(info.name)) for info in model.graph.output)
    graph.outputs = {value for value in found if value is not None}
    return graph


class Flattener:
    """Builds a :class:`Graph`, body by body."""

    def __init__(self, model: onnx.ModelProto, most_bytes: int) -> None:
        self.graph = Graph()
        self.left = most_bytes
        self.functions = {(f.domain, f.name, overload_of(f)): f for f in model.functions}

    def new_value(self, name: str, scope: Scope) -> int:
        """Number a new value and make it visible in its scope."""
        self.spend(VALUE_BYTES + len(name) + 8 * len(scope.path))
        self.graph.names.append(text(name))
        self.graph.origins.append((*scope.path, name))
        scope.values[name] = len(self.graph.names) - 1
        return scope.values[name]

    def lookup(self, name: str, scope: Scope) -> int | None:
        """The value that a node's input means; None for an omitted one."""
        if not name:
            return None
        value = scope.find(text(name))
        if value is None:
            value = self.new_value(name, scope)
            self.graph.undefined.add(value)
        return value

    def append(self, node: Node) -> None:
        """Add one node."""
        self.spend(NODE_BYTES + 8 * len(node.inputs) + len(node.name))
        self.graph.nodes.append(node)

    def spend(self, count: int) -> None:
        """Count the memory that the graph takes, and stop before it is too much."""
        self.left -= count
        if self.left < 0:
            msg = (
                f"Its graph, with all functions written out, has more than "
                f"{len(self.graph.nodes):,} nodes and {len(self.graph.names):,} values: that is "
                "out of proportion to the file, so it was not read."
            )
            raise LimitError(msg)

    def open_graph(self, graph: onnx.GraphProto, scope: Scope) -> None:
        """Make the inputs and initialisers of a graph visible in its scope."""
        for info in graph.input:
            self.new_value(info.name, scope)
        dense = [(tensor.name, tensor) for tensor in graph.initializer]
        sparse = [(tensor.values.name, tensor) for tensor in graph.sparse_initializer]
        for name, tensor in (*dense, *sparse):
            value = scope.values.get(name)
            if value is None:
                value = self.new_value(name, scope)
            elif self.graph.constants.get(value, tensor) != tensor:
                self.graph.redefined[value] = text(name)
            self.graph.constants[value] = tensor

    def add_nodes(self, nodes: Sequence[onnx.NodeProto], scope: Scope) -> None:
        """Add the nodes of a body; they may stand in any order."""
        self.spend(NODE_BYTES * len(nodes))
        # The nodes are kept in a list: each access to a protobuf field makes a new wrapper.
        nodes = list(nodes)
        for node in nodes:
            for name in filter(None, node.output):
                if name in scope.values:
                    msg = f"The value {name!r} is defined twice. Export the model again."
                    raise CorruptFileError(msg)
                self.new_value(name, scope)
        for index, node in enumerate(nodes):
            self.add_node(node, f"{index}:{text(node.name) or text(node.op_type)}", scope)

    def add_node(self, node: onnx.NodeProto, label: str, scope: Scope) -> None:
        """Add one node: a constant, a call, or an operator with the bodies it holds."""
        inputs = tuple(self.lookup(name, scope) for name in node.input)
        outputs = tuple(scope.values[name] if name else None for name in node.output)
        attributes = bound_attributes(node, scope)
        function = self.functions.get((node.domain, node.op_type, overload_of(node)))
        if function is not None:
            self.call(function, inputs, outputs, attributes, scope)
            return
        if node.op_type == "Constant" and node.domain in STANDARD:
            held = next(iter(attributes.values()), None)
            if outputs and outputs[0] is not None and held is not None:
                self.graph.constants[outputs[0]] = held
            return
        results: list[int | None] = []
        for key, attribute in attributes.items():
            bodies = [attribute.g] if attribute.HasField("g") else []
            for number, body in enumerate((*bodies, *attribute.graphs)):
                slot = f"{text(key)}.{number}" if attribute.graphs else text(key)
                path = (*scope.path, label, slot)
                results += self.add_body(body, inputs, path, scope)
        # The node comes after its bodies: what leaves it has gone through them.
        op, domain, name = (text(given) for given in (node.op_type, node.domain, node.name))
        self.append(Node(op, domain, name, (*inputs, *results), outputs, attributes))

    def add_body(
        self,
        body: onnx.GraphProto,
        inputs: tuple[int | None, ...],
        path: tuple[str, ...],
        outer: Scope,
    ) -> list[int | None]:
        """Add a subgraph, which sees the names outside; return the values that leave it.

        Its own inputs differ from turn to turn (Loop, Scan), so they are never constants: a
        joint makes them depend on the inputs of the node that holds the body.
        """
        scope = Scope(path, outer, attributes=outer.attributes, level=deeper(outer))
        self.open_graph(body, scope)
        formal = [scope.values[info.name] for info in body.input]
        entering = tuple(value for value in formal if value not in self.graph.constants)
        if entering:
            self.append(Node("", "filterdb", "", inputs, entering, cost=0))
        self.add_nodes(body.node, scope)
        return [self.lookup(info.name, scope) for info in body.output]

    def call(
        self,
        function: onnx.FunctionProto,
        inputs: tuple[int | None, ...],
        outputs: tuple[int | None, ...],
        attributes: Mapping[str, onnx.AttributeProto],
        caller: Scope,
    ) -> None:
        """Write a function out at its call; it sees its arguments and nothing else."""
        self.spend(NODE_BYTES)
        defaults = {attribute.name: attribute for attribute in function.attribute_proto}
        scope = Scope(
            # Not the call's path: what a function holds is the same thing in every call.
            path=(f"{text(function.domain)}::{text(function.name)}",),
            attributes={**defaults, **attributes},
            level=deeper(caller),
        )
        for name, value in zip(function.input, inputs, strict=False):
            if value is not None:
                scope.values[name] = value
        self.add_nodes(function.node, scope)
        for name, value in zip(function.output, outputs, strict=False):
            self.append(Node("Identity", "", "", (self.lookup(name, scope),), (value,), cost=0))


def text(name: str | bytes) -> str:
    """A string of the file; protobuf gives bytes where it is not UTF-8.

    Raises
    ------
    CorruptFileError
        It is not.
    """
    if isinstance(name, str):
        return name
    msg = f"A name in it, {name[:40]!r}, is not text. Download or copy the file again."
    raise CorruptFileError(msg)


def deeper(scope: Scope) -> int:
    """The level of a body within ``scope``, bounded."""
    if scope.level >= MAX_DEPTH:
        msg = (
            f"Its subgraphs and functions are nested more than {MAX_DEPTH} deep; a function may "
            "be calling itself, which ONNX forbids."
        )
        raise CorruptFileError(msg)
    return scope.level + 1


def overload_of(proto: Any) -> str:
    """The overload of a function or call; onnx before 1.16 has no such field."""
    return str(getattr(proto, "overload", ""))


def bound_attributes(node: onnx.NodeProto, scope: Scope) -> dict[str, onnx.AttributeProto]:
    """The attributes of a node, those that refer to the function's arguments replaced by them."""
    result = {}
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            result[attribute.name] = attribute
        elif scope.attributes and attribute.ref_attr_name in scope.attributes:
            result[attribute.name] = scope.attributes[attribute.ref_attr_name]
    return result
