"""The layers of a Caffe network: the three messages that Caffe has had for them, as one."""

from __future__ import annotations

from dataclasses import dataclass, field

from filterdb.errors import LimitError
from filterdb.readers import protobuf_wire as wire
from filterdb.readers.caffe.blob import Blob, Message, read_blob
from filterdb.readers.layer_graph import MAX_LAYERS

V1_TYPES = {
    0: "None", 2: "BNLL", 3: "Concat", 4: "Convolution", 5: "Data", 6: "Dropout",
    7: "EuclideanLoss", 8: "Flatten", 9: "HDF5Data", 12: "ImageData", 14: "InnerProduct",
    15: "LRN", 17: "Pooling", 18: "ReLU", 19: "Sigmoid", 20: "Softmax", 21: "SoftmaxWithLoss",
    22: "Split", 23: "TanH", 24: "WindowData", 25: "Eltwise", 26: "Power",
    27: "SigmoidCrossEntropyLoss", 28: "HingeLoss", 29: "MemoryData", 30: "Accuracy",
    32: "DummyData", 33: "Slice", 39: "Deconvolution",
}  # fmt: skip
V0_TYPES = {"conv": "Convolution", "innerproduct": "InnerProduct", "data": "Data"}


@dataclass(slots=True)
class Settings:
    """What a ConvolutionParameter says; pairs are height and width."""

    groups: int = 1
    stride: tuple[int, int] | None = (1, 1)
    dilation: tuple[int, int] | None = (1, 1)


@dataclass(slots=True)
class Layer:
    """A layer of any version.

    Attributes
    ----------
    shared
        Names under which its blobs are shared with other layers; empty for none.
    epsilon
        Of a batch normalisation.
    """

    name: str = ""
    type: str = ""
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    settings: Settings = field(default_factory=Settings)
    epsilon: float = 1e-5


@dataclass(frozen=True, slots=True)
class Network:
    """A NetParameter."""

    name: str
    version: int
    layers: list[Layer]


def read_network(data: memoryview) -> Network:
    """Read a NetParameter; where it has layers of both kinds, the newer ones count.

    Raises
    ------
    CorruptFileError
        It is damaged.
    LimitError
        It has more layers than any network.
    """
    name = ""
    found: dict[int, list[Message]] = {100: [], 2: []}
    for number, kind, value in Message(data, 0, len(data)).fields():
        if number == 1 and kind == wire.LENGTH:
            name = value.text
        elif number in found and kind == wire.LENGTH:
            found[number].append(value)
            if len(found[number]) > MAX_LAYERS:
                msg = f"It has more than {MAX_LAYERS:,} layers, as no network does: not read."
                raise LimitError(msg)
    if found[100]:
        return Network(name, 2, [read_layer(message) for message in found[100]])
    return Network(name, 1, [read_old_layer(message) for message in found[2]])


def read_layer(message: Message) -> Layer:
    """A LayerParameter."""
    layer = Layer()
    for number, kind, value in message.fields():
        if kind != wire.LENGTH:
            continue
        match number:
            case 1:
                layer.name = value.text
            case 2:
                layer.type = value.text
            case 3:
                layer.bottoms.append(value.text)
            case 4:
                layer.tops.append(value.text)
            case 6:
                layer.shared.append(name_in(value))
            case 7:
                layer.blobs.append(read_blob(value))
            case 106:
                layer.settings = read_settings(value)
            case 139:
                layer.epsilon = epsilon_in(value)
    return layer


def read_old_layer(message: Message) -> Layer:
    """A V1LayerParameter, and the V0 one that may be inside."""
    layer = Layer()
    for number, kind, value in message.fields():
        if number == 5 and kind == wire.VARINT:
            layer.type = V1_TYPES.get(value.integer, f"V1 type {value.integer}")
        if kind != wire.LENGTH:
            continue
        match number:
            case 1:
                read_oldest_layer(value, layer)
            case 2:
                layer.bottoms.append(value.text)
            case 3:
                layer.tops.append(value.text)
            case 4:
                layer.name = value.text
            case 6:
                layer.blobs.append(read_blob(value))
            case 10:
                layer.settings = read_settings(value)
            case 1001:
                layer.shared.append(value.text)
    return layer


def read_oldest_layer(message: Message, layer: Layer) -> None:
    """A V0LayerParameter: settings and blobs all in one message."""
    for number, kind, value in message.fields():
        if number == 1 and kind == wire.LENGTH:
            layer.name = value.text
        elif number == 2 and kind == wire.LENGTH:
            layer.type = V0_TYPES.get(value.text, value.text)
        elif number == 9 and kind == wire.VARINT:
            layer.settings.groups = value.integer
        elif number == 10 and kind == wire.VARINT:
            layer.settings.stride = (value.integer, value.integer)
        elif number == 50 and kind == wire.LENGTH:
            layer.blobs.append(read_blob(value))


def read_settings(message: Message) -> Settings:
    """A ConvolutionParameter."""
    single: dict[int, int] = {}
    listed: dict[int, list[int]] = {6: [], 18: []}
    for number, kind, value in message.fields():
        if number in listed and len(listed[number]) < 8:
            if kind in (wire.VARINT, wire.LENGTH):
                listed[number] += [value.integer] if kind == wire.VARINT else value.integers()
        elif kind == wire.VARINT:
            single[number] = value.integer
    height, width = single.get(13), single.get(14)
    stride = pair(listed[6]) if height is None or width is None else (height, width)
    return Settings(single.get(5, 1), stride, pair(listed[18]))


def pair(values: list[int]) -> tuple[int, int] | None:
    """Height and width from one value, two, or none (1)."""
    if len(values) > 2:
        return None
    return (values[0], values[-1]) if values else (1, 1)


def name_in(message: Message) -> str:
    """The name in a ParamSpec."""
    named = (v.text for number, kind, v in message.fields() if (number, kind) == (1, wire.LENGTH))
    return next(named, "")


def epsilon_in(message: Message) -> float:
    """The epsilon in a BatchNormParameter."""
    given = (
        v.float32 for number, kind, v in message.fields() if (number, kind) == (3, wire.FIXED32)
    )
    return next(given, 1e-5)
