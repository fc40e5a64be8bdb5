"""Which stored array the value of a graph is, and what the graph does to it on the way."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Loader
from filterdb.readers.elements import NATIVE
from filterdb.readers.limits import check_expansion
from filterdb.readers.tensorflow import dequantise
from filterdb.readers.tensorflow.graph import Graph, Node
from filterdb.readers.tensorflow.nodes import NodeDef
from filterdb.readers.tensorflow.tensor_proto import array_of, dtype_name

THROUGH = frozenset({
    "Identity", "ReadVariableOp", "StopGradient", "Snapshot", "CheckNumerics", "PreventGradient",
    "Enter", "RefEnter", "Switch", "RefSwitch", "GuaranteeConst", "EnsureShape", "Cast",
    "RefIdentity", "DeepCopy", "QuantizeV2", "Quantize", "Exit",
})  # fmt: skip
"""Operators that hand on the values of their first input."""
ROUNDS = frozenset({
    "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel",
    "QuantizeAndDequantize", "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3",
    "QuantizeAndDequantizeV4",
})  # fmt: skip
"""Operators that round as a quantised network would; what is stored is not rounded."""
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add, "AddV2": np.add, "Sub": np.subtract, "Mul": np.multiply,
    "Div": np.true_divide, "RealDiv": np.true_divide, "Maximum": np.maximum,
    "Minimum": np.minimum, "Sqrt": np.sqrt, "Square": np.square, "Neg": np.negative,
    "Rsqrt": lambda x: 1 / np.sqrt(x), "Reciprocal": np.reciprocal, "Inv": np.reciprocal,
    "Exp": np.exp,
}  # fmt: skip
SHAPING = frozenset({"Reshape", "ExpandDims", "Squeeze", "Transpose"})
MAX_STEPS = 1000
MAX_NESTED = 30


class NotFollowedError(Exception):
    """The value of a graph is no stored array, and why (one clause)."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A stored array, or what the graph makes of it.

    Attributes
    ----------
    name
        Of the node or variable that holds it.
    identity
        Equal for what is the same array.
    scheme
        As in :class:`~filterdb.layer.Tensor`.
    computed
        Names of the operators that changed its values.
    rounded
        True where the graph rounds it as a quantised network would.
    shaped
        Names of the operators that only changed its shape.
    trained
        True for a variable: what training left, and no converter touched.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Loader = field(repr=False, compare=False)
    identity: Hashable
    scheme: str = ""
    computed: tuple[str, ...] = ()
    rounded: bool = False
    shaped: tuple[str, ...] = ()
    trained: bool = False


class Variables:
    """The variables of a graph: here those of one that has no checkpoint beside it."""

    def value(self, node: NodeDef) -> Constant:
        """The value of a variable.

        Raises
        ------
        NotFollowedError
            It is not known.
        """
        msg = f"its weight is the variable {node.name!r}, whose value is not in this file"
        raise NotFollowedError(msg)

    def find(self, name: str) -> Constant | None:  # noqa: ARG002
        """The variable of that name; None where there is none."""
        return None


