"""What is in memory already: a ``torch.nn.Module``, a state dict, any mapping name -> array.

torch is recognised by what its objects can do, never imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import UnsupportedFormatError
from filterdb.layer import Contents, Convolution, Tensor
from filterdb.readers.layout import out_first_shape, transposed_to_out_first
from filterdb.readers.state_dict import WRAPPERS, Array, select

WIDENED = ("bfloat16", "float8")
"""Beginnings of the element types that NumPy does not have."""
FOLLOWED = (["_WeightNorm"], ["_SpectralNorm"])
"""torch's parametrisations that are computed from what a checkpoint holds."""


def from_live(source: object) -> Contents:
    """Take the tensors of a live object.

    Parameters
    ----------
    source
        A module (anything with a ``state_dict()``), or a mapping name -> array; arrays in
        PyTorch's layout, of NumPy, torch, JAX, h5py or anything with ``__array__``. A
        checkpoint as ``torch.load`` returns it will do too.

    Returns
    -------
    Contents
        Of format ``"torch-module"`` or ``"mapping"``. The arrays are referred to, not copied.

    Raises
    ------
    UnsupportedFormatError
        It is neither.
    """
    if isinstance(source, Mapping):
        return from_mapping(source)
    if is_module(source):
        return from_module(source)
    msg = (
        f"A {type(source).__name__} is neither a path, nor a mapping name -> array, nor a module "
        "with a state_dict(). Pass one of these."
    )
    raise UnsupportedFormatError(msg)


def from_mapping(mapping: Mapping[Any, Any]) -> Contents:
    """Take the arrays of a mapping; nested as a checkpoint is, the network is chosen."""
    chosen = select(mapping, LiveObjects())
    return Contents("mapping", chosen.tensors, chosen.skipped, notes=chosen.notes)


def from_module(module: Any) -> Contents:
    """Take the tensors of a module, with what its layers say of their convolutions."""
    chosen = select(effective_state(module), LiveObjects())
    layers = convolutions(module)
    tensors = [stated(tensor, layers) for tensor in chosen.tensors]
    return Contents(
        "torch-module",
        tuple(tensors),
        chosen.skipped,
        notes=chosen.notes,
        epsilons=epsilons(module),
    )


class LiveObjects:
    """Gives meaning to live objects, as ``TorchObjects`` does to pickled ones."""

    def array(self, value: object, /) -> Array | str | None:
        """The array that an object is, by what it has."""
        if isinstance(value, Mapping | list | tuple | str | bytes | int | float):
            return None
        if hasattr(value, "materialize"):
            return "a lazy parameter without a shape yet: run the module once on an input"
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        is_torch = hasattr(value, "detach") and hasattr(value, "cpu")
        if shape is None or dtype is None or not (is_torch or hasattr(value, "__array__")):
            return None
        name = str(dtype).removeprefix("torch.")
        if not name.startswith(("float", "bfloat", "int", "uint", "bool", "qint", "quint8")):
            return f"its element type {name} is not one of plain real numbers"
        if is_torch and str(getattr(value, "layout", "torch.strided")) != "torch.strided":
            return "a sparse tensor: only dense ones are read"
        if str(getattr(value, "device", "")) == "meta":
            return "a tensor of the meta device, which has no values"
        load = partial(from_torch if is_torch else from_array, value)
        return Array(tuple(int(extent) for extent in shape), name, load)

    def children(self, value: object, /) -> Iterable[tuple[str, object]]:
        """Named parts of mappings, sequences and modules."""
        if is_module(value) and not isinstance(value, Mapping):
            value = effective_state(value)
        if isinstance(value, Mapping):
            return [(str(key), part) for key, part in value.items()]
        if isinstance(value, list | tuple):
            return [(str(index), part) for index, part in enumerate(value)]
        return []

    def is_module(self, _value: object, /) -> bool:
        """A module's state dict is flat: it needs no walk of its own."""
        return False


def is_module(value: object) -> bool:
    """True for what can hand out a state dict and lists its modules."""
    return all(callable(getattr(value, name, None)) for name in ("state_dict", "named_modules"))


def effective_state(module: Any) -> dict[str, Any]:
    """The state dict of a module, with the weights that cannot be computed from stored parts."""
    state = dict(module.state_dict())
    for path, layer in module.named_modules():
        for name, steps in getattr(layer, "parametrizations", {}).items():
            if [type(step).__name__ for step in steps] in FOLLOWED:
                continue
            of_layer = f"{path}." if path else ""
            parts = f"{of_layer}parametrizations.{name}."
            whole = {of_layer + name: getattr(layer, name).detach()}
            # In the place of the parts, because the order is that of the layers.
            pairs = (whole if key.startswith(parts) else {key: state[key]} for key in state)
            state = {key: value for pair in pairs for key, value in pair.items()}
    return state


def from_torch(tensor: Any) -> NDArray[Any]:
    """The values of a torch tensor, where torch is loaded already."""
    tensor = tensor.detach().cpu()
    if getattr(tensor, "is_quantized", False):
        tensor = tensor.dequantize()
    if str(tensor.dtype).removeprefix("torch.").startswith(WIDENED):
        tensor = tensor.float()
    return plain(tensor.numpy())


def from_array(array: Any) -> NDArray[Any]:
    """The values of anything that NumPy can take."""
    return plain(np.asarray(array))


def plain(values: NDArray[Any]) -> NDArray[Any]:
    """Without the types that NumPy has from elsewhere; bool as uint8."""
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    return values if values.dtype.kind in "fiu" else values.astype(np.float32)


def convolutions(module: Any) -> dict[str, Convolution]:
    """What the layers of a module say of themselves, by the name of the layer."""
    found: dict[str, Convolution] = {}
    for name, layer in module.named_modules():
        stride, dilation = getattr(layer, "stride", None), getattr(layer, "dilation", None)
        groups = getattr(layer, "groups", None)
        if hasattr(layer, "in_channels") and type(groups) is int and is_pair(stride):
            found[bare(name)] = Convolution(
                groups=groups,
                transposed=bool(getattr(layer, "transposed", False)),
                stride=stride,
                dilation=dilation if is_pair(dilation) else None,
            )
    return found


def epsilons(module: Any) -> dict[str, float]:
    """Epsilon of every norm of a module, by its name in the state dict."""
    held = ((name, getattr(layer, "eps", None)) for name, layer in module.named_modules())
    return {bare(name): float(eps) for name, eps in held if isinstance(eps, int | float)}


def is_pair(value: object) -> bool:
    """True for two integers, as the layers of two dimensions have them."""
    return isinstance(value, tuple) and [type(part) for part in value] == [int, int]


def bare(name: str) -> str:
    """A name without the prefixes of wrappers."""
    while prefix := next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), ""):
        name = name.removeprefix(prefix)
    return name.replace("._orig_mod", "")


def stated(tensor: Tensor, layers: dict[str, Convolution]) -> Tensor:
    """A tensor with the facts of its layer, transposed ones turned to output-first."""
    conv = layers.get(bare(tensor.name).removesuffix("weight").removesuffix("."))
    if conv is None or len(tensor.shape) != 4 or not tensor.name.endswith("weight"):
        return tensor
    if not conv.transposed:
        return replace(tensor, conv=conv)
    groups = max(conv.groups or 1, 1)
    shape = out_first_shape(tensor.shape, groups)
    load = partial(load_out_first, tensor, groups)
    return replace(tensor, shape=shape, load=load, conv=conv)


def load_out_first(tensor: Tensor, groups: int) -> NDArray[Any]:
    """The weights of a transposed convolution with the output channels first."""
    return transposed_to_out_first(tensor.load(), groups)
