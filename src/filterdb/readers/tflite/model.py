"""A TFLite model as its schema has it: subgraphs of operators over numbered tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.elements import MAX_DIMENSIONS
from filterdb.readers.limits import MAX_DEPTH
from filterdb.readers.tflite.flatbuffer import Flatbuffer, Table

OPERATORS = {
    0: "ADD", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE", 18: "MUL", 31: "CALL",
    32: "CUSTOM", 37: "BATCH_TO_SPACE_ND", 38: "SPACE_TO_BATCH_ND", 39: "TRANSPOSE", 41: "SUB",
    67: "TRANSPOSE_CONV", 118: "IF", 119: "WHILE", 124: "DENSIFY", 129: "CALL_ONCE",
    132: "CONV_3D", 141: "CONV_3D_TRANSPOSE", 171: "STABLEHLO_CONVOLUTION",
}  # fmt: skip
"""The operators that matter to us, by their number in the schema."""
BODIES = {"IF": (0, 1), "WHILE": (0, 1), "CALL": (0,), "CALL_ONCE": (0,)}
"""Fields of an operator's options that name the subgraphs it runs."""
DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16",
    9: "int8", 10: "float64", 12: "uint64", 15: "uint32", 16: "uint16", 17: "int4",
    18: "bfloat16", 20: "uint4",
}  # fmt: skip
"""Element types that can be read, by their number in the schema."""
OTHER_TYPES = {5: "text", 8: "complex64", 11: "complex128", 13: "a resource", 14: "a variant",
               19: "int2"}  # fmt: skip
MAX_LINKS = 1_000_000
"""Inputs and outputs of all operators together; the largest networks have some 50,000."""
OMITTED = -1
CONVERTED = re.compile(r"(\w{1,40}) Converted\.?")
"""The description that converters write."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """Scales and zero points of a tensor: one for all, or one for each index of ``axis``.

    Attributes
    ----------
    affine
        Whether any zero point is not zero.
    rule
        Equal for tensors that are quantised alike.
    other
        Quantised by a rule of its own: in blocks, or by a custom one.
    """

    scale: NDArray[np.float32] = field(repr=False)
    zero_point: NDArray[np.int64] = field(repr=False)
    axis: int
    affine: bool
    rule: tuple[bytes, bytes, int] = field(repr=False)
    other: bool = False


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: what its buffer holds, if it is a constant."""

    name: str
    shape: tuple[int, ...]
    type: int
    buffer: int
    quantisation: Quantisation | None
    sparsity: Table | None
    outside: bool
    """Its values lie in another file."""

    @property
    def dtype(self) -> str | None:
        """Element type in the file; None where it cannot be read."""
        return DTYPES.get(self.type)


@dataclass(frozen=True, slots=True)
class Operator:
    """One node: its operator by name (a custom one by its own), inputs and outputs."""

    op: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None

    def option(self, number: int, *, size: int = 4, default: int = 0) -> int:
        """A field of the operator's options."""
        if self.options is None:
            return default
        return self.options.integer(number, size=size, default=default)


