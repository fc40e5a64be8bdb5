"""What a bare weight is, weighed from its name, its bias and its neighbours' channel counts.

A state dict does not say what its tensors are. The shape of a convolution is
``(C_out, C_in/groups, kh, kw)``, that of a transposed one ``(C_in, C_out/groups, kh, kw)``, and
three traps follow: ``(C, 1, k, k)`` is a depthwise layer or a first layer on grey images; a
transposed convolution looks like an ordinary one; groups show only in the previous layer's
channels. A bias or a norm has one value per *output* channel, which often decides. Where
nothing does, the answer is ``unknown``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from filterdb.layer import Convolution, Kind, Tensor

STEM = re.compile(r"[./]?(weight|kernel|W|w)(:0)?$")
BIAS = ("bias", "b", "bias:0", "b:0")
SAYS_TRANSPOSED = re.compile(r"deconv|transpose|convt|convtrans|tconv|upconv|up_conv", re.I)
HINTS_TRANSPOSED = re.compile(r"(^|[._/])up\d*($|[._/])|upsampl|_up($|[._/])", re.I)
SAYS_DEPTHWISE = re.compile(r"depth_?wise|(^|[._/])(conv_?)?dw(_?conv)?\d*($|[._/])", re.I)
FEWEST_GROUPS = 4
"""Fewer groups look like the halves and thirds that a network splits its channels into."""
IMAGE_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Role:
    """Kind, groups (``None`` where unknown) and how they are known."""

    kind: Kind
    groups: int | None
    reason: str


@dataclass(slots=True)
class Channels:
    """Channel counts met so far on the way through the file."""

    previous: int | None = None
    seen: set[int] = field(default_factory=set)
    first_input: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What surrounds one bare weight of shape ``(a, b, kh, kw)``.

    Attributes
    ----------
    a, b
        The first two extents.
    stem
        Name without ``.weight``.
    outputs
        Length of its own bias, else of the norm that follows: its output channels. None where
        it has neither.
    outputs_from
        ``"bias"`` or ``"norm"``.
    next_input
        Input channels of the next weight, if that is not split in groups.
    """

    a: int
    b: int
    stem: str
    outputs: int | None
    outputs_from: str
    next_input: int | None


def infer_roles(weights: Sequence[Tensor], tensors: Sequence[Tensor]) -> dict[str, Role]:
    """Kind and groups of every convolution weight.

    Parameters
    ----------
    weights
        The convolution weights in the file's order: stated (``conv`` set) or bare.
    tensors
        All tensors of the file in order, biases and norms included.

    Returns
    -------
    dict
        Tensor name -> :class:`Role`.
    """
    surroundings = gather(weights, tensors)
    channels = Channels()
    roles: dict[str, Role] = {}
    for tensor in weights:
        if tensor.conv is not None:
            role = stated_role(tensor.conv, tensor.shape)
            out = tensor.shape[0]
        else:
            evidence = surroundings[tensor.name]
            role = bare_role(evidence, channels)
            out = evidence.b * (role.groups or 1) if role.kind == "transposed" else evidence.a
        roles[tensor.name] = role
        if channels.first_input is None:
            channels.first_input = tensor.shape[1]
        channels.previous = out
        channels.seen.add(out)
    return roles


def stated_role(conv: Convolution, shape: tuple[int, ...]) -> Role:
    """The role that follows from what the format states; ``shape`` is output-first."""
    reason = "stated by the file"
    if conv.transposed:
        return Role("transposed", conv.groups, reason)
    if conv.groups is None:
        return Role("unknown", None, "the file does not say how many groups it has")
    if conv.groups == 1:
        return Role("conv", 1, reason)
    return Role("depthwise" if shape[1] == 1 else "grouped", conv.groups, reason)


def gather(weights: Sequence[Tensor], tensors: Sequence[Tensor]) -> dict[str, Evidence]:
    """Collect the surroundings of every bare weight in one pass over the file."""
    lengths = {tensor.name: tensor.shape[0] for tensor in tensors if len(tensor.shape) == 1}
    position = {tensor.name: i for i, tensor in enumerate(tensors)}
    following = {a.name: b for a, b in pairwise(weights)}
    found = {}
    for tensor in weights:
        stem = STEM.sub("", tensor.name)
        outputs, source = None, ""
        for name in BIAS:
            if (length := lengths.get(f"{stem}.{name}", lengths.get(f"{stem}/{name}"))) is not None:
                outputs, source = length, "bias"
                break
        if outputs is None:
            outputs = norm_length(tensors, position[tensor.name])
            source = "norm" if outputs is not None else ""
        after = following.get(tensor.name)
        found[tensor.name] = Evidence(
            a=tensor.shape[0],
            b=tensor.shape[1],
            stem=stem,
            outputs=outputs,
            outputs_from=source,
            next_input=after.shape[1] if after is not None else None,
        )
    return found


