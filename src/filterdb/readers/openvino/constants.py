"""What a constant of an OpenVINO network is worth, followed through what lies before a weight.

A weight is a constant, or one that is converted (half precision), scaled and shifted (integers),
quantised and back (FakeQuantize), or brought into another shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.layer import Loader
from filterdb.readers import elements
from filterdb.readers.openvino.document import Document, Layer

TYPES = {
    "f16": "float16", "f32": "float32", "f64": "float64", "bf16": "bfloat16", "i8": "int8",
    "u8": "uint8", "i16": "int16", "u16": "uint16", "i32": "int32", "u32": "uint32",
    "i64": "int64", "u64": "uint64", "i4": "int4", "u4": "uint4", "boolean": "bool",
    "f8e4m3": "float8_e4m3fn", "f8e5m2": "float8_e5m2",
}  # fmt: skip
MAX_STEPS = 64
INTEGERS = frozenset({"int8", "uint8", "int4", "uint4", "int16", "uint16"})
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Subtract": np.subtract, "Multiply": np.multiply, "Divide": np.divide,
}  # fmt: skip


class NotConstantError(Exception):
    """A value that is not known from the file; the text says why, in one clause."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is known from the file, unread until it is loaded.

    Attributes
    ----------
    name
        Of the stored constant that it comes from.
    dtype
        Element type in the file.
    scheme
        How quantised values stand for real ones.
    root
        The layer that holds it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Loader = field(repr=False, compare=False)
    scheme: str = ""
    root: tuple[int, str] = (0, "")


class Constants:
    """Follows constants.

    Parameters
    ----------
    document
        The graph.
    data
        The binary file, mapped: uint8.
    """

    def __init__(self, document: Document, data: NDArray[np.uint8]) -> None:
        self.document = document
        self.data = data
        self.places = {(layer.net, layer.id): i for i, layer in enumerate(document.layers)}

    def feeding(self, layer: Layer, position: int) -> Layer | None:
        """The layer that feeds an input, by its position; None where there is none."""
        if position >= len(layer.inputs):
            return None
        source = self.document.edges.get((layer.net, layer.id, layer.inputs[position]))
        place = self.places.get(source[:2]) if source is not None else None
        return None if place is None else self.document.layers[place]

    def value(self, layer: Layer | None) -> Constant:
        """What a layer yields, if that is constant.

        Raises
        ------
        NotConstantError
            It is not, or it goes through an operator that is not followed.
        CorruptFileError
            A constant lies outside the binary file.
        """
        return self.follow(layer, count(1))

    def follow(self, layer: Layer | None, steps: Iterator[int]) -> Constant:
        """As :meth:`value`, in a bounded number of steps: loading takes each of them again."""
        if layer is None:
            msg = "nothing in the file feeds it"
            raise NotConstantError(msg)
        if next(steps) > MAX_STEPS:
            msg = f"it is computed in more than {MAX_STEPS} steps"
            raise NotConstantError(msg)
        if layer.type == "Const":
            return self.stored(layer)
        if layer.type not in STEPS:
            msg = f"it is computed by a layer of type {layer.type:.60}, which is not followed"
            raise NotConstantError(msg)
        shape = next(iter(layer.outputs.values()), None)
        if shape is None:
            msg = f"the layer {layer.name:.60} does not state its shape"
            raise NotConstantError(msg)
        inputs = [self.follow(self.feeding(layer, i), steps) for i in range(len(layer.inputs))]
        if not inputs:
            msg = f"the layer {layer.name:.60} has no input"
            raise NotConstantError(msg)
        if max(prod(c.shape) for c in inputs) > prod(shape):
            msg = f"the layer {layer.name:.60} has inputs that its shape cannot hold"
            raise NotConstantError(msg)
        return STEPS[layer.type](layer, shape, inputs)

    def stored(self, layer: Layer) -> Constant:
        """A Const: its type, its shape and its place in the binary file."""
        kind = layer.data.get("element_type", "")
        dtype = TYPES.get(kind)
        if dtype is None:
            msg = f"its element type {kind or 'of no name':.20} is not read"
            raise NotConstantError(msg)
        words = layer.data.get("shape", "").split(",")
        shape = tuple(natural(word) for word in words if word.strip())
        offset, size = natural(layer.data.get("offset", "")), natural(layer.data.get("size", ""))
        sound = len(shape) <= elements.MAX_DIMENSIONS and min((offset, size, *shape)) >= 0
        if not sound or elements.stored_bytes(dtype, shape) != size:
            msg = f"Its shape {shape!s:.100} of {dtype} does not fit its {size:,} bytes."
            raise CorruptFileError(msg).at(layer=layer.name[:100])
        if offset + size > len(self.data):
            msg = (
                f"It lies at bytes {offset:,} to {offset + size:,} of a binary file of "
                f"{len(self.data):,}: that is cut short, or belongs to another network."
            )
            raise CorruptFileError(msg).at(layer=layer.name[:100])
        load = partial(load_stored, self.data[offset : offset + size], dtype, shape)
        return Constant(layer.name, shape, dtype, load, root=(layer.net, layer.id))


