"""The convolutions of a flat graph: a tensor each, or a row with the reason why not.

A layer is named after the constant or the variable that holds its weight.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

from filterdb.layer import Convolution, Skipped, Tensor
from filterdb.readers.batch_norm import Finding, State, settle
from filterdb.readers.limits import shortened
from filterdb.readers.onnx.depth import Depths, measure_depths
from filterdb.readers.tensorflow.channels import measure_channels, numbers
from filterdb.readers.tensorflow.constants import (
    Constant,
    Constants,
    NotFollowedError,
    Variables,
    dequantised,
)
from filterdb.readers.tensorflow.graph import Graph, Node
from filterdb.readers.tensorflow.layouts import DEPTHWISE, HWIO, HWOI, Layout
from filterdb.readers.tensorflow.norms import GRADIENT, Norms

IS_CONVOLUTION = re.compile(r"conv(olution)?[123_]|conv$|dilation2d", re.I)
OF_TRAINING = re.compile(r"BackpropFilter|Dilation2DBackprop|ConvGrad")


@dataclass(frozen=True, slots=True)
class Operator:
    """Which way a convolution runs, and which input its data are."""

    layout: Layout = HWIO
    data: int = 0
    transposed: bool = False


OPERATORS = {
    "Conv2D": Operator(),
    "_FusedConv2D": Operator(),
    "DepthwiseConv2dNative": Operator(DEPTHWISE),
    "_FusedDepthwiseConv2dNative": Operator(DEPTHWISE),
    "Conv2DBackpropInput": Operator(HWOI, data=2, transposed=True),
}
QUANTISED = re.compile(r"Quantized(Depthwise)?Conv2D(PerChannel)?(With|And|$)")


@dataclass(frozen=True, slots=True)
class Found:
    """What a graph holds, and what is to be said of it."""

    tensors: tuple[Tensor, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution node with its weight."""

    index: int
    node: Node
    operator: Operator
    weight: Constant

    @property
    def shape(self) -> tuple[int, ...]:
        """Output channels first."""
        return self.operator.layout.shape(self.weight.shape)


def find_convolutions(graph: Graph, file_size: int, variables: Variables | None = None) -> Found:
    """Find the convolutions of a graph, their weights, groups, depths and norms.

    Parameters
    ----------
    graph
        The flat graph.
    file_size
        Bytes of the file or files, to bound what is computed.
    variables
        Where the values of variables are.

    Raises
    ------
    CorruptFileError
        The graph has a cycle, or a constant contradicts itself.
    """
    depths = measure_depths(graph)
    constants = Constants(graph, file_size, variables)
    layers: list[Layer] = []
    skipped: list[Skipped] = []
    candidates = [
        (depths.depths[index], index, node)
        for index, node in graph.of_file()
        if IS_CONVOLUTION.search(node.op)
        and not OF_TRAINING.search(node.op)
        and not GRADIENT.search(node.name)
    ]
    for _, index, node in sorted(candidates, key=lambda one: one[:2]):
        try:
            layers.append(Layer(index, node, *weight_of(node, constants)))
        except NotFollowedError as error:
            skipped.append(Skipped(shortened(node.name), str(error)))
    own, repeats = once_each(layers)
    tensors = described(graph, depths, constants, own)
    return Found(tuple(tensors), (*skipped, *repeats), tuple(remarks(own)))


def weight_of(node: Node, constants: Constants) -> tuple[Operator, Constant]:
    """The weight of a convolution node.

    Raises
    ------
    NotFollowedError
        It is none that can be analysed, and why.
    """
    inputs = [one for one in node.inputs if one is not None]
    quantised = QUANTISED.match(node.op)
    operator = OPERATORS.get(node.op)
    if quantised:
        operator = Operator(DEPTHWISE if quantised[1] else HWIO)
    if operator is None:
        dimensions = re.search(r"conv([13])d", node.op, re.I)
        if dimensions:
            msg = f"a {dimensions[1]}-D convolution; only 2-D convolutions are analysed"
        else:
            msg = f"the layout of weights in the operator {node.op} is not known"
        raise NotFollowedError(msg)
    if len(inputs) < (3 if operator.transposed else 2):
        msg = "it has no weight"
        raise NotFollowedError(msg)
    weight = constants.constant(inputs[1])
    if "ExpandDims" in weight.shaped and len(weight.shape) == 4 and weight.shape[0] == 1:
        msg = "a 1-D convolution, written as a 2-D one; only 2-D convolutions are analysed"
        raise NotFollowedError(msg)
    if len(weight.shape) != 4:
        msg = f"{len(weight.shape)}-D weight: no 2-D convolution"
        raise NotFollowedError(msg)
    if quantised:
        low = 5 if "WithBias" in node.op else 4
        if len(inputs) < low + 2:
            msg = "the range of its quantised weights is missing"
            raise NotFollowedError(msg)
        ends = [constants.constant(one) for one in inputs[low : low + 2]]
        mode = "SCALED" if weight.dtype.startswith("int") else "MIN_COMBINED"
        axis = 2 if operator.layout is DEPTHWISE else 3
        weight = dequantised(weight, *ends, mode=mode, axis=axis, narrow=False)
    return operator, weight


