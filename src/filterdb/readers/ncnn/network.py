"""The ncnn reader: the graph in ``.param`` or ``.param.bin``, and the weights in ``.bin``.

Either of the two files leads to the pair; the ``.bin`` is nothing but numbers without the other.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ReadError
from filterdb.layer import Contents, Convolution, Norm, Skipped, Tensor
from filterdb.readers.companion import beside, read_text_file
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layer_graph import LayerGraph, State, unique, weight_states
from filterdb.readers.mapping import map_file
from filterdb.readers.ncnn.param import BINARY_MAGIC, MAGIC, Layer, read_binary, read_text
from filterdb.readers.ncnn.sizes import parts_of
from filterdb.readers.ncnn.weights import Run, Stream
from filterdb.readers.recognise.plain_text import text_of
from filterdb.readers.recognise.signatures import glance

FORMAT = Format(
    "ncnn",
    "ncnn network (param and bin)",
    (".param", ".bin", ".param.bin"),
    reads=(
        "float32, float16, int8 and lookup tables; depth from the graph; either of the two files "
        "may be given"
    ),
)

ORDINARY = frozenset({"Convolution", "ConvolutionDepthWise", "DeformableConv2D"})
TRANSPOSED = frozenset({"Deconvolution", "DeconvolutionDepthWise"})
CONVOLUTIONS = ORDINARY | TRANSPOSED
MAX_PARAM = 10_000_000
"""Bytes of a ``.param``; real ones have some 10,000."""


def matches(head: Head) -> bool:
    """The magic number of a ``.param``, or a binary file beside one."""
    return is_param(head) or main_file(head) is not None


def is_param(head: Head) -> bool:
    """The magic number of a ``.param``, as text or as four bytes."""
    return head.start.startswith(BINARY_MAGIC) or head.start.split(b"\n", 1)[0].strip() == (
        b"%d" % MAGIC
    )


def main_file(head: Head) -> Path | None:
    """The ``.param`` that a file of weights belongs to; None for any other file."""
    if head.is_folder or head.path.suffix != ".bin" or is_param(head) or text_of(head) is not None:
        return None
    for suffix in (".param", ".param.bin"):
        other = beside(head.path, suffix)
        if other is not None and is_param(glance(other)):
            return other
    return None


def read(head: Head) -> Contents:
    """Follow the graph and find the place of each layer's weights.

    Raises
    ------
    ReadError
        One of the two files is missing.
    CorruptFileError
        One is damaged, or they do not belong together.
    """
    given = main_file(head)
    if given is None:
        given = head.path
        stem = given.with_suffix("") if given.name.endswith(".param.bin") else given
        weights = beside(stem, ".bin")
    else:
        weights = head.path
    if weights is None:
        msg = (
            "This is the graph of an ncnn network; its weights are missing. Put the .bin file of "
            "the same name beside it."
        )
        raise ReadError(msg)
    stream = Stream(map_file(weights))
    if Head.of(given).start.startswith(BINARY_MAGIC):
        layers = read_binary(map_file(given)[:MAX_PARAM].tobytes())
    else:
        layers = read_text(read_text_file(given, MAX_PARAM))
    runs, broken = find_runs(layers, stream)
    tensors, skipped = convolutions(layers, runs, broken)
    companion = weights if head.path != weights else given
    return Contents("ncnn", tensors, skipped, producer="ncnn", companions=(companion,))


def find_runs(layers: list[Layer], stream: Stream) -> tuple[dict[int, dict[str, Run]], str]:
    """What each layer takes, up to the first whose size is not known; and why not further."""
    runs: dict[int, dict[str, Run]] = {}
    for index, layer in enumerate(layers):
        parts = parts_of(layer)
        if isinstance(parts, str):
            return runs, parts
        if parts:
            try:
                runs[index] = stream.take(parts)
            except ReadError as error:
                raise error.at(layer=layer.name[:100]) from error.__cause__
    if stream.position < len(stream.data):
        rest = len(stream.data) - stream.position
        msg = (
            f"The .bin file has {rest:,} bytes more than the layers of the .param take: the two "
            "do not belong together. Download or copy both files again."
        )
        raise ReadError(msg)
    return runs, ""


def convolutions(
    layers: list[Layer], runs: dict[int, dict[str, Run]], broken: str
) -> tuple[tuple[Tensor, ...], tuple[Skipped, ...]]:
    """Every convolution as a tensor, or with the reason why not, in the order of the graph."""
    graph = LayerGraph(sources=["Input"], transparent=["Split", "Dropout", "Noop"])
    for layer in layers:
        graph.add(layer.type, layer.name, layer.bottoms, layer.tops)
    depths = graph.depths()
    states = states_of(layers, runs, graph)
    names = unique(layer.name for layer in layers)
    found: list[tuple[int, Tensor]] = []
    skipped: list[Skipped] = []
    for index, layer in enumerate(layers):
        if layer.type == "InnerProduct" and index in runs:
            skipped.append(Skipped(names[index], "a layer of type InnerProduct, without filters"))
        if "onvolution" not in layer.type and layer.type not in CONVOLUTIONS:
            continue
        reason = why_not(layer, runs.get(index), broken)
        if reason is None:
            conv = describe(layer, depths[index], states[index])
            found.append((depths[index], as_tensor(names[index], layer, runs[index], conv)))
        else:
            skipped.append(Skipped(names[index], reason))
    found.sort(key=lambda item: item[0])
    return tuple(tensor for _, tensor in found), tuple(skipped)


def groups_of(layer: Layer) -> int:
    """Number of groups."""
    return layer.integer(7, 1) if "DepthWise" in layer.type else 1


def shape_of(layer: Layer) -> tuple[int, int, int, int] | None:
    """The shape of a convolution's weight, which the file has output channels first."""
    out, width = layer.integer(0), layer.integer(1)
    height = layer.integer(11, width)
    rest = out * height * width
    if min(out, height, width) < 1 or layer.integer(6) < 1 or layer.integer(6) % rest:
        return None
    return out, layer.integer(6) // rest, height, width


