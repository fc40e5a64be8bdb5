"""The numbers of a Core ML neural network: floats, halves, or codes of one to eight bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Loader
from filterdb.readers.tensorflow.message import Message

FLOATS, HALVES, CODES, SIGNED_CODES, QUANTISATION = 1, 2, 30, 31, 40
BITS, LINEAR, TABLE = 1, 101, 102
MOST_BITS = 8


@dataclass(frozen=True, slots=True)
class Weights:
    """An array of a layer, unread; ``why_not`` says why it cannot be, and is empty otherwise."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    scheme: str = ""
    why_not: str = ""
    load: Loader = field(default=lambda: np.zeros(0), repr=False, compare=False)


def read_weights(message: Message, shape: tuple[int, ...], *, axis: int = 0) -> Weights:
    """Find how a ``WeightParams`` holds an array of a known shape.

    Parameters
    ----------
    message
        The WeightParams.
    shape
        What the layer says of it.
    axis
        The axis of the output channels, along which scales may differ.

    Raises
    ------
    CorruptFileError
        It holds more or fewer numbers than the shape needs.
    """
    floats = message.reals(FLOATS, "<f4")
    halves, codes, signed = (view_of(message, n) for n in (HALVES, CODES, SIGNED_CODES))
    count = prod(shape)
    if len(floats):
        check_count(len(floats), count, shape)
        return Weights(shape, load=lambda: floats.reshape(shape))
    if len(halves):
        check_count(len(halves), 2 * count, shape)
        return Weights(shape, "float16", load=lambda: halves.view("<f2").reshape(shape))
    if not len(codes) and not len(signed):
        return Weights(shape, why_not="it has no weights in the file")
    return read_codes(message.message(QUANTISATION), codes, signed, shape, axis)


def view_of(message: Message, number: int) -> NDArray[np.uint8]:
    """The bytes in a field, as a view of the file."""
    last = next(reversed(list(message.messages(number))), None)
    return message.source.data[last.begin : last.end] if last else np.zeros(0, np.uint8)


def read_codes(
    rule: Message,
    codes: NDArray[np.uint8],
    signed: NDArray[np.uint8],
    shape: tuple[int, ...],
    axis: int,
) -> Weights:
    """The codes of a quantised array, and what they stand for."""
    bits, count = rule.integer(BITS), prod(shape)
    if not 1 <= bits <= MOST_BITS:
        return Weights(shape, why_not=f"its weights are codes of {bits} bits without a rule")
    if len(codes):
        check_count(len(codes), (count * bits + 7) // 8, shape)
    else:
        check_count(len(signed), count, shape)
    if TABLE in rule.fields and len(codes):
        table = rule.message(TABLE).reals(1, "<f4")
        check_count(len(table), 2**bits, (2**bits,))
        load = partial(load_looked_up, codes, bits, table, shape)
        return Weights(shape, f"uint{bits}", "per-tensor, lookup table", load=load)
    linear = rule.message(LINEAR)
    scale, shift = linear.reals(1, "<f4"), linear.reals(2, "<f4")
    if len(scale) not in (1, shape[axis]) or len(shift) not in (0, 1, shape[axis]):
        msg = (
            f"It has {len(scale)} scales and {len(shift)} shifts for {shape[axis]} channels: the "
            "file is damaged. Download or copy it again."
        )
        raise CorruptFileError(msg)
    spread = "per-channel" if len(scale) > 1 else "per-tensor"
    scheme = f"{spread}, {'affine' if shift.any() else 'symmetric'}"
    load = partial(load_linear, codes, signed, bits, (scale, shift), shape, axis)
    return Weights(shape, "int8" if len(signed) else f"uint{bits}", scheme, load=load)


def load_looked_up(
    codes: NDArray[np.uint8], bits: int, table: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """The values that codes stand for in a table."""
    return np.take(table, unpack_codes(codes, bits, prod(shape))).reshape(shape)


def load_linear(
    codes: NDArray[np.uint8],
    signed: NDArray[np.uint8],
    bits: int,
    rule: tuple[NDArray[np.float32], NDArray[np.float32]],
    shape: tuple[int, ...],
    axis: int,
) -> NDArray[np.float32]:
    """``code * scale + shift``, each along the axis of the channels."""
    found: NDArray[Any] = (
        signed.view(np.int8) if len(signed) else unpack_codes(codes, bits, prod(shape))
    )
    values = found.astype(np.float32).reshape(shape)
    along = [1] * len(shape)
    along[axis] = -1
    scale, shift = (part.reshape(along) for part in rule)
    with np.errstate(all="ignore"):  # a damaged scale may be no number, and is seen as such
        values *= scale
        return values + shift if shift.size else values


def unpack_codes(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Codes one after the other, the highest bit of each first.

    Returns
    -------
    ndarray
        uint8, shape (count,).
    """
    if bits == MOST_BITS:
        return packed[:count]
    single = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    codes = np.zeros(count, np.uint8)
    for bit in range(bits):
        codes |= single[:, bit] << (bits - 1 - bit)
    return codes


def check_count(held: int, needed: int, shape: tuple[int, ...]) -> None:
    """Require that an array is as long as its shape says."""
    if held != needed:
        msg = (
            f"Its shape {shape!s:.200} needs {needed:,}, but the file holds {held:,}: the file is "
            "damaged. Download or copy it again."
        )
        raise CorruptFileError(msg)


def load_numbers(message: Message, count: int) -> NDArray[Any]:
    """The numbers of a small array (a scale or a variance): float64, shape (count,)."""
    weights = read_weights(message, (count,))
    if weights.why_not:
        msg = f"A batch normalisation cannot be read: {weights.why_not}."
        raise CorruptFileError(msg)
    return weights.load().astype(np.float64)
