"""The layers of a Core ML neural network (``.mlmodel``), in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Convolution, Loader, Norm, Skipped, Tensor
from filterdb.readers.batch_norm import fused_scale
from filterdb.readers.coreml.weight_params import Weights, load_numbers, read_weights
from filterdb.readers.elements import MAX_DIMENSIONS
from filterdb.readers.layer_graph import LayerGraph, State, weight_states
from filterdb.readers.layout import out_first_shape, transposed_to_out_first
from filterdb.readers.limits import MAX_DEPTH
from filterdb.readers.tensorflow.message import Message

LAYERS = 1
NAME, INPUTS, OUTPUTS = 1, 2, 3
KINDS = {
    100: "convolution", 130: "activation", 160: "batchnorm", 200: "padding", 230: "add",
    245: "scale", 600: "copy", 605: "branch", 615: "loop", 1471: "convolution3d",
}  # fmt: skip
"""What a layer is stands in the number of the field that holds its parameters."""
FIRST_KIND = 100
BODIES = {"branch": (1, 2), "loop": (3, 4)}
LARGEST_STEP = 10_000
EPSILON = 1e-5
"""Of the schema, where a layer says none."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: its kind and the message with its parameters."""

    name: str
    kind: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    settings: Message


@dataclass(frozen=True, slots=True)
class Found:
    """The convolutions of one network, and how deep it is."""

    tensors: list[Tensor]
    skipped: list[Skipped]
    depth: int


def read_network(network: Message) -> Found:
    """Find the convolutions of a network, their weights, norms and depth.

    Raises
    ------
    CorruptFileError
        The message is damaged, or a weight contradicts its shape.
    LimitError
        It has more layers than any network, or they are nested without end.
    """
    layers = list(layers_of(network, 0))
    graph = LayerGraph(transparent=("copy",))
    for layer in layers:
        graph.add(layer.kind, layer.name, layer.inputs, layer.outputs)
    depths, followers = graph.depths(), graph.followers()
    convolutions = {i: followers.of(i) for i, item in enumerate(layers) if is_convolution(item)}
    norms = norms_behind(layers, convolutions)
    states = weight_states(
        convolutions, norms, biased=[i for i in convolutions if layers[i].settings.integer(70)]
    )
    tensors, skipped = [], []
    for i, layer in enumerate(layers):
        if layer.kind == "convolution3d":
            reason = "a 3-D convolution; only 2-D convolutions are analysed"
            skipped.append(Skipped(layer.name, reason))
        elif i in convolutions:
            conv = settings_of(layer, depths[i])
            weights = weights_of(layer, conv)
            if isinstance(weights, str):
                skipped.append(Skipped(layer.name, weights))
                continue
            tensors.append(as_tensor(layer.name, weights, conv, states[i]))
    tensors.sort(key=lambda tensor: tensor.conv.depth or 0 if tensor.conv else 0)
    return Found(tensors, skipped, max(depths, default=0))


def layers_of(network: Message, nesting: int) -> Iterator[Layer]:
    """The layers, those in the bodies of branches and loops where they stand."""
    if nesting > MAX_DEPTH:
        msg = f"Its branches and loops are more than {MAX_DEPTH} deep: not followed."
        raise LimitError(msg)
    for message in network.messages(LAYERS):
        number = next((n for n in reversed(message.fields) if n >= FIRST_KIND), 0)
        kind = KINDS.get(number, f"kind {number}")
        settings = message.message(number)
        name, inputs, outputs = message.text(NAME), message.texts(INPUTS), message.texts(OUTPUTS)
        yield Layer(name or kind, kind, inputs, outputs, settings)
        for body in BODIES.get(kind, ()):
            for inner in settings.messages(body):
                yield from layers_of(inner, nesting + 1)


def is_convolution(layer: Layer) -> bool:
    """A 2-D convolution, transposed or not."""
    return layer.kind == "convolution"


def settings_of(layer: Layer, depth: int) -> Convolution:
    """What a convolution layer says of itself."""
    settings = layer.settings
    return Convolution(
        groups=settings.integer(10) or 1,
        transposed=bool(settings.integer(60)),
        stride=pair(settings.integers(30)),
        dilation=pair(settings.integers(40)),
        depth=depth,
    )


def weights_of(layer: Layer, conv: Convolution) -> Weights | str:
    """The weights as the file has them, or why they are not analysed."""
    settings, groups = layer.settings, conv.groups or 1
    out, into = settings.integer(1), settings.integer(2)
    kernel = settings.integers(20) or [3, 3]
    extents = (out, into, *kernel)
    if len(extents) > MAX_DIMENSIONS or not all(0 < n < 2**31 for n in (groups, *extents)):
        msg = f"Its shape {extents!s:.200} in {groups} groups is impossible: the file is damaged."
        raise CorruptFileError(msg).at(layer=layer.name)
    if len(kernel) != 2:
        return f"a convolution in {len(kernel)} dimensions; only 2-D convolutions are analysed"
    if out % groups or (conv.transposed and into % groups):
        return f"its {groups} groups do not fit its shape {extents}"
    shape = (into, out // groups, *kernel) if conv.transposed else extents
    try:
        found = read_weights(settings.message(90), shape, axis=1 if conv.transposed else 0)
    except CorruptFileError as error:
        raise error.at(layer=layer.name) from error.__cause__
    return found.why_not or found


def as_tensor(name: str, weights: Weights, conv: Convolution, state: State) -> Tensor:
    """The weight of a convolution, output channels first."""
    shape, load, groups = weights.shape, weights.load, conv.groups or 1
    if conv.transposed:
        shape = out_first_shape(shape, groups)
        load = partial(load_transposed, weights.load, groups)
    told, evidence, norm = state
    conv = replace(conv, state=told, evidence=evidence, norm=norm)
    return Tensor(name, shape, weights.dtype, load, conv, weights.scheme)


def load_transposed(load: Loader, groups: int) -> NDArray[Any]:
    """Load the weight of a transposed convolution, output channels first."""
    return transposed_to_out_first(load(), groups)


def norms_behind(
    layers: Sequence[Layer], convolutions: Mapping[int, Sequence[int]]
) -> dict[int, Norm | str]:
    """The normalisations right behind convolutions; by bare name where they do not fit."""
    norms: dict[int, Norm | str] = {}
    for index, users in convolutions.items():
        channels = layers[index].settings.integer(1)
        for user in users:
            layer = layers[user]
            if layer.kind == "batchnorm" and not layer.settings.integer(5):
                fits = layer.settings.integer(1) == channels and norms.get(user) != layer.name
                scale = partial(norm_scale, layer.settings, channels)
                norms[user] = Norm(layer.name, scale) if fits else layer.name
            elif layer.kind == "scale" and prod(layer.settings.integers(1)) == channels > 1:
                scale = partial(load_numbers, layer.settings.message(2), channels)
                norms[user] = Norm(f"{layer.name} (a scale alone)", scale)
    return norms


def norm_scale(settings: Message, channels: int) -> NDArray[np.float64]:
    """``gamma / sqrt(variance + epsilon)`` of a batchnorm layer: float64, shape (channels,)."""
    gamma, variance = (
        partial(load_numbers, settings.message(number), channels) for number in (15, 18)
    )
    return fused_scale(gamma, variance, settings.real(10, EPSILON))


def pair(values: Sequence[int]) -> tuple[int, int] | None:
    """Height and width of a stride or dilation, 1 where the file says nothing."""
    if not values:
        return (1, 1)
    possible = len(values) == 2 and all(0 < value <= LARGEST_STEP for value in values)
    return (values[0], values[1]) if possible else None
