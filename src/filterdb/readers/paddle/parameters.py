"""The reader of PaddlePaddle's ``.pdparams``: a pickled state dict, which is never run.

Its arrays are laid out as in PyTorch, and so are its networks' names, but for the statistics of
norms (``_mean``, ``_variance``): these are given PyTorch's names, by which norms are found.
Beside them stand PaddlePaddle's own (``conv2d_transpose_0.w_0``), which tell transposed layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import Contents, Convolution, Loader, Tensor
from filterdb.readers.elements import widen_bfloat16
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layout import out_first_shape, transposed_to_out_first
from filterdb.readers.mapping import map_file
from filterdb.readers.pytorch.inert_objects import Global, Opaque, Persistent
from filterdb.readers.pytorch.inert_pickle import unpickle
from filterdb.readers.pytorch.tensors import FindStorage, TorchObjects, checkpoint_contents
from filterdb.readers.recognise.signatures import is_paddle_parameters, is_pickle
from filterdb.readers.state_dict import Array

FORMAT = Format(
    "paddle",
    "PaddlePaddle parameters (pdparams)",
    (".pdparams",),
    reads=(
        "state dicts, nested ones too, nothing run; bfloat16; transposed layers by PaddlePaddle's "
        "own names"
    ),
)

WRAPPER = re.compile(r"(builtins|__builtin__)\.(tuple|eval)")
OWN_NAMES = "StructuredToParameterName@@"
TRANSPOSED = re.compile(r"(.*_)?conv2d_transpose_\d+\.w_\d+")
STATISTICS = {"_mean": "running_mean", "_variance": "running_var"}


def matches(head: Head) -> bool:
    """A pickle that names its parameters as PaddlePaddle does."""
    return not head.is_folder and is_pickle(head) and is_paddle_parameters(head)


def read(head: Head) -> Contents:
    """Follow the pickle and take the arrays of its largest network.

    Raises
    ------
    CorruptFileError
        The stream is damaged, or an array contradicts itself.
    LimitError
        It is endless, or its arrays are out of proportion to the file.
    """
    root = unpickle(map_file(head.path).data).value
    objects = PaddleObjects(no_storage)
    contents = checkpoint_contents(root, objects, file_size=head.size, format_name=FORMAT.name)
    lengths = {tensor.name: tensor.shape[0] for tensor in contents.tensors if tensor.shape}
    tensors = []
    for tensor in map(as_in_torch, contents.tensors):
        bias = lengths.get(f"{tensor.name.rpartition('.')[0]}.bias", 0)
        transposed = TRANSPOSED.fullmatch(objects.own_names.get(tensor.name, "")[-200:])
        tensors.append(as_transposed(tensor, bias) if transposed else tensor)
    return replace(contents, tensors=tuple(tensors), producer="paddlepaddle")


def as_transposed(tensor: Tensor, outputs: int) -> Tensor:
    """The weight of a transposed convolution, of which a bias may tell the outputs."""
    if len(tensor.shape) != 4 or 0 in tensor.shape:
        return tensor
    into, per_group, *_ = tensor.shape
    groups, rest = divmod(outputs, per_group)
    known = groups > 0 and rest == 0 and into % groups == 0
    groups = groups if known else 1
    conv = Convolution(groups=groups if known else None, transposed=True)
    shape = out_first_shape(tensor.shape, groups)
    return replace(
        tensor, shape=shape, load=partial(load_transposed, tensor.load, groups), conv=conv
    )


def load_transposed(load: Loader, groups: int) -> NDArray[Any]:
    """Load the weight of a transposed convolution, output channels first."""
    return transposed_to_out_first(load(), groups)


class PaddleObjects(TorchObjects):
    """Knows how ``paddle.save`` wraps a tensor: ``tuple((name, array))``, or ``eval`` before.

    Attributes
    ----------
    own_names
        Key in a state dict -> PaddlePaddle's own name of the parameter, where it is given.
    """

    def __init__(self, find_storage: FindStorage) -> None:
        super().__init__(find_storage)
        self.own_names: dict[str, str] = {}

    def children(self, value: object) -> Iterator[tuple[str, object]]:
        """The named parts of a container; the names that they bear besides are noted."""
        named = value.get(OWN_NAMES) if isinstance(value, dict) else None
        if isinstance(named, dict):
            self.own_names |= {
                key: name
                for key, name in named.items()
                if isinstance(key, str) and isinstance(name, str)
            }
        for key, part in super().children(value):
            pair = part.args[0] if isinstance(part, Opaque) and part.args else None
            if isinstance(pair, tuple) and pair and isinstance(pair[0], str):
                self.own_names[key] = pair[0]
            yield key, part

    def interpret(self, value: object) -> Array | str | None:
        """The array inside a wrapper; bfloat16 stands in one of 16-bit integers."""
        found = super().interpret(unwrapped(value))
        if isinstance(found, Array) and found.dtype == "uint16":
            return Array(found.shape, "bfloat16", partial(load_bfloat16, found.load))
        return found


def unwrapped(value: object) -> object:
    """What a call of ``tuple`` or ``eval`` stands for."""
    if not isinstance(value, Opaque) or not isinstance(value.function, Global):
        return value
    args = value.args
    if not WRAPPER.fullmatch(str(value.function)) or not args:
        return value
    pair = args[0]
    if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Opaque):
        return pair[1]
    if len(args) == 2 and isinstance(args[1], dict) and isinstance(args[1].get("data"), Opaque):
        return args[1]["data"]
    return value


def no_storage(_: Persistent) -> None:
    """A plain pickle refers to nothing outside itself."""


def load_bfloat16(load: Loader) -> NDArray[np.float32]:
    """Widen bits that are a bfloat16."""
    return widen_bfloat16(np.ascontiguousarray(load()))


def as_in_torch(tensor: Tensor) -> Tensor:
    """The tensor under the name that PyTorch gives it."""
    stem, dot, last = tensor.name.rpartition(".")
    if last not in STATISTICS or len(tensor.shape) != 1:
        return tensor
    return replace(tensor, name=f"{stem}{dot}{STATISTICS[last]}")
