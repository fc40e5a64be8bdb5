"""The stored tensors of an ONNX model: initialisers, Constant nodes, sparse and external data."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.layer import Loader
from filterdb.readers import elements
from filterdb.readers.limits import check_expansion
from filterdb.readers.mapping import map_file
from filterdb.readers.onnx.graph import text

if TYPE_CHECKING:
    import onnx

DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
    17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz",
    21: "uint4", 22: "int4",
}  # fmt: skip
"""Element types of ``TensorProto.DataType`` that can be read."""

FIELDS = {"float32": "float_data", "float64": "double_data", "int64": "int64_data",
          "uint32": "uint64_data", "uint64": "uint64_data"}  # fmt: skip
"""Where a tensor keeps its values if not raw; all other types use ``int32_data``."""

EXTERNAL = 1
Step = Callable[[NDArray[Any]], NDArray[Any]]


class NotFollowedError(Exception):
    """A value cannot be told from the file; the message is a clause for a skipped row."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor known from the file alone, unread until asked for.

    Attributes
    ----------
    name, origin
        Name of the stored tensor, and the scope path that makes it unique.
    dtype
        Element type in the file.
    shape
        Shape after all steps.
    stored
        Reads the values as stored.
    steps
        What the graph then does to them, in order.
    work
        Number of steps in all, those inside steps (scales of scales) counted.
    scheme
        As in :class:`~filterdb.layer.Tensor`.
    """

    name: str
    origin: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    stored: Loader = field(repr=False)
    steps: tuple[Step, ...] = field(default=(), repr=False)
    work: int = 0
    scheme: str = ""

    @property
    def identity(self) -> Hashable:
        """Equal for constants of equal values: the same tensor, and the same done to it."""
        return self.origin, tuple(map(identity_of, self.steps))

    def load(self) -> NDArray[Any]:
        """Read the values and take every step."""
        array = self.stored()
        for step in self.steps:
            array = step(array)
        return array


def identity_of(part: Any) -> Hashable:
    """What makes two steps the same: their function and its arguments."""
    if isinstance(part, Constant):
        return part.identity
    if isinstance(part, partial):
        named = tuple((key, identity_of(value)) for key, value in part.keywords.items())
        return part.func, part.args, named
    return tuple(part) if isinstance(part, list) else part


class Vault:
    """Opens what a model stores, within the model's own folder and in proportion to its size.

    Attributes
    ----------
    companions
        The files of external data that were needed, mapped.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.folder = path.parent.resolve()
        self.size = size
        self.companions: dict[Path, NDArray[np.uint8]] = {}

    def open(self, held: Any, name: str, origin: tuple[str, ...]) -> Constant:
        """The constant in a TensorProto, a SparseTensorProto or a Constant node's attribute.

        Raises
        ------
        CorruptFileError
            It claims more (or less) than it holds.
        ReadError
            Its external data are outside the model's folder, or missing.
        NotFollowedError
            It holds no numbers.
        """
        try:
            kind = held.DESCRIPTOR.name
            if kind == "AttributeProto":
                held, kind = attribute_value(held)
            if kind == "TensorProto":
                dtype, shape, stored = self.dense(held)
            elif kind == "SparseTensorProto":
                dtype, shape, stored = self.sparse(held)
            else:
                dtype, shape, stored = held.dtype.name, held.shape, lambda: held
        except ReadError as error:
            raise error.at(layer=name) from error.__cause__
        return Constant(name, origin, dtype, shape, stored)

    def dense(self, tensor: onnx.TensorProto) -> tuple[str, tuple[int, ...], Loader]:
        """Element type, shape and loader of a TensorProto; its claims are checked."""
        dtype, shape = declared(tensor)
        needed = elements.stored_bytes(dtype, shape)
        if tensor.data_location == EXTERNAL:
            data = self.external(tensor, needed)
            return dtype, shape, partial(load_bytes, data, dtype, shape)
        if tensor.HasField("raw_data"):
            check_length(len(tensor.raw_data), needed, "bytes", shape)
            return dtype, shape, partial(load_raw, tensor, dtype, shape)
        values = getattr(tensor, FIELDS.get(dtype, "int32_data"))
        count = needed if dtype in elements.PACKED else prod(shape)
        check_length(len(values), count, "elements", shape)
        return dtype, shape, partial(load_field, tensor, dtype, shape)

    def sparse(self, tensor: onnx.SparseTensorProto) -> tuple[str, tuple[int, ...], Loader]:
        """Element type, shape and loader of a SparseTensorProto, expanded within bounds."""
        shape = checked_shape(tensor.dims)
        dtype, value_shape, load_values = self.dense(tensor.values)
        index_type, index_shape, load_indices = self.dense(tensor.indices)
        check_expansion(prod(shape) * 8, self.size, "A sparse tensor")
        count = prod(value_shape)
        if index_type != "int64" or index_shape not in ((count,), (count, len(shape))):
            msg = f"Its indices of shape {index_shape} do not fit its {count:,} values."
            raise CorruptFileError(msg)
        load = partial(load_sparse, load_values, load_indices, shape)
        return dtype, shape, load

    def external(self, tensor: onnx.TensorProto, needed: int) -> NDArray[np.uint8]:
        """The mapped bytes of external data."""
        entries = {text(entry.key): text(entry.value) for entry in tensor.external_data}
        path = self.external_path(entries.get("location", ""))
        if path not in self.companions:
            self.companions[path] = map_file(path)
        data = self.companions[path]
        offset = decimal(entries.get("offset", "0"))
        length = decimal(entries.get("length", str(needed)))
        if length != needed or offset + length > len(data):
            msg = (
                f"Its external data are bytes {offset:,} to {offset + length:,} of {path.name} "
                f"({len(data):,} bytes), but its shape needs {needed:,} bytes. The two files do "
                "not belong together, or one is cut short."
            )
            raise CorruptFileError(msg)
        return data[offset : offset + length]

    def external_path(self, location: str) -> Path:
        """Resolve the place of external data, which may not leave the model's folder."""
        relative = PurePosixPath(location)
        outside = (
            not location
            or any(sign in location for sign in ("\\", ":", "\0"))
            or relative.is_absolute()
            or ".." in relative.parts
        )
        path = self.folder if outside else (self.folder / relative)
        try:
            path = path.resolve()
        except (OSError, RuntimeError) as error:  # a loop of links
            msg = f"The path of its external data {location!r} cannot be followed: {error}."
            raise ReadError(msg) from error
        if outside or not path.is_relative_to(self.folder):
            msg = (
                f"Its external data lie at {location!r}, outside the model's own folder, so they "
                "were not read. If you trust the model, put a copy of them beside it."
            )
            raise ReadError(msg)
        if not path.is_file():
            msg = f"Its weights lie in {location!r}, which is not there. Put that file beside it."
            raise ReadError(msg)
        return path


