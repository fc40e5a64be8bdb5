"""The OpenVINO reader: the convolutions of an IR of version 10 or 11, in the order of the graph."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import LimitError, ReadError, UnsupportedFormatError
from filterdb.layer import Contents, Convolution, Loader, Norm, Skipped, Tensor
from filterdb.readers.companion import beside
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layer_graph import LayerGraph, State, unique, weight_states
from filterdb.readers.layout import transposed_to_out_first
from filterdb.readers.limits import check_expansion, shortened
from filterdb.readers.mapping import map_file
from filterdb.readers.openvino.constants import (
    Constant,
    Constants,
    NotConstantError,
    natural,
    try_value,
)
from filterdb.readers.openvino.document import Document, Layer, read_document
from filterdb.readers.recognise.plain_text import is_openvino, text_of
from filterdb.readers.recognise.signatures import glance

FORMAT = Format(
    "openvino",
    "OpenVINO network (xml and bin)",
    (".xml", ".bin"),
    reads=(
        "IR 10 and 11; compressed and quantised constants; norms and depth from the graph; either "
        "of the two files may be given"
    ),
)

MAX_XML = 2**26
"""Bytes of the XML; real ones have some million."""
VERSIONS = ("10", "11")
TRANSPOSED = frozenset({"ConvolutionBackpropData", "GroupConvolutionBackpropData"})
GROUPED = frozenset({"GroupConvolution", "GroupConvolutionBackpropData"})
RESULT = "result"
DEFORMABLE = "DeformableConvolution"
CONVOLVES = re.compile(r"conv(?!ert)", re.IGNORECASE)
CONVOLUTIONS = TRANSPOSED | GROUPED | {"Convolution", DEFORMABLE}


def matches(head: Head) -> bool:
    """The XML of a network, or a binary file beside one."""
    return is_openvino(head) or main_file(head) is not None


def main_file(head: Head) -> Path | None:
    """The XML that a binary file belongs to; None for any other file."""
    if head.is_folder or head.path.suffix != ".bin" or text_of(head) is not None:
        return None
    other = beside(head.path, ".xml")
    return other if other is not None and is_openvino(glance(other)) else None


def read(head: Head) -> Contents:
    """Follow the graph; a weight's values are read when they are asked for.

    Raises
    ------
    ReadError
        One of the two files is missing, or the version is not read.
    CorruptFileError
        One is damaged, or they do not belong together.
    """
    given = main_file(head)
    binary = head.path if given is not None else beside(head.path, ".bin")
    graph = given or head.path
    content = map_file(graph)
    if len(content) > MAX_XML:
        msg = f"Its XML has {len(content):,} bytes, as no network has: it was not read."
        raise LimitError(msg)
    document = read_document(content.tobytes())
    if document.version not in VERSIONS:
        msg = (
            f"This is an OpenVINO network of version {document.version or 'unknown':.20}; versions "
            "10 and 11 are read. Ask for the file that it was made from, usually an ONNX file."
        )
        raise UnsupportedFormatError(msg)
    if binary is None:
        msg = (
            "This is the graph of an OpenVINO network; its weights are missing. Put the .bin file "
            "of the same name beside it."
        )
        raise ReadError(msg)
    constants = Constants(document, map_file(binary))
    tensors, skipped = convolutions(document, constants)
    producer = f"openvino {document.producer:.40}".strip()
    notes = (f"OpenVINO intermediate representation of version {document.version}.",)
    companion = binary if binary != head.path else graph
    return Contents("openvino", tensors, skipped, producer, notes, (companion,))


@dataclass(frozen=True, slots=True)
class Found:
    """A convolution with its weight, output channels first."""

    index: int
    weight: Constant
    groups: int


def convolutions(
    document: Document, constants: Constants
) -> tuple[tuple[Tensor, ...], tuple[Skipped, ...]]:
    """Every convolution as a tensor, or with the reason why not."""
    layers = document.layers
    graph = build(document, constants)
    depths = graph.depths()
    names = unique(layer.name for layer in layers)
    found: list[Found] = []
    skipped: list[Skipped] = []
    owners: dict[tuple[int, str], int] = {}
    places = [i for i, layer in enumerate(layers) if CONVOLVES.search(layer.type)]
    for index in sorted(places, key=lambda i: (depths[i], i)):
        try:
            item = as_found(index, layers[index], constants)
        except NotConstantError as error:
            skipped.append(Skipped(names[index], str(error)))
            continue
        owner = owners.setdefault(item.weight.root, index)
        if owner != index:
            reason = f"shares the weights of layer {shortened(names[owner])!r}"
            skipped.append(Skipped(names[index], reason))
        else:
            found.append(item)
    wanted = sum(4 * prod(item.weight.shape) for item in found)
    check_expansion(wanted, len(constants.data), "The sum of its weights")
    states = states_of(layers, graph, constants, found)
    tensors = tuple(
        as_tensor(names[item.index], layers[item.index], item, depths[item.index], states)
        for item in found
    )
    return tensors, tuple(skipped)


def build(document: Document, constants: Constants) -> LayerGraph:
    """The graph; a body of a loop lies between what its holder reads and what it writes."""
    graph = LayerGraph(sources=["Parameter", "Const", "Result"])
    results: dict[int, list[str]] = {}
    for layer in document.layers:
        graph.declare(f"{layer.net} {layer.id} {port}" for port in outputs_of(layer))
        if layer.holder is not None and layer.type == "Result":
            results.setdefault(layer.holder, []).append(f"{layer.net} {layer.id} {RESULT}")
    for index, layer in enumerate(document.layers):
        inputs = [*sources(document, constants, layer), *results.get(index, ())]
        if layer.type == "Parameter" and layer.holder is not None:
            inputs = sources(document, constants, document.layers[layer.holder])
        # Of a constant the value stays without a layer: it is no input of the network.
        outputs = () if layer.type == "Const" else outputs_of(layer)
        written = [f"{layer.net} {layer.id} {port}" for port in outputs]
        graph.add(layer.type, layer.name, inputs, written)
    return graph


def outputs_of(layer: Layer) -> list[str]:
    """The ports by which values leave a layer; a Result hands on what it gets."""
    return [RESULT] if layer.type == "Result" else list(layer.outputs)


def sources(document: Document, constants: Constants, layer: Layer) -> list[str]:
    """The values that a layer reads."""
    found = (document.edges.get((layer.net, layer.id, port)) for port in layer.inputs)
    return [
        f"{source[0]} {source[1]} {source[2]}"
        for source in found
        if source is not None and source[:2] in constants.places
    ]


def weight_position(layer: Layer) -> int:
    """Which input is the weight."""
    return 2 if layer.type == DEFORMABLE else 1


def as_found(index: int, layer: Layer, constants: Constants) -> Found:
    """A convolution with its weight.

    Raises
    ------
    NotConstantError
        It is none that can be analysed, and why.
    """
    if layer.type not in CONVOLUTIONS:
        msg = f"the layout of weights in a layer of type {layer.type:.60} is not known"
        raise NotConstantError(msg)
    weight = constants.value(constants.feeding(layer, weight_position(layer)))
    grouped = layer.type in GROUPED
    rank = len(weight.shape) - grouped
    if rank != 4:
        msg = f"{rank}-D weight: only 2-D convolutions are analysed"
        raise NotConstantError(msg)
    if 0 in weight.shape:
        msg = f"empty weight of shape {weight.shape}"
        raise NotConstantError(msg)
    groups = weight.shape[0] if grouped else 1
    if layer.type == DEFORMABLE:
        groups = max(natural(layer.data.get("group", "1")), 1)
    into, out, *kernel = weight.shape[grouped:]
    if layer.type not in TRANSPOSED:
        into, out = out, into
    shape = (groups * out if grouped else out, into, *kernel)
    turned = layer.type in TRANSPOSED
    load = partial(load_weight, weight.load, groups if grouped else 1, transposed=turned)
    return Found(index, replace(weight, shape=shape, load=load), groups)


def load_weight(load: Loader, groups: int, *, transposed: bool) -> NDArray[Any]:
    """Load a weight, its groups joined, output channels first."""
    weight = load()
    if weight.ndim == 5:
        weight = weight.reshape(-1, *weight.shape[2:])
    return transposed_to_out_first(weight, groups) if transposed else weight


def as_tensor(name: str, layer: Layer, item: Found, depth: int, states: dict[int, State]) -> Tensor:
    """The weight of a convolution as a tensor."""
    state = states[item.index]
    conv = Convolution(
        groups=item.groups,
        transposed=layer.type in TRANSPOSED,
        stride=pair(layer.data.get("strides", "")),
        dilation=pair(layer.data.get("dilations", "")),
        depth=depth,
        state=state[0],
        evidence=state[1],
        norm=state[2],
    )
    weight = item.weight
    return Tensor(name, weight.shape, weight.dtype, weight.load, conv, weight.scheme)


def pair(text: str) -> tuple[int, int] | None:
    """Height and width, None where there are not two."""
    values = [natural(word) for word in text.split(",")]
    return (values[0], values[1]) if len(values) == 2 and min(values) >= 0 else None


def states_of(
    layers: list[Layer], graph: LayerGraph, constants: Constants, found: list[Found]
) -> dict[int, State]:
    """Whether each convolution is followed by a normalisation, or a factor for each channel."""
    followers = graph.followers()
    following = {item.index: followers.of(item.index) for item in found}
    norms: dict[int, Norm | str] = {}
    biased = []
    for item in found:
        for user in following[item.index]:
            norm = norm_of(layers[user], constants, item.weight.shape[0])
            if norm is not None:
                norms[user] = norm
        biased += [
            item.index for user in following[item.index] if layers[user].type in ("Add", "Subtract")
        ]
    return weight_states(following, norms, biased=biased)


def norm_of(layer: Layer, constants: Constants, channels: int) -> Norm | str | None:
    """The normalisation that a layer is, for so many channels."""
    if layer.type == "BatchNormInference":
        parts = [try_value(constants, constants.feeding(layer, i)) for i in range(5)]
        # Version 1 has gamma and beta before the data.
        parts = parts[1:] if parts[0] is None else [parts[0], parts[1], *parts[3:]]
        gamma, _, _, variance = parts
        if gamma is None or variance is None or {gamma.shape, variance.shape} != {(channels,)}:
            return layer.name
        return Norm(layer.name, partial(norm_scale, gamma, variance, epsilon_of(layer)))
    if layer.type == "Multiply":
        for position in (0, 1):
            factors = try_value(constants, constants.feeding(layer, position))
            if factors is not None and factors.shape in ((channels, 1, 1), (1, channels, 1, 1)):
                return Norm(f"{layer.name} (a scale alone)", partial(plain_scale, factors))
    return None


def epsilon_of(layer: Layer) -> float:
    """Of a normalisation."""
    try:
        return float(layer.data.get("epsilon", layer.data.get("eps", "0")))
    except ValueError:
        return 0.0


def norm_scale(gamma: Constant, variance: Constant, epsilon: float) -> NDArray[np.float64]:
    """``gamma / sqrt(variance + epsilon)``."""
    with np.errstate(all="ignore"):
        scale: NDArray[np.float64] = gamma.load().astype(np.float64) / np.sqrt(
            variance.load().astype(np.float64) + epsilon
        )
    return scale


def plain_scale(factors: Constant) -> NDArray[np.float64]:
    """The factors of the channels."""
    return factors.load().astype(np.float64).reshape(-1)
