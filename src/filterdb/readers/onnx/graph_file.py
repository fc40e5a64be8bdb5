"""The ONNX reader: every convolution of the graph whose weight is known from the file.

A layer is named after its stored weight (``"layer1.0.conv1.weight"``, or ``"447"`` where the
exporter numbers them), since that is the name users find in other tools; where two layers would
share it (bodies of a conditional), the path of the scope comes before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Contents, Convolution, Skipped, Statement, Tensor
from filterdb.readers import protobuf_wire as wire
from filterdb.readers.batch_norm import State
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layout import out_first_shape, transposed_to_out_first
from filterdb.readers.limits import allowed_bytes, shortened
from filterdb.readers.mapping import map_file
from filterdb.readers.onnx.constants import Constants, attribute, dequantized
from filterdb.readers.onnx.depth import measure_depths
from filterdb.readers.onnx.graph import Graph, Node, flatten, text
from filterdb.readers.onnx.norms import norm_inputs, weight_states
from filterdb.readers.onnx.tensors import Constant, NotFollowedError, Vault
from filterdb.readers.statements import MOST_KEYS, statements_in

if TYPE_CHECKING:
    import onnx

FORMAT = Format(
    "onnx",
    "ONNX",
    (".onnx",),
    reads=(
        "constants through Identity, Cast, Transpose, Reshape, DequantizeLinear; QLinearConv, "
        "ConvInteger, FusedConv; subgraphs and functions; external data from the model's folder "
        "only; depth from the graph"
    ),
)

MESSAGE_BYTES = 200
"""Memory that a protobuf message takes when parsed, at most."""

MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
MAX_IR_VERSION = 1000
MAX_OUTLINE = 10_000
NAME_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Operator:
    """Where a convolution operator has its weight, and the scale and zero point of that."""

    weight: int = 1
    scale: int | None = None
    zero_point: int | None = None
    transposed: bool = False


CONVOLUTIONS = {
    ("", "Conv"): Operator(),
    ("", "ConvTranspose"): Operator(transposed=True),
    ("", "DeformConv"): Operator(),
    ("", "ConvInteger"): Operator(zero_point=3),
    ("", "QLinearConv"): Operator(weight=3, scale=4, zero_point=5),
    ("com.microsoft", "FusedConv"): Operator(),
    ("com.microsoft", "QLinearConv"): Operator(weight=3, scale=4, zero_point=5),
    ("com.microsoft", "ConvTransposeWithDynamicPads"): Operator(transposed=True),
}


def matches(head: Head) -> bool:
    """The outline of a ModelProto: a version or an operator set, then a graph.

    Formats that are protobuf too (Caffe, TensorFlow, Core ML) have other fields, or other types
    in the same fields.
    """
    if head.is_folder or head.start[:1] not in (b"\x08", b"\x12", b"\x1a", b"\x3a", b"\x42"):
        return False
    data = map_file(head.path).data
    seen: set[int] = set()
    try:
        for count, (number, kind, begin, end) in enumerate(wire.fields(data, 0, len(data))):
            if MODEL_FIELDS.get(number) != kind or count > MAX_OUTLINE:
                return False
            if number == 1 and not 1 <= wire.varint(data, begin, end)[0] <= MAX_IR_VERSION:
                return False
            if number in (2, 3, 4) and not is_text(data[begin:end], end - begin):
                return False
            if number == 7 and not is_graph(data, begin, min(end, len(data))):
                return False
            seen.add(number)
    except wire.WireError:
        pass  # cut short: what came before it decides
    return 7 in seen and bool(seen & {1, 8})


def is_text(content: memoryview, length: int) -> bool:
    """A short, printable name, as producers give themselves."""
    try:
        return length < NAME_BYTES and str(content, "utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def is_graph(data: memoryview, begin: int, end: int) -> bool:
    """The first field is one of a GraphProto."""
    try:
        number, kind, _, _ = next(wire.fields(data, begin, end))
    except (wire.WireError, StopIteration):
        return False
    return number in GRAPH_FIELDS and kind == wire.LENGTH


def read(head: Head) -> Contents:
    """Find the convolutions of a model, their weights and their depth.

    A layer's depth is its node's longest path from an input of the graph, with subgraphs and
    functions counted where they stand (:func:`~filterdb.readers.onnx.depth.measure_depths`).

    Raises
    ------
    CorruptFileError
        It is no valid protobuf, has a cycle, or a weight claims what it does not hold.
    LimitError
        It would take memory out of proportion to its size.
    ReadError
        A weight lies outside the model's own folder, or is missing.
    """
    model = parse(head)
    try:
        graph = flatten(model, head.size)
        vault = Vault(head.path, head.size)
        tensors, skipped = convolutions(graph, vault)
        producer = f"{text(model.producer_name)} {text(model.producer_version)}".strip()
        notes = describe(model, graph)
    except UnicodeDecodeError as error:
        msg = f"A name in it is not text ({error.reason}). Download or copy the file again."
        raise CorruptFileError(msg) from error
    return Contents(
        format=FORMAT.name,
        tensors=tuple(tensors),
        skipped=tuple(skipped),
        producer=producer or None,
        notes=tuple(notes),
        companions=tuple(sorted(vault.companions)),
        statements=statements_of(model),
    )


def statements_of(model: onnx.ModelProto) -> tuple[Statement, ...]:
    """What the model's properties and its own words say of it; damaged ones say nothing."""
    pairs: list[tuple[str, str]] = []
    with suppress(UnicodeDecodeError):
        pairs += [(entry.key, entry.value) for entry in model.metadata_props[:MOST_KEYS]]
    with suppress(UnicodeDecodeError):
        pairs += [("description", model.doc_string or model.graph.doc_string)]
    return statements_in(pairs, "metadata_props of the file")