class Constants:
    """Follows the values of a graph back to what is stored.

    Parameters
    ----------
    graph
        The flat graph.
    file_size
        In bytes, to bound what is computed.
    variables
        Where the values of variables are.
    """

    def __init__(self, graph: Graph, file_size: int, variables: Variables | None = None) -> None:
        self.graph = graph
        self.file_size = file_size
        self.variables = variables or Variables()
        self.producers = graph.producers()
        self.known: dict[int, Constant | str] = {}

    def constant(self, value: int, nested: int = 0) -> Constant:
        """What is stored of a value.

        Raises
        ------
        NotFollowedError
            It is computed from the network's input, or in a way that is not followed.
        """
        if value not in self.known:
            try:
                self.known[value] = self.follow(value, nested)
            except NotFollowedError as error:
                if nested >= MAX_NESTED:  # from elsewhere the way may be shorter
                    raise
                self.known[value] = str(error)
        found = self.known[value]
        if isinstance(found, str):
            raise NotFollowedError(found)
        return found

    def follow(self, value: int, nested: int) -> Constant:
        """As :meth:`constant`, without memory."""
        rounded = False
        for _ in range(MAX_STEPS):
            if value in self.graph.held:
                found = self.stored(self.graph.held[value])
                return replace(found, rounded=True) if rounded else found
            index = self.producers.get(value)
            node = self.graph.nodes[index] if index is not None else None
            if not isinstance(node, Node) or not node.inputs or nested >= MAX_NESTED:
                break
            inputs = [one for one in node.inputs if one is not None]
            if node.op == "IdentityN" and self.graph.ports[value] < len(inputs):
                value = inputs[self.graph.ports[value]]
            elif node.op in THROUGH or node.op in ROUNDS:
                value = inputs[0]
                rounded |= node.op in ROUNDS
            else:
                found = self.made(node, inputs, nested + 1)
                return replace(found, rounded=True) if rounded else found
        msg = "its weight is not stored: it comes from the input of the network"
        raise NotFollowedError(msg)

    def stored(self, node: NodeDef) -> Constant:
        """The array of a constant or a variable."""
        if node.op not in {"Const", "HostConst"}:
            return self.variables.value(node)
        held = array_of(node.attribute("value").message(8), self.file_size)
        if isinstance(held, str):
            raise NotFollowedError(held)
        return Constant(node.name, *held, identity=node.message.begin)

    def made(self, node: Node, inputs: list[int], nested: int) -> Constant:
        """What an operator makes of constants."""
        if node.op == "Dequantize" and len(inputs) >= 3:
            source, low, high = (self.constant(one, nested) for one in inputs[:3])
            return dequantised(
                source, low, high,
                mode=node.given.text("mode") or "MIN_COMBINED",
                axis=node.given.integer("axis", -1),
                narrow=bool(node.given.attribute("narrow_range").integer(5)),
            )  # fmt: skip
        if node.op == "Bitcast":
            return self.bitcast(node, self.constant(inputs[0], nested))
        if node.op == "ConcatV2" and len(inputs) > 1:
            return self.concatenated(node, inputs, nested)
        if node.op in SHAPING:
            return self.shaped(node, self.constant(inputs[0], nested), inputs[1:], nested)
        if node.op not in ARITHMETIC:
            msg = f"its weight is not stored: it is computed by {node.op} {node.name!r}"
            raise NotFollowedError(msg)
        parts = [self.constant(one, nested) for one in inputs]
        try:
            shape = np.broadcast_shapes(*(part.shape for part in parts))
        except ValueError as error:
            msg = f"the shapes that enter {node.name!r} do not fit each other"
            raise NotFollowedError(msg) from error
        check_expansion(prod(shape) * 8, self.file_size, "A computed weight")
        largest = max(parts, key=lambda part: prod(part.shape))
        return replace(
            largest,
            shape=shape,
            load=partial(compute, ARITHMETIC[node.op], tuple(part.load for part in parts)),
            identity=(node.op, *(part.identity for part in parts)),
            computed=(*largest.computed, node.name),
        )

    def shaped(self, node: Node, source: Constant, rest: list[int], nested: int) -> Constant:
        """The same values in another shape."""
        numbers = [self.numbers(self.constant(one, nested)) for one in rest[:1]]
        given = numbers[0] if numbers else ()
        probe = np.broadcast_to(np.zeros(1, np.uint8), source.shape)
        op, axes = node.op, node.given.integers("squeeze_dims")
        try:
            view = reshaped(probe, op, given, axes)
        except (ValueError, IndexError, TypeError) as error:
            msg = f"{op} {node.name!r} does not fit the shape {source.shape}"
            raise NotFollowedError(msg) from error
        return replace(
            source,
            shape=view.shape,
            load=partial(load_reshaped, source.load, op, given, axes),
            identity=(op, given, tuple(axes), source.identity),
            shaped=(*source.shaped, op),
        )

    def bitcast(self, node: Node, source: Constant) -> Constant:
        """The same bytes as values of another type of the same size."""
        name = dtype_name(node.given.attribute("type").integer(6)) or ""
        if (
            not {name, source.dtype} <= NATIVE
            or np.dtype(name).itemsize != np.dtype(source.dtype).itemsize
        ):
            msg = f"its weight is cast by {node.name!r} to {name or 'an unknown type'}"
            raise NotFollowedError(msg)
        load = partial(load_as, source.load, name)
        return replace(source, dtype=name, load=load, identity=(name, source.identity))

    def concatenated(self, node: Node, inputs: list[int], nested: int) -> Constant:
        """A variable that is kept in several."""
        parts = [self.constant(one, nested) for one in inputs[:-1]]
        along = self.numbers(self.constant(inputs[-1], nested))
        probes = [np.broadcast_to(np.zeros(1, np.uint8), part.shape) for part in parts]
        try:
            joined = np.concatenate(probes, along[0])
        except (ValueError, IndexError) as error:
            msg = f"the shapes that enter {node.name!r} do not fit each other"
            raise NotFollowedError(msg) from error
        return replace(
            parts[0],
            name=parts[0].name.removesuffix("/part_0"),
            shape=joined.shape,
            load=partial(load_joined, tuple(part.load for part in parts), along[0]),
            identity=("joined", along[0], *(part.identity for part in parts)),
        )

    def numbers(self, constant: Constant) -> tuple[int, ...]:
        """A few integers that say how something is done."""
        if prod(constant.shape) > 64 or "int" not in constant.dtype:
            msg = f"{constant.name!r} is no short list of integers"
            raise NotFollowedError(msg)
        return tuple(int(one) for one in constant.load().reshape(-1))


