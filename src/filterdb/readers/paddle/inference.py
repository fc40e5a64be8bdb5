"""The reader of networks saved by PaddlePaddle for inference: a description and its parameters.

The parameters (``.pdiparams``) have no names: they stand in the order of the names that the
description (``.pdmodel``, ``.json``) beside them gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.layer import Contents, Convolution, Loader, Norm, Skipped, Tensor
from filterdb.readers.batch_norm import fused_scale
from filterdb.readers.companion import beside
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layer_graph import Followers, LayerGraph, State, weight_states
from filterdb.readers.layout import out_first_shape, transposed_to_out_first
from filterdb.readers.limits import check_expansion, shortened
from filterdb.readers.mapping import map_file
from filterdb.readers.paddle.description import Network, Operator, read_pir, read_program
from filterdb.readers.paddle.streams import Stored, read_streams
from filterdb.readers.recognise.protobuf_outline import is_paddle_program
from filterdb.readers.recognise.signatures import is_paddle_parameters, is_pickle

FORMAT = Format(
    "paddle-inference",
    "PaddlePaddle network for inference (pdmodel or json, and pdiparams)",
    (".pdmodel", ".json", ".pdiparams"),
    reads=(
        "both descriptions (ProgramDesc, PIR) with the parameters beside them; norms and depth "
        "from the graph; either of the two files may be given"
    ),
)
PARAMETERS, PROGRAM, PIR = ".pdiparams", ".pdmodel", ".json"
PIR_MARK = b'"magic":"pir"'
ORDINARY = frozenset({"conv2d", "depthwise_conv2d", "conv2d_fusion", "fused_conv2d_add_act"})
TRANSPOSED = frozenset({"conv2d_transpose", "depthwise_conv2d_transpose"})
SOURCES = ("feed", "data")
RESHAPES = frozenset({"reshape2", "unsqueeze2", "full_int_array", "assign"})
ADDED, BIAS = "elementwise_add", "bias"
LARGEST_STEP = 10_000
EPSILON = 1e-5


def matches(head: Head) -> bool:
    """One of the two descriptions, or a stream of parameters."""
    if head.is_folder:
        return False
    return (
        is_pir(head)
        or is_paddle_program(head)
        or (not is_pickle(head) and is_paddle_parameters(head))
    )


def is_pir(head: Head) -> bool:
    """The newer description."""
    start = head.start[:200].translate(None, b" \n\t\r")
    return start.startswith(b'{"base_code":{') and PIR_MARK in start


def main_file(head: Head) -> Path | None:
    """The description that parameters belong to; None for any other file."""
    if head.is_folder or is_pir(head) or is_paddle_program(head):
        return None
    others = (beside(head.path, suffix) for suffix in (PROGRAM, PIR))
    return next((other for other in others if other is not None), None)


def read(head: Head) -> Contents:
    """Follow the description, and find each parameter.

    Raises
    ------
    ReadError
        One of the two files is missing.
    CorruptFileError
        One is damaged, or they do not fit each other.
    LimitError
        It would take memory or time out of proportion to its size.
    """
    description, parameters = both_files(head)
    described = Head.of(description)
    network = (read_pir if is_pir(described) else read_program)(map_file(description))
    data = map_file(parameters)
    names = sorted(network.parameters)
    stored = dict(zip(names, read_streams(data, len(names)), strict=True))
    for name, item in stored.items():
        wanted = network.parameters[name]
        if wanted != item.shape:
            msg = (
                f"The description gives it the shape {wanted!s:.100}, the parameters "
                f"{item.shape!s:.100}: the two files do not belong together."
            )
            raise CorruptFileError(msg).at(layer=shortened(name))
    tensors, skipped = layers_of(network, stored)
    wanted_bytes = sum(4 * prod(tensor.shape) for tensor in tensors)
    check_expansion(wanted_bytes, head.size + len(data), "The sum of its filters")
    other = parameters if description == head.path else description
    return Contents(
        FORMAT.name, tuple(tensors), tuple(skipped), "paddlepaddle", companions=(other,)
    )


def both_files(head: Head) -> tuple[Path, Path]:
    """The description and the parameters that belong to a file.

    Raises
    ------
    ReadError
        The other is not there.
    """
    if is_pir(head) or is_paddle_program(head):
        other = beside(head.path, PARAMETERS)
        if other is not None:
            return head.path, other
        msg = (
            "Its parameters are missing: the file of the same name that ends in .pdiparams has to "
            "lie beside it."
        )
        raise ReadError(msg)
    description = main_file(head)
    if description is not None:
        return description, head.path
    msg = (
        "It holds parameters without names: the .pdmodel (or .json) of the same name that "
        "describes the network has to lie beside it."
    )
    raise ReadError(msg)


def layers_of(network: Network, stored: Mapping[str, Stored]) -> tuple[list[Tensor], list[Skipped]]:
    """The convolutions by depth, and those that are not analysed."""
    operators, known = without_constants(network.operators, stored)
    graph = LayerGraph(sources=SOURCES)
    for item in operators:
        computed = [name for name in values_of(item) if name not in known]
        biased = item.type == ADDED and len(computed) == 1
        graph.add(BIAS if biased else item.type, item.type, computed, item.outputs)
    depths = graph.depths()
    states = states_of(operators, stored, graph)
    tensors: list[Tensor] = []
    skipped: list[Skipped] = []
    owners: dict[str, str] = {}
    for i in sorted(range(len(operators)), key=lambda i: (depths[i], i)):
        item = operators[i]
        if "conv" not in item.type:
            continue
        label = item.outputs[0] if item.outputs else item.type
        found: Tensor | str = f"an operator of type {item.type:.60}, which is not analysed"
        if i in states:
            found = as_tensor(item, stored, depths[i], states[i])
        if isinstance(found, Tensor) and owners.setdefault(found.name, label) != label:
            found = f"shares the weights of layer {shortened(found.name)!r}"
        if isinstance(found, Tensor):
            tensors.append(found)
        else:
            skipped.append(Skipped(label, found))
    return tensors, skipped


def values_of(item: Operator) -> list[str]:
    """All values that an operator reads."""
    return [name for names in item.inputs.values() for name in names]


def without_constants(
    operators: Sequence[Operator], stored: Mapping[str, Stored]
) -> tuple[list[Operator], set[str]]:
    """The operators that run on data, and the values known without it (reshaped biases)."""
    known, running = set(stored), []
    for item in operators:
        if item.type in RESHAPES and all(name in known for name in values_of(item)):
            known.update(item.outputs)
        else:
            running.append(item)
    return running, known


def states_of(
    operators: Sequence[Operator], stored: Mapping[str, Stored], graph: LayerGraph
) -> dict[int, State]:
    """Whether each convolution is followed by a normalisation, behind its bias or at once."""
    followers = Followers(graph.graph, frozenset({BIAS}))
    nodes = graph.graph.nodes
    users: dict[int, list[int]] = {}
    norms: dict[int, Norm | str] = {}
    biased = []
    for i, item in enumerate(operators):
        if item.type not in ORDINARY | TRANSPOSED:
            continue
        users[i] = followers.of(i)
        if item.value("Bias") or any(nodes[user].op == BIAS for user in followers.direct(i)):
            biased.append(i)
        for user in users[i]:
            if operators[user].type == "batch_norm":
                norms[user] = norm_of(operators[user], stored, out_channels(item, stored))
    return weight_states(users, norms, biased=biased)


def groups_of(item: Operator) -> int:
    """Groups of a convolution."""
    return next(iter(item.integers("groups")), 1)


def out_channels(item: Operator, stored: Mapping[str, Stored]) -> int:
    """Output channels of a convolution; 0 where they are not known."""
    weight = stored.get(item.value("Filter"))
    if weight is None or len(weight.shape) < 2:
        return 0
    return weight.shape[1] * groups_of(item) if item.type in TRANSPOSED else weight.shape[0]


def norm_of(item: Operator, stored: Mapping[str, Stored], channels: int) -> Norm | str:
    """A batch normalisation; its bare name where it is one of other channels."""
    variance, gamma = stored.get(item.value("Variance")), stored.get(item.value("Scale"))
    name = item.value("Scale") or item.type
    if variance is None or gamma is None or not variance.shape == gamma.shape == (channels,):
        return name
    epsilon = item.settings.get("epsilon")
    small = float(epsilon) if isinstance(epsilon, int | float) else EPSILON
    return Norm(name, partial(fused_scale, gamma.load, variance.load, small))


def as_tensor(
    item: Operator, stored: Mapping[str, Stored], depth: int, state: State
) -> Tensor | str:
    """The weight of a convolution, output channels first, or why it is not analysed."""
    name = item.value("Filter")
    weight, groups = stored.get(name), groups_of(item)
    if weight is None:
        return "its weight is computed while the network runs, not stored"
    if len(weight.shape) != 4:
        return f"{len(weight.shape)}-D weight: only 2-D convolutions are analysed"
    if groups < 1 or weight.shape[0] % groups:
        return f"its {groups} groups do not fit its shape {weight.shape}"
    shape: tuple[int, ...] = weight.shape
    load, transposed = weight.load, item.type in TRANSPOSED
    if transposed:
        shape = out_first_shape(shape, groups)
        load = partial(load_transposed, weight.load, groups)
    conv = Convolution(
        groups=groups,
        transposed=transposed,
        stride=pair(item.integers("strides")),
        dilation=pair(item.integers("dilations")),
        depth=depth,
        state=state[0],
        evidence=state[1],
        norm=state[2],
    )
    return Tensor(name, shape, weight.dtype, load, conv)


def load_transposed(load: Loader, groups: int) -> NDArray[Any]:
    """Load the weight of a transposed convolution, output channels first."""
    return transposed_to_out_first(load(), groups)


def pair(values: Sequence[int]) -> tuple[int, int] | None:
    """Height and width of a stride or dilation; None where the file does not say."""
    possible = len(values) == 2 and all(0 < value <= LARGEST_STEP for value in values)
    return (values[0], values[1]) if possible else None
