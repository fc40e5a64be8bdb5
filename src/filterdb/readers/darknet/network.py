"""The darknet reader: the layers in ``.cfg``, and their numbers in ``.weights`` beside it.

Either file leads to the pair. A ``.weights`` may bear an addition to the name of its ``.cfg``, as
darknet gives it: ``yolov4_final.weights``, ``yolov4_10000.weights``.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ReadError
from filterdb.layer import Contents, Convolution, Norm, Skipped, Tensor
from filterdb.readers.companion import beside, read_text_file
from filterdb.readers.darknet.config import Section, read_config
from filterdb.readers.darknet.weights import Header, Numbers, find_runs, read_header
from filterdb.readers.format import Format
from filterdb.readers.head import HEAD_BYTES, Head
from filterdb.readers.layer_graph import LayerGraph
from filterdb.readers.layout import out_first_shape, transposed_to_out_first
from filterdb.readers.mapping import map_file
from filterdb.readers.recognise.plain_text import text_of
from filterdb.readers.recognise.signatures import glance

FORMAT = Format(
    "darknet",
    "darknet network (cfg and weights)",
    (".weights", ".cfg"),
    reads=(
        "convolutional layers with their norms, depth from the graph; either of the two files may "
        "be given"
    ),
)

VERSIONS = frozenset({(0, 1, 0), (0, 2, 0), (0, 2, 5)})
NET = re.compile(r"(?:\s*+(?:[#;][^\n]*+)?+\n)*+\s*+\[net(?:work)?\]", re.IGNORECASE)
ADDITION = re.compile(r"_(final|last|best|\d+)$")
CONVOLUTIONS = frozenset({"convolutional", "deconvolutional"})
EPSILON = 1e-5
MAX_CONFIG = 2_000_000
"""Bytes of a ``.cfg``; real ones have some 10,000."""
Runs = dict[str, NDArray[np.float32]]


def matches(head: Head) -> bool:
    """A version that darknet has written, then numbers; or a configuration with ``[net]``."""
    return is_weights(head) or is_config(head)


def is_weights(head: Head) -> bool:
    """A version that darknet has written, and the length of whole numbers."""
    version = tuple(int.from_bytes(head.start[i : i + 4], "little") for i in (0, 4, 8))
    return version in VERSIONS and head.size > 20 and head.size % 4 == 0


def is_config(head: Head) -> bool:
    """Text whose first section is ``[net]``."""
    text = text_of(head) or ""
    return NET.match(text) is not None and "=" in text


def main_file(head: Head) -> Path | None:
    """The ``.weights`` that a configuration belongs to, if it lies beside; else None."""
    return beside(head.path, ".weights") if is_config(head) else None


def config_of(path: Path) -> Path | None:
    """The configuration beside a file of weights."""
    for candidate in (path, path.with_name(ADDITION.sub("", path.stem) + path.suffix)):
        config = beside(candidate, ".cfg")
        if config is not None and config.parent == path.parent and is_config(glance(config)):
            return config
    return None


def read(head: Head) -> Contents:
    """Work out the shapes of the layers and find the numbers of each.

    Raises
    ------
    ReadError
        One of the two files is missing, or they do not belong together.
    CorruptFileError
        One is damaged.
    """
    if is_config(head):
        config, weights = head.path, main_file(head)
        missing = "This describes a darknet network. Its weights are missing: put the .weights"
    else:
        config, weights = config_of(head.path), head.path  # type: ignore[assignment]
        missing = (
            "A darknet .weights file is nothing but numbers; which layer has which stands in "
            "the .cfg. Put the .cfg"
        )
    if config is None or weights is None:
        msg = f"{missing} file of the same name beside it."
        raise ReadError(msg)
    data = map_file(weights)
    header = read_header(data[:HEAD_BYTES].tobytes())
    layers = read_config(read_text_file(config, MAX_CONFIG))
    runs, broken = find_runs(layers, Numbers(data, header))
    tensors, skipped = convolutions(layers, runs, broken)
    companion = config if weights == head.path else weights
    return Contents(
        "darknet", tensors, skipped, "darknet", notes_on(header), companions=(companion,)
    )


def notes_on(header: Header) -> tuple[str, ...]:
    """The version of the file."""
    return (f"Darknet weights of version {'.'.join(map(str, header.version))}.",)


def convolutions(
    layers: list[Section], runs: dict[int, Runs], broken: str
) -> tuple[tuple[Tensor, ...], tuple[Skipped, ...]]:
    """Every convolution as a tensor, or with the reason why not, in the order of the graph."""
    graph = LayerGraph(transparent=["dropout", "cost"])
    for index, layer in enumerate(layers):
        graph.add(layer.type, str(index), [str(i) for i in layer.inputs] or ["x"], [str(index)])
    depths = graph.depths()
    followers = graph.followers()
    found: list[tuple[int, Tensor]] = []
    skipped: list[Skipped] = []
    for index, layer in enumerate(layers):
        name = f"{index}.{layer.type}"
        reason = why_not(layer, runs.get(index), broken)
        if layer.type in CONVOLUTIONS and reason is None:
            norm = norm_of(name, layer, runs, [(i, layers[i]) for i in followers.of(index)])
            found.append((depths[index], as_tensor(name, layer, runs[index], depths[index], norm)))
        elif reason:
            skipped.append(Skipped(name, reason))
    found.sort(key=lambda item: item[0])
    return tuple(tensor for _, tensor in found), tuple(skipped)


def why_not(layer: Section, runs: Runs | None, broken: str) -> str | None:
    """Why a layer is not analysed; None for a convolution that is, and for what has no filters."""
    if layer.type in ("connected", "local") and runs is not None:
        what = "fully connected" if layer.type == "connected" else "locally connected"
        return f"a {what} layer, without filters that move"
    if layer.type not in CONVOLUTIONS:
        return None
    if runs is None:
        if "share_layer" in layer.options:
            return f"shares the weights of layer {layer.options['share_layer']:.20}"
        return f"its place in the file is unknown: {broken}" if broken else "it was not stored"
    groups = layer.groups
    sizes = (layer.into[2], layer.integer("filters", 1), layer.integer("size", 1))
    if min(sizes) < 1 or groups < 1 or sizes[0] % groups or sizes[1] % groups:
        return f"its {groups} groups do not fit its channels"
    return None


def norm_of(
    name: str, layer: Section, runs: dict[int, Runs], after: list[tuple[int, Section]]
) -> Norm | None:
    """The normalisation of a convolution: its own, or the layer that alone follows it."""
    own = runs[layer.number]
    if "variance" in own:
        return Norm(f"{name}.batch_normalize", partial(norm_scale, own))
    if len(after) == 1 and after[0][1].type == "batchnorm" and after[0][0] in runs:
        number = after[0][0]
        return Norm(f"{number}.batchnorm", partial(norm_scale, runs[number]))
    return None


def norm_scale(runs: Runs) -> NDArray[np.float64]:
    """``gamma / sqrt(variance + epsilon)``."""
    scales, variance = (runs[name].astype(np.float64) for name in ("scales", "variance"))
    with np.errstate(all="ignore"):
        return scales / np.sqrt(variance + EPSILON)


def as_tensor(name: str, layer: Section, runs: Runs, depth: int, norm: Norm | None) -> Tensor:
    """The weight of a convolution, output channels first."""
    out, size = layer.integer("filters", 1), layer.integer("size", 1)
    transposed = layer.type == "deconvolutional"
    groups = 1 if transposed else layer.groups
    stride, dilation = layer.integer("stride", 1), layer.integer("dilation", 1)
    if norm is not None:
        evidence = f"followed by batch normalisation {norm.name}"
    elif layer.normalised:
        evidence = "it is normalised, but the file does not hold the normalisation"
    else:
        evidence = "its layer has no batch_normalize in the .cfg"
    conv = Convolution(
        groups=groups,
        transposed=transposed,
        stride=(layer.integer("stride_y", stride), layer.integer("stride_x", stride)),
        dilation=(dilation, dilation),
        depth=depth,
        state="raw" if norm is not None or layer.normalised else "no_norm",
        evidence=evidence,
        norm=norm,
    )
    shape = (out, layer.into[2] // groups, size, size)
    stored = (layer.into[2], out, size, size) if transposed else shape
    load = partial(load_weight, runs["weights"], stored, transposed=transposed)
    return Tensor(name, out_first_shape(stored, 1) if transposed else shape, "float32", load, conv)


def load_weight(
    values: NDArray[np.float32], stored: tuple[int, ...], *, transposed: bool
) -> NDArray[Any]:
    """The numbers in their shape; a transposed convolution's turned to output-first."""
    weight = values.reshape(stored)
    return transposed_to_out_first(weight, 1) if transposed else weight