def once_each(layers: list[Layer]) -> tuple[list[Layer], list[Skipped]]:
    """Every weight once; the other nodes that use it, with the reason."""
    owners: dict[Hashable, Layer] = {}
    repeats = []
    for layer in layers:
        owner = owners.setdefault(layer.weight.identity, layer)
        # A function that is written out twice holds the same node twice.
        if owner is not layer and owner.node.name != layer.node.name:
            reason = f"shares the weights of layer {shortened(owner.weight.name)!r}"
            repeats.append(Skipped(shortened(layer.node.name), reason))
    return list(owners.values()), repeats


def described(
    graph: Graph, depths: Depths, constants: Constants, layers: list[Layer]
) -> list[Tensor]:
    """The layers as tensors, with all that the graph says of them."""
    outputs = {layer.index: layer.shape[0] for layer in layers}
    channels = measure_channels(graph, depths.order, constants, outputs)
    norms = Norms(graph, constants)
    names = unique_names(layers)
    tensors = []
    for layer, name, state in zip(layers, names, states_of(layers, norms), strict=True):
        node, weight = layer.node, layer.weight
        given = node.given
        first = 2 if given.text("data_format") == "NCHW" else 1
        conv = Convolution(
            groups=groups_of(layer, channels.get(node.inputs[layer.operator.data] or 0)),
            transposed=layer.operator.transposed,
            stride=pair(given.integers("strides"), first) or (1, 1),
            dilation=spread_by(node, graph, constants)
            or pair(given.integers("dilations"), first)
            or (1, 1),
            depth=depths.depths[layer.index],
            state=state.state,
            evidence=shortened(state.evidence),
            norm=state.norm,
        )
        load = partial(layer.operator.layout.apply, weight.load)
        tensors.append(Tensor(name, layer.shape, weight.dtype, load, conv, weight.scheme))
    return tensors


def states_of(layers: list[Layer], norms: Norms) -> list[State]:
    """Whether each weight is raw or folded, weighed over all of them where it is not plain."""
    found = [norms.found(layer.node, layer.weight, layer.shape[0]) for layer in layers]
    weighed = iter(settle([one for one in found if isinstance(one, Finding)]))
    return [next(weighed) if isinstance(one, Finding) else one for one in found]


def groups_of(layer: Layer, channels: int | None) -> int | None:
    """Number of groups, None where nothing tells.

    The channels that enter tell. Where they are not known, a weight with several inputs to each
    output is taken as ungrouped: grouped ones came late, and only for graphics cards.
    """
    shape = layer.weight.shape
    if layer.operator.layout is DEPTHWISE:
        return shape[2]
    into = shape[3] if layer.operator.transposed else shape[2]
    if channels is None:
        return 1 if into > 1 or layer.operator.transposed else None
    fits = into > 0 and channels % into == 0 and layer.shape[0] % (channels // into or 1) == 0
    if not fits or layer.operator.transposed:
        return 1 if channels == into or layer.operator.transposed else None
    return channels // into


def spread_by(node: Node, graph: Graph, constants: Constants) -> tuple[int, int] | None:
    """The dilation of a convolution on blocks, as TensorFlow 1 wrote dilated ones."""
    index = constants.producers.get(node.inputs[0] or 0) if node.inputs[0] is not None else None
    before = graph.nodes[index] if index is not None else None
    if before is None or before.op != "SpaceToBatchND" or len(before.inputs) < 2:
        return None
    block = numbers(before.inputs[1] or 0, constants)
    return (block[0], block[1]) if len(block) == 2 and min(block) > 0 else None


def pair(values: list[int], first: int) -> tuple[int, int] | None:
    """Height and width of a stride or dilation of four numbers."""
    return (values[first], values[first + 1]) if len(values) == 4 else None


def unique_names(layers: list[Layer]) -> list[str]:
    """The name of each weight; with its node's where two have the same."""
    count = Counter(layer.weight.name for layer in layers)
    names, seen = [], Counter[str]()
    for layer in layers:
        name = layer.weight.name or layer.node.name
        name = name if count[layer.weight.name] == 1 else f"{layer.node.name}/{name}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def remarks(layers: list[Layer]) -> list[str]:
    """Notes on weights that the graph changes before it uses them."""
    notes = []
    rounded = sum(layer.weight.rounded for layer in layers)
    if rounded:
        notes.append(
            f"The graph rounds the weights of {rounded} layers as a quantised network would "
            "(FakeQuant); they were read as they are stored."
        )
    computed = [layer.weight.name for layer in layers if layer.weight.computed]
    if computed:
        notes.append(
            f"The graph changes the weights of {len(computed)} layers before it uses them (the "
            f"first is {shortened(computed[0])}); they were read as it uses them."
        )
    return notes
