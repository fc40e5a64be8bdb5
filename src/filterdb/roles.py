"""What a tensor is: a convolution layer with its kind and its place, or left out with a reason.

Formats that know their graph state the facts (:class:`~filterdb.layer.Convolution`), and those
are taken. A bag of bare tensors (a state dict) has only names, shapes and neighbours:
``neighbours.py`` weighs them, and says ``unknown`` where they do not decide.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import (
    Contents,
    ConvLayer,
    Convolution,
    DepthSource,
    Loader,
    ModelFile,
    Skipped,
    Tensor,
)
from filterdb.neighbours import Role, infer_roles
from filterdb.norms import Bare, Paired, norms_of
from filterdb.readers.adapters import REASON, is_factor
from filterdb.readers.layout import transposed_to_out_first

WEIGHT_SUFFIX = re.compile(r"[./](weight|kernel|W|w)(:0)?$")
NOT_WEIGHTS = re.compile(
    r"(.*_)?(bias|beta|gamma(_?\d+)?|running_mean|running_var|mask|grid|mean|std|"
    r"(anchor|pos_embed|relative_position)\w*)(:0)?"
)
LIVE = "torch-module"
"""The format whose layers state what they are, but not what follows them."""
LONGEST_NAME = 200
"""Characters at the end of a name that are looked at: a name is no place to spend time on."""


def assign_roles(contents: Contents, source: str) -> ModelFile:
    """Turn the tensors that a reader found into convolution layers, in order.

    Parameters
    ----------
    contents
        What the reader found.
    source
        Path or description, for messages and for the database.

    Returns
    -------
    ModelFile
        Layers ordered by graph depth where the format has a graph, else in the file's order.
        It may hold no layer at all: the caller decides whether that is an error.
    """
    weights: list[Tensor] = []
    skipped = list(contents.skipped)
    for tensor in contents.tensors:
        reason = why_not(tensor)
        if reason is None:
            weights.append(tensor)
        elif len(tensor.shape) > 1:
            skipped.append(Skipped(tensor.name, reason))
    roles = infer_roles(weights, contents.tensors)
    placed = place(weights)
    names = layer_names(weights)
    paired = pair_with_norms(weights, roles, contents)
    layers = [
        conv_layer(
            tensor,
            names[tensor.name],
            roles[tensor.name],
            where=placed[tensor.name],
            paired=paired.get(tensor.name),
        )
        for tensor in sorted(weights, key=lambda tensor: placed[tensor.name].index)
    ]
    return ModelFile(
        source=source,
        format=contents.format,
        layers=tuple(layers),
        skipped=tuple(skipped),
        producer=contents.producer,
        notes=contents.notes,
        companions=contents.companions,
        statements=contents.statements,
    )


def why_not(tensor: Tensor) -> str | None:
    """The reason why a tensor is not a 2-D convolution's weight, or None if it is one."""
    shape = tensor.shape
    by_size = {
        0: "a scalar",
        1: "1-D: a bias, a norm or a statistic",
        2: "2-D weight: fully connected or an embedding, without spatial filters",
        3: "3-D weight: a 1-D convolution or a table; only 2-D convolutions are analysed",
        5: "5-D weight: a 3-D convolution; only 2-D convolutions are analysed",
    }
    if len(shape) != 4:
        return by_size.get(len(shape), f"{len(shape)}-D: not a 2-D convolution")
    if 0 in shape:
        return f"empty weight of shape {shape}"
    if tensor.conv is not None:
        return None
    if tensor.dtype.startswith("uint") and not tensor.scheme:
        return f"{tensor.dtype} without a scale: pixels or indices, no filters"
    if "parametrizations." in tensor.name[-LONGEST_NAME:]:
        return "a part of a parametrised weight whose rule is not followed"
    if is_factor(tensor.name):
        return REASON
    if NOT_WEIGHTS.fullmatch(re.split(r"[./]", tensor.name[-LONGEST_NAME:])[-1]):
        return f"4-D of shape {shape}, but by its name a parameter that is no filter"
    if not tensor.name.endswith("weight") and (shape[0], *shape[2:]) == (1, 1, 1) and shape[1] > 1:
        return f"4-D of shape {shape}: one value a channel (a scale), no filter"
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer stands: its index and its (ranked, normalised) depth."""

    index: int
    depth: int
    depth_norm: float
    source: DepthSource


def place(weights: Sequence[Tensor]) -> dict[str, Place]:
    """Index and depth of every convolution (METHODS 1.1).

    ``conv_depth`` is the rank of a node's depth among the depths that hold a convolution, and
    ``conv_depth_norm`` that rank over the number of such depths minus one; a network of one
    depth has 0 (the reference divides by zero). Where not every tensor has a graph depth, the
    order in the file takes its place.
    """
    depths = [tensor.conv.depth for tensor in weights if tensor.conv is not None]
    known = [depth for depth in depths if depth is not None]
    source: DepthSource = "graph" if weights and len(known) == len(weights) else "order"
    raw = known if source == "graph" else list(range(len(weights)))
    rank = {depth: position for position, depth in enumerate(sorted(set(raw)))}
    last = max(len(rank) - 1, 1)
    order = sorted(range(len(weights)), key=lambda i: raw[i])
    return {
        weights[i].name: Place(index, rank[raw[i]], rank[raw[i]] / last, source)
        for index, i in enumerate(order)
    }


def layer_names(weights: Sequence[Tensor]) -> dict[str, str]:
    """Tensor name -> layer name: without ``.weight``, unless two layers would then share it."""
    short = {tensor.name: WEIGHT_SUFFIX.sub("", tensor.name) for tensor in weights}
    count = Counter(short.values())
    return {name: stem if count[stem] == 1 else name for name, stem in short.items()}


def pair_with_norms(
    weights: Sequence[Tensor], roles: Mapping[str, Role], contents: Contents
) -> dict[str, Paired]:
    """Tensor name -> state and norm of those weights whose reader says nothing of them."""
    position = {tensor.name: at for at, tensor in enumerate(contents.tensors)}
    bare = []
    for tensor in weights:
        if tensor.conv is not None and contents.format != LIVE:  # its reader knows better
            continue
        role = roles[tensor.name]
        out, per_group, *_ = out_first(tensor, role)
        inputs = None if role.groups is None else per_group * role.groups
        bare.append(Bare(tensor.name, position[tensor.name], inputs, out))
    return norms_of(bare, contents.tensors, epsilons=contents.epsilons)


def conv_layer(
    tensor: Tensor, name: str, role: Role, *, where: Place, paired: Paired | None = None
) -> ConvLayer:
    """One layer from its tensor, role and place; a transposed one turned to output-first."""
    conv = tensor.conv
    load = tensor.load
    if role.kind == "transposed" and conv is None:
        load = partial(load_transposed, tensor.load, role.groups or 1)
    known = paired or conv or Convolution()
    return ConvLayer(
        name=name,
        index=where.index,
        shape=out_first(tensor, role),
        kind=role.kind,
        kind_reason=role.reason,
        groups=role.groups,
        stride=conv.stride if conv else None,
        dilation=conv.dilation if conv else None,
        dtype=tensor.dtype,
        conv_depth=where.depth,
        conv_depth_norm=where.depth_norm,
        depth_source=where.source,
        load=load,
        state=known.state,
        evidence=known.evidence or "the file does not say what follows it",
        norm=known.norm,
        scheme=tensor.scheme,
    )


def out_first(tensor: Tensor, role: Role) -> tuple[int, int, int, int]:
    """Shape of a weight with its output channels first."""
    out, per_group, height, width = tensor.shape
    if role.kind == "transposed" and tensor.conv is None:
        groups = role.groups or 1
        out, per_group = per_group * groups, out // groups
    return out, per_group, height, width


def load_transposed(load: Loader, groups: int) -> NDArray[np.float32]:
    """Load a transposed convolution's weight with its output channels first."""
    return transposed_to_out_first(np.asarray(load(), dtype=np.float32), groups)
