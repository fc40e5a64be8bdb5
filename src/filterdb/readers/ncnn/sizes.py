"""What each layer of ncnn takes from the ``.bin``, in order: without it the rest has no place.

A part is a number of elements, tagged (four bytes say how they are stored) or plain float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from filterdb.readers.ncnn.param import TYPES, Layer


@dataclass(frozen=True, slots=True)
class Part:
    """A run of elements."""

    name: str
    count: int
    tagged: bool = False


Sizes = Callable[[Layer], list[Part]]
DEPTHWISE = "DepthWise"
UNKNOWN_QUANTISATION = 400
"""From this term on, weights of several bits lie in blocks."""


def plain(*counts: tuple[str, int]) -> list[Part]:
    """Parts of plain float32; those of no element are left out."""
    return [Part(name, count) for name, count in counts if count]


def convolution(layer: Layer) -> list[Part]:
    """Weight, bias and, in int8, the scales of weights, input and output."""
    deconvolution = layer.type.startswith("Deconvolution")
    if layer.integer(28 if deconvolution else 19):  # dynamic: the weight is computed
        return []
    out, groups = layer.integer(0), layer.integer(7, 1)
    parts = [Part("weight", layer.integer(6), tagged=True)]
    parts += plain(("bias", out if layer.integer(5) else 0))
    term = 0 if deconvolution else layer.integer(8)
    if term:
        scales = out
        if DEPTHWISE in layer.type:
            scales = groups if term in (1, 101) else 1
        parts += plain(("scales", scales), ("input scale", 1), ("output scale", int(term > 100)))
    return parts


def inner_product(layer: Layer) -> list[Part]:
    """Weight, bias, and in int8 scales."""
    out = layer.integer(0)
    parts = [Part("weight", layer.integer(2), tagged=True)]
    parts += plain(("bias", out if layer.integer(1) else 0))
    return parts + (plain(("scales", out), ("input scale", 1)) if layer.integer(8) else [])


def embed(layer: Layer) -> list[Part]:
    """A table, a bias, and in int8 a scale."""
    parts = [Part("weight", layer.integer(3), tagged=True)]
    parts += plain(("bias", layer.integer(0) if layer.integer(2) else 0))
    return parts + (plain(("scale", 1)) if layer.integer(18) else [])


def scale(layer: Layer) -> list[Part]:
    """Factors and shifts, unless the factors come as an input."""
    count = layer.integer(0)
    if count == -233:
        return []
    return plain(("scale", count), ("bias", count if layer.integer(1) else 0))


def memory_data(layer: Layer) -> list[Part]:
    """A constant of up to four extents."""
    count = 1
    for key in (0, 1, 11, 2):
        count *= layer.integer(key) or 1
    return [Part("data", count, tagged=layer.integer(21, 1) == 0)]


def recurrent(gates: int, biases: int) -> Sizes:
    """An LSTM (4 gates), a GRU (3, with 4 biases) or a plain recurrent layer (1)."""

    def parts(layer: Layer) -> list[Part]:
        out, directions = layer.integer(0), 2 if layer.integer(2) == 2 else 1
        hidden = layer.integer(3, out) if gates == 4 else out
        own = layer.integer(1)
        found = [
            Part("input weights", own, tagged=True),
            Part("bias", hidden * biases * directions, tagged=True),
            Part("hidden weights", out * hidden * gates * directions, tagged=True),
        ]
        if out != hidden:
            found.append(Part("projection", hidden * out * directions, tagged=True))
        if layer.integer(8):
            found += plain(*[("scales", hidden * gates * directions)] * 2)
        return found

    return parts


def attention(layer: Layer) -> list[Part]:
    """Weights and biases of query, key, value and output, and in int8 their scales."""
    size = layer.integer(0)
    own = layer.integer(2)
    into = own // size if size else 0
    weights = (own, size * layer.integer(3, size), size * layer.integer(4, size), into * size)
    parts = []
    for count, bias in zip(weights, (size, size, size, into), strict=True):
        parts += [Part("weight", count, tagged=True), *plain(("bias", bias))]
    return parts + (plain(*[("scales", size)] * 3, ("scale", 1)) if layer.integer(18) else [])


def product(layer: Layer) -> list[Part]:
    """Those of the three matrices that are constant, and in int8 their scales."""
    m, n, k = (layer.integer(key) for key in (7, 8, 9))
    shift = {0: 1, 1: m, 2: m, 3: m * n, 4: n}.get(layer.integer(10), 0)
    sizes = ((4, m * k), (5, n * k), (6, shift))
    parts = [Part("matrix", count, tagged=True) for key, count in sizes if layer.integer(key) == 1]
    parts = [part for part in parts if part.count]
    if layer.integer(18):
        parts += plain(("scales", m if layer.integer(4) == 1 else 0))
        parts += plain(("scale", int(layer.integer(5) == 1)))
    return parts


def affine(key: int) -> Sizes:
    """Factors and shifts of a normalisation whose size stands under ``key``, unless 2 or 3 is 0."""
    switch = 3 if key == 1 else 2

    def parts(layer: Layer) -> list[Part]:
        count = layer.integer(key) if layer.integer(switch, 1) else 0
        return plain(("scale", count), ("bias", count))

    return parts


WITH_WEIGHTS: dict[str, Sizes] = {
    "BatchNorm": lambda layer: plain(
        *[(name, layer.integer(0)) for name in ("slope", "mean", "variance", "bias")]
    ),
    "Bias": lambda layer: plain(("bias", layer.integer(0))),
    "DeformableConv2D": convolution,
    "Embed": embed,
    "InnerProduct": inner_product,
    "Scale": scale,
    "MemoryData": memory_data,
    "PReLU": lambda layer: plain(("slope", layer.integer(0))),
    "Normalize": lambda layer: plain(("scale", layer.integer(3))),
    "Padding": lambda layer: plain(("values", layer.integer(6))),
    "Quantize": lambda layer: plain(("scale", layer.integer(0, 1))),
    "Dequantize": lambda layer: plain(("scale", layer.integer(0, 1)), ("bias", layer.integer(1))),
    "Requantize": lambda layer: plain(
        ("scale in", layer.integer(0, 1)), ("scale out", layer.integer(1, 1)),
        ("bias", layer.integer(2)),
    ),
    "RNN": recurrent(1, 1),
    "GRU": recurrent(3, 4),
    "LSTM": recurrent(4, 4),
    "MultiHeadAttention": attention,
    "Gemm": product,
    "GroupNorm": affine(1),
    "InstanceNorm": affine(0),
    "LayerNorm": affine(0),
    "RMSNorm": lambda layer: plain(("scale", layer.integer(0) if layer.integer(2, 1) else 0)),
    **{
        f"{kind}{depthwise}{rank}": convolution
        for kind in ("Convolution", "Deconvolution")
        for depthwise in ("", DEPTHWISE)
        for rank in ("", "1D", "3D")
    },
}  # fmt: skip


def parts_of(layer: Layer) -> list[Part] | str:
    """What a layer takes from the ``.bin``, or why that is not known."""
    sizes = WITH_WEIGHTS.get(layer.type)
    if sizes is None:
        known = layer.type in TYPES
        return [] if known else f"how much a layer of type {layer.type:.60} takes is not known"
    if max(layer.integer(8), layer.integer(18)) >= UNKNOWN_QUANTISATION and layer.type in (
        "InnerProduct", "Gemm", "MultiHeadAttention", "Embed", "LSTM", "GRU", "RNN"
    ):  # fmt: skip
        return f"the layer {layer.name:.60} has weights in blocks of a few bits, which are not read"
    parts = sizes(layer)
    if any(part.count < 0 or part.count >= 2**40 for part in parts):
        return f"the layer {layer.name:.60} has an impossible size"
    return parts
