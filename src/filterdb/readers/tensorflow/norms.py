"""The batch normalisation that follows a convolution: fused, written out, or folded away.

TensorFlow 1 wrote it out as ``x * (gamma * rsqrt(variance + epsilon)) + (beta - mean * ...)``, and
its tools for frozen graphs compute the parentheses beforehand, or multiply them into the weights.
Only names tell the last.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from math import prod

from filterdb.layer import Norm
from filterdb.readers.batch_norm import (
    NAMED_NORM,
    Finding,
    Following,
    State,
    claims_of,
    fused_scale,
    load_scale,
)
from filterdb.readers.onnx import graph as flat
from filterdb.readers.tensorflow.constants import Constant, Constants, NotFollowedError
from filterdb.readers.tensorflow.graph import Graph, Node

FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx"})
OLDEST = frozenset({"BatchNormWithGlobalNormalization"})
SHIFTS = frozenset({"BiasAdd", "BiasAddV1", "Add", "AddV2", "Sub", "QuantizedBiasAdd"})
THROUGH = frozenset({
    "Identity", "Switch", "BatchToSpaceND", "Squeeze", "Reshape", "Transpose", "Cast", "Dequantize",
    "Requantize", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", "EnsureShape", "ExpandDims",
    "QuantizeV2",
})  # fmt: skip
ASIDE = frozenset({"Shape", "ShapeN", "NoOp", "Size", "Rank"})
"""Operators that look at a value without using it."""
GRADIENT = re.compile(r"(^|/)gradients?(_\d+)?/|(^|/)gradient_tape/|Grad(V\d)?$")
"""Names that TensorFlow gives to what computes gradients."""
DEFAULT_EPSILON = 1e-4
MAX_STEPS = 12


class Norms:
    """Looks at what follows the convolutions of a graph."""

    def __init__(self, graph: Graph, constants: Constants) -> None:
        self.graph = graph
        self.constants = constants
        self.users: defaultdict[int, list[flat.Node]] = defaultdict(list)
        for node in graph.nodes:
            for value in {one for one in node.inputs if one is not None}:
                self.users[value].append(node)

    def found(self, node: Node, weight: Constant, channels: int) -> Finding | State:
        """What follows a convolution: its state where that is plain, else what there is to weigh.

        Parameters
        ----------
        node
            The convolution.
        weight
            Its weight.
        channels
            Number of its output channels.
        """
        if weight.computed:
            what = f"the graph changes its weights on the way ({weight.computed[-1]})"
            by_norm = any(NAMED_NORM.search(name) for name in weight.computed)
            return State("folded" if by_norm else "unknown", what)
        if node.op.startswith("_Fused"):
            return self.within(node, channels)
        names = [("weight", weight.name), ("operator", node.name)]
        shifted = False
        value = next((one for one in node.outputs if one is not None), None)
        for _ in range(MAX_STEPS):
            taking = self.users.get(-1 if value is None else value, ())
            users = [one for one in taking if not is_aside(one)]
            norms = [one for user in users if (one := self.norm_of(user, value, channels))]
            if len(users) > 1 and norms:
                return Finding(Following(None, split=True), ())
            if norms:
                norm = norms[0].norm
                return norms[0] if norm is None else Finding(Following(norm), ())
            onward = [user for user in users if self.passes(user, value)]
            if len(users) != 1 or not onward:
                break
            shifted |= onward[0].op in SHIFTS
            names.append(("shift", onward[0].name))
            names += [("bias", name) for name in self.names_beside(onward[0], value)]
            value = next((one for one in onward[0].outputs if one is not None), None)
        claims = claims_of(names)
        if weight.trained and not claims:
            return State("no_norm", "no batch normalisation follows in the graph of the variables")
        return Finding(Following(None), claims, shifted=shifted)

    def norm_of(self, user: flat.Node, value: int | None, channels: int) -> State | None:
        """What a node is that uses ``value``, if it is a batch normalisation."""
        told = f"followed by batch normalisation {user.name!r}"
        inputs = [one for one in user.inputs if one is not None]
        if not isinstance(user, Node):  # a joint
            return None
        if inputs[:1] == [value] and user.op in FUSED and len(inputs) >= 5:
            epsilon = user.given.attribute("epsilon").real(4, DEFAULT_EPSILON)
            training = user.given.attribute("is_training").integer(5, 1)
            variance = self.collected(inputs[2]) if training else self.stored(inputs[4])
            return State("raw", told, self.norm(user.name, inputs[1], variance, epsilon, channels))
        if inputs[:1] == [value] and user.op in OLDEST and len(inputs) >= 5:
            epsilon = user.given.attribute("variance_epsilon").real(4)
            scales = user.given.attribute("scale_after_normalization").integer(5)
            gamma = inputs[4] if scales else None
            return State(
                "raw", told, self.norm(user.name, gamma, self.stored(inputs[2]), epsilon, channels)
            )
        if user.op == "Mul" and len(inputs) == 2 and value is not None:
            return self.written_out(user, inputs[1 - inputs.index(value)], channels)
        return None

    def norm(
        self,
        name: str,
        gamma: int | None,
        variance: Constant | None,
        epsilon: float,
        channels: int,
    ) -> Norm | None:
        """A norm by its parameters; None where they are not stored."""
        factor = self.stored(gamma) if gamma is not None else None
        if variance is None or (gamma is not None and factor is None):
            return None
        if any(part.shape != (channels,) for part in (factor, variance) if part is not None):
            return None
        load = factor.load if factor is not None else None
        return Norm(name, partial(fused_scale, load, variance.load, epsilon))

    def stored(self, value: int) -> Constant | None:
        """What is stored of a value; None where it is computed."""
        try:
            return self.constants.constant(value)
        except NotFollowedError:
            return None

    def collected(self, shift: int) -> Constant | None:
        """The variance that training collected, which its own graph does not use."""
        beta = self.stored(shift)
        if beta is None:
            return None
        scope = beta.name.removesuffix(":0").rpartition("/")[0]
        return self.constants.variables.find(f"{scope}/moving_variance")

    def written_out(self, user: flat.Node, factor: int, channels: int) -> State | None:
        """A factor for each channel, and then a shift: a batch normalisation written out."""
        if not self.is_vector(factor, channels):
            return None
        value = next((one for one in user.outputs if one is not None), None)
        after = self.users[value] if value is not None else []
        shifts = [one for one in after if one.op in SHIFTS and self.passes(one, value)]
        if not shifts and not NAMED_NORM.search(user.name):
            return None
        load = partial(load_scale, self.constants.constant(factor).load)
        what = "batch normalisation" if NAMED_NORM.search(user.name) else "scale and shift"
        return State("raw", f"followed by {what} {user.name!r}", Norm(user.name, load))

    def within(self, node: Node, channels: int) -> State:
        """What a fused operator does after its convolution."""
        fused = node.given.texts("fused_ops")
        if "FusedBatchNorm" not in fused:
            return State("unknown", f"fused with {', '.join(fused) or 'nothing'}")
        inputs = [one for one in node.inputs if one is not None]
        epsilon = node.given.attribute("epsilon").real(4, DEFAULT_EPSILON)
        norm = None
        if len(inputs) >= 6:
            norm = self.norm(node.name, inputs[2], self.stored(inputs[5]), epsilon, channels)
        return State("raw", f"followed by batch normalisation within {node.name}", norm)

    def passes(self, user: flat.Node, value: int | None) -> bool:
        """True for a node behind which a batch normalisation may still come."""
        if user.op in THROUGH:
            return user.inputs[:1] == (value,)
        others = [one for one in user.inputs if one is not None and one != value]
        return user.op in SHIFTS and bool(others) and all(self.is_stored(one) for one in others)

    def names_beside(self, user: flat.Node, value: int | None) -> list[str]:
        """Names of the stored arrays that enter a node beside ``value``."""
        others = [one for one in user.inputs if one is not None and one != value]
        return [self.constants.constant(one).name for one in others if self.is_stored(one)]

    def is_stored(self, value: int) -> bool:
        """True for a value that is known from the file."""
        return self.stored(value) is not None

    def is_vector(self, value: int, channels: int) -> bool:
        """True for stored values of which there is one for each channel."""
        if not self.is_stored(value):
            return False
        shape = self.constants.constant(value).shape
        return channels > 1 and prod(shape) == channels and max(shape, default=0) == channels


def is_aside(node: flat.Node) -> bool:
    """True for what only looks at a value, or serves the training."""
    return node.op in ASIDE or GRADIENT.search(f"{node.name} {node.op}") is not None
