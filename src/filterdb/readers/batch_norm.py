"""Whether a batch normalisation follows a convolution, was folded into it, or neither.

For formats whose graph is known and whose converters fold norms away: what the graph shows comes
first, then what names have kept. A file that says nothing of norms anywhere proves nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.layer import Convolution, Loader, Norm, Tensor, WeightState

NAMED_NORM = re.compile(
    r"(?:^|[/_.;-])(?:(?:fused_?)?batch_?norm(?:alization)?(?:v\d)?|bn)(?=[\d/_.;-]|$)",
    re.IGNORECASE,
)
FOLD = re.compile(r"(?:Conv2D|depthwise)_Fold(?=[/_;]|$)")
"""What TensorFlow's training with simulated quantisation calls a folded convolution."""
ADDED = re.compile(r"/BiasAdd\d*$")
"""The addition of a bias (not of a norm's shift)."""
MOST_STEPS = 8
"""Nodes between a convolution and its norm: a bias, a reshape, a scale."""
MOST_INPUTS = 3
"""Inputs of a node that adds or scales."""

Role = Literal["pass", "add", "scale", "norm", "other"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A value known from the file."""

    name: str
    shape: tuple[int, ...]
    load: Loader = field(repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a graph as far as it matters here.

    Attributes
    ----------
    role
        ``"pass"`` (values stay, apart from their places), ``"add"`` and ``"scale"`` (by
        something for each channel), ``"norm"``, or ``"other"``.
    inputs, output
        Values by number.
    norm
        Of a ``"norm"``: its name and scale, None where those are not constants.
    """

    role: Role
    inputs: tuple[int, ...]
    output: int
    norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Following:
    """The norm that follows a convolution; ``split`` where one does, but other nodes too."""

    norm: Norm | None
    split: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The graph around the convolutions.

    Attributes
    ----------
    users
        Value -> the nodes that take it.
    ends
        Outputs of the graph.
    constant
        Value -> what the file holds for it.
    """

    users: Mapping[int, Sequence[Step]]
    ends: Collection[int]
    constant: Callable[[int], Constant | None]

    def norm_behind(self, value: int, channels: int) -> Following:
        """The batch normalisation behind a convolution's output."""
        found = [self.norm_from(step, value, channels) for step in self.users.get(value, ())]
        norms = [norm for norm in found if norm is not None]
        if len(norms) == len(found) == 1 and value not in self.ends:
            return Following(norms[0])
        return Following(None, split=bool(norms))

    def norm_from(self, step: Step, value: int, channels: int) -> Norm | None:
        """The norm that a node is, or that begins with it, if nothing else takes what it yields.

        Written out, it is a scale and then a shift for each channel. The two at the very end of
        a network are its output's own scaling, unless their names say otherwise.
        """
        scale: Constant | None = None
        for _ in range(MOST_STEPS):
            if step.role == "norm":
                return step.norm
            if step.role in {"add", "scale"}:
                other = self.per_channel(step, value, channels)
                again = step.role == "scale" and scale is not None
                if other is None or again or channels < 2:  # one number scales anything
                    return None
                if step.role == "scale":
                    scale = other
                elif scale is not None:
                    own = step.output in self.ends and not NAMED_NORM.search(scale.name)
                    return None if own else Norm(scale.name, partial(load_scale, scale.load))
            elif step.role != "pass":
                return None
            value = step.output
            users = self.users.get(value, ())
            if len(users) != 1 or value in self.ends:
                return None
            step = users[0]
        return None

    def added_to(self, value: int, channels: int) -> tuple[Constant, ...]:
        """The constants for each channel that nodes right behind a value add to it."""
        found = (
            self.per_channel(step, value, channels)
            for step in self.users.get(value, ())
            if step.role == "add"
        )
        return tuple(constant for constant in found if constant is not None)

    def per_channel(self, step: Step, value: int, channels: int) -> Constant | None:
        """The constant that a node combines with ``value``, one number a channel."""
        if len(step.inputs) > MOST_INPUTS:
            return None
        others = [item for item in step.inputs if item != value]
        constant = self.constant(others[0]) if len(others) == 1 else None
        return constant if constant is not None and prod(constant.shape) == channels else None


def load_scale(load: Loader) -> NDArray[np.float64]:
    """One number a channel."""
    return np.asarray(load(), np.float64).reshape(-1)


def fused_scale(gamma: Loader | None, variance: Loader, epsilon: float) -> NDArray[np.float64]:
    """``gamma / sqrt(variance + epsilon)``; a norm without gamma has ones.

    Raises
    ------
    CorruptFileError
        The variance is negative, or of another length than gamma.
    """
    spread = load_scale(variance) + epsilon
    scale = np.ones_like(spread) if gamma is None else load_scale(gamma)
    if scale.shape != spread.shape or not (spread > 0).all():
        msg = "A batch normalisation has an impossible variance. Download or copy the file again."
        raise CorruptFileError(msg)
    result: NDArray[np.float64] = scale / np.sqrt(spread)
    return result


@dataclass(frozen=True, slots=True)
class Claim:
    """A norm that the name of a layer's own constant mentions: whose it is, others may dispute."""

    what: str
    name: str
    norm: str


def claims_of(names: Iterable[tuple[str, str]]) -> tuple[Claim, ...]:
    """The norms that names speak of.

    Parameters
    ----------
    names
        What is named (``"bias"``), and its name. Converters join the names of all that became
        one constant with semicolons, outermost first: what stands behind the addition of a bias
        is not around the convolution, but a constant that happens to be the same.
    """
    claims = []
    for what, name in names:
        for part in name.split(";"):
            if ADDED.search(part):
                break
            found = NAMED_NORM.search(part) or FOLD.search(part)
            if found:
                end = part.find("/", found.end())
                norm = part[: end if end > 0 else None].removeprefix("StatefulPartitionedCall/")
                claims.append(Claim(what, part[-200:], norm))
    return tuple(claims)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one convolution: what follows it, and the norms its names speak of.

    ``named`` is True where its names are those of the operators it was made from, so that a norm
    would show in them; ``shifted`` where something for each channel is added to its output.
    """

    following: Following
    claims: tuple[Claim, ...]
    named: bool = True
    shifted: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """The three fields of a :class:`~filterdb.layer.Convolution` that tell raw from folded."""

    state: WeightState
    evidence: str
    norm: Norm | None = None

    def applied(self, tensor: Tensor, name: str) -> Tensor:
        """The tensor with its state, under its final name."""
        conv = tensor.conv or Convolution()
        conv = replace(conv, state=self.state, evidence=self.evidence, norm=self.norm)
        return replace(tensor, name=name, conv=conv)


def settle(findings: Sequence[Finding]) -> list[State]:
    """The state of each convolution of a file, weighed over all of them.

    A norm was folded into one layer: where several claim it, none is believed. Where the file
    keeps a record of norms at all, a layer without one has none.
    """
    without = [item for item in findings if item.following.norm is None]
    claimed = Counter(norm for item in without for norm in {claim.norm for claim in item.claims})
    own = [
        next((claim for claim in item.claims if claimed[claim.norm] == 1), None)
        for item in findings
    ]
    speaks = any(item.following.norm is not None for item in findings) or any(own)
    return [state_of(item, claim, speaks=speaks) for item, claim in zip(findings, own, strict=True)]


def state_of(found: Finding, claim: Claim | None, *, speaks: bool) -> State:
    """The state of one convolution, with the norm that is its own by name."""
    norm = found.following.norm
    if norm is not None:
        return State("raw", f"followed by batch normalisation {norm.name[-200:]!r}", norm)
    if found.following.split:
        return State("unknown", "a batch normalisation follows, and other nodes too")
    if claim is not None:
        return State("folded", f"its {claim.what} is named {claim.name!r}")
    if not found.shifted and not found.claims:
        return State(
            "no_norm", "no batch normalisation follows, and no bias such as a folded one leaves"
        )
    if speaks and found.named and not found.claims:
        return State("no_norm", "no batch normalisation follows or is in its names, as in others")
    if found.claims:
        return State("unknown", "its names speak of a norm, but so do those of other layers")
    return State("unknown", "none follows, but a converter may have folded one in without a trace")