@dataclass(frozen=True, slots=True)
class Subgraph:
    """One graph: the main one is the first."""

    name: str
    tensors: tuple[TensorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A TFLite model; buffers are views of the file."""

    size: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    buffers: tuple[NDArray[np.uint8], ...]
    metadata: dict[str, int]

    @property
    def producer(self) -> str | None:
        """Who converted it: the record that TensorFlow leaves, else its description."""
        record = self.metadata.get("CONVERSION_METADATA", 0)
        content = self.buffers[record] if 0 < record < len(self.buffers) else None
        if content is not None and len(content):
            try:
                environment = Flatbuffer(content).root.child(0)
                version = environment.text(0) if environment else ""
            except (CorruptFileError, LimitError):  # a record beside the network may be damaged
                version = ""
            if re.fullmatch(r"[\w.+-]{1,40}", version):
                return f"tensorflow {version}"
        converter = CONVERTED.fullmatch(self.description)
        return f"{converter[1]} (TFLite)" if converter else None


def parse(data: NDArray[np.uint8]) -> Model:
    """Read everything but the weights.

    Raises
    ------
    CorruptFileError
        A part of it lies outside the file, or refers to what is not there.
    LimitError
        It holds more tables than any network.
    """
    root = Flatbuffer(data).root
    codes = [operator_code(code) for code in root.children(1)]
    buffers = tuple(buffer_of(buffer, data) for buffer in root.children(4))
    links = 0
    subgraphs = []
    for graph in root.children(2):
        tensors = tuple(tensor_of(tensor, len(buffers)) for tensor in graph.children(0))
        operators = []
        for table in graph.children(3):
            operator = operator_of(table, codes, len(tensors))
            links += len(operator.inputs) + len(operator.outputs)
            if links > MAX_LINKS:
                msg = f"Its operators have more than {MAX_LINKS:,} inputs, as no network's do."
                raise LimitError(msg)
            operators.append(operator)
        ends = [checked_indices(graph.integers(number), len(tensors)) for number in (1, 2)]
        subgraphs.append(Subgraph(graph.text(4), tensors, ends[0], ends[1], tuple(operators)))
    if not subgraphs:
        msg = "It holds no graph. The file is damaged: download or copy it again."
        raise CorruptFileError(msg)
    metadata = {entry.text(0): entry.unsigned(1) for entry in root.children(6)}
    return Model(len(data), root.text(3), tuple(subgraphs), buffers, metadata)


def operator_code(table: Table) -> tuple[str, bool]:
    """Name of an operator, and whether it is a custom one."""
    # Numbers from 127 on do not fit into the older field, which then has 127.
    number = max(table.integer(0, size=1), table.integer(3))
    name = OPERATORS.get(number, f"operator {number}")
    return (table.text(1) or name, True) if name == "CUSTOM" else (name, False)


def buffer_of(table: Table, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of a buffer: in the flatbuffer, or (in files above 2 GB) behind it."""
    offset, size = table.unsigned(1, size=8), table.unsigned(2, size=8)
    if offset > 1:  # 1 is what converters write before they know
        table.buffer.check(offset, size)
        table.buffer.spend(size)
        return data[offset : offset + size]
    held = table.vector(0, "u1")
    if held is None:
        return data[:0]
    table.buffer.spend(len(held))
    return held


def tensor_of(table: Table, buffers: int) -> TensorInfo:
    """One tensor of a subgraph."""
    shape = table.integers(0)
    buffer = table.unsigned(2)
    if len(shape) > MAX_DIMENSIONS or buffer >= max(buffers, 1):
        msg = f"Its tensor {table.text(3)[:100]!r} is impossible. Download or copy the file again."
        raise CorruptFileError(msg)
    found = table.child(4)
    return TensorInfo(
        name=table.text(3),
        shape=shape,
        type=table.integer(1, size=1),
        buffer=buffer,
        quantisation=None if found is None else quantisation_of(found),
        sparsity=table.child(6),
        outside=table.unsigned(10) != 0,
    )


def quantisation_of(table: Table) -> Quantisation | None:
    """How a tensor is quantised; None where it has no scales."""
    scale = table.vector(2, "<f4")
    other = table.unsigned(4, size=1) != 0
    if (scale is None or not len(scale)) and not other:
        return None
    zero_point = table.vector(3, "<i8")
    scale = np.zeros(0, np.float32) if scale is None else scale
    zero_point = np.zeros(0, np.int64) if zero_point is None else zero_point
    table.buffer.spend(scale.nbytes + zero_point.nbytes)
    axis = table.integer(6)
    rule = (scale.tobytes(), zero_point.tobytes(), axis)
    return Quantisation(scale, zero_point, axis, bool(zero_point.any()), rule, other)


def operator_of(table: Table, codes: Sequence[tuple[str, bool]], tensors: int) -> Operator:
    """One operator of a subgraph."""
    code = table.unsigned(0)
    if code >= len(codes):
        msg = f"It has no operator code {code:,}. Download or copy the file again."
        raise CorruptFileError(msg)
    op, custom = codes[code]
    inputs, outputs = (checked_indices(table.integers(number), tensors) for number in (1, 2))
    return Operator(op, custom, inputs, outputs, table.child(4))


def checked_indices(indices: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Indices of tensors, of which -1 stands for an omitted one."""
    if any(not OMITTED <= index < count for index in indices):
        msg = f"An operator refers to a tensor that is not among its {count:,}. Download it again."
        raise CorruptFileError(msg)
    return indices


def bodies_of(operator: Operator) -> list[int]:
    """Numbers of the subgraphs that an operator runs."""
    if operator.custom:
        return []
    return [operator.option(number) for number in BODIES.get(operator.op, ())][:MAX_DEPTH]
