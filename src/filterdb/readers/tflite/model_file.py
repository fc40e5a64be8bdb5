"""The TFLite reader: every convolution of the graph whose weight is in the file.

A layer is named after its filter. Converters join the names of all that they fused into one with
semicolons: of those, the part that names the convolution itself is taken.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.layer import Contents, Convolution, Loader, Skipped, Statement, Tensor
from filterdb.readers.batch_norm import (
    Constant,
    Finding,
    Following,
    Role,
    Step,
    Surroundings,
    claims_of,
    settle,
)
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layer_graph import unique
from filterdb.readers.limits import MAX_NAME, check_expansion, shortened
from filterdb.readers.mapping import map_file
from filterdb.readers.onnx.depth import measure_depths
from filterdb.readers.statements import statements_in
from filterdb.readers.tflite.flatbuffer import Flatbuffer
from filterdb.readers.tflite.model import CONVERTED, Model, Operator, parse
from filterdb.readers.tflite.values import NotReadError, scheme_of
from filterdb.readers.tflite.wiring import Wired, wire

FORMAT = Format(
    "tflite",
    "TFLite",
    (".tflite",),
    reads=(
        "float32, float16, int8, uint8, int4, per tensor and per channel, sparse; depth from the "
        "graph; folded norms by the names they left"
    ),
)

WEIGHT = 1
"""Index of the filter among the inputs of every convolution operator."""
OUT_FIRST = (0, 3, 1, 2)
"""From (out, height, width, in) to (out, in, height, width)."""
DEPTHWISE = (3, 0, 1, 2)
"""From (1, height, width, out) to (out, 1, height, width)."""
ROLES: dict[str, Role] = {"MUL": "scale", "ADD": "add", "SUB": "add", "BATCH_TO_SPACE_ND": "pass"}
OPERATION = re.compile(
    r"(?:^|/)(?:separable_)?(?:Conv2D|depthwise|conv2d_transpose|Conv2DBackpropInput|convolution)"
    r"(?:_\d+)?$"
)
"""What TensorFlow calls the convolution itself, at the end of its path."""
FUSED = re.compile(r"(?:BiasAdd|Conv2D|depthwise|convolution|conv2d_transpose)(?:_?\d+)?(?:$|[/;])")
"""Names of operators, which show that names were kept."""
LARGEST_STEP = 10_000
"""Strides and dilations beyond this are damage."""


def matches(head: Head) -> bool:
    """The identifier of the schema, behind the first offset."""
    return head.start[4:8] == b"TFL3"


def read(head: Head) -> Contents:
    """Find the convolutions of a model, their weights and their depth.

    Raises
    ------
    CorruptFileError
        The flatbuffer reaches outside the file, or a weight claims what it does not hold.
    LimitError
        It would take memory or time out of proportion to its size.
    """
    model = parse(map_file(head.path))
    layers, skipped = convolutions(wire(model))
    wanted = sum(4 * prod(layer.tensor.shape) for layer in layers)
    check_expansion(wanted, head.size, "The sum of its filters")
    names = unique(layer.name or "filter" for layer in layers)
    states = settle([layer.finding for layer in layers])
    owners = {layer.identity: shortened(name) for layer, name in zip(layers, names, strict=True)}
    others = [graph.name for graph in model.subgraphs[1:]]
    notes = [f"It holds {len(others) + 1} subgraphs; all are read."] if others else []
    if any(state.state == "unknown" for state in states):
        notes.append("Converters to TFLite fold batch normalisation into the weights.")
    if any("int" in layer.tensor.dtype and not layer.tensor.scheme for layer in layers):
        notes.append("Some of its weights are integers without a scale.")
    return Contents(
        format=FORMAT.name,
        tensors=tuple(
            state.applied(layer.tensor, name)
            for layer, name, state in zip(layers, names, states, strict=True)
        ),
        skipped=tuple(
            Skipped(shortened(label), why if isinstance(why, str) else
                    f"shares the weights of layer {owners[why.identity]!r}")
            for label, why in skipped
        ),
        producer=model.producer,
        notes=tuple(notes),
        statements=statements_of(model),
    )  # fmt: skip


def statements_of(model: Model) -> tuple[Statement, ...]:
    """What the model's own metadata says, else its description; a damaged record says nothing."""
    record = model.metadata.get("TFLITE_METADATA", 0)
    content = model.buffers[record] if 0 < record < len(model.buffers) else np.empty(0, np.uint8)
    pairs: list[tuple[str, str]] = []
    if content[4:8].tobytes() == b"M001":
        with suppress(CorruptFileError, LimitError):
            root = Flatbuffer(content).root
            pairs += [("description", root.text(1)), ("license", root.text(5))]
    if not CONVERTED.fullmatch(model.description):
        pairs.append(("description", model.description))
    return statements_in(pairs, "metadata of the file")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution operator with its filter in the one layout."""

    tensor: Tensor
    identity: Hashable
    finding: Finding

    @property
    def name(self) -> str:
        """Name of the filter, which need not be unique."""
        return self.tensor.name


def convolutions(wired: Wired) -> tuple[list[Layer], list[tuple[str, str | Layer]]]:
    """Every convolution: a layer, or its label with the reason, or the layer of its weights."""
    depths = measure_depths(wired.graph).depths
    around = surroundings(wired)
    layers: dict[Hashable, Layer] = {}
    skipped: list[tuple[str, str | Layer]] = []
    for i in sorted(wired.operators, key=lambda i: (depths[i], i)):
        operator = wired.operators[i]
        if "CONV" not in operator.op.upper():
            continue
        label = wired.graph.nodes[i].name or operator.op
        try:
            layer = as_layer(wired, i, around, depths[i])
        except NotReadError as error:
            skipped.append((label, str(error)))
            continue
        except ReadError as error:
            raise error.at(layer=shortened(label)) from error.__cause__
        known = layers.setdefault(layer.identity, layer)
        if known is not layer:
            skipped.append((label, known))
    return list(layers.values()), skipped


def as_layer(wired: Wired, index: int, around: Surroundings, depth: int) -> Layer:
    """A convolution operator as a layer.

    Raises
    ------
    NotReadError
        It is none that can be analysed, and why.
    """
    operator, node = wired.operators[index], wired.graph.nodes[index]
    if operator.op in {"CONV_3D", "CONV_3D_TRANSPOSE"}:
        msg = "a 3-D convolution; only 2-D convolutions are analysed"
        raise NotReadError(msg)
    known = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}
    transposed = operator.op in {"TRANSPOSE_CONV", "Convolution2DTransposeBias"}
    if operator.op not in known and not (operator.custom and transposed):
        msg = f"the layout of weights in the operator {shortened(operator.op)} is not known"
        raise NotReadError(msg)
    weight = node.inputs[WEIGHT] if len(node.inputs) > WEIGHT else None
    if weight is None:
        msg = "it has no weight"
        raise NotReadError(msg)
    origin = wired.origin(weight)
    info, stored = origin.info, origin.shape
    if len(stored) != 4:
        msg = f"{len(stored)}-D weight: no 2-D convolution"
        raise NotReadError(msg)
    depthwise = operator.op == "DEPTHWISE_CONV_2D"
    axes = DEPTHWISE if depthwise else OUT_FIRST
    load = origin.loader(wired.model)
    shape = tuple(stored[axis] for axis in axes)
    if depthwise and shape[1] != 1:
        msg = f"its filter of shape {stored} is not (1, height, width, out)"
        raise NotReadError(msg)
    groups = 1 if transposed else groups_of(wired, index, shape, depthwise=depthwise)
    conv = convolution_of(operator, groups, wired.blocks(node), transposed=transposed)
    tensor = Tensor(
        filter_name(info.name or wired.infos[weight].name),
        shape,
        str(info.dtype),
        partial(load_weight, load, axes),
        replace(conv, depth=depth),
        scheme_of(info),
    )
    rule = info.quantisation.rule if info.quantisation else None
    stored_as = (info.buffer, info.type, info.shape, rule, origin.turns)
    identity = (operator.op, groups, stored_as)
    return Layer(tensor, identity, finding_of(wired, index, shape[0], around))


def groups_of(wired: Wired, index: int, shape: tuple[int, ...], *, depthwise: bool) -> int | None:
    """Groups of a convolution, from its input's channels; None where they are not known."""
    out, into, _, _ = shape
    data = wired.graph.nodes[index].inputs[0]
    known = wired.infos[data].shape if data is not None else ()
    channels = known[-1] if len(known) == 4 else 0
    if depthwise:
        multiplier = wired.operators[index].option(3)
        if channels < 1 or out % channels:
            channels = out // multiplier if multiplier > 0 and out % multiplier == 0 else 0
        return channels or None
    if into < 1 or channels < into:  # an unknown number of channels is written as 1
        return None
    groups, rest = divmod(channels, into)
    if rest or out % groups:
        msg = f"its filter of shape {shape} does not fit the {channels} channels of its input"
        raise NotReadError(msg)
    return groups