def natural(text: str) -> int:
    """A number of digits, or -1."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def load_stored(stored: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of a Const."""
    kind = elements.storage_dtype(dtype)
    # Constants lie at any byte: a copy is needed where that is no multiple of their size.
    values = np.frombuffer(stored.tobytes(), kind) if stored.ctypes.data % kind.itemsize else (
        stored.view(kind)
    )  # fmt: skip
    return elements.decode(values, dtype, shape)


Step = Callable[[Layer, tuple[int, ...], Sequence[Constant]], Constant]


def converted(layer: Layer, shape: tuple[int, ...], inputs: Sequence[Constant]) -> Constant:
    """Another element type; to an integer it would cut, which no weight does."""
    target = TYPES.get(layer.data.get("destination_type", ""), "")
    if not target.startswith(("float", "bfloat")):
        msg = f"it is converted to {target or 'an unknown type'}"
        raise NotConstantError(msg)
    (held,) = check_count(inputs, 1)
    return reshaped(layer, shape, [held])


def reshaped(_: Layer, shape: tuple[int, ...], inputs: Sequence[Constant]) -> Constant:
    """The same values in the shape that the layer states for its output."""
    held = inputs[0]
    if prod(held.shape) != prod(shape):
        msg = "it is brought into a shape of another size"
        raise NotConstantError(msg)
    return replace(held, shape=shape, load=partial(load_reshaped, held.load, shape))


def load_reshaped(load: Loader, shape: tuple[int, ...]) -> NDArray[Any]:
    """Load values in another shape."""
    return load().reshape(shape)


def transposed(_: Layer, shape: tuple[int, ...], inputs: Sequence[Constant]) -> Constant:
    """Axes in another order."""
    held = inputs[0]
    if len(inputs) != 2 or inputs[1].shape != (len(held.shape),):
        msg = "it is transposed in a way that is not stated"
        raise NotConstantError(msg)
    axes = tuple(int(axis) for axis in inputs[1].load())
    if sorted(axes) != list(range(len(held.shape))) or shape != tuple(held.shape[a] for a in axes):
        msg = "it is transposed in a way that does not fit its shape"
        raise NotConstantError(msg)
    return replace(held, shape=shape, load=lambda: held.load().transpose(axes))


def computed(layer: Layer, shape: tuple[int, ...], inputs: Sequence[Constant]) -> Constant:
    """Scaled or shifted: what integers stand for."""
    first, second = check_count(inputs, 2)
    held, other = (first, second) if prod(first.shape) >= prod(second.shape) else (second, first)
    if shape != broadcast(first.shape, second.shape) or shape != held.shape:
        msg = "its parts do not fit one another"
        raise NotConstantError(msg)
    scheme = held.scheme
    if held.dtype in INTEGERS:
        grain = "per-tensor" if prod(other.shape) == 1 else "per-channel"
        affine = layer.type in ("Subtract", "Add") or "affine" in scheme
        scheme = f"{grain}, {'affine' if affine else 'symmetric'}"
    operation = ARITHMETIC[layer.type]

    def load() -> NDArray[Any]:
        with np.errstate(all="ignore"):
            values = operation(
                *(part.load().astype(np.float32, copy=False) for part in (first, second))
            )
        return np.asarray(values, np.float32)

    return replace(held, shape=shape, load=load, scheme=scheme)


def fake_quantised(layer: Layer, shape: tuple[int, ...], inputs: Sequence[Constant]) -> Constant:
    """Rounded to so many levels between two limits, and spread between two others."""
    held, *limits = check_count(inputs, 5)
    levels = natural(layer.data.get("levels", ""))
    if shape != held.shape or levels < 2:
        msg = "its quantisation is not sound"
        raise NotConstantError(msg)
    for limit in limits:
        if broadcast(shape, limit.shape) != shape:
            msg = "the limits of its quantisation do not fit its shape"
            raise NotConstantError(msg)
    grain = "per-tensor" if prod(limits[2].shape) == 1 else "per-channel"

    def load() -> NDArray[Any]:
        low, high, out_low, out_high = (
            part.load().astype(np.float32, copy=False) for part in limits
        )
        values = as_float32(held)
        with np.errstate(all="ignore"):
            steps = np.round((np.clip(values, low, high) - low) / (high - low) * (levels - 1))
            return np.asarray(steps / (levels - 1) * (out_high - out_low) + out_low, np.float32)

    return replace(held, load=load, scheme=f"{grain}, FakeQuantize of {levels} levels")


def as_float32(constant: Constant) -> NDArray[np.float32]:
    """The values as OpenVINO computes with them."""
    return constant.load().astype(np.float32, copy=False)


def check_count(inputs: Sequence[Constant], count: int) -> Sequence[Constant]:
    """So many inputs, or the value is not followed."""
    if len(inputs) != count:
        msg = f"one of the steps to it has {len(inputs)} inputs instead of {count}"
        raise NotConstantError(msg)
    return inputs


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of an operation on these, None where they do not fit."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


STEPS: dict[str, Step] = {
    "Convert": converted,
    "Reshape": reshaped,
    "Squeeze": reshaped,
    "Unsqueeze": reshaped,
    "Transpose": transposed,
    "FakeQuantize": fake_quantised,
    **dict.fromkeys(ARITHMETIC, computed),
}


def try_value(constants: Constants, layer: Layer | None) -> Constant | None:
    """The constant that a layer is, or None."""
    try:
        return constants.value(layer)
    except (NotConstantError, ReadError):
        return None
