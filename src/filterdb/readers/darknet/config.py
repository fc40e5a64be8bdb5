"""A darknet ``.cfg``: sections with options, and the shapes that they make of each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from filterdb.errors import CorruptFileError, ReadError
from filterdb.readers.layer_graph import MAX_LAYERS

MAX_EXTENT = 2**31
Shape = tuple[int, int, int]
"""Height, width, channels."""
NAMES = {
    "conv": "convolutional", "deconv": "deconvolutional", "conn": "connected", "max": "maxpool",
    "avg": "avgpool", "lrn": "normalization", "soft": "softmax",
}  # fmt: skip


@dataclass(slots=True)
class Section:
    """A layer with its options.

    Attributes
    ----------
    number
        Its place among the layers.
    inputs
        Numbers of the layers that it reads.
    into, out
        Shape of what it reads and of what it writes.
    """

    type: str
    options: dict[str, str] = field(default_factory=dict)
    number: int = 0
    inputs: list[int] = field(default_factory=list)
    into: Shape = (0, 0, 0)
    out: Shape = (0, 0, 0)

    def integer(self, key: str, default: int = 0) -> int:
        """An integer option, read as C reads it: what follows the digits does not count."""
        found = re.match(r"\s*([+-]?\d{1,12})", self.options.get(key, ""))
        return int(found[1]) if found else default

    def integers(self, key: str) -> list[int]:
        """A list of integers, separated by commas."""
        return [int(word) for word in re.findall(r"[+-]?\d{1,12}", self.options.get(key, ""))]

    @property
    def normalised(self) -> bool:
        """Whether it has a batch normalisation of its own."""
        return self.integer("batch_normalize") != 0

    @property
    def groups(self) -> int:
        """Number of groups."""
        return self.integer("groups", 1)


def read_config(text: str) -> list[Section]:
    """The layers of a ``.cfg``, without the ``[net]`` section, their shapes worked out.

    Raises
    ------
    CorruptFileError
        It has no sound ``[net]`` section, or a layer refers to none.
    ReadError
        It has more layers than any network.
    """
    sections = split(text)
    if not sections or sections[0].type not in ("net", "network"):
        msg = "Its .cfg file does not begin with [net]: it is no configuration of darknet."
        raise CorruptFileError(msg)
    net, *layers = sections
    shape = (net.integer("height"), net.integer("width"), net.integer("channels"))
    if not any(shape):
        shape = (1, 1, net.integer("inputs"))
    for index, layer in enumerate(layers):
        layer.number = index
        layer.inputs = [index - 1] if index else []
        layer.into = layers[index - 1].out if index else shape
        layer.out = OUT.get(layer.type, same)(layer, layers)
        if not all(0 <= extent < MAX_EXTENT for extent in layer.out):
            msg = f"The layer {index} of its .cfg file ([{layer.type:.40}]) has no sound size."
            raise CorruptFileError(msg)
    return layers


def split(text: str) -> list[Section]:
    """The sections of a configuration, comments left out."""
    sections: list[Section] = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            if len(sections) > MAX_LAYERS:
                msg = f"Its .cfg file has more than {MAX_LAYERS:,} layers: not read."
                raise ReadError(msg)
            name = line.strip("[] \t").lower()
            sections.append(Section(NAMES.get(name, name)))
        elif sections and "=" in line:
            key, _, value = line.partition("=")
            sections[-1].options[key.strip()] = value.strip()
    return sections


def same(layer: Section, _: list[Section]) -> Shape:
    """What comes out is as what goes in."""
    return layer.into


def strides_of(layer: Section) -> tuple[int, int]:
    """Per axis (height, width); at least 1."""
    stride = layer.integer("stride", 1)
    along = layer.integer("stride_y", stride), layer.integer("stride_x", stride)
    return max(along[0], 1), max(along[1], 1)


def convolution(layer: Section, _: list[Section]) -> Shape:
    """Stride, padding and the number of filters; transposed where it is."""
    (height, width, _channels), (down, right) = layer.into, strides_of(layer)
    size, filters = layer.integer("size", 1), layer.integer("filters", 1)
    pad = size // 2 if layer.integer("pad") else layer.integer("padding")
    if layer.type == "deconvolutional":
        grown = size - 2 * pad
        return (height - 1) * down + grown, (width - 1) * right + grown, filters
    dilation = max(layer.integer("dilation", 1), 1)
    margin = 2 * pad * dilation - ((size - 1) * dilation + 1)
    return (height + margin) // down + 1, (width + margin) // right + 1, filters


def pooling(layer: Section, _: list[Section]) -> Shape:
    """A window that moves; the padding is half on either side."""
    (height, width, channels), (down, right) = layer.into, strides_of(layer)
    size = layer.integer("size", layer.integer("stride", 1))
    margin = layer.integer("padding", size - 1) - size
    return (height + margin) // down + 1, (width + margin) // right + 1, channels


def route(layer: Section, layers: list[Section]) -> Shape:
    """Layers one behind the other in their channels, or a group of one's channels."""
    layer.inputs = [refer(number, layer.number) for number in layer.integers("layers")]
    if not layer.inputs:
        msg = "A [route] of its .cfg file refers to no layer."
        raise CorruptFileError(msg)
    height, width, _ = layers[layer.inputs[0]].out
    channels = sum(layers[number].out[2] for number in layer.inputs)
    return height, width, channels // max(layer.groups, 1)


