"""The convolutions of a TensorFlow.js graph model: TensorFlow's GraphDef, written as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from filterdb.errors import CorruptFileError
from filterdb.layer import Convolution, Norm, Skipped, Tensor
from filterdb.readers.batch_norm import (
    Constant,
    Finding,
    Following,
    Role,
    Step,
    Surroundings,
    claims_of,
    fused_scale,
    settle,
)
from filterdb.readers.keras.kernel import HWIO, HWOI, Layout
from filterdb.readers.layer_graph import unique
from filterdb.readers.limits import shortened
from filterdb.readers.onnx.depth import measure_depths
from filterdb.readers.onnx.graph import Node
from filterdb.readers.tfjs.manifest import AGAIN, Weight
from filterdb.readers.tfjs.wiring import NotFollowedError, Wiring, dicts, mapping

CONVOLUTIONS = {
    "Conv2D": Layout(HWIO), "_FusedConv2D": Layout(HWIO),
    "DepthwiseConv2dNative": Layout(HWOI, depthwise=True),
    "FusedDepthwiseConv2dNative": Layout(HWOI, depthwise=True),
    "_FusedDepthwiseConv2dNative": Layout(HWOI, depthwise=True),
    "Conv2DBackpropInput": Layout(HWOI),
}  # fmt: skip
TRANSPOSED = "Conv2DBackpropInput"
WEIGHT, BIAS = 1, 2
"""Places of the filter, and of the bias of a fused operator, among the inputs."""
Identity = tuple[str, str]
"""What makes a layer the same: its weight, and how that is laid out."""
ROLES: dict[str, Role] = {
    "BiasAdd": "add", "Add": "add", "AddV2": "add", "Sub": "add", "Mul": "scale",
    "Identity": "pass", "BatchToSpaceND": "pass", "FusedBatchNorm": "norm",
    "FusedBatchNormV2": "norm", "FusedBatchNormV3": "norm", "_FusedBatchNormEx": "norm",
}  # fmt: skip
EPSILON = 1e-4
"""What TensorFlow takes where a norm does not say."""
LARGEST_STEP = 10_000
"""Strides and dilations from this on are damage."""


def graph_contents(
    topology: Mapping[str, Any], weights: Mapping[str, Weight]
) -> tuple[list[Tensor], list[Skipped]]:
    """Every convolution of a graph, by depth: a tensor, or a row with the reason why not.

    Raises
    ------
    CorruptFileError
        Two nodes have one name, or the graph has a cycle.
    LimitError
        It has more nodes than any network.
    """
    library = mapping(topology.get("library"))
    functions = {
        str(mapping(function.get("signature")).get("name")): function
        for function in dicts(library.get("function"))
    }
    wiring = Wiring(weights, functions)
    wiring.add(topology.get("node"), {})
    graph = wiring.graph
    producers = graph.producers()
    if len(producers) < len(graph.nodes):
        msg = f"Two nodes of its graph have one name. {AGAIN}"
        raise CorruptFileError(msg)
    graph.inputs = {
        value
        for value in range(len(graph.names))
        if value not in producers and value not in wiring.constants
    }
    depths = measure_depths(graph).depths
    around = surroundings(wiring, producers)
    found: dict[Identity, tuple[Tensor, Finding]] = {}
    skipped: list[tuple[str, str | Identity]] = []
    for index in sorted(wiring.attributes, key=lambda i: (depths[i], i)):
        node = graph.nodes[index]
        if "conv" not in node.op.lower():
            continue
        try:
            weight = filter_of(wiring, index, producers)
            tensor = tensor_of(wiring, index, weight, depths[index], producers)
        except NotFollowedError as error:
            skipped.append((node.name, str(error)))
            continue
        identity = (weight.name, str(CONVOLUTIONS[node.op]))
        if identity in found:
            skipped.append((node.name, identity))
        else:
            found[identity] = tensor, finding_of(wiring, index, tensor.shape[0], around)
    return settled(found, skipped)


def settled(
    found: Mapping[Identity, tuple[Tensor, Finding]], skipped: Sequence[tuple[str, str | Identity]]
) -> tuple[list[Tensor], list[Skipped]]:
    """The tensors under unique names and with their states, and the rows of what was left out."""
    names = unique(tensor.name for tensor, _ in found.values())
    owners = dict(zip(found, map(shortened, names), strict=True))
    states = settle([finding for _, finding in found.values()])
    tensors = [
        told.applied(tensor, name)
        for (tensor, _), told, name in zip(found.values(), states, names, strict=True)
    ]
    return tensors, [
        Skipped(shortened(name), why if isinstance(why, str) else
                f"shares the weights of layer {owners[why]!r}")
        for name, why in skipped
    ]  # fmt: skip


def filter_of(wiring: Wiring, index: int, producers: Mapping[int, int]) -> Weight:
    """The weight of a convolution node, of a layout that is known."""
    node = wiring.graph.nodes[index]
    if node.op not in CONVOLUTIONS:
        msg = f"the layout of weights in the operator {shortened(node.op)} is not known"
        if "3D" in node.op:
            msg = "a 3-D convolution; only 2-D convolutions are analysed"
        raise NotFollowedError(msg)
    value = node.inputs[WEIGHT] if len(node.inputs) > WEIGHT else None
    if value is None:
        msg = "it has no weight"
        raise NotFollowedError(msg)
    weight = wiring.origin(value, producers)
    if len(weight.shape) != 4 or weight.load is None:
        msg = f"its weight of shape {weight.shape} and type {weight.dtype} is no 2-D convolution's"
        raise NotFollowedError(msg)
    return weight


def tensor_of(
    wiring: Wiring, index: int, weight: Weight, depth: int, producers: Mapping[int, int]
) -> Tensor:
    """The weight in the one layout."""
    node, attributes = wiring.graph.nodes[index], wiring.attributes[index]
    layout = CONVOLUTIONS[node.op]
    rows = 2 if text_attribute(attributes, "data_format").startswith("NC") else 1
    conv = Convolution(
        # TensorFlow.js has no grouped convolution but the depthwise one.
        groups=weight.shape[2] if layout.depthwise else 1,
        transposed=node.op == TRANSPOSED,
        stride=steps(attributes, "strides", rows),
        dilation=blocks(wiring, node, producers) or steps(attributes, "dilations", rows) or (1, 1),
        depth=depth,
    )
    load = partial(layout.apply, weight.values)
    return Tensor(weight.name, layout.shape(weight.shape), weight.dtype, load, conv, weight.scheme)


def blocks(wiring: Wiring, node: Node, producers: Mapping[int, int]) -> tuple[int, int] | None:
    """The dilation of a convolution between blocks: how TensorFlow 1 writes a dilated one."""
    before = producers.get(node.inputs[0]) if node.inputs[0] is not None else None
    spread = wiring.graph.nodes[before] if before is not None else None
    if spread is None or spread.op != "SpaceToBatchND" or len(spread.inputs) < WEIGHT + 1:
        return None
    value = spread.inputs[WEIGHT]
    sizes = wiring.constants.get(value) if value is not None else None
    if sizes is None or sizes.shape != (2,) or sizes.dtype != "int32":
        return None
    height, width = sizes.values().tolist()
    return (height, width) if 0 < height < LARGEST_STEP and 0 < width < LARGEST_STEP else None


def surroundings(wiring: Wiring, producers: Mapping[int, int]) -> Surroundings:
    """The graph as the search for norms sees it."""
    users: dict[int, list[Step]] = {}
    used: set[int] = set()

    def constant(value: int) -> Constant | None:
        try:
            weight = wiring.origin(value, producers)
        except NotFollowedError:
            return None
        return None if weight.load is None else Constant(weight.name, weight.shape, weight.load)

    for index, node in enumerate(wiring.graph.nodes):
        inputs = tuple(value for value in node.inputs if value is not None)
        role = ROLES.get(node.op, "other")
        norm = norm_of(node, wiring.attributes[index], constant) if role == "norm" else None
        output = next(value for value in node.outputs if value is not None)
        step = Step(role, inputs, output, norm)
        used.update(inputs)
        for value in set(inputs):
            users.setdefault(value, []).append(step)
    return Surroundings(users, producers.keys() - used, constant)


def norm_of(node: Node, attributes: Mapping[str, Any], constant: Any) -> Norm | None:
    """A FusedBatchNorm: its scale, offset, mean and variance are its inputs 1 to 4."""
    parts = [constant(value) if value is not None else None for value in node.inputs[1:5]]
    if len(parts) < 4 or parts[0] is None or parts[3] is None:
        return None
    stated = mapping(attributes.get("epsilon")).get("f")
    epsilon = float(stated) if isinstance(stated, int | float) else EPSILON
    return Norm(node.name, partial(fused_scale, parts[0].load, parts[3].load, epsilon))


def finding_of(wiring: Wiring, index: int, channels: int, around: Surroundings) -> Finding:
    """The norm behind a convolution, or what its names keep of one that was folded in."""
    node = wiring.graph.nodes[index]
    output = next(value for value in node.outputs if value is not None)
    own = node.inputs[BIAS : BIAS + 1] if "Fused" in node.op else ()
    named = [
        (what, constant.name)
        for what, values in (("bias", own), ("filter", node.inputs[WEIGHT : WEIGHT + 1]))
        for value in values
        if value is not None and (constant := around.constant(value)) is not None
        and len(around.users.get(value, ())) == 1
    ]  # fmt: skip
    fused = mapping(mapping(wiring.attributes[index].get("fused_ops")).get("list")).get("s")
    activated = isinstance(fused, list) and len(fused) > 1
    added = around.added_to(output, channels)
    named += [("bias", constant.name) for constant in added]
    following = Following(None) if activated else around.norm_behind(output, channels)
    return Finding(following, claims_of(named), shifted=bool(own or added))


def text_attribute(attributes: Mapping[str, Any], name: str) -> str:
    """An attribute that is text: in base64, or as a list of its bytes."""
    held = mapping(attributes.get(name)).get("s")
    try:
        content = base64.b64decode(held) if isinstance(held, str) else bytes(held or ())
    except (ValueError, TypeError):
        return ""
    return content.decode("ascii", "replace")


def steps(attributes: Mapping[str, Any], name: str, rows: int) -> tuple[int, int] | None:
    """Height and width out of an attribute with one number for each axis."""
    held = mapping(mapping(attributes.get(name)).get("list")).get("i")
    if not isinstance(held, list) or len(held) != 4:
        return None
    texts = [str(item) for item in held[rows : rows + 2]]
    if not all(text.isascii() and text.isdecimal() and len(text) < 6 for text in texts):
        return None
    return int(texts[0]), int(texts[1])
