"""The operations of an ML program (``mlProgram``), with its constants as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from typing import Any

from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.coreml.blob_file import BlobFile
from filterdb.readers.coreml.values import (
    TYPES,
    Constant,
    check_shape,
    computed,
    decode,
    stored_bytes,
)
from filterdb.readers.layer_graph import MAX_LAYERS
from filterdb.readers.limits import MAX_DEPTH
from filterdb.readers.tensorflow.message import Message

CONST, CONSTANT_RULE = "const", "constexpr_"
FLOATS, INTS, BOOLS, LONGS, DOUBLES, BYTES = 1, 2, 3, 5, 6, 7

OpenBlobs = Callable[[str], BlobFile]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes
    ----------
    inputs
        Name of the operand -> the names of the values given for it.
    given
        Operands and attributes that stand in the operation itself.
    """

    type: str
    inputs: Mapping[str, list[str]]
    outputs: list[str]
    given: Mapping[str, Message] = field(repr=False)

    @cached_property
    def is_constant(self) -> bool:
        """True where the result is known from the file."""
        return self.type == CONST or self.type.startswith(CONSTANT_RULE)

    @property
    def output(self) -> str:
        """The first value that it makes."""
        return self.outputs[0] if self.outputs else ""


class Function:
    """A function of a program: its operations in order, those of inner blocks where they stand.

    Parameters
    ----------
    message
        The function.
    open_blobs
        Opens a file of blobs by its name in the program.
    """

    def __init__(self, message: Message, open_blobs: OpenBlobs) -> None:
        blocks = message.entries(3)
        chosen = message.text(2)
        block = blocks.get(chosen) or next(iter(blocks.values()), None)
        self.operations = list(operations_of(block, 0)) if block is not None else []
        self.constants = {
            name: item for item in self.operations if item.is_constant for name in item.outputs
        }
        self.open_blobs = open_blobs
        self.known: dict[str, Constant | str] = {}

    def constant(self, name: str, depth: int = 0) -> Constant | str:
        """The constant of a name, or why there is none."""
        if name not in self.known:
            maker = self.constants.get(name)
            if maker is None:
                return "its weight is computed while the network runs, not stored"
            self.known[name] = self.made_by(maker, depth)
        return self.known[name]

    def made_by(self, maker: Operation, depth: int) -> Constant | str:
        """What an operation with a constant result makes."""
        if maker.type == CONST:
            value = maker.given.get("val")
            return "its weight has no value" if value is None else self.stored(value, maker.output)
        failed: list[str] = []

        def operand(name: str) -> Constant | None:
            found = self.operand(maker, name, depth + 1)
            if isinstance(found, str):
                failed.append(found)
                raise KeyError(name)
            return found

        try:
            return computed(maker.type, operand, depth)
        except CorruptFileError:
            if failed:
                return failed[0]
            raise

    def operand(self, maker: Operation, name: str, depth: int = 0) -> Constant | str | None:
        """An operand of an operation: None where it is not given, a reason where not constant."""
        if name in maker.given:
            return self.stored(maker.given[name], name)
        names = maker.inputs.get(name)
        return self.constant(names[0], depth) if names else None

    def integers(self, maker: Operation, name: str) -> list[int]:
        """A short list of integers given to an operation; empty where there is none."""
        found = self.operand(maker, name)
        if not isinstance(found, Constant) or prod(found.shape) > 16 or "int" not in found.dtype:
            return []
        return [int(value) for value in found.load().reshape(-1)]

    def stored(self, value: Message, name: str) -> Constant | str:
        """A constant that stands in the program or in its file of blobs."""
        tensor = value.message(2).message(1)
        dtype = TYPES.get(tensor.integer(1))
        shape = tuple(item.message(1).integer(1) for item in tensor.messages(3))
        if dtype is None:
            return f"its element type {tensor.integer(1)} cannot be read"
        check_shape(shape)
        if 5 in value.fields:
            blob = value.message(5)
            where = self.open_blobs(blob.text(1)).bytes_at(blob.integer(2))
            if len(where) != stored_bytes(dtype, shape):
                decode(where, dtype, shape)  # raises, and says by how much
            return Constant(shape, dtype, partial(decode, where, dtype, shape), name=name)
        content = value.message(3).message(1)
        return Constant(shape, dtype, partial(immediate, content, dtype, shape), name=name)


def functions_of(program: Message, open_blobs: OpenBlobs) -> dict[str, Function]:
    """The functions of a program, ``main`` first."""
    found = program.entries(2)
    ordered = sorted(found.items(), key=lambda item: item[0] != "main")
    return {name: Function(message, open_blobs) for name, message in ordered}


def operations_of(block: Message, nesting: int) -> Iterator[Operation]:
    """The operations of a block.

    Raises
    ------
    LimitError
        Blocks are nested without end, or there are more operations than in any network.
    """
    if nesting > MAX_DEPTH:
        msg = f"Its blocks are more than {MAX_DEPTH} deep: not followed."
        raise LimitError(msg)
    for count, message in enumerate(block.messages(3)):
        if count > MAX_LAYERS:
            msg = f"It has more than {MAX_LAYERS:,} operations, as no network does: not read."
            raise LimitError(msg)
        inputs: dict[str, list[str]] = {}
        given = message.entries(5)
        for name, argument in message.entries(2).items():
            for binding in argument.messages(1):
                if 2 in binding.fields:
                    given[name] = binding.message(2)
                else:
                    inputs.setdefault(name, []).append(binding.text(1))
        outputs = [item.text(1) for item in message.messages(3)]
        for inner in message.messages(4):
            yield from operations_of(inner, nesting + 1)
        yield Operation(message.text(1), inputs, outputs, given)


def immediate(content: Message, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values that stand in the program itself.

    Raises
    ------
    CorruptFileError
        There are more or fewer than the shape needs.
    """
    if BYTES in content.fields:
        spans = list(content.message(BYTES).messages(1))
        last = spans[-1] if spans else Message(content.source, 0, 0)
        return decode(content.source.data[last.begin : last.end], dtype, shape)
    values: NDArray[Any]
    if FLOATS in content.fields:
        values = content.message(FLOATS).reals(1, "<f4")
    elif DOUBLES in content.fields:
        values = content.message(DOUBLES).reals(1, "<f8")
    else:
        number = next((n for n in (INTS, LONGS, BOOLS) if n in content.fields), INTS)
        values = content.message(number).integer_array(1)
    if len(values) != prod(shape):
        msg = (
            f"A constant of shape {shape} has {len(values):,} values: the file is damaged. "
            "Download or copy it again."
        )
        raise CorruptFileError(msg)
    return values.reshape(shape)