def sum_of(layer: Section, _: list[Section]) -> Shape:
    """A sum (or product) with other layers, in the shape of what comes in."""
    others = (refer(n, layer.number) for n in layer.integers("from"))
    layer.inputs = [*layer.inputs, *others]
    return layer.into


def scaled_channels(layer: Section, layers: list[Section]) -> Shape:
    """The layer that it refers to, each channel times a number of the one before."""
    shape = sum_of(layer, layers)
    return layers[layer.inputs[-1]].out if layer.inputs else shape


def refer(number: int, index: int) -> int:
    """The layer that a number means: negative ones count back."""
    target = number if number >= 0 else index + number
    if not 0 <= target < index:
        msg = f"The layer {index} of its .cfg file refers to the layer {target}, which is none."
        raise CorruptFileError(msg)
    return target


def upsample(layer: Section, _: list[Section]) -> Shape:
    """Larger by its stride."""
    stride = layer.integer("stride", 2)
    return layer.into[0] * stride, layer.into[1] * stride, layer.into[2]


def reorganised(layer: Section, _: list[Section]) -> Shape:
    """Patches to channels, or back."""
    stride = max(layer.integer("stride", 1), 1)
    height, width, channels = layer.into
    if layer.integer("reverse"):
        return height * stride, width * stride, channels // stride**2
    return height // stride, width // stride, channels * stride**2


def flat(layer: Section, _: list[Section]) -> Shape:
    """One number a filter (or unit)."""
    return 1, 1, layer.integer("output", layer.integer("hidden", 1))


Shaper = Callable[[Section, list[Section]], Shape]
OUT: dict[str, Shaper] = {
    "convolutional": convolution,
    "deconvolutional": convolution,
    "local": convolution,
    "maxpool": pooling,
    "local_avgpool": pooling,
    "avgpool": lambda layer, _: (1, 1, layer.into[2]),
    "connected": flat,
    "rnn": flat,
    "gru": flat,
    "lstm": flat,
    "crop": lambda layer, _: (
        layer.integer("crop_height"), layer.integer("crop_width"), layer.into[2]
    ),
    "route": route,
    "shortcut": sum_of,
    "sam": sum_of,
    "scale_channels": scaled_channels,
    "upsample": upsample,
    "reorg": reorganised,
    "reorg3d": reorganised,
}  # fmt: skip