def norm_length(tensors: Sequence[Tensor], start: int) -> int | None:
    """Channels of the norm right behind a weight: the next tensor, if it is 1-D and longer than 1.

    A PReLU with one parameter is no norm; a norm further on may belong to another branch.
    """
    if start + 1 < len(tensors):
        shape = tensors[start + 1].shape
        if len(shape) == 1 and shape[0] > 1:
            return shape[0]
    return None


def bare_role(evidence: Evidence, channels: Channels) -> Role:
    """Weigh the evidence for one bare weight."""
    return (
        transposed_role(evidence, channels)
        or depthwise_role(evidence, channels)
        or grouped_role(evidence, channels)
    )


def transposed_role(evidence: Evidence, channels: Channels) -> Role | None:
    """``transposed``, ``unknown`` if it may be, None if it is an ordinary convolution."""
    a, b, outputs = evidence.a, evidence.b, evidence.outputs
    said = bool(SAYS_TRANSPOSED.search(evidence.stem))
    hinted = said or bool(HINTS_TRANSPOSED.search(evidence.stem))
    if outputs is not None and a != b:
        if outputs == a and evidence.outputs_from == "bias":
            # A transposed layer of g groups has b * g outputs: only its name tells that apart.
            if said and b < a and a % b == 0:
                return Role("transposed", a // b, "its name, and its bias counts b x groups")
            return None
        if outputs == a:
            return None
        if outputs == b and (evidence.outputs_from == "bias" or hinted or channels.previous == a):
            return Role("transposed", 1, f"its {evidence.outputs_from} has {b} values, not {a}")
    follows = channels.previous == a
    leads = evidence.next_input == b
    if said and (follows or channels.previous is None or a == b or leads):
        return Role("transposed", 1, "its name")
    # Of one channel a filter, depthwise is the likelier reading.
    if b != 1 and a != b and follows and channels.previous != b and leads:
        return Role("transposed", 1, f"the layer before gives {a} channels, the next takes {b}")
    if hinted and (a == b or follows) and outputs != a:
        why = "its name hints at a transposed convolution, and nothing decides"
        return Role("unknown", None, why)
    return None


def depthwise_role(evidence: Evidence, channels: Channels) -> Role | None:
    """``depthwise`` for ``(C, 1, k, k)`` on C channels; ``conv`` on one channel."""
    a, b = evidence.a, evidence.b
    if b != 1:
        return None
    if a == 1:
        return Role("conv", 1, "one channel in, one out")
    if SAYS_DEPTHWISE.search(evidence.stem):
        return Role("depthwise", a, "its name")
    previous = channels.previous
    if previous is None and evidence.next_input == IMAGE_CHANNELS:
        return Role("unknown", None, "the first layer, but the next one takes a colour image")
    if previous is None:
        return Role("conv", 1, "the first layer: a grey image has one channel")
    if previous == a:
        return Role("depthwise", a, f"the layer before gives {a} channels")
    if previous == 1:
        return Role("conv", 1, "the layer before gives one channel")
    if a in channels.seen:
        return Role("depthwise", a, f"an earlier layer gives {a} channels")
    if a % previous == 0:
        times = a // previous
        return Role("depthwise", previous, f"{times} filters for each of the {previous} channels")
    if channels.first_input == 1:
        return Role("unknown", None, "depthwise, or once more on the one-channel image")
    return Role("depthwise", a, "one input channel a filter, and the image has more than one")


def grouped_role(evidence: Evidence, channels: Channels) -> Role:
    """``grouped`` where the previous layer's channels only fit in groups; else ``conv``."""
    a, b, previous = evidence.a, evidence.b, channels.previous
    if previous is None or previous == b:
        return Role("conv", 1, "its input channels are those of the layer before")
    if b in channels.seen:
        return Role("conv", 1, f"an earlier layer gives {b} channels")
    if b in (channels.first_input, IMAGE_CHANNELS):
        return Role("conv", 1, "its input channels are those of the image")
    fits = sorted(c // b for c in channels.seen if c % b == 0 and a % (c // b) == 0)
    if not fits:
        return Role("conv", 1, f"{b} input channels, joined from several layers")
    if len(fits) == 1 and (fits[0] >= FEWEST_GROUPS or "group" in evidence.stem.lower()):
        return Role("grouped", fits[0], f"the layers before give {fits[0] * b} = {fits[0]} x {b}")
    why = f"{' or '.join(map(str, fits))} groups by the layers before, or a part of their channels"
    return Role("unknown", None, why)