def why_not(layer: Layer, runs: dict[str, Run] | None, broken: str) -> str | None:
    """Why a convolution is not analysed."""
    if layer.type not in CONVOLUTIONS:
        return f"a layer of type {layer.type:.60}: only 2-D convolutions are analysed"
    if runs is None:
        return f"its place in the file is unknown: {broken}" if broken else "it has no weights"
    shape = shape_of(layer)
    groups = groups_of(layer)
    if shape is None or groups < 1 or shape[0] % groups:
        return "its kernel, its channels and its groups do not fit its number of weights"
    if runs["weight"].dtype == "int8" and "scales" not in runs:
        return "its int8 weights have no scales"
    return None


def describe(layer: Layer, depth: int, state: State) -> Convolution:
    """What the graph says of a convolution."""
    strides, dilations = (
        (layer.integer(other, layer.integer(key, 1)), layer.integer(key, 1))
        for key, other in ((3, 13), (2, 12))
    )
    return Convolution(
        groups=groups_of(layer),
        transposed=layer.type in TRANSPOSED,
        stride=strides,
        dilation=dilations,
        depth=depth,
        state=state[0],
        evidence=state[1],
        norm=state[2],
    )


def as_tensor(name: str, layer: Layer, runs: dict[str, Run], conv: Convolution) -> Tensor:
    """The weight of a convolution."""
    shape = shape_of(layer) or (0, 0, 0, 0)  # why_not has looked that it is sound
    weight = runs["weight"]
    dtype, scheme = weight.dtype, ""
    load = partial(load_weight, weight, shape)
    if dtype == "int8":
        scales = runs["scales"]
        scheme = f"per-{'channel' if scales.count > 1 else 'tensor'}, symmetric"
        load = partial(dequantised, weight, scales, shape)
    elif weight.table is not None:
        scheme = "per-tensor, table of 256 values"
    return Tensor(name, shape, dtype, load, conv, scheme)


def load_weight(weight: Run, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of a weight in its shape."""
    return weight.load().reshape(shape)


def dequantised(weight: Run, scales: Run, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """int8 over its scale: one for all, one a group, or one an output channel."""
    factors = np.repeat(scales.load().astype(np.float32), shape[0] // scales.count)
    with np.errstate(all="ignore"):
        values = weight.load().reshape(shape) / factors[:, None, None, None]
    return values.astype(np.float32)


def states_of(
    layers: list[Layer], runs: dict[int, dict[str, Run]], graph: LayerGraph
) -> dict[int, State]:
    """Whether each convolution is followed by a normalisation of its channels."""
    followers = graph.followers()
    places = [i for i, layer in enumerate(layers) if layer.type in CONVOLUTIONS]
    convolutions = {i: followers.of(i) for i in places}
    norms: dict[int, Norm | str] = {}
    for index, users in convolutions.items():
        for user in users:
            found = norm_of(layers[user], runs.get(user, {}), layers[index].integer(0))
            if found is not None:
                norms[user] = found
    biased = [index for index in convolutions if layers[index].integer(5)]
    return weight_states(convolutions, norms, biased=biased)


def norm_of(layer: Layer, runs: dict[str, Run], channels: int) -> Norm | str | None:
    """The normalisation that a layer is; its name where its parameters are not known."""
    if layer.type == "BatchNorm":
        if not runs or runs["slope"].count != channels:
            return layer.name
        return Norm(layer.name, partial(norm_scale, runs, layer.number(1, 0.0)))
    if layer.type == "Scale" and runs and runs["scale"].count == channels:
        return Norm(f"{layer.name} (a scale alone)", partial(plain_scale, runs))
    return None


def norm_scale(runs: dict[str, Run], epsilon: float) -> NDArray[np.float64]:
    """``gamma / sqrt(variance + epsilon)``."""
    slope, variance = (runs[name].load().astype(np.float64) for name in ("slope", "variance"))
    with np.errstate(all="ignore"):
        return slope / np.sqrt(variance + epsilon)


def plain_scale(runs: dict[str, Run]) -> NDArray[np.float64]:
    """The factors of a Scale layer."""
    return runs["scale"].load().astype(np.float64)