def convolution_of(
    operator: Operator, groups: int | None, blocks: tuple[int, ...], *, transposed: bool
) -> Convolution:
    """What the operator's options say; those of custom operators are not followed."""
    if operator.custom:
        return Convolution(groups, transposed)
    height, width = (operator.option(number) for number in (2, 1))
    first = 5 if operator.op == "DEPTHWISE_CONV_2D" else 4
    down, across = (operator.option(first + i, default=1) for i in (1, 0))
    if len(blocks) == 2:
        down, across = blocks
    dilation = (1, 1) if transposed else pair(down, across)
    return Convolution(groups, transposed, stride=pair(height, width), dilation=dilation)


def pair(height: int, width: int) -> tuple[int, int] | None:
    """A stride or dilation; None where it is impossible."""
    possible = 0 < height <= LARGEST_STEP and 0 < width <= LARGEST_STEP
    return (height, width) if possible else None


def load_weight(load: Loader, axes: tuple[int, int, int, int]) -> NDArray[Any]:
    """Load and bring into the order ``(C_out, C_in/groups, kh, kw)``."""
    return np.transpose(load(), axes)


def surroundings(wired: Wired) -> Surroundings:
    """The graph as the search for norms sees it."""
    users: dict[int, list[Step]] = {}
    for node in wired.graph.nodes:
        output = next((value for value in node.outputs if value is not None), None)
        inputs = tuple(value for value in node.inputs if value is not None)
        if output is None:
            continue
        step = Step(ROLES.get(node.op, "other"), inputs, output)
        for value in set(inputs):
            users.setdefault(value, []).append(step)

    def constant(value: int) -> Constant | None:
        try:
            origin = wired.origin(value)
            return Constant(origin.info.name, origin.shape, origin.loader(wired.model))
        except (NotReadError, ReadError):
            return None

    begin, ends = 0, set()
    for subgraph in wired.model.subgraphs:
        ends |= {begin + index for index in subgraph.outputs}
        begin += len(subgraph.tensors)
    return Surroundings(users, ends, constant)


