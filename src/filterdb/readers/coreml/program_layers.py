"""The convolutions among the operations of an ML program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import Convolution, Norm, Skipped, Tensor
from filterdb.readers.batch_norm import fused_scale
from filterdb.readers.coreml.neural_network import Found, load_transposed, pair
from filterdb.readers.coreml.program import Function, Operation
from filterdb.readers.coreml.values import Constant
from filterdb.readers.layer_graph import LayerGraph, State, weight_states
from filterdb.readers.layout import out_first_shape
from filterdb.readers.limits import shortened

ORDINARY, TRANSPOSED, NORM, SCALE = "conv", "conv_transpose", "batch_norm", "mul"
EPSILON = 1e-5
MOST_CHANNELS = 2**20


def read_function(function: Function, owners: dict[str, str], prefix: str) -> Found:
    """Find the convolutions of a function, their weights, norms and depth.

    Parameters
    ----------
    function
        The function.
    owners
        Weights that earlier functions have used -> the layer; filled here.
    prefix
        What the names of its layers begin with.
    """
    running = [item for item in function.operations if not item.is_constant]
    graph = LayerGraph(transparent=("identity",))
    for item in running:
        inputs = [name for names in item.inputs.values() for name in names]
        graph.add(item.type, item.output, inputs, item.outputs)
    depths, followers = graph.depths(), graph.followers()
    convolutions = {
        i: followers.of(i) for i, item in enumerate(running) if item.type in (ORDINARY, TRANSPOSED)
    }
    norms = norms_behind(function, running, convolutions)
    biased = [i for i in convolutions if is_biased(function, running[i])]
    states = weight_states(convolutions, norms, biased=biased)
    found = Found([], [], max(depths, default=0))
    for i in sorted(convolutions, key=lambda i: (depths[i], i)):
        item = running[i]
        weight = function.operand(item, "weight")
        name = prefix + (item.inputs.get("weight") or [item.output])[0]
        tensor = as_tensor(function, item, weight, name, states[i])
        if isinstance(tensor, Tensor) and owners.setdefault(name, item.output) != item.output:
            tensor = f"shares the weights of layer {shortened(name)!r}"
        if isinstance(tensor, str):
            found.skipped.append(Skipped(prefix + item.output, tensor))
        elif tensor.conv is not None:
            conv = replace(tensor.conv, depth=depths[i])
            found.tensors.append(replace(tensor, conv=conv))
    for item in running:
        if "conv" in item.type and item.type not in (ORDINARY, TRANSPOSED):
            reason = f"the layout of weights in the operation {item.type:.60} is not known"
            found.skipped.append(Skipped(prefix + item.output, reason))
    return found


def as_tensor(
    function: Function, item: Operation, weight: Constant | str | None, name: str, state: State
) -> Tensor | str:
    """The weight of a convolution, output channels first, or why it is not analysed."""
    if not isinstance(weight, Constant):
        return weight or "it has no weight"
    if len(weight.shape) != 4:
        return f"{len(weight.shape)}-D weight: only 2-D convolutions are analysed"
    groups = next(iter(function.integers(item, "groups")), 1)
    transposed = item.type == TRANSPOSED
    if groups < 1 or weight.shape[0] % groups:
        return f"its {groups} groups do not fit its shape {weight.shape}"
    shape: tuple[int, ...] = weight.shape
    load = weight.load
    if transposed:
        shape = out_first_shape(shape, groups)
        load = partial(load_transposed, weight.load, groups)
    conv = Convolution(
        groups=groups,
        transposed=transposed,
        stride=pair(function.integers(item, "strides")),
        dilation=pair(function.integers(item, "dilations")),
        state=state[0],
        evidence=state[1],
        norm=state[2],
    )
    return Tensor(name, shape, weight.dtype, load, conv, weight.scheme)


def is_biased(function: Function, item: Operation) -> bool:
    """Whether something is added for each channel; converters write out zeros where it is not."""
    bias = function.operand(item, "bias")
    if not isinstance(bias, Constant):
        return bias is not None
    return prod(bias.shape) > MOST_CHANNELS or bool(bias.load().any())


def norms_behind(
    function: Function, running: Sequence[Operation], convolutions: Mapping[int, Sequence[int]]
) -> dict[int, Norm | str]:
    """The normalisations right behind convolutions; by bare name where they do not fit."""
    norms: dict[int, Norm | str] = {}
    for index, users in convolutions.items():
        channels = out_channels(function, running[index])
        for user in users:
            found = norm_of(function, running[user], running[index].output, channels)
            if found is not None:
                norms[user] = found
    return norms


def out_channels(function: Function, item: Operation) -> int:
    """Output channels of a convolution; 0 where they are not known."""
    weight = function.operand(item, "weight")
    if not isinstance(weight, Constant) or len(weight.shape) < 2:
        return 0
    if item.type == ORDINARY:
        return weight.shape[0]
    return weight.shape[1] * next(iter(function.integers(item, "groups")), 1)


def norm_of(function: Function, item: Operation, value: str, channels: int) -> Norm | str | None:
    """The normalisation that an operation is, if it is one of so many channels."""
    if item.type == SCALE:
        others = [function.operand(item, side) for side in "xy" if value not in item.inputs[side]]
        scale = others[0] if len(others) == 1 else None
        if not isinstance(scale, Constant) or prod(scale.shape) != channels or channels < 2:
            return None
        return Norm(f"{item.output} (a scale alone)", partial(load_flat, scale))
    if item.type != NORM:
        return None
    gamma, variance, epsilon = (
        function.operand(item, name) for name in ("gamma", "variance", "epsilon")
    )
    if not isinstance(variance, Constant) or prod(variance.shape) != channels:
        return item.output
    if isinstance(gamma, str):
        return item.output
    small = float(epsilon.load().reshape(-1)[0]) if isinstance(epsilon, Constant) else EPSILON
    scale_of = partial(fused_scale, gamma.load if gamma else None, variance.load, small)
    return Norm(item.output, scale_of)


def load_flat(scale: Constant) -> NDArray[np.float64]:
    """One number a channel."""
    return scale.load().astype(np.float64).reshape(-1)