def reshaped(
    values: NDArray[Any], op: str, given: tuple[int, ...], axes: list[int]
) -> NDArray[Any]:
    """Apply one of :data:`SHAPING`."""
    if op == "Reshape":
        return values.reshape(given)
    if op == "Transpose":
        return values.transpose(given)
    if op == "ExpandDims":
        return np.expand_dims(values, given[0])
    return values.squeeze(tuple(axes) or None)


def load_reshaped(load: Loader, op: str, given: tuple[int, ...], axes: list[int]) -> NDArray[Any]:
    """Load values in another shape."""
    return reshaped(load(), op, given, axes)


def load_as(load: Loader, name: str) -> NDArray[Any]:
    """Load values as those of another type of the same size."""
    return np.ascontiguousarray(load()).view(name)


def load_joined(loads: tuple[Loader, ...], axis: int) -> NDArray[Any]:
    """Load the parts of an array, and join them."""
    return np.concatenate([load() for load in loads], axis)


def compute(function: Callable[..., Any], loads: tuple[Loader, ...]) -> NDArray[np.float64]:
    """Compute what the graph computes, float64."""
    with np.errstate(all="ignore"):
        result: NDArray[np.float64] = function(*(np.asarray(one(), np.float64) for one in loads))
    return result


def dequantised(
    source: Constant, low: Constant, high: Constant, *, mode: str, axis: int, narrow: bool
) -> Constant:
    """A quantised constant as the real values that it stands for."""
    if source.dtype not in dequantise.STEPS:
        return source  # the graph quantises what is stored as real numbers
    per_channel = prod(low.shape) > 1
    sizes = {prod(low.shape), prod(high.shape)} - {1}
    if sizes and (not per_channel or not source.shape or sizes != {source.shape[axis]}):
        msg = "its ranges do not fit its channels"
        raise NotFollowedError(msg)
    shape = [1] * len(source.shape)
    if per_channel:
        shape[axis] = source.shape[axis]
    scale = partial(dequantise.values, source.load, low.load, high.load, source.dtype, mode,
                    tuple(shape), narrow=narrow)  # fmt: skip
    kind = "symmetric" if mode == "SCALED" else "affine"
    return replace(
        source,
        load=scale,
        identity=("dequantised", source.identity, low.identity, high.identity, mode),
        scheme=f"{'per-channel' if per_channel else 'per-tensor'}, {kind} ({mode})",
    )


def scalar(constant: Constant) -> float:
    """The one value of a constant.

    Raises
    ------
    CorruptFileError
        It has more than one.
    """
    values = constant.load().reshape(-1)
    if values.size != 1:
        msg = f"{constant.name!r} should be one number, and is {values.size:,}."
        raise CorruptFileError(msg)
    return float(values[0])