def finding_of(wired: Wired, index: int, channels: int, around: Surroundings) -> Finding:
    """The norm behind a convolution, or what its names keep of one that was folded in."""
    node = wired.graph.nodes[index]
    bias = 3 if wired.operators[index].op == "TRANSPOSE_CONV" else 2
    names = [
        (what, constant.name)
        for what, number in (("bias", bias), ("filter", WEIGHT))
        for value in node.inputs[number : number + 1]
        if value is not None and len(around.users.get(value, ())) == 1
        if (constant := around.constant(value)) is not None
    ]
    output = node.outputs[0] if node.outputs else None
    following = around.norm_behind(output, channels) if output is not None else Following(None)
    named = FUSED.search(node.name) is not None
    added = around.added_to(output, channels) if output is not None else ()
    biases = [value for value in node.inputs[bias : bias + 1] if value is not None]
    shifted = bool(added) or any(not wired.is_zero(value) for value in biases)
    return Finding(following, claims_of(names), named, shifted)


def filter_name(name: str) -> str:
    """The part of a joined name that is the convolution's own, without the marks of reading it."""
    parts = [part for part in name.split(";") if part]
    own = next((part for part in parts if OPERATION.search(part)), None)
    if own is None and len(name) > MAX_NAME and parts:
        own = parts[0]
    return own or name