def parse(head: Head) -> onnx.ModelProto:
    """Parse the protobuf, once it is known that its messages fit into memory."""
    import onnx
    from google.protobuf.message import DecodeError

    data = map_file(head.path)
    # The other half is for the graph that it becomes.
    at_most = (allowed_bytes(head.size) // 2 - head.size) // MESSAGE_BYTES
    damaged = "Its protobuf is damaged or cut short ({}). Download or copy the file again."
    try:
        count = wire.count_messages(data.data, onnx.ModelProto.DESCRIPTOR, at_most=at_most)
        if count > at_most:
            msg = (
                f"It holds more than {at_most:,} protobuf messages in {head.size:,} bytes: that "
                "is out of proportion, so it was not read."
            )
            raise LimitError(msg)
        return onnx.load_model_from_string(data.tobytes())
    except (wire.WireError, DecodeError) as error:
        raise CorruptFileError(damaged.format(error)) from error


def describe(model: onnx.ModelProto, graph: Graph) -> list[str]:
    """Notes on the operator sets, on folded norms and on integer layers."""
    opsets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
    operators = Counter(node.op for node in graph.nodes)
    notes = [f"ONNX operator sets: {opsets or 'none stated'}."]
    if not operators["BatchNormalization"]:
        notes.append(
            "The graph has no BatchNormalization: if the network had it, it is folded into the "
            "weights."
        )
    if operators["ConvInteger"]:
        notes.append("The weights of ConvInteger are integers without a scale.")
    notes += [
        f"The initialiser {name!r} stands more than once, with different values: which one counts "
        "differs from runtime to runtime, so no layer was read from it."
        for name in graph.redefined.values()
    ]
    return notes


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution node with the constant that is its weight."""

    depth: int
    weight: Constant
    groups: int
    node: Node
    transposed: bool

    def tensor(self, name: str, state: State) -> Tensor:
        """The weight as a tensor of that name, output channels first."""
        shape, load = self.weight.shape, self.weight.load
        if self.transposed:
            shape = out_first_shape(shape, self.groups)
            load = partial(load_transposed, self.weight, self.groups)
        conv = Convolution(
            groups=self.groups,
            transposed=self.transposed,
            stride=pair(attribute(self.node, "strides", [1, 1])),
            dilation=pair(attribute(self.node, "dilations", [1, 1])),
            depth=self.depth,
        )
        weight = self.weight
        return state.applied(
            Tensor(name, shape, weight.dtype, load, conv, scheme=weight.scheme), name
        )

    @property
    def channels(self) -> int:
        """Number of output channels."""
        shape = self.weight.shape
        return out_first_shape(shape, self.groups)[0] if self.transposed else shape[0]


def convolutions(graph: Graph, vault: Vault) -> tuple[list[Tensor], list[Skipped]]:
    """Every convolution of the graph: a tensor, or a row with the reason why not."""
    depths = measure_depths(graph)
    nodes = sorted(
        (i for i, node in enumerate(graph.nodes) if "conv" in node.op.lower()),
        key=lambda i: (depths.depths[i], i),
    )
    wanted = [v for i in nodes for v in weight_inputs(graph.nodes[i]) if v is not None]
    constants = Constants(graph, depths, vault, [*wanted, *norm_inputs(graph)])
    layers: list[Layer] = []
    skipped: list[Skipped] = []
    owners: dict[Hashable, int] = {}
    repeats: list[tuple[str, int]] = []
    for i in nodes:
        node = graph.nodes[i]
        label = node.name or next((graph.names[v] for v in node.outputs if v is not None), node.op)
        try:
            layer = as_layer(node, depths.depths[i], constants)
        except NotFollowedError as error:
            skipped.append(Skipped(label, str(error)))
            continue
        owner = owners.setdefault(layer.weight.identity, len(layers))
        if owner < len(layers):
            repeats.append((label, owner))
        else:
            layers.append(layer)
    names = unique_names([layer.weight for layer in layers])
    skipped += [
        Skipped(shortened(label), f"shares the weights of layer {shortened(names[owner])!r}")
        for label, owner in repeats
    ]
    states = weight_states(graph, constants, [(layer.node, layer.channels) for layer in layers])
    tensors = [
        layer.tensor(name, state) for layer, name, state in zip(layers, names, states, strict=True)
    ]
    return tensors, skipped


def operator_of(node: Node) -> Operator | None:
    """What is known of a convolution operator."""
    return CONVOLUTIONS.get(("" if node.standard else node.domain, node.op))


def weight_inputs(node: Node) -> list[int | None]:
    """The values that decide a convolution's weight: itself, its scale, its zero point."""
    operator = operator_of(node)
    if operator is None:
        return []
    wanted = (operator.weight, operator.scale, operator.zero_point)
    return [node.inputs[i] if i is not None and i < len(node.inputs) else None for i in wanted]


def as_layer(node: Node, depth: int, constants: Constants) -> Layer:
    """A convolution node as a layer.

    Raises
    ------
    NotFollowedError
        It is none that can be analysed, and why.
    """
    operator = operator_of(node)
    if operator is None:
        msg = f"the layout of weights in the operator {node.domain}.{node.op} is not known"
        raise NotFollowedError(msg)
    weight, scale, zero_point = (constants.constant(value) for value in weight_inputs(node))
    if weight is None:
        msg = "it has no weight"
        raise NotFollowedError(msg)
    rank = len(weight.shape)
    if rank != 4:
        what = {3: "a 1-D convolution", 5: "a 3-D convolution"}.get(rank, "no 2-D convolution")
        msg = f"{rank}-D weight: {what}; only 2-D convolutions are analysed"
        raise NotFollowedError(msg)
    groups = attribute(node, "group", 1)
    if groups < 1 or weight.shape[0] % groups:
        msg = f"its {groups} groups do not fit its weight of shape {weight.shape}"
        raise NotFollowedError(msg)
    if operator.zero_point is not None:
        weight = dequantized(weight, scale, zero_point, axis=0)
    return Layer(depth, weight, groups, node, operator.transposed)


def unique_names(weights: list[Constant]) -> list[str]:
    """The name of each weight; with its scope where two have the same."""
    count = Counter(weight.name for weight in weights)
    names = [
        weight.name if count[weight.name] == 1 else "/".join(weight.origin) for weight in weights
    ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name}#{seen[name]}"
    return names


def pair(values: list[int]) -> tuple[int, int] | None:
    """Height and width of a stride or dilation, None where there are not two."""
    return (values[0], values[1]) if len(values) == 2 else None


def load_transposed(weight: Constant, groups: int) -> NDArray[Any]:
    """Load the weight of a transposed convolution, output channels first."""
    return transposed_to_out_first(weight.load(), groups)
