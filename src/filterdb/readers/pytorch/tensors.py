"""PyTorch tensors: a storage, an offset, a shape and strides; checked before a byte is touched.

What the three containers of PyTorch share: they differ only in where the storages lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Contents, Skipped
from filterdb.readers import elements
from filterdb.readers.limits import EXPANSION, check_expansion
from filterdb.readers.pytorch.inert_objects import (
    Global,
    Opaque,
    Persistent,
    attributes,
    is_number,
    parts_of,
)
from filterdb.readers.pytorch.numpy_pickle import is_shape, numpy_array
from filterdb.readers.pytorch.quantised import dequantise, listed
from filterdb.readers.pytorch.training import statements_of
from filterdb.readers.state_dict import Array, select

STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "ByteStorage": "uint8", "CharStorage": "int8",
    "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64",
    "BoolStorage": "bool", "UntypedStorage": "uint8",
    "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
    "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
}  # fmt: skip
"""Class name of a storage -> element type, as torch names it."""
QUANTISED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
ITEM_BYTES = {"complex64": 8, "complex128": 16, "quint4x2": 1, "quint2x4": 1}

WRAPPED_FIRST = frozenset(
    {
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch._utils._rebuild_xla_tensor",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
        "torch.autograd.variable.Variable",
    }
)
"""Calls whose first argument is the tensor."""
SUBCLASS = frozenset({"torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2"})

PARTS = (dict, list, tuple, Opaque, Persistent)
"""What may be or hold a tensor, unless it is empty; scalars are passed over."""

SMALL = 2**16
MOST_REPEATS = 64
"""A view of more elements than SMALL that repeats its storage more often is no weight."""

ALLOWANCE_OF_VIEWS = 2**24
"""Bytes that all views of tiny storages together may claim."""
MAX_PARTS = 2_000_000
"""As many as a checkpoint has instructions: more there are only where objects share parts."""

Values = Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of bytes that tensors are views of.

    Attributes
    ----------
    dtype
        Element type, as torch names it.
    nbytes
        Bytes that really are in the file.
    values
        Fetches them: uint8, shape (nbytes,). May raise, where a checksum is wrong.
    big_endian
        True where the file says so.
    """

    dtype: str
    nbytes: int
    values: Values
    big_endian: bool = False


FindStorage = Callable[[Persistent], "Storage | Array | None"]


