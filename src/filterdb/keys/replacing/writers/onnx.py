"""ONNX: the file is copied, and the values of the weights are written over.

The protobuf is never written anew: all of it but these values stays as it is, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filterdb.errors import UnsupportedFormatError
from filterdb.keys.replacing.writers.slot import Slot, Slots, stored_in_file, write_over_copy
from filterdb.readers import protobuf_wire as wire
from filterdb.readers.elements import storage_dtype
from filterdb.readers.head import Head
from filterdb.readers.mapping import map_file
from filterdb.readers.onnx import graph_file as reader
from filterdb.readers.onnx.constants import attribute
from filterdb.readers.onnx.graph import Graph, Node, flatten
from filterdb.readers.onnx.tensors import DTYPES, EXTERNAL, FIELDS

FORMAT = reader.FORMAT
MISSING = "its weight is no dense tensor of the main graph (sparse, or of a subgraph or a function)"
stored = stored_in_file
write = write_over_copy

GRAPH, INITIALISER, NODE = 7, 5, 1
"""Numbers of the fields of ModelProto and GraphProto that lead to the stored tensors."""
OUTPUT, OPERATOR, ATTRIBUTE, VALUE = 2, 4, 5, 5
"""Fields of NodeProto, and of AttributeProto the tensor."""
DATA_TYPE, NAME, RAW_DATA, DATA_LOCATION = 2, 8, 9, 14
VALUES = {"float_data": 4, "double_data": 10}
"""Fields of TensorProto; the values lie in one of these or in ``raw_data``."""


def slots(path: Path) -> Slots:
    """The values of each initialiser and Constant node of the main graph, by its name.

    Raises
    ------
    UnsupportedFormatError
        Values lie in other files, which the copy would not find or would have to share.
    """
    head = Head.of(path)
    model = reader.parse(head)
    graph = flatten(model, head.size)
    kept = uses(graph, {output.name for output in model.graph.output})
    data = map_file(path).data
    result: dict[str, Slot | str] = {}
    for held in tensors(data):
        if held.external:
            msg = (
                f"The values of {held.name!r} lie in another file. Save the model as one file "
                "first: onnx.save(onnx.load(file), copy)."
            )
            raise UnsupportedFormatError(msg)
        twice = f"{held.name!r} stands more than once in the file" if held.name in result else None
        result[held.name] = twice or kept.get(held.name) or held.slot
    return result


def uses(graph: Graph, outputs: set[str]) -> dict[str, str]:
    """Stored tensors that are not simply the weight of convolutions, each with the reason."""
    users: dict[int, list[tuple[Node, int]]] = {}
    for node in graph.nodes:
        for position, value in enumerate(node.inputs):
            if value is not None:
                users.setdefault(value, []).append((node, position))
    reasons: dict[str, str] = {}
    for value, name in enumerate(graph.names):
        if value in graph.constants and len(graph.origins[value]) == 1:
            reason = why_not(users.get(value, []))
            if reason is None and name in outputs:
                reason = f"{name!r} is also an output of the network"
            if reason is not None:
                reasons[name] = reason
    return reasons


def why_not(users: list[tuple[Node, int]]) -> str | None:
    """The reason why the values of a tensor cannot be changed for one layer, or None."""
    groups: set[int] = set()
    for node, position in users:
        operator = reader.operator_of(node)
        if operator is None or operator.weight != position or operator.transposed:
            where = node.op or "a subgraph"
            return f"its stored values go into {where}, not only straight into a convolution"
        groups.add(attribute(node, "group", 1))
    return "convolutions of different kinds share its values" if len(groups) > 1 else None


@dataclass(frozen=True, slots=True)
class Held:
    """A stored tensor: its name, where its values lie (or the reason), and if in another file."""

    name: str
    slot: Slot | str
    external: bool


def tensors(data: memoryview) -> Iterator[Held]:
    """Walk the stored tensors of the main graph; the file has been parsed, so it is valid."""
    for number, _, begin, end in wire.fields(data, 0, len(data)):
        if number == GRAPH:
            for inner, _, start, stop in wire.fields(data, begin, end):
                if inner == INITIALISER:
                    yield tensor(data, start, stop)
                elif inner == NODE:
                    yield from constant(data, start, stop)


def constant(data: memoryview, begin: int, end: int) -> Iterator[Held]:
    """The tensor of a Constant node, named after the value that the node yields."""
    parts = list(wire.fields(data, begin, end))
    operators = [bytes(data[start:stop]) for number, _, start, stop in parts if number == OPERATOR]
    if operators[-1:] != [b"Constant"]:
        return
    output = next((data[start:stop] for number, _, start, stop in parts if number == OUTPUT), b"")
    for number, _, start, stop in parts:
        if number == ATTRIBUTE:
            for inner, kind, first, last in wire.fields(data, start, stop):
                if inner == VALUE and kind == wire.LENGTH:
                    yield replace(tensor(data, first, last), name=str(output, "utf-8"))


def tensor(data: memoryview, begin: int, end: int) -> Held:
    """One TensorProto."""
    name, code, external = "", 0, False
    spans: dict[int, list[tuple[int, int, int]]] = {}
    for number, kind, start, stop in wire.fields(data, begin, end):
        if number == NAME:
            name = str(data[start:stop], "utf-8")
        elif number == DATA_TYPE:
            code, _ = wire.varint(data, start, stop)
        elif number == DATA_LOCATION:
            external = wire.varint(data, start, stop)[0] == EXTERNAL
        elif number == RAW_DATA or number in VALUES.values():
            spans.setdefault(number, []).append((kind, start, stop))
    return Held(name, slot_of(DTYPES.get(code, ""), spans), external)


def slot_of(dtype: str, spans: dict[int, list[tuple[int, int, int]]]) -> Slot | str:
    """Where the values of a tensor of that type lie, or why they cannot be written over."""
    if RAW_DATA in spans:
        return Slot(spans[RAW_DATA][-1][1], dtype, storage_dtype(dtype))
    found = spans.get(VALUES.get(FIELDS.get(dtype, ""), 0), [])
    if len(found) == 1 and found[0][0] == wire.LENGTH:
        return Slot(found[0][1], dtype, storage_dtype(dtype))
    return f"its {dtype or 'unknown'} values are not stored in one piece, as raw data are"
