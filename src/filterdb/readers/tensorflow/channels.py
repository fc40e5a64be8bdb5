"""How many channels the values of a graph have: a grouped Conv2D says so nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from filterdb.readers.onnx.graph import Node
from filterdb.readers.tensorflow.constants import Constants, NotFollowedError
from filterdb.readers.tensorflow.graph import Graph
from filterdb.readers.tensorflow.nodes import NodeDef

KEEP = frozenset({
    "Identity", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus",
    "Softsign", "Swish", "BiasAdd", "BiasAddV1", "FusedBatchNorm", "FusedBatchNormV2",
    "FusedBatchNormV3", "_FusedBatchNormEx", "BatchNormWithGlobalNormalization", "MaxPool",
    "MaxPoolV2", "AvgPool", "Pad", "PadV2", "MirrorPad", "ResizeBilinear", "ResizeNearestNeighbor",
    "ResizeBicubic", "SpaceToBatchND", "BatchToSpaceND", "Cast", "StopGradient", "Square", "Sqrt",
    "Rsqrt", "Exp", "Log", "Neg", "Abs", "LRN", "Switch", "Dequantize", "QuantizeV2", "Softmax",
    "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", "QuantizedRelu", "QuantizedMaxPool",
    "QuantizedBiasAdd", "Requantize", "EnsureShape", "Enter", "Exit", "RequantizationRange",
})  # fmt: skip
MEET = frozenset({"Add", "AddV2", "Sub", "Mul", "Maximum", "Minimum", "Merge", "RealDiv",
                  "SquaredDifference", "AddN"})  # fmt: skip
OPAQUE = 2**31


def measure_channels(
    graph: Graph, order: list[int], constants: Constants, outputs: Mapping[int, int]
) -> dict[int, int]:
    """The channels of each value, as far as they are known.

    Parameters
    ----------
    graph
        The flat graph.
    order
        Its nodes, each after those that it needs.
    constants
        What is stored.
    outputs
        Index of a convolution node -> its output channels.
    """
    found = {value: n for value, node in graph.placeholders.items() if (n := stated(node))}
    for index in order:
        node = graph.nodes[index]
        inputs = [one for one in node.inputs if one is not None]
        if index in outputs:
            count: int | None = outputs[index]
        elif node.op in KEEP:
            count = found.get(inputs[0]) if inputs else None
        elif node.op in MEET:
            counts = {found[one] for one in inputs if one in found}
            count = max(counts, default=None)
        else:
            count = special(node, inputs, found, constants)
        if count is not None and count < OPAQUE:
            found.update((value, count) for value in node.outputs if value is not None)
    return found


def stated(node: NodeDef) -> int | None:
    """The channels of an input of the network."""
    sizes = [dim.integer(1) for dim in node.attribute("shape").message(7).messages(2)]
    return sizes[3] if len(sizes) == 4 and sizes[3] > 0 else None


def special(
    node: Node, inputs: list[int], found: Mapping[int, int], constants: Constants
) -> int | None:
    """The channels behind operators that join or name them."""
    if node.op in {"ConcatV2", "Concat"} and len(inputs) > 1:
        *parts, axis = inputs if node.op == "ConcatV2" else (*inputs[1:], inputs[0])
        counts = [found.get(part) for part in parts]
        along = numbers(axis, constants)
        if along in {(3,), (-1,)}:
            return None if None in counts else sum(count or 0 for count in counts)
        return counts[0]
    if node.op == "Reshape" and len(inputs) == 2:
        shape = numbers(inputs[1], constants)
        return shape[3] if len(shape) == 4 and shape[3] > 0 else None
    if node.op == "IdentityN" and inputs:
        return found.get(inputs[0])
    return None


def numbers(value: int, constants: Constants) -> tuple[int, ...]:
    """A short list of integers that is stored; empty where it is not."""
    try:
        return constants.numbers(constants.constant(value))
    except NotFollowedError:
        return ()
