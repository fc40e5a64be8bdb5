"""The subgraphs of a TFLite model as one graph of numbered values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Loader
from filterdb.readers.limits import MAX_DEPTH
from filterdb.readers.onnx.graph import Graph, Node
from filterdb.readers.tflite.model import OMITTED, Model, Operator, TensorInfo, bodies_of
from filterdb.readers.tflite.values import AGAIN, NotReadError, loader_of

JOINT, LOOP = "joint", "loop"
"""Nodes that cost nothing and join a body's input to its caller's; one may change in a loop."""
PASSING = {"DEQUANTIZE", "DENSIFY", "TRANSPOSE", JOINT}
"""What stands between a constant and its use."""


@dataclass(frozen=True, slots=True)
class Wired:
    """The graph.

    Attributes
    ----------
    model
        What it was made from.
    graph
        Nodes and values; a value is a tensor of one subgraph.
    operators
        Index of a node -> its operator; joints have none.
    infos
        Value -> tensor.
    producers
        Value -> index of the node that yields it.
    zeros
        Buffer -> whether it is zero everywhere, of those that were asked for.
    """

    model: Model
    graph: Graph
    operators: dict[int, Operator]
    infos: list[TensorInfo]
    producers: dict[int, int]
    zeros: dict[int, bool] = field(default_factory=dict)

    def is_constant(self, value: int) -> bool:
        """Whether the file holds the value itself."""
        return value not in self.producers and holds(self.model, self.infos[value])

    def origin(self, value: int) -> Origin:
        """The constant that a value is, behind what only decodes, turns or hands it on.

        Raises
        ------
        NotReadError
            It is no constant.
        """
        turns: list[tuple[int, ...]] = []
        for _ in range(MAX_DEPTH):
            if self.is_constant(value):
                return Origin(self.infos[value], tuple(reversed(turns)))
            if self.infos[value].outside:
                msg = "its values lie in another file (an external buffer), which is not followed"
                raise NotReadError(msg)
            node = self.graph.nodes[self.producers[value]] if value in self.producers else None
            before = node.inputs[0] if node is not None and node.inputs else None
            if node is None or before is None or node.op not in PASSING:
                how = "given as an input" if node is None else f"computed in the graph ({node.op})"
                msg = f"its weight is no constant: it is {how}"
                raise NotReadError(msg)
            if node.op == "TRANSPOSE":
                turns.append(self.permutation(node))
            value = before
        msg = "its weight stands behind too many nodes"
        raise NotReadError(msg)

    def permutation(self, node: Node) -> tuple[int, ...]:
        """The order of axes that a TRANSPOSE gives."""
        order = self.integers(node.inputs[1]) if len(node.inputs) > 1 else None
        if order is None:
            msg = "its weight is turned in an order that is not in the file"
            raise NotReadError(msg)
        return order

    def integers(self, value: int | None) -> tuple[int, ...] | None:
        """A constant list of integers, such as sizes or axes; None where it is something else."""
        info = self.infos[value] if value is not None and self.is_constant(value) else None
        if info is None or info.dtype != "int32" or len(info.shape) != 1:
            return None
        return tuple(loader_of(info, self.model)().tolist())

    def is_zero(self, value: int) -> bool:
        """Whether a constant is zero everywhere, as biases are that converters add."""
        try:
            buffer = self.origin(value).info.buffer
        except NotReadError:
            return False
        if buffer not in self.zeros:
            self.zeros[buffer] = not self.model.buffers[buffer].any()
        return self.zeros[buffer]

    def blocks(self, node: Node) -> tuple[int, ...]:
        """The sizes of the blocks that a convolution's input was spread into, if it was.

        TensorFlow 1 writes a dilated convolution in this way.
        """
        data = node.inputs[0]
        before = self.producers.get(data) if data is not None else None
        spread = self.graph.nodes[before] if before is not None else None
        if spread is None or spread.op != "SPACE_TO_BATCH_ND" or len(spread.inputs) < 2:
            return ()
        return self.integers(spread.inputs[1]) or ()


@dataclass(frozen=True, slots=True)
class Origin:
    """A constant, and the orders in which its axes are turned, one after the other."""

    info: TensorInfo
    turns: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape after all turns.

        Raises
        ------
        NotReadError
            A turn does not fit the axes.
        """
        shape = self.info.shape
        for turn in self.turns:
            if sorted(turn) != list(range(len(shape))):
                msg = f"its weight of shape {self.info.shape} is turned by {turn}"
                raise NotReadError(msg)
            shape = tuple(shape[axis] for axis in turn)
        return shape

    def loader(self, model: Model) -> Loader:
        """What reads the values and turns them."""
        load = loader_of(self.info, model)
        return partial(load_turned, load, self.turns) if self.turns else load


