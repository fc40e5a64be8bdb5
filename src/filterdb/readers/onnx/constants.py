"""Which values of an ONNX graph are constant: stored tensors, and what simple nodes make of them.

Followed are the operators that exporters and quantisers put between a stored weight and its
convolution. Nothing is computed here: each adds a step that is taken when the weight is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ReadError
from filterdb.readers.elements import round_to_bfloat16
from filterdb.readers.onnx.depth import Depths
from filterdb.readers.onnx.graph import Graph, Node
from filterdb.readers.onnx.tensors import DTYPES, Constant, NotFollowedError, Step, Vault

MAX_STEPS = 64
"""Operators behind a value that are followed, its scales' included (Identity is free)."""

MAX_LOOKED_AT = 2**16
"""Zero points that are looked at to tell whether all are 0."""

Found = Constant | str
"""A constant, or the reason (a clause) why the value is not known from the file."""


class Constants:
    """The constants behind some values of a graph.

    Parameters
    ----------
    graph, depths
        The flat graph and an order of its nodes.
    vault
        Opens stored tensors.
    wanted
        The values that matter; only what they need is opened.
    """

    def __init__(self, graph: Graph, depths: Depths, vault: Vault, wanted: Iterable[int]) -> None:
        self.graph = graph
        self.vault = vault
        self.producers = graph.producers()
        self.found: dict[int, Found] = {}
        needed = self.ancestors(wanted)
        for value in sorted(needed & graph.constants.keys()):
            self.found[value] = self.stored(value)
        for index in depths.order:
            node = graph.nodes[index]
            if node.outputs and node.outputs[0] in needed and foldable(node):
                self.found[node.outputs[0]] = self.folded(node)

    def ancestors(self, wanted: Iterable[int]) -> set[int]:
        """The wanted values and those behind them, as far as operators are followed."""
        needed: set[int] = set()
        stack = list(wanted)
        while stack:
            value = stack.pop()
            if value in needed:
                continue
            needed.add(value)
            index = self.producers.get(value)
            if index is not None and foldable(self.graph.nodes[index]):
                stack += [v for v in self.graph.nodes[index].inputs if v is not None]
        return needed

    def stored(self, value: int) -> Found:
        """Open the stored tensor of a value."""
        graph = self.graph
        if value in graph.redefined:
            return f"{graph.names[value]!r} stands more than once in the file, with other values"
        try:
            return self.vault.open(graph.constants[value], graph.names[value], graph.origins[value])
        except NotFollowedError as error:
            return str(error)

    def folded(self, node: Node) -> Found:
        """The constant that an operator makes of constants."""
        try:
            made = FOLDS[node.op](node, [self.constant(value) for value in node.inputs])
        except NotFollowedError as error:
            return str(error)
        if made.work > MAX_STEPS:
            return f"more than {MAX_STEPS} operators lie between its stored tensor and its use"
        return made

    def constant(self, value: int | None) -> Constant | None:
        """The constant behind a value, None for an omitted input.

        Raises
        ------
        NotFollowedError
            The value is not known from the file, and why.
        """
        if value is None:
            return None
        found = self.found.get(value)
        if isinstance(found, Constant):
            return found
        raise NotFollowedError(found if found is not None else self.unknown(value))

    def unknown(self, value: int) -> str:
        """Why a value that no followed operator yields is not known from the file."""
        name = self.graph.names[value]
        if value in self.graph.undefined:
            return f"nothing in the file defines {name!r}"
        if value in self.graph.inputs:
            return f"{name!r} is an input of the graph, so it is not stored in the file"
        index = self.producers.get(value)
        operator = self.graph.nodes[index].op if index is not None else ""
        if not operator:
            return f"{name!r} changes while the network runs"
        return f"{name!r} is computed by {operator}, not stored"


def attribute(node: Node, name: str, default: Any) -> Any:
    """An integer or a list of integers among a node's attributes."""
    held = node.attributes.get(name)
    if held is None:
        return default
    return list(held.ints) if isinstance(default, list) else int(held.i)


def first(inputs: list[Constant | None]) -> Constant:
    """The main input of an operator."""
    if not inputs or inputs[0] is None:
        msg = "an operator before it lacks its input"
        raise NotFollowedError(msg)
    return inputs[0]


def argument(inputs: list[Constant | None], index: int) -> Constant | None:
    """A further input, None if it is omitted."""
    return inputs[index] if index < len(inputs) else None


def then(source: Constant, step: Step, *, shape: tuple[int, ...] | None = None) -> Constant:
    """A constant with one more step."""
    shape = source.shape if shape is None else shape
    return replace(source, shape=shape, steps=(*source.steps, step), work=source.work + 1)


