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
SHUFFLES = (4, 9, 16)
"""So many fewer channels come out of a pixel shuffle by 2, 3 or 4."""
IMAGE_CHANNELS = 3
LONGEST_STEM = 200
"""Characters at the end of a name that are searched for what it says."""


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
    previous_shape: tuple[int, ...] = ()
    after_transposed: bool = False
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
    shape: tuple[int, ...]
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
        channels.previous_shape = tensor.shape
        channels.after_transposed = role.kind == "transposed"
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
            shape=tensor.shape,
            stem=stem[-LONGEST_STEM:],
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
    said = bool(SAYS_TRANSPOSED.search(evidence.stem))
    hinted = said or bool(HINTS_TRANSPOSED.search(evidence.stem))
    if evidence.outputs is not None and evidence.a != evidence.b:
        return by_outputs(evidence, channels, evidence.outputs, said=said, hinted=hinted)
    a, b, previous = evidence.a, evidence.b, channels.previous
    follows = previous == a
    if said and (follows or previous is None or a == b or evidence.next_input == b):
        return Role("transposed", 1, "its name")
    if hinted and (a == b or follows) and evidence.outputs != a:
        return Role("unknown", None, "its name hints at a transposed convolution")
    if a == b or not follows or evidence.shape == channels.previous_shape:
        return None
    # As an ordinary convolution it would not take what the layer before gives.
    last = evidence.next_input is None
    if channels.after_transposed and (last or evidence.next_input == b):
        return Role("transposed", 1, f"it continues transposed layers, which give {a} channels")
    if b == 1:
        return None  # depthwise is the likelier reading
    if evidence.next_input == b and b not in channels.seen:
        return Role("transposed", 1, f"the layer before gives {a} channels, the next takes {b}")
    if last or evidence.next_input == b or b in channels.seen:
        return Role("unknown", None, f"transposed after {a} channels, or joined from elsewhere")
    return None


def by_outputs(
    evidence: Evidence, channels: Channels, outputs: int, *, said: bool, hinted: bool
) -> Role | None:
    """What a bias or a norm of ``outputs`` values says of a layer with a != b."""
    a, b, previous = evidence.a, evidence.b, channels.previous
    if outputs == a:
        # A transposed layer of g groups has b * g outputs: only its name tells that apart.
        if said and evidence.outputs_from == "bias" and b < a and a % b == 0:
            return Role("transposed", a // b, "its name, and its bias counts b x groups")
        return None
    if outputs != b:
        return Role("transposed", 1, "its name") if said else None
    source = f"its {evidence.outputs_from} has {b} values, not {a}"
    if evidence.outputs_from == "bias" or hinted or previous in (a, None):
        return Role("transposed", 1, source)
    if previous == b:
        return None  # the norm is the next layer's own, as in a densely connected network
    return Role("unknown", None, f"{source}: transposed, or the norm belongs to the next layer")


def depthwise_role(evidence: Evidence, channels: Channels) -> Role | None:
    """``depthwise`` for ``(C, 1, k, k)`` on C channels; ``conv`` on one channel."""
    a, previous = evidence.a, channels.previous
    if evidence.b != 1:
        return None
    if a == 1:
        return Role("conv", 1, "one channel in, one out")
    if SAYS_DEPTHWISE.search(evidence.stem):
        return Role("depthwise", a, "its name")
    if previous is None and evidence.next_input == IMAGE_CHANNELS:
        return Role("unknown", None, "the first layer, but the next one takes a colour image")
    if previous is None:
        return Role("conv", 1, "the first layer: a grey image has one channel")
    if previous == 1:
        return Role("conv", 1, "the layer before gives one channel")
    if evidence.next_input is None and evidence.outputs is None:
        return Role("unknown", None, "the last layer: depthwise, or transposed to one channel")
    if previous == a:
        return Role("depthwise", a, f"the layer before gives {a} channels")
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
    certain = fits[0] >= FEWEST_GROUPS and fits[0] not in SHUFFLES and fits[0] * b == previous
    if len(fits) == 1 and (certain or "group" in evidence.stem.lower()):
        return Role("grouped", fits[0], f"the layer before gives {fits[0] * b} = {fits[0]} x {b}")
    why = f"{' or '.join(map(str, fits))} groups by the layers before, or a part of their channels"
    return Role("unknown", None, why)