class TorchObjects:
    """Gives meaning to the inert objects of a checkpoint's pickle.

    Parameters
    ----------
    find_storage
        Looks a persistent reference up in the container: a storage, or (tar) a whole tensor.
    """

    def __init__(self, find_storage: FindStorage) -> None:
        self.find_storage = find_storage
        self.known: dict[int, Array | str | None] = {}
        self.parts_seen = 0

    def array(self, value: object) -> Array | str | None:
        """The tensor or NumPy array that an object stands for.

        Returns
        -------
        Array or str or None
            A str is the reason why an array is not taken; None says that it is none.

        Raises
        ------
        CorruptFileError
            Its shape, strides and storage contradict each other.
        """
        if not isinstance(value, Opaque | Persistent):
            return None
        if id(value) not in self.known:
            self.known[id(value)] = self.interpret(value)
        return self.known[id(value)]

    def interpret(self, value: object) -> Array | str | None:
        """Peel wrappers (parameters, subclasses) off, as many as are sane, and rebuild."""
        for _ in range(8):
            if isinstance(value, Persistent):
                found = self.find_storage(value)
                return found if isinstance(found, Array) else None
            if not isinstance(value, Opaque) or not isinstance(value.function, Global):
                return None
            unwrapped = unwrap(value)
            if unwrapped is value:
                return self.rebuild(value)
            value = unwrapped
        return None

    def rebuild(self, call: Opaque) -> Array | str | None:
        """The tensor that a call of one of torch's rebuilding functions stands for."""
        name = call.function.name if isinstance(call.function, Global) else ""
        if not str(call.function).startswith("torch."):
            return numpy_array(call)
        if name == "_rebuild_qtensor":
            return self.quantised(call.args)
        if name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            kind, marks = (*call.args[6:8], None, None)[:2]
            if not name.endswith("v3"):
                kind, marks = None, kind
            found = self.strided(call.args, kind.name if isinstance(kind, Global) else None)
            negated = isinstance(marks, dict) and marks.get("neg") is True
            return negative(found) if negated and isinstance(found, Array) else found
        reasons = {
            "_rebuild_sparse_tensor": "a sparse tensor: only dense ones are read",
            "UninitializedParameter": "a lazy parameter that never got its shape",
            "_rebuild_nested_tensor": "a nested tensor: only dense ones are read",
            "_rebuild_meta_tensor_no_storage": "a tensor of the meta device, which has no values",
            "_rebuild_wrapper_subclass": "a tensor subclass that keeps its values elsewhere",
        }
        return reasons.get(name)

    def strided(self, args: tuple[Any, ...], dtype: str | None = None) -> Array | str:
        """A dense tensor from (storage, offset, shape, strides, ...)."""
        storage, offset, shape, strides = self.checked(args)
        dtype = dtype or storage.dtype
        check_inside(storage, dtype, offset, shape, strides)
        if prod(shape) > max(SMALL, MOST_REPEATS * storage.nbytes // item_bytes(dtype)):
            check_expansion(4 * prod(shape), storage.nbytes, "A tensor")
            return "an expanded view: it repeats a few values instead of holding weights"
        stored = QUANTISED.get(dtype, dtype)
        if stored not in elements.READABLE or stored in elements.PACKED:
            return f"its element type {dtype:.40} is not one of plain real numbers"
        load = partial(load_strided, storage, stored, offset, shape, strides)
        identity = (storage, dtype, offset, shape, strides)
        return Array(shape, dtype, load, identity=identity)

    def quantised(self, args: tuple[Any, ...]) -> Array | str:
        """A quantised tensor: integers, scale and zero point, for all or along an axis."""
        codes = self.strided(args)
        quantiser = args[4] if len(args) > 4 and isinstance(args[4], tuple) else ()
        if isinstance(codes, str):
            return codes
        scheme = quantiser[0].name if quantiser and isinstance(quantiser[0], Global) else ""
        if scheme == "per_tensor_affine" and len(quantiser) == 3:
            _, scale, zero = quantiser
            if not (is_number(scale) and is_number(zero)):
                raise contradiction(what="scale and zero point are no numbers")
            load = partial(dequantise, codes, scale, zero, None)
            grain = f"per-tensor, {'affine' if zero else 'symmetric'}"
            return Array(codes.shape, codes.dtype, load, grain)
        if scheme.startswith("per_channel_affine") and len(quantiser) == 4:
            _, scales, zeros, axis = quantiser
            if type(axis) is not int or not 0 <= axis < len(codes.shape):
                known = f" {axis}" if is_number(axis) else ""
                raise contradiction(what=f"quantisation axis{known} is none of shape {codes.shape}")
            count = codes.shape[axis]
            scale, zero = self.numbers(scales, count), self.numbers(zeros, count)
            load = partial(dequantise, codes, scale, zero, axis)
            # Whether all zero points are 0 would take reading them: torch itself calls it affine.
            return Array(codes.shape, codes.dtype, load, "per-channel, affine")
        return f"its quantisation scheme {scheme or 'of unknown name':.40} is not known"

    def numbers(self, given: Any, count: int) -> Array:
        """The scales or zero points of the channels: a tensor, or a list in old files."""
        if isinstance(given, list):
            # Looked at when asked for: many tensors may share one list of a million numbers.
            found: Array | str | None = Array((len(given),), "float64", partial(listed, given))
        else:
            found = self.array(given)
        if not isinstance(found, Array) or found.shape != (count,):
            raise contradiction(what=f"{count} channels want as many scales and zero points")
        return found

    def checked(
        self, args: tuple[Any, ...]
    ) -> tuple[Storage, int, tuple[int, ...], tuple[int, ...]]:
        """The first four arguments of every rebuilding function, each of the right type."""
        if len(args) >= 4 and isinstance(args[0], Persistent):
            reference, offset, shape, strides = args[:4]
            shape, strides = as_sizes(shape), as_sizes(strides)
            if is_shape(shape) and is_shape(strides) and is_shape((offset,)):
                storage = self.find_storage(reference)
                if isinstance(storage, Storage) and len(shape) == len(strides):
                    return storage, offset, shape, strides
        raise contradiction(what="storage, offset, shape and strides are not what torch writes")

    def children(self, value: object) -> Iterator[tuple[str, object]]:
        """Named parts of a container or of a pickled object, in order, without scalars."""
        if isinstance(value, dict):
            pairs: Any = value.items()
        elif isinstance(value, list | tuple):
            pairs = enumerate(value)
        elif isinstance(value, Opaque):
            pairs = parts_of(value)
        else:
            return
        for pair in pairs:
            self.parts_seen += 1
            if self.parts_seen > MAX_PARTS:
                msg = f"Its objects share more than {MAX_PARTS:,} parts: they were not followed."
                raise LimitError(msg)
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                continue
            key, part = pair
            number = type(key) is int and abs(key) < 2**63
            if (isinstance(key, str) or number) and isinstance(part, PARTS) and part:
                yield str(key), part

    def is_module(self, value: object) -> bool:
        """True for a pickled (or scripted) module: all below it belongs to one network."""
        if not isinstance(value, Opaque):
            return False
        scripted = isinstance(value.function, Global) and value.function.module.startswith(
            "__torch__"
        )
        return scripted or "_modules" in attributes(value)


def unwrap(call: Opaque) -> object:
    """What a wrapper around a tensor wraps; the call itself where it is none."""
    known = str(call.function)
    args = call.args
    if known in WRAPPED_FIRST and args:
        return args[0]
    # (function, class, arguments, state): a subclass of Tensor
    subclass = known in SUBCLASS and len(args) > 2 and isinstance(args[2], tuple)
    return Opaque(args[0], args[2]) if subclass else call


def as_sizes(sizes: Any) -> Any:
    """A shape as a plain tuple: torch.Size and lists stand for one."""
    if isinstance(sizes, Opaque) and sizes.function == Global("torch", "Size") and sizes.args:
        sizes = sizes.args[0]
    return tuple(sizes) if isinstance(sizes, list) and len(sizes) < 100 else sizes


def storage_dtype(kind: Any) -> str:
    """Element type of a storage class, whatever device it was on."""
    name = kind.name if isinstance(kind, Global) else ""
    if name not in STORAGES:
        msg = f"It holds a storage of the unknown type {name[:40] or 'of no name'!r}."
        raise CorruptFileError(msg)
    return STORAGES[name]


def item_bytes(dtype: str) -> int:
    """Bytes of one element."""
    stored = QUANTISED.get(dtype, dtype)
    if stored in elements.READABLE:
        return elements.storage_dtype(stored).itemsize
    return ITEM_BYTES.get(dtype, 1)


def check_inside(
    storage: Storage,
    dtype: str,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> None:
    """Require that every element of a view lies in its storage."""
    if 0 in shape:
        if prod(extent for extent in shape if extent) >= 2**60:
            raise contradiction(what=f"shape {shape} is beyond any machine")
        return
    steps = sum((extent - 1) * step for extent, step in zip(shape, strides, strict=True))
    needed = (offset + steps + 1) * item_bytes(dtype)
    if needed > storage.nbytes:
        raise contradiction(
            what=f"shape {shape} with strides {strides} from element {offset} reaches "
            f"{needed:,} bytes into a storage of {storage.nbytes:,}"
        )


def load_strided(
    storage: Storage,
    dtype: str,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> NDArray[Any]:
    """The values of a view; itself a read-only view of the file where NumPy has the type."""
    stored = elements.storage_dtype(dtype)
    if 0 in shape:
        return np.zeros(shape, stored if dtype in elements.NATIVE else np.float32)
    if storage.big_endian:
        stored = stored.newbyteorder(">")
    size = stored.itemsize
    # Checked already by check_inside; ndarray checks once more that the view lies in the buffer.
    view: NDArray[Any] = np.ndarray(
        shape, stored, storage.values(), offset * size, tuple(step * size for step in strides)
    )
    return elements.decode(view, dtype, shape)


def negative(array: Array) -> Array:
    """The negative of an array: torch may save a lazy negation as a mark."""
    return Array(array.shape, array.dtype, lambda: np.negative(array.load()))


def contradiction(*, what: str) -> CorruptFileError:
    """The error for a tensor that cannot be what it says."""
    return CorruptFileError(
        f"Its tensor contradicts itself: {what}. The file is damaged: download or copy it again."
    )


def checkpoint_contents(
    root: object,
    objects: TorchObjects,
    *,
    file_size: int,
    unpacked_size: int = 0,
    format_name: str = "pytorch",
    notes: tuple[str, ...] = (),
) -> Contents:
    """Choose the network in a checkpoint and bound what its tensors may expand to.

    Raises
    ------
    LimitError
        All tensors together are out of proportion to the file (stride 0, shared storages).
    """
    chosen = select(root, objects)
    wanted = sum(4 * prod(tensor.shape) for tensor in chosen.tensors)
    check_expansion(wanted, file_size, "The sum of its tensors")
    held = max(file_size, unpacked_size)
    if wanted > EXPANSION * held + ALLOWANCE_OF_VIEWS:
        msg = f"The sum of its tensors claims {wanted:,} bytes of {held:,}: out of proportion."
        raise LimitError(msg)
    return Contents(
        format=format_name,
        tensors=chosen.tensors,
        skipped=tuple(Skipped(item.name, item.reason) for item in chosen.skipped),
        producer="pytorch",
        notes=(*notes, *chosen.notes),
        statements=statements_of(root),
    )