def fold_identity(_: Node, inputs: list[Constant | None]) -> Constant:
    """Nothing is done."""
    return first(inputs)


def fold_cast(node: Node, inputs: list[Constant | None]) -> Constant:
    """Change the type, with the rounding that goes with it."""
    target = DTYPES.get(attribute(node, "to", 0), "")
    if target == "bfloat16":
        return then(first(inputs), cast_to_bfloat16)
    if not target.startswith(("float", "int", "uint")) or target.startswith(("float8", "int4")):
        msg = f"a Cast to {target or 'an unknown type'} is not followed"
        raise NotFollowedError(msg)
    return then(first(inputs), partial(cast_to, target))


def fold_transpose(node: Node, inputs: list[Constant | None]) -> Constant:
    """Permute the axes."""
    source = first(inputs)
    backwards = list(range(len(source.shape)))[::-1]
    permutation = attribute(node, "perm", []) or backwards
    if sorted(permutation) != backwards[::-1]:
        msg = f"a Transpose before it permutes {permutation}, which does not fit {source.shape}"
        raise NotFollowedError(msg)
    shape = tuple(source.shape[axis] for axis in permutation)
    return then(source, partial(np.transpose, axes=permutation), shape=shape)


def fold_reshape(node: Node, inputs: list[Constant | None]) -> Constant:
    """Give the same values another shape: 0 keeps a dimension, -1 is what remains."""
    source, target = first(inputs), argument(inputs, 1)
    wanted = attribute(node, "shape", []) if target is None else small_integers(target)
    keep = not attribute(node, "allowzero", 0)
    shape = [
        source.shape[i] if n == 0 and keep and i < len(source.shape) else n
        for i, n in enumerate(wanted)
    ]
    rest = prod(n for n in shape if n != -1)
    if shape.count(-1) == 1 and rest > 0:
        shape[shape.index(-1)] = prod(source.shape) // rest
    return reshaped(source, shape)


def fold_squeeze(node: Node, inputs: list[Constant | None]) -> Constant:
    """Drop axes of length 1."""
    source, axes = first(inputs), axes_of(node, inputs)
    rank = len(source.shape)
    drop = {axis % rank for axis in axes} if rank else set()
    if not axes:
        drop = {axis for axis, n in enumerate(source.shape) if n == 1}
    return reshaped(source, [n for axis, n in enumerate(source.shape) if axis not in drop])


def fold_unsqueeze(node: Node, inputs: list[Constant | None]) -> Constant:
    """Insert axes of length 1."""
    source, axes = first(inputs), axes_of(node, inputs)
    rank = len(source.shape) + len(axes)
    new = {axis % rank for axis in axes} if rank else set()
    old = iter(source.shape)
    return reshaped(source, [1 if axis in new else next(old, 0) for axis in range(rank)])


def axes_of(node: Node, inputs: list[Constant | None]) -> list[int]:
    """The axes of (Un)Squeeze: an attribute in old opsets, an input in new ones."""
    axes = argument(inputs, 1)
    return list(attribute(node, "axes", [])) if axes is None else small_integers(axes)


def small_integers(source: Constant) -> list[int]:
    """The values of a constant that describes a shape."""
    if prod(source.shape) > MAX_STEPS:
        msg = f"{source.name!r} is too long for a shape"
        raise NotFollowedError(msg)
    return [int(n) for n in source.load().reshape(-1)]


def reshaped(source: Constant, shape: list[int]) -> Constant:
    """A constant of another shape, if that holds as many values."""
    if any(n < 0 for n in shape) or prod(shape) != prod(source.shape):
        msg = f"it is reshaped from {source.shape} to {tuple(shape)}, which does not fit"
        raise NotFollowedError(msg)
    return then(source, partial(np.reshape, shape=tuple(shape)), shape=tuple(shape))


def quantisation_axis(node: Node) -> int:
    """The axis along which scales and zero points run."""
    if attribute(node, "block_size", 0):
        msg = "it is quantised in blocks, which is not followed"
        raise NotFollowedError(msg)
    axis: int = attribute(node, "axis", 1)
    return axis


def fold_dequantize(node: Node, inputs: list[Constant | None]) -> Constant:
    """DequantizeLinear: ``(x - zero point) * scale``, per tensor or per channel."""
    source = first(inputs)
    axis = quantisation_axis(node)
    return dequantized(source, argument(inputs, 1), argument(inputs, 2), axis=axis)