def load_turned(load: Loader, turns: tuple[tuple[int, ...], ...]) -> NDArray[Any]:
    """Load and turn."""
    values = load()
    for turn in turns:
        values = np.transpose(values, turn)
    return values


def holds(model: Model, info: TensorInfo) -> bool:
    """Whether a tensor's buffer holds anything."""
    return info.buffer > 0 and len(model.buffers[info.buffer]) > 0 and not info.outside


def wire(model: Model) -> Wired:
    """Number the tensors of all subgraphs, and join bodies to where they are first run.

    Raises
    ------
    CorruptFileError
        An operator runs a subgraph that is not there, or two yield one tensor.
    """
    graph = Graph()
    infos: list[TensorInfo] = []
    begins: list[int] = []
    for subgraph in model.subgraphs:
        begins.append(len(infos))
        infos += subgraph.tensors
    graph.names = [info.name for info in infos]
    operators: dict[int, Operator] = {}
    joined: set[int] = set()
    for subgraph, begin in zip(model.subgraphs, begins, strict=True):
        for operator in subgraph.operators:
            inputs, outputs = (
                numbered(part, begin) for part in (operator.inputs, operator.outputs)
            )
            given = inputs
            for body in bodies_of(operator):
                if not 0 <= body < len(model.subgraphs):
                    msg = f"An operator runs subgraph {body}, which is not there. {AGAIN}"
                    raise CorruptFileError(msg)
                if body not in joined:
                    joined.add(body)
                    join(graph, model, body, begins[body], operator, given)
                    inputs += numbered(model.subgraphs[body].outputs, begins[body])
            operators[len(graph.nodes)] = operator
            name = infos[outputs[0]].name if outputs and outputs[0] is not None else ""
            graph.nodes.append(Node(operator.op, "", name, inputs, outputs))
    producers = graph.producers()
    if len(producers) < sum(value is not None for node in graph.nodes for value in node.outputs):
        msg = "Two of its operators yield one tensor. The file is damaged: download it again."
        raise CorruptFileError(msg)
    graph.inputs = {
        value
        for value, info in enumerate(infos)
        if value not in producers and not holds(model, info)
    }
    return Wired(model, graph, operators, infos, producers)


def numbered(indices: Sequence[int], begin: int) -> tuple[int | None, ...]:
    """Values from the indices of a subgraph's tensors."""
    return tuple(None if index == OMITTED else begin + index for index in indices)


def join(
    graph: Graph, model: Model, body: int, begin: int, operator: Operator,
    inputs: tuple[int | None, ...],
) -> None:  # fmt: skip
    """Hand the inputs of an operator to the subgraph that it runs."""
    inside = model.subgraphs[body]
    given = inputs[1:] if operator.op == "IF" else inputs
    for position, (outer, inner) in enumerate(zip(given, inside.inputs, strict=False)):
        if outer is None or inner == OMITTED:
            continue
        stays = operator.op != "WHILE" or inside.outputs[position : position + 1] == (inner,)
        graph.nodes.append(
            Node(JOINT if stays else LOOP, "", "", (outer,), (begin + inner,), cost=0)
        )
