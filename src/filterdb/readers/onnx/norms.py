"""Which batch normalisation follows a convolution of an ONNX graph, or was folded into it.

torch's exporter folds norms in evaluation mode, and gives the weight and the bias that it makes
numbers (``onnx::Conv_193`` and ``194``) where all others keep the names of their modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from filterdb.layer import Norm
from filterdb.readers import batch_norm
from filterdb.readers.batch_norm import Claim, Finding, Following, State, Step, Surroundings
from filterdb.readers.onnx.graph import Graph, Node
from filterdb.readers.onnx.tensors import NotFollowedError

if TYPE_CHECKING:
    from filterdb.readers.onnx.constants import Constants

NUMBERED = re.compile(r"(?:onnx::\w{1,40}_)?\d{1,9}")
"""What torch's exporter calls a value that no module has."""
PLAIN = frozenset({"Conv", "ConvTranspose"})
"""Operators that only convolve, add their bias, and hand on real numbers."""
PLACES = {"QLinearConv": (3, 8), "DeformConv": (1, 3)}
"""Where an operator takes its weight and its bias, if not in the second and third place."""
PASSING = frozenset({"Identity", "Cast", "Dropout"})
ROLES: Mapping[str, batch_norm.Role] = {"Add": "add", "Mul": "scale"}
GAMMA, VARIANCE = 1, 4
"""Inputs of BatchNormalization."""
EPSILON = 1e-5


def norm_inputs(graph: Graph) -> list[int]:
    """The values that norms need: they have to be opened with the weights."""
    return [
        value
        for node in graph.nodes
        if node.standard and (node.op == "BatchNormalization" or node.op in ROLES)
        for value in node.inputs
        if value is not None
    ]


def weight_states(
    graph: Graph, constants: Constants, convolutions: Sequence[tuple[Node, int]]
) -> list[State]:
    """State of each convolution.

    Parameters
    ----------
    graph, constants
        The flat graph, with the :func:`norm_inputs` opened.
    convolutions
        Each node, and its number of output channels.
    """
    around = Surroundings(users_of(graph, constants), graph.outputs, partial(opened, constants))
    spoken = speaks_of_modules(graph)
    findings = [
        finding(graph, around, node, channels=channels, spoken=spoken)
        for node, channels in convolutions
    ]
    return [
        replace(state, evidence=exporters_mark(item))
        if state.state == "folded" and item.claims[0].norm.startswith(MARK)
        else state
        for item, state in zip(findings, batch_norm.settle(findings), strict=True)
    ]


MARK = "numbered by the exporter: "


def exporters_mark(found: Finding) -> str:
    """The evidence of a weight that the exporter made."""
    return (
        f"its weight {found.claims[0].name!r} and its bias bear numbers where others bear the "
        "names of modules: torch's exporter folds so"
    )


def finding(
    graph: Graph, around: Surroundings, node: Node, *, channels: int, spoken: bool
) -> Finding:
    """What follows a convolution, and what its names say."""
    plain = node.standard and node.op in PLAIN
    output = node.outputs[0] if node.outputs and plain else None
    following = Following(None) if output is None else around.norm_behind(output, channels)
    weight, bias = (input_name(graph, node, at) for at in PLACES.get(node.op, (1, 2)))
    added = () if output is None else around.added_to(output, channels)
    named = [("weight", weight)] + [("bias", name) for name in (bias,) if name]
    claims = batch_norm.claims_of(named + [("bias", constant.name) for constant in added])
    if spoken and bias and NUMBERED.fullmatch(weight) and NUMBERED.fullmatch(bias):
        claims = (Claim("weight", weight, MARK + weight),)
    return Finding(
        following,
        claims,
        named=spoken and bool(weight) and not NUMBERED.fullmatch(weight),
        shifted=bool(bias or added) or not plain,
    )


def input_name(graph: Graph, node: Node, place: int) -> str:
    """The name of one of a node's inputs; empty where it is omitted."""
    value = node.inputs[place] if place < len(node.inputs) else None
    return "" if value is None else graph.names[value]


def speaks_of_modules(graph: Graph) -> bool:
    """Whether stored tensors bear the names that modules of torch give: ``layer1.0.weight``."""
    return any(graph.names[value].endswith((".weight", ".bias")) for value in graph.constants)


def users_of(graph: Graph, constants: Constants) -> dict[int, list[Step]]:
    """Value -> the nodes that take it."""
    users: dict[int, list[Step]] = {}
    for node in graph.nodes:
        step = None
        for value in dict.fromkeys(node.inputs):
            if value is not None:
                step = step or step_of(node, constants)
                users.setdefault(value, []).append(step)
    return users


def step_of(node: Node, constants: Constants) -> Step:
    """A node as far as it matters for norms."""
    inputs = tuple(value for value in node.inputs if value is not None)
    output = next((value for value in node.outputs if value is not None), -1)
    if not node.standard or not inputs:
        return Step("other", inputs, output)
    if node.op == "BatchNormalization" and len(node.inputs) > VARIANCE:
        return Step("norm", inputs, output, norm_of(node, constants))
    if node.op in PASSING:
        return Step("pass", inputs[:1], output)
    return Step(ROLES.get(node.op, "other"), inputs, output)


def norm_of(node: Node, constants: Constants) -> Norm | None:
    """A batch normalisation with its scale, None where that is computed while the network runs."""
    try:
        gamma = constants.constant(node.inputs[GAMMA])
        variance = constants.constant(node.inputs[VARIANCE])
    except NotFollowedError:
        return None
    if gamma is None or variance is None or gamma.shape != variance.shape:
        return None
    held = node.attributes.get("epsilon")
    epsilon = EPSILON if held is None else float(held.f)
    scale = partial(batch_norm.fused_scale, gamma.load, variance.load, epsilon)
    return Norm(gamma.name.removesuffix(".weight"), scale)


def opened(constants: Constants, value: int) -> batch_norm.Constant | None:
    """A constant with a value for each channel, as broadcasting takes it: ``(C, 1, 1)``."""
    found = constants.found.get(value)
    if found is None or isinstance(found, str):
        return None
    shape = found.shape
    if not 3 <= len(shape) <= 4 or shape[-2:] != (1, 1) or (len(shape) == 4 and shape[0] != 1):
        return None
    return batch_norm.Constant(found.name, shape, found.load)
