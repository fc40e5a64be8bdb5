"""The nodes of a TensorFlow.js graph, and of the functions it runs, as one graph of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from filterdb.errors import LimitError
from filterdb.readers.limits import MAX_DEPTH
from filterdb.readers.onnx.graph import Graph, Node
from filterdb.readers.tfjs.manifest import Weight

NO_NODE = {"Const", "Placeholder", "PlaceholderWithDefault", "_Arg", "NoOp"}
BODIES = ("f", "cond", "body", "then_branch", "else_branch")
"""Attributes that name functions which a node runs."""
JOINT, LOOP = "joint", "loop"
"""Nodes that cost nothing and join a function's argument to its caller; one may change."""
PASSING = {"Identity", "ReadVariableOp", JOINT}
"""What stands between a constant and its use."""
MAX_NODES, MAX_LINKS = 100_000, 500_000


class NotFollowedError(Exception):
    """A convolution cannot be analysed; the message is a clause for a skipped row."""


@dataclass(slots=True)
class Wiring:
    """The nodes of a graph and of the functions it runs, with values by number.

    A value is what a node yields, whichever of its outputs: no convolution has two.

    Attributes
    ----------
    weights, functions
        What the manifest and the library hold, by name.
    attributes
        Index of a node -> its attributes; joints have none.
    constants
        Value -> the weight that it is.
    joined
        Functions that were run already: each counts once, where it is first run.
    """

    weights: Mapping[str, Weight]
    functions: Mapping[str, Mapping[str, Any]]
    graph: Graph = field(default_factory=Graph)
    attributes: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    constants: dict[int, Weight] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)
    links: int = 0

    def value(self, name: str, names: dict[str, int]) -> int:
        """The number of a value by its name in one graph or function."""
        if name not in names:
            names[name] = len(self.graph.names)
            self.graph.names.append(name)
            if name in self.weights:
                self.constants[names[name]] = self.weights[name]
        return names[name]

    def add(self, nodes: Any, names: dict[str, int], level: int = 0) -> None:
        """Add the nodes of a graph, and of the functions that they run where they run them."""
        if level > MAX_DEPTH:
            msg = f"Its functions run one another more than {MAX_DEPTH} deep."
            raise LimitError(msg)
        for node in dicts(nodes):
            name, op = str(node.get("name")), str(node.get("op"))
            attributes = mapping(node.get("attr"))
            output = self.value(name, names)
            if op in NO_NODE:
                continue
            given = node.get("input")
            inputs = [
                self.value(text.split(":")[0], names)
                for text in (given if isinstance(given, list) else [])
                if isinstance(text, str) and not text.startswith("^")
            ]
            returned = [
                value for key in BODIES for value in self.run(key, op, attributes, inputs, level)
            ]
            self.links += len(inputs) + len(returned)
            if len(self.graph.nodes) > MAX_NODES or self.links > MAX_LINKS:
                msg = f"It has more than {MAX_NODES:,} nodes or {MAX_LINKS:,} links: not read."
                raise LimitError(msg)
            self.attributes[len(self.graph.nodes)] = attributes
            self.graph.nodes.append(Node(op, "", name, (*inputs, *returned), (output,)))

    def run(
        self, key: str, op: str, attributes: Mapping[str, Any], inputs: list[int], level: int
    ) -> Iterator[int]:
        """Add a function where it is first run; yield the values that it returns."""
        called = mapping(mapping(attributes.get(key)).get("func")).get("name")
        if not isinstance(called, str) or called not in self.functions or called in self.joined:
            return
        self.joined.add(called)
        function = self.functions[called]
        signature, names = mapping(function.get("signature")), dict[str, int]()
        arguments = [str(arg.get("name")) for arg in dicts(signature.get("inputArg"))]
        results = [str(arg.get("name")) for arg in dicts(signature.get("outputArg"))]
        returned = [str(mapping(function.get("ret")).get(name)).split(":")[0] for name in results]
        for position, (outer, inner) in enumerate(
            zip(inputs[1:] if key.endswith("_branch") else inputs, arguments, strict=False)
        ):
            stays = "While" not in op or returned[position : position + 1] == [inner]
            joint = Node(
                JOINT if stays else LOOP, "", "", (outer,), (self.value(inner, names),), cost=0
            )
            self.graph.nodes.append(joint)
        self.add(function.get("nodeDef"), names, level + 1)
        yield from (names[name] for name in returned if name in names)

    def origin(self, value: int, producers: Mapping[int, int]) -> Weight:
        """The weight that a value is, behind what only hands it on.

        Raises
        ------
        NotFollowedError
            It is none.
        """
        for _ in range(MAX_DEPTH):
            node = self.graph.nodes[producers[value]] if value in producers else None
            if node is None and value in self.constants:
                return self.constants[value]
            before = node.inputs[0] if node is not None and node.inputs else None
            if node is None or before is None or node.op not in PASSING:
                how = f"computed in the graph ({node.op})" if node else "not in the manifest"
                msg = f"its weight is no constant: it is {how[:100]}"
                raise NotFollowedError(msg)
            value = before
        msg = "its weight stands behind too many nodes"
        raise NotFollowedError(msg)


def mapping(value: Any) -> Mapping[str, Any]:
    """A value as a JSON object; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> Iterator[Mapping[str, Any]]:
    """The JSON objects in a list."""
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))