def dequantized(
    source: Constant, scale: Constant | None, zero_point: Constant | None, *, axis: int
) -> Constant:
    """A quantised constant as real numbers; without a scale only the zero point is subtracted."""
    scale, zero_point = (along(source, given, axis) for given in (scale, zero_point))
    made = then(source, partial(dequantize, scale=scale, zero_point=zero_point))
    if scale is not None:
        made = replace(made, scheme=scheme_of(scale, zero_point))
    return with_work_of(made, scale, zero_point)


def scheme_of(scale: Constant, zero_point: Constant | None) -> str:
    """How quantised values stand for real ones; a zero point that takes work may be any."""
    symmetric = zero_point is None
    if zero_point is not None and zero_point.work <= 2 and prod(zero_point.shape) <= MAX_LOOKED_AT:
        with suppress(ReadError):
            symmetric = not zero_point.load().any()
    grain = "per-tensor" if prod(scale.shape) == 1 else "per-channel"
    return f"{grain}, {'symmetric' if symmetric else 'affine'}"


def fold_quantize(node: Node, inputs: list[Constant | None]) -> Constant:
    """QuantizeLinear to an integer type: only the rounding of the values remains."""
    source = first(inputs)
    axis = quantisation_axis(node)
    scale, zero_point = (along(source, argument(inputs, i), axis) for i in (1, 2))
    default = DTYPES.get(attribute(node, "output_dtype", 0), "uint8")
    kind = zero_point.dtype if zero_point else default
    if scale is None or kind not in INTEGER_RANGES:
        msg = f"it is quantised to {kind}, which is not followed"
        raise NotFollowedError(msg)
    made = then(source, partial(quantize, scale=scale, zero_point=zero_point, kind=kind))
    return with_work_of(made, scale, zero_point)


def along(source: Constant, given: Constant | None, axis: int) -> Constant | None:
    """Shape a scale or zero point so that it broadcasts along ``axis`` of the source."""
    if given is None:
        return None
    rank, count = len(source.shape), prod(given.shape)
    if count == 1:
        return reshaped(given, [1] * rank) if rank else reshaped(given, [])
    if len(given.shape) == 1 and -rank <= axis < rank and source.shape[axis] == count:
        return reshaped(given, [count if i == axis % rank else 1 for i in range(rank)])
    msg = f"its scale of shape {given.shape} does not fit its shape {source.shape}"
    raise NotFollowedError(msg)


def with_work_of(made: Constant, *inner: Constant | None) -> Constant:
    """Note that loading ``made`` loads ``inner``."""
    return replace(made, work=made.work + sum(constant.work for constant in inner if constant))


INTEGER_RANGES = {
    "int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127), "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1), "uint16": (0, 2**16 - 1),
}  # fmt: skip


def dequantize(
    array: NDArray[Any], *, scale: Constant | None, zero_point: Constant | None
) -> NDArray[np.float32]:
    """Real numbers from quantised ones; the difference is exact before it is scaled."""
    values = array.astype(np.float64)
    if zero_point is not None:
        values -= zero_point.load()
    if scale is not None:
        values *= scale.load()
    return values.astype(np.float32)


def quantize(
    array: NDArray[Any], *, scale: Constant, zero_point: Constant | None, kind: str
) -> NDArray[np.float32]:
    """Quantised numbers (as float32, which holds them exactly), ties to even, saturated."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.rint(array / np.asarray(scale.load(), np.float32)).astype(np.float32)
    if zero_point is not None:
        values += zero_point.load()
    return np.clip(values, *INTEGER_RANGES[kind]).astype(np.float32)


def cast_to(dtype: str, array: NDArray[Any]) -> NDArray[Any]:
    """Cast; what does not fit is as undefined as in the network itself."""
    with np.errstate(invalid="ignore", over="ignore"):
        return array.astype(dtype)


def cast_to_bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    """Round to bfloat16, kept as float32."""
    return round_to_bfloat16(array.astype(np.float32))


FOLDS: dict[str, Callable[[Node, list[Constant | None]], Constant]] = {
    "Identity": fold_identity,
    "Cast": fold_cast,
    "Transpose": fold_transpose,
    "Reshape": fold_reshape,
    "Squeeze": fold_squeeze,
    "Unsqueeze": fold_unsqueeze,
    "DequantizeLinear": fold_dequantize,
    "QuantizeLinear": fold_quantize,
}
QUANTIZERS = ("DequantizeLinear", "QuantizeLinear")


def foldable(node: Node) -> bool:
    """True for an operator whose result is followed."""
    microsoft = node.domain == "com.microsoft" and node.op in QUANTIZERS
    return node.op in FOLDS and (node.standard or microsoft)
