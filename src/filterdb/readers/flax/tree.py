"""A tree of JAX arrays as a state dict: which part is the network, and its layout.

Kernels stand as ``(kh, kw, in/groups, out)`` and are brought into the one layout. The statistics
of norms, which Flax keeps in a tree of their own (``batch_stats``), are put beside the norms'
parameters under PyTorch's names, by which norms are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import LimitError
from filterdb.layer import Convolution, Loader, Skipped, Tensor
from filterdb.readers.limits import shortened
from filterdb.readers.name_order import natural_key
from filterdb.readers.state_dict import MAX_TENSORS, OPTIMISER, Array

KERNELS = frozenset({"kernel", "w"})
PARAMETERS = re.compile(r"(?:^|_)params(?:_|$)|^model_state$")
AVERAGED = re.compile(r"ema|avg|average|target", re.IGNORECASE)
STATISTICS = re.compile(r"batch_stats$|^state$")
OPTIMISER_PART = re.compile(r"^(opt_state|optimizer_state|opt|mu|nu|tx)$", re.IGNORECASE)
WRAPPERS = frozenset({"value", "raw_value"})
"""Last keys under which Flax's newer modules keep an array."""
TRANSPOSED = re.compile(r"conv_?transpose", re.IGNORECASE)
IN_TORCH = {"mean": "running_mean", "var": "running_var", "scale": "weight"}
NORM_PARTS = frozenset({"mean", "var"})
NOTE = "Kernels stand as (height, width, in, out) in the file: they were turned."
ALPHABET = (
    "The order of the file is the alphabet and says nothing: layers are in that of their names, "
    "norms behind convolutions."
)

Path = tuple[str, ...]


@dataclass
class Network:
    """The arrays below one path, by their paths from there."""

    root: Path
    arrays: dict[Path, Array] = field(default_factory=dict)
    statistics: dict[Path, Array] = field(default_factory=dict)

    @property
    def n_filters(self) -> int:
        """Number of 2-D filters."""
        return sum(
            prod(array.shape[2:])
            for path, array in self.arrays.items()
            if len(array.shape) == 4 and path[-1] in KERNELS
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was taken of a tree."""

    tensors: tuple[Tensor, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def choose(leaves: Iterable[tuple[Path, Array]]) -> Chosen:
    """Take the network of most filters, as trained rather than its running average.

    Parameters
    ----------
    leaves
        Every array of the tree with its path, in the file's order.
    """
    networks = networks_in(leaves)
    held = [network for network in networks if network.arrays]
    if not held:
        return Chosen((), (), ())
    taken = max(held, key=lambda n: (n.n_filters, not any(AVERAGED.search(key) for key in n.root)))
    skipped = [
        Skipped("/".join(other.root) or "(top level)", f"another tree of {other.n_filters:,} "
                f"filters; of this file, {'/'.join(taken.root) or 'the top level'} was taken")
        for other in held
        if other is not taken and other.n_filters
    ]  # fmt: skip
    items = [*taken.arrays.items(), *taken.statistics.items()]
    alphabetical = [path for path, _ in items] == sorted(path for path, _ in items)
    trained = [path for path, _ in taken.arrays.items()]
    alphabetical = alphabetical or trained == sorted(trained)
    items = in_order(items, alphabetical=alphabetical)
    biases = {path[:-1]: array.shape[0] for path, array in items if path[-1] == "bias"
              and len(array.shape) == 1}  # fmt: skip
    tensors: list[Tensor] = []
    for path, array in items:
        found = as_tensor(path, array, biases.get(path[:-1], 0))
        if isinstance(found, Tensor):
            tensors.append(found)
        else:
            skipped.append(found)
    notes = [NOTE] if taken.n_filters else []
    if alphabetical and len(trained) > 1:
        notes.append(ALPHABET)
    return Chosen(tuple(tensors), tuple(skipped), tuple(notes))


def networks_in(leaves: Iterable[tuple[Path, Array]]) -> list[Network]:
    """Every tree of parameters, with the statistics beside it; else all there is."""
    trees: dict[Path, Network] = {}
    loose = Network(())
    statistics: list[tuple[Path, Path, Array]] = []
    for count, (path, array) in enumerate(leaves):
        if count >= MAX_TENSORS:
            msg = f"It holds more than {MAX_TENSORS:,} arrays, as no network does: not read."
            raise LimitError(msg)
        if any(OPTIMISER_PART.match(key) or OPTIMISER.search(key) for key in path[:-1]):
            continue
        inner = without_wrapper(path)
        at = next((i for i, key in enumerate(inner[:-1]) if PARAMETERS.search(key)), None)
        beside = next((i for i, key in enumerate(inner[:-1]) if STATISTICS.search(key)), None)
        if at is not None:
            root = inner[: at + 1]
            trees.setdefault(root, Network(root)).arrays[inner[at + 1 :]] = array
        elif beside is not None:
            statistics.append((inner[:beside], inner[beside + 1 :], array))
        else:
            loose.arrays[inner] = array
    for parent, inner, array in statistics:
        owners = [tree for root, tree in trees.items() if root[:-1] == parent] or [loose]
        for owner in owners:
            owner.statistics[inner] = array
    return [*trees.values(), loose] if trees else [loose]


def without_wrapper(path: Path) -> Path:
    """The path without the last key that only says that here is the value."""
    return path[:-1] if len(path) > 1 and path[-1] in WRAPPERS else path


def in_order(
    items: Sequence[tuple[Path, Array]], *, alphabetical: bool
) -> list[tuple[Path, Array]]:
    """Statistics behind their norms; where the order is the alphabet, norms behind the rest."""
    modules: dict[Path, list[tuple[Path, Array]]] = {}
    for path, array in items:
        modules.setdefault(path[:-1], []).append((path, array))
    norms = {
        module for module, parts in modules.items() if any(p[-1] in NORM_PARTS for p, _ in parts)
    }

    def rank(module: Path) -> list[Any]:
        return [(module[: i + 1] in norms, natural_key(key)) for i, key in enumerate(module)]

    order = sorted(modules, key=rank) if alphabetical else list(modules)
    return [item for module in order for item in modules[module]]


def as_tensor(path: Path, array: Array, bias: int) -> Tensor | Skipped:
    """An array in the layout of a state dict, or why it is not taken."""
    *module, last = path
    name, shape = "/".join(path), array.shape
    if len(shape) == 1:
        return Tensor("/".join((*module, IN_TORCH.get(last, last))), shape, array.dtype, array.load)
    if len(shape) != 4:
        turned = tuple(reversed(shape)) if last in KERNELS and len(shape) == 2 else shape
        load = array.load if turned == shape else partial(load_turned, array.load, (1, 0))
        return Tensor(name, turned, array.dtype, load)
    if last not in KERNELS:
        return Skipped(shortened(name), f"4-D of shape {shape}, but by its name no kernel")
    transposed = any(TRANSPOSED.search(key[-200:]) for key in module)
    axes = (3, 2, 0, 1)
    if transposed and bias == shape[2] != shape[3]:  # made with transpose_kernel=True
        axes = (2, 3, 0, 1)
    conv = Convolution(transposed=True, groups=1) if transposed else None
    turned = tuple(shape[axis] for axis in axes)
    return Tensor(name, turned, array.dtype, partial(load_turned, array.load, axes), conv)


def load_turned(load: Loader, axes: tuple[int, ...]) -> NDArray[Any]:
    """Load an array with its axes in another order."""
    return np.ascontiguousarray(load().transpose(axes))