def declared(tensor: onnx.TensorProto) -> tuple[str, tuple[int, ...]]:
    """Element type and shape that a TensorProto claims."""
    if tensor.data_type not in DTYPES:
        msg = f"its element type {tensor.data_type} is no number that can be read"
        raise NotFollowedError(msg)
    return DTYPES[tensor.data_type], checked_shape(tensor.dims)


def checked_shape(dims: Any) -> tuple[int, ...]:
    """A shape of a plausible number of dimensions, none negative."""
    if len(dims) > elements.MAX_DIMENSIONS or any(n < 0 for n in dims):
        msg = "It claims an impossible shape. Download or copy the file again."
        raise CorruptFileError(msg)
    return tuple(dims)


def check_length(held: int, needed: int, unit: str, shape: tuple[int, ...]) -> None:
    """Require that a tensor holds what it claims."""
    if held != needed:
        msg = (
            f"Its shape {shape} needs {needed:,} {unit}, but it holds {held:,}. The file is "
            "damaged: download or copy it again."
        )
        raise CorruptFileError(msg)


def decimal(text: str) -> int:
    """An offset or a length, which external data write as text."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        msg = f"Its external data have the impossible offset or length {text[:40]!r}."
        raise CorruptFileError(msg)
    return int(text)


def attribute_value(attribute: onnx.AttributeProto) -> tuple[Any, str]:
    """What a Constant node holds: a proto and the name of its type, or an array."""
    name = attribute.name
    if name == "value":
        return attribute.t, "TensorProto"
    if name == "sparse_value":
        return attribute.sparse_tensor, "SparseTensorProto"
    if name in ("value_float", "value_floats"):
        values = attribute.f if name == "value_float" else attribute.floats
        return np.array(values, np.float32), "array"
    if name in ("value_int", "value_ints"):
        return np.array(attribute.i if name == "value_int" else attribute.ints, np.int64), "array"
    msg = f"a constant given as {name!r} is no number"
    raise NotFollowedError(msg)


def load_bytes(data: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values from their bytes."""
    return elements.decode(data.view(elements.storage_dtype(dtype)), dtype, shape)


def load_raw(tensor: onnx.TensorProto, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values from ``raw_data``."""
    return load_bytes(np.frombuffer(tensor.raw_data, np.uint8), dtype, shape)


def load_field(tensor: onnx.TensorProto, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values from a typed field; 16-bit floats lie in ``int32_data`` as bit patterns."""
    values = getattr(tensor, FIELDS.get(dtype, "int32_data"))
    if dtype in FIELDS:
        return np.fromiter(values, dtype, len(values)).reshape(shape)
    stored = elements.storage_dtype(dtype)
    bits = np.fromiter(values, np.int32, len(values)).astype(f"<u{stored.itemsize}")
    return elements.decode(bits.view(stored), dtype, shape)


def load_sparse(values: Loader, indices: Loader, shape: tuple[int, ...]) -> NDArray[Any]:
    """A sparse tensor written out; indices are linear or one row a value."""
    where, held = indices(), values()
    bounds = np.array([prod(shape)] if where.ndim == 1 else shape)
    rows = where.reshape(-1, len(bounds))
    if (rows < 0).any() or (rows >= bounds).any():
        msg = f"The indices of a sparse tensor reach outside its shape {shape}."
        raise CorruptFileError(msg)
    result = np.zeros(shape, held.dtype)
    linear = where if where.ndim == 1 else np.ravel_multi_index(tuple(where.T), shape)
    result.reshape(-1)[linear] = held.reshape(-1)
    return result
