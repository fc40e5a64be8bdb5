"""The XML of an OpenVINO network, as one flat list of layers; bodies of loops stand within.

The parser is expat with every entity and document type refused, so nothing expands and nothing
else is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from xml.parsers import expat

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.elements import MAX_DIMENSIONS
from filterdb.readers.layer_graph import MAX_LAYERS, MAX_VALUES
from filterdb.readers.limits import MAX_DEPTH

KEPT = frozenset(
    {
        "shape", "offset", "size", "element_type", "destination_type", "strides", "dilations",
        "group", "levels", "epsilon", "eps",
    }
)  # fmt: skip
"""Attributes that are looked at."""
CHUNK, LONGEST_TAG = 2**16, 2**18
Port = tuple[int, str, str]
"""Number of a network (0 is the outermost, others are bodies), layer, port."""


@dataclass(slots=True)
class Layer:
    """A layer.

    Attributes
    ----------
    data
        Its ``<data>``: attributes of the operator, or the place of a constant.
    inputs, outputs
        Numbers of its ports, in order; each output with its shape, None where it is dynamic.
    holder
        The layer whose body it stands in.
    """

    net: int
    id: str
    name: str
    type: str
    data: Mapping[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    holder: int | None = None


@dataclass(slots=True)
class Document:
    """What the XML says.

    Attributes
    ----------
    version
        Of the format: 10 or 11.
    producer
        The version of the model optimiser or of the runtime that wrote it; empty if unknown.
    edges
        Input port -> the output port that feeds it.
    """

    version: str = ""
    producer: str = ""
    layers: list[Layer] = field(default_factory=list)
    edges: dict[Port, Port] = field(default_factory=dict)


def read_document(content: bytes) -> Document:
    """Parse the XML.

    Raises
    ------
    CorruptFileError
        It is no sound XML, or declares entities.
    LimitError
        It has more layers, ports or levels than any network.
    """
    builder = Builder()
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        for start in range(0, len(content), CHUNK):
            parser.Parse(content[start : start + CHUNK])
            # A tag of any length would become attributes of twenty times its bytes.
            if start - parser.CurrentByteIndex > LONGEST_TAG:
                msg = f"A tag of its XML is longer than {LONGEST_TAG:,} bytes: it was not read."
                raise LimitError(msg)
        parser.Parse(b"", True)  # noqa: FBT003  (expat knows it by position only)
    except expat.ExpatError as error:
        msg = f"Its XML is damaged ({error}). Download or copy the file again."
        raise CorruptFileError(msg) from error
    return builder.document


def refuse(*_: object) -> None:
    """No network of OpenVINO declares a document type or an entity."""
    msg = "Its XML declares a document type or entities, as no network does: it was not read."
    raise CorruptFileError(msg)


class Builder:
    """Collects layers and edges while the XML goes by."""

    def __init__(self) -> None:
        self.document = Document()
        self.depth = 0
        self.nets = self.closed = 0
        self.open_nets: list[int] = []
        self.open_layers: list[int] = []
        self.side = ""
        self.port = ""
        self.extents: list[int] | None = None
        self.words: list[str] | None = None
        self.left = MAX_VALUES

    def start(self, tag: str, given: dict[str, str]) -> None:
        """An element begins."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            msg = f"Its XML is nested more than {MAX_DEPTH} deep, as no network is: not read."
            raise LimitError(msg)
        document = self.document
        match tag:
            case "net" if self.depth == 1:
                document.version = given.get("version", "")
            case "layers":
                self.open_nets.append(self.nets)
                self.nets += 1
            case "layer" if self.open_nets:
                self.open_layer(given)
            case "data" if self.open_layers and not document.layers[self.open_layers[-1]].data:
                kept = {key: value for key, value in given.items() if key in KEPT}
                document.layers[self.open_layers[-1]].data = kept
            case "input" | "output" if self.open_layers:
                self.side = tag
            case "port" if self.open_layers and self.side:
                self.spend()
                self.port, self.extents = given.get("id", ""), []
            case "dim" if self.extents is not None:
                self.words = []
            case "edge":
                self.add_edge(given)
            case "MO_version" | "Runtime_version":
                document.producer = document.producer or given.get("value", "")

    def open_layer(self, given: dict[str, str]) -> None:
        """A layer begins, perhaps within another."""
        layers = self.document.layers
        if len(layers) >= MAX_LAYERS:
            msg = f"It has more than {MAX_LAYERS:,} layers, as no network does: not read."
            raise LimitError(msg)
        holder = self.open_layers[-1] if self.open_layers else None
        net = self.open_nets[-1]
        name = given.get("name", "") or given.get("id", "")
        layers.append(Layer(net, given.get("id", ""), name, given.get("type", ""), holder=holder))
        self.open_layers.append(len(layers) - 1)
        self.side = ""

    def add_edge(self, given: dict[str, str]) -> None:
        """An edge of the network whose layers came to an end last: they stand right before."""
        self.spend()
        net = self.closed
        source = (net, given.get("from-layer", ""), given.get("from-port", ""))
        target = (net, given.get("to-layer", ""), given.get("to-port", ""))
        self.document.edges[target] = source

    def spend(self) -> None:
        """Count a port or an edge."""
        self.left -= 1
        if self.left < 0:
            msg = f"It has more than {MAX_VALUES:,} ports and edges, as no network does: not read."
            raise LimitError(msg)

    def text(self, text: str) -> None:
        """Text within an element."""
        if self.words is not None and len(self.words) < 8:
            self.words.append(text[:30])

    def end(self, tag: str) -> None:
        """An element ends."""
        self.depth -= 1
        layers = self.document.layers
        match tag:
            case "layers" if self.open_nets:
                self.closed = self.open_nets.pop()
            case "layer" if self.open_layers:
                self.open_layers.pop()
                self.side = ""
            case "input" | "output":
                self.side = ""
            case "dim" if self.words is not None and self.extents is not None:
                if len(self.extents) <= MAX_DIMENSIONS:
                    self.extents.append(extent("".join(self.words)))
                self.words = None
            case "port" if self.open_layers and self.extents is not None:
                layer = layers[self.open_layers[-1]]
                if self.side == "input":
                    layer.inputs.append(self.port)
                else:
                    layer.outputs[self.port] = shape_of(self.extents)
                self.extents = None


def extent(text: str) -> int:
    """One extent; -1 where it is open or no number."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def shape_of(extents: list[int]) -> tuple[int, ...] | None:
    """A shape, None where it is open or beyond any machine."""
    fits = len(extents) <= MAX_DIMENSIONS and min(extents, default=0) >= 0
    return tuple(extents) if fits and prod(extents) < 2**48 else None
