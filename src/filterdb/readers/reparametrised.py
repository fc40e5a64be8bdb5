"""Weights that a checkpoint holds in parts: weight norm, masks, spectral norm, key offsets.

torch keeps such a weight as parameters of their own and computes it before each use. Here the
parts become the one tensor that the network convolves with, computed when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import Tensor

HOOK = re.compile(r"((?:.*\.)?weight)_(g|v|u|orig|mask)")
PARAMETRIZATION = re.compile(r"((?:.*\.)?)parametrizations\.(\w+)\.(original\d*|\d+\..+)")
KEY_OFFSET = "key_offset"
"""What ``filterdb.keys.torch.key_conv.KeyConv2d`` adds to each filter, ``(C_out,)``."""
PART = {"original": "orig", "original0": "g", "original1": "v", "0._u": "u", "0._v": "v"}
VERBS = {
    "norm": "weight norm merged (weight = g * v / |v|)",
    "mask": "pruning masks applied",
    "spectral": "spectral norm applied",
}

Parts = dict[str, Tensor]


def merge_parts(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[str]]:
    """Replace the parts of each weight by the weight, in the place of the largest part.

    Parameters
    ----------
    tensors
        Any tensors; those that are no parts pass unchanged.

    Returns
    -------
    tensors, notes
        The tensors with merged ones in place of parts, and a sentence for each way of merging.
    """
    groups: dict[str, Parts] = {}
    for tensor in tensors:
        if found := part_of(tensor.name):
            target, part = found
            groups.setdefault(target, {})[part] = tensor
    names = {tensor.name for tensor in tensors}
    merged: dict[str, Tensor | None] = {}
    count = dict.fromkeys(VERBS, 0)
    for target, parts in groups.items():
        way = None if target in names else way_of(parts)
        if way is None:
            continue
        count[way] += 1
        body = parts["v"] if way == "norm" else parts["orig"]
        merged.update((tensor.name, None) for tensor in parts.values())
        load = partial(LOADERS[way], body, parts)
        identities = tuple(tensor.identity for tensor in parts.values())
        identity = None if None in identities else (way, *identities)
        merged[body.name] = replace(body, name=target, load=load, identity=identity)
    whole = [merged.get(tensor.name, tensor) for tensor in tensors]
    kept, shifted = add_offsets([tensor for tensor in whole if tensor is not None])
    notes = [f"{VERBS[way]} in {number} tensors." for way, number in count.items() if number]
    if shifted:
        notes.append(f"Key offsets added (weight + {KEY_OFFSET}) in {shifted} tensors.")
    return kept, [note[0].upper() + note[1:] for note in notes]


def add_offsets(tensors: list[Tensor]) -> tuple[list[Tensor], int]:
    """Add the offsets of key convolutions to their weights; and how many there were."""
    weights = {tensor.name: tensor for tensor in tensors}
    moved: dict[str, Tensor | None] = {}
    for offset in tensors:
        path, dot, last = offset.name.rpartition(".")
        weight = weights.get(f"{path}{dot}weight")
        # One a filter: a tensor of that name that does not fit is something else.
        if last != KEY_OFFSET or weight is None or len(weight.shape) != 4:
            continue
        if offset.shape == weight.shape[:1]:
            moved[offset.name] = None
            load = partial(load_shifted, weight, offset)
            moved[weight.name] = replace(weight, load=load, identity=None)
    kept = [moved.get(tensor.name, tensor) for tensor in tensors]
    return [tensor for tensor in kept if tensor is not None], len(moved) // 2


def part_of(name: str) -> tuple[str, str] | None:
    """The weight that a name is a part of, and which part."""
    if match := HOOK.fullmatch(name):
        return match[1], match[2]
    if match := PARAMETRIZATION.fullmatch(name):
        # A part of any other rule makes the parts fit none of those that are followed.
        return match[1] + match[2], PART.get(match[3], match[3])
    return None


def way_of(parts: Parts) -> str | None:
    """How a weight is computed from its parts, or None where the parts do not fit."""
    shape = {part: tensor.shape for part, tensor in parts.items()}
    if any(0 in extents for extents in shape.values()):
        return None
    if parts.keys() == {"g", "v"}:
        fits = shape["g"] == () or (
            len(shape["g"]) == len(shape["v"])
            and all(g in (1, v) for g, v in zip(shape["g"], shape["v"], strict=True))
        )
        return "norm" if fits else None
    if parts.keys() == {"orig", "mask"}:
        return "mask" if shape["orig"] == shape["mask"] else None
    if parts.keys() == {"orig", "u", "v"}:
        return "spectral" if spectral_axis(parts) is not None else None
    return None


def spectral_axis(parts: Parts) -> int | None:
    """The axis that spectral norm keeps: 0, or 1 for a transposed convolution."""
    shape, u, v = parts["orig"].shape, parts["u"].shape, parts["v"].shape
    for axis in range(min(2, len(shape))):
        if u == (shape[axis],) and v == (prod(shape[:axis]) * prod(shape[axis + 1 :]),):
            return axis
    return None


def load_normed(body: Tensor, parts: Parts) -> NDArray[np.float32]:
    """``g * v / |v|``, the norm over every axis in which g has no extent; 0 where v is 0."""
    v = np.asarray(body.load(), dtype=np.float64)
    g = np.asarray(parts["g"].load(), dtype=np.float64)
    axes = tuple(i for i in range(v.ndim) if g.ndim == 0 or g.shape[i] == 1)
    norm = np.sqrt(np.sum(v * v, axis=axes, keepdims=True))
    scale = np.divide(g, norm, out=np.zeros(np.broadcast_shapes(g.shape, norm.shape)),
                      where=norm > 0)  # fmt: skip
    return np.asarray(v * scale, dtype=np.float32)


def load_masked(body: Tensor, parts: Parts) -> NDArray[Any]:
    """The weight with its pruned taps at zero."""
    values = np.asarray(body.load())
    return np.where(np.asarray(parts["mask"].load()) != 0, values, np.zeros((), values.dtype))


def load_spectral(body: Tensor, parts: Parts) -> NDArray[np.float32]:
    """The weight over its largest singular value, as the stored vectors estimate it."""
    weight = np.asarray(body.load(), dtype=np.float64)
    u, v = (np.asarray(parts[name].load(), dtype=np.float64) for name in "uv")
    matrix = np.moveaxis(weight, spectral_axis(parts) or 0, 0).reshape(len(u), -1)
    sigma = float(u @ matrix @ v)
    usable = np.isfinite(sigma) and sigma != 0
    return np.asarray(weight / (sigma if usable else 1.0), dtype=np.float32)


def load_shifted(weight: Tensor, offset: Tensor) -> NDArray[np.floating]:
    """``weight + offset``; half precision as float32, in which the sum is not rounded twice."""
    values, shift = np.asarray(weight.load()), np.asarray(offset.load())
    wide = np.result_type(values, shift, np.float32)
    result: NDArray[np.floating] = values.astype(wide) + shift.astype(wide)[:, None, None, None]
    return result


LOADERS = {"norm": load_normed, "mask": load_masked, "spectral": load_spectral}
