"""The Caffe reader: the convolutions of a ``.caffemodel``, in the order of its graph.

The file holds the whole network, layers and blobs, so the ``.prototxt`` beside it is not needed
and not opened.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import Contents, Convolution, Loader, Norm, Skipped, Tensor
from filterdb.readers.caffe.layers import Layer, read_network
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layer_graph import LayerGraph, State, unique, weight_states
from filterdb.readers.layout import out_first_shape, transposed_to_out_first
from filterdb.readers.limits import shortened
from filterdb.readers.mapping import map_file
from filterdb.readers.recognise.plain_text import text_of
from filterdb.readers.recognise.protobuf_outline import is_caffe

FORMAT = Format(
    "caffe",
    "Caffe network (caffemodel)",
    (".caffemodel",),
    reads=(
        "layers of the versions V0, V1 and V2; float32, float64 and NVIDIA's float16; norms and "
        "depth from the graph; the prototxt is not needed"
    ),
)

DEPTHWISE = frozenset({"ConvolutionDepthwise", "DepthwiseConvolution", "DepthwiseConv"})
ORDINARY = frozenset({"Convolution", "CuDNNConvolution", "DeformableConvolution"}) | DEPTHWISE
TRANSPOSED = frozenset({"Deconvolution"})
SOURCES = ("Data", "HDF5Data", "ImageData", "WindowData", "MemoryData", "DummyData", "Input",
           "AnnotatedData", "Python")  # fmt: skip
TRANSPARENT = ("Split", "Dropout")
NORMS = frozenset({"BN", "BatchNorm", "Scale"})
LOSS = re.compile(r"Loss$")


def matches(head: Head) -> bool:
    """A NetParameter in binary; the text form has no weights."""
    return text_of(head) is None and is_caffe(head)


def read(head: Head) -> Contents:
    """Follow the layers; where a blob is read is decided now, its values come later.

    Raises
    ------
    CorruptFileError
        The message is damaged or cut short, or a blob contradicts its shape.
    LimitError
        It has more layers or fields than any network.
    """
    network = read_network(map_file(head.path).data)
    graph = LayerGraph(sources=SOURCES, transparent=TRANSPARENT)
    for layer in network.layers:
        graph.add(layer.type, layer.name, layer.bottoms, layer.tops)
    depths = graph.depths()
    states = states_of(network.layers, graph)
    names = unique(layer.name or layer.type for layer in network.layers)
    tensors: list[tuple[int, int, Tensor]] = []
    skipped: list[Skipped] = []
    owners: dict[str, str] = {}
    for index, layer in enumerate(network.layers):
        if not layer.blobs:
            if "conv" in layer.type.lower():
                skipped.append(Skipped(names[index], "a convolution without weights in the file"))
            continue
        reason = why_not(layer)
        shared = layer.shared[0] if layer.shared else ""
        if reason is None and shared and owners.setdefault(shared, names[index]) != names[index]:
            reason = f"shares the weights of layer {shortened(owners[shared])!r}"
        if reason is None:
            tensor = as_tensor(names[index], layer, depths[index], states[index])
            tensors.append((depths[index], index, tensor))
        elif reason:
            skipped.append(Skipped(names[index], reason))
    ordered = tuple(tensor for *_, tensor in sorted(tensors, key=lambda item: item[:2]))
    named = f" {shortened(network.name)!r}" if network.name else ""
    note = f"Caffe network{named}, layers of version {network.version}."
    return Contents("caffe", ordered, tuple(skipped), producer="caffe", notes=(note,))


def why_not(layer: Layer) -> str | None:
    """Why a layer with blobs is no 2-D convolution; empty where that needs no word."""
    weight = layer.blobs[0]
    if layer.type not in ORDINARY | TRANSPOSED:
        if "conv" in layer.type.lower():
            return f"the layout of weights in a layer of type {layer.type:.60} is not known"
        large = sum(extent > 1 for extent in weight.shape) > 1
        return f"a layer of type {layer.type:.60}, which has no filters" if large else ""
    if len(weight.shape) != 4:
        return f"{len(weight.shape)}-D weight: only 2-D convolutions are analysed"
    if 0 in weight.shape:
        return "an empty weight"
    if layer.type in TRANSPOSED and layer.type not in DEPTHWISE:
        into = weight.shape[0]
        if layer.settings.groups < 1 or into % layer.settings.groups:
            return f"its {layer.settings.groups} groups do not fit its shape {weight.shape}"
    elif layer.settings.groups < 1 or weight.shape[0] % layer.settings.groups:
        return f"its {layer.settings.groups} groups do not fit its shape {weight.shape}"
    return None


def as_tensor(name: str, layer: Layer, depth: int, state: State) -> Tensor:
    """The weight of a convolution, output channels first."""
    weight, groups = layer.blobs[0], layer.settings.groups
    if layer.type in DEPTHWISE:
        groups = weight.shape[0]
    transposed = layer.type in TRANSPOSED
    shape, load = weight.shape, weight.load
    if transposed:
        shape = out_first_shape(shape, groups)
        load = partial(load_transposed, weight.load, groups)
    conv = Convolution(
        groups=groups,
        transposed=transposed,
        stride=layer.settings.stride,
        dilation=layer.settings.dilation,
        depth=depth,
        state=state[0],
        evidence=state[1],
        norm=state[2],
    )
    return Tensor(name, shape, weight.dtype, load, conv)


def load_transposed(load: Loader, groups: int) -> NDArray[Any]:
    """Load the weight of a deconvolution, output channels first."""
    return transposed_to_out_first(load(), groups)


def states_of(layers: list[Layer], graph: LayerGraph) -> dict[int, State]:
    """Whether each convolution is followed by a normalisation."""
    followers = graph.followers()
    norms: dict[int, Norm | str] = {}
    for index, layer in enumerate(layers):
        if layer.type not in NORMS:
            continue
        found = norm_of(layer, [layers[user] for user in followers.of(index)])
        if found is not None:
            norms[index] = found
    convolutions = {
        index: followers.of(index)
        for index, layer in enumerate(layers)
        if layer.type in ORDINARY | TRANSPOSED
    }
    for index, users in convolutions.items():
        for user in users:  # a normalisation of other channels is none of this convolution
            norm, wanted = norms.get(user), out_channels(layers[index])
            if isinstance(norm, Norm) and wanted != layers[user].blobs[0].size:
                norms[user] = norm.name
    loss = next((layer.type for layer in layers if LOSS.search(layer.type)), "")
    return weight_states(
        convolutions,
        norms,
        biased=[index for index in convolutions if len(layers[index].blobs) > 1],
        as_trained=f"the file is a snapshot of training, with its {loss}" if loss else "",
    )


def out_channels(layer: Layer) -> int:
    """Output channels of a convolution; 0 where it has no sound weight."""
    if not layer.blobs or len(layer.blobs[0].shape) != 4:
        return 0
    shape = layer.blobs[0].shape
    return shape[1] * layer.settings.groups if layer.type in TRANSPOSED else shape[0]


def norm_of(layer: Layer, users: list[Layer]) -> Norm | str | None:
    """The normalisation that a layer is, together with the Scale that alone follows it."""
    if layer.type == "BN" or (layer.type == "BatchNorm" and len(layer.blobs) < 3):
        return layer.name  # of one of several forks: what its blobs are is not known
    if layer.type == "Scale" and len(layer.blobs) in (1, 2) and len(layer.bottoms) == 1:
        return Norm(f"{layer.name} (a scale alone)", partial(plain_scale, layer))
    if layer.type != "BatchNorm":
        return None
    follows = users[0] if len(users) == 1 else None
    scaled = follows is not None and follows.type == "Scale" and len(follows.blobs) in (1, 2)
    gamma = follows.blobs[0].load if scaled and follows is not None else None
    if len(layer.blobs) == 5:  # NVIDIA's keeps scale and shift itself
        gamma = layer.blobs[3].load
    name = f"{layer.name} and {follows.name}" if scaled and follows is not None else layer.name
    return Norm(name, partial(norm_scale, layer, gamma))


def plain_scale(layer: Layer) -> NDArray[np.float64]:
    """The factors of a Scale layer, one a channel."""
    return layer.blobs[0].load().astype(np.float64).reshape(-1)


def norm_scale(layer: Layer, gamma: Loader | None) -> NDArray[np.float64]:
    """``gamma / sqrt(variance + epsilon)``: the file holds sums and the factor they grew by."""
    _, variance, factor, *_ = (blob.load().astype(np.float64).reshape(-1) for blob in layer.blobs)
    divisor = factor[0] if factor.size and factor[0] else np.inf
    with np.errstate(all="ignore"):
        scale = 1 / np.sqrt(variance / divisor + layer.epsilon)
        if gamma is not None:
            factors = gamma().astype(np.float64).reshape(-1)
            scale = scale * factors if factors.shape == scale.shape else scale
    result: NDArray[np.float64] = scale
    return result
