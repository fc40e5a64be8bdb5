"""Which batch normalisation follows a convolution of a state dict, by names and channel counts.

A state dict has no graph. What pairs a convolution with a norm is that they are neighbours in a
sequence (``features.0`` and ``features.1``), that they bear the same number beside one another
(``conv1`` and ``bn1``, ``conv`` and ``bn``), or that the norm stands right behind a convolution
without a bias; always that it stands behind and has a value for each output channel. A norm before
its convolution (pre-activation) normalises what goes in. Where that does not decide, the state is
``unknown``; and a file without any norm proves little, as one may have been folded into a weight
with a bias before it was saved.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import Loader, Norm, Tensor, WeightState
from filterdb.readers.name_order import natural_key

STATISTICS = re.compile(
    r"^(?P<stem>.*)(?P<between>[./])(running_var|moving_variance|avg_var)(?P<tail>:0)?$"
)
GAMMA = ("weight", "gamma")
WEIGHT = re.compile(r"[./](weight|kernel|W|w)(:0)?$")
BIAS = ("bias", "b", "bias:0", "b:0")
NAMED = re.compile(r"^(?P<before>.*?)(?:conv(?:2d)?)(?P<after>.*)$", re.IGNORECASE)
WORDS = ("bn", "norm", "batchnorm", "batch_norm", "BN", "BatchNorm")
EPSILON = 1e-5
"""PyTorch's; a state dict does not say another."""
LONGEST = 500
"""Characters of a name that are looked at; none in use is longer."""

NO_NORM_AT_ALL = "no batch normalisation is in the file, and no bias that a folded one leaves"
NONE_LEFT = "all batch normalisations of the file follow other layers"


@dataclass(frozen=True, slots=True)
class Paired:
    """What is known of a convolution's norm, as :class:`~filterdb.layer.Convolution` has it."""

    state: WeightState
    evidence: str
    norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Bare:
    """A convolution weight as the file's order and ``roles.py`` know it.

    Attributes
    ----------
    name
        Of its tensor.
    position
        Among the tensors of the file.
    inputs, outputs
        Channels; the inputs are None where its groups are not known.
    """

    name: str
    position: int
    inputs: int | None
    outputs: int

    @property
    def stem(self) -> str:
        """Its name without ``.weight``."""
        return WEIGHT.sub("", self.name)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A norm with running statistics."""

    stem: str
    position: int
    channels: int
    variance: Tensor
    gamma: Tensor | None


@dataclass(frozen=True, slots=True)
class _Claim:
    """A norm that may be a convolution's, and what speaks for it."""

    norm: _Candidate
    by: str


def norms_of(
    weights: Sequence[Bare], tensors: Sequence[Tensor], *, epsilons: Mapping[str, float]
) -> dict[str, Paired]:
    """State of each bare convolution weight.

    Parameters
    ----------
    weights
        The convolution weights, in the file's order.
    tensors
        All tensors of the file, in order.
    epsilons
        Name of a norm -> its epsilon, where that is known.

    Returns
    -------
    dict
        Tensor name -> :class:`Paired`.
    """
    norms = {norm.stem: norm for norm in _candidates(tensors)}
    surroundings = _Surroundings(tensors, norms)
    claims = {weight.name: surroundings.claim(weight) for weight in weights}
    doubts = _Doubts(weights, claims, alphabetical=surroundings.alphabetical)
    found: dict[str, Paired] = {}
    for weight in weights:
        claim = claims[weight.name]
        why = doubts.of(weight, claim) if claim else None
        if claim is None or why is not None:
            found[weight.name] = Paired("unknown", why or surroundings.without(weight))
            continue
        found[weight.name] = _followed(claim, epsilons, biased=surroundings.is_biased(weight))
    _settle(found, weights, norms, surroundings)
    return found


NAME, SEQUENCE, ORDER = "its name", "its place in the sequence", "its place right behind it"


class _Doubts:
    """What speaks against claimed norms, weighed over all of a file."""

    def __init__(
        self,
        weights: Sequence[Bare],
        claims: Mapping[str, _Claim | None],
        *,
        alphabetical: bool,
    ) -> None:
        self.alphabetical = alphabetical
        pairs = [(weight, claims[weight.name]) for weight in weights]
        by_name = [(weight, claim.norm.channels) for weight, claim in pairs
                   if claim is not None and claim.by == NAME]  # fmt: skip
        self.count = Counter(claim.norm.stem for _, claim in pairs if claim)
        self.before = any(n == weight.inputs != weight.outputs for weight, n in by_name)
        self.behind = any(
            n == weight.outputs and weight.inputs not in (None, n) for weight, n in by_name
        )

    def of(self, weight: Bare, claim: _Claim) -> str | None:
        """Why a norm may not be the one that follows; None where nothing speaks against it."""
        norm = claim.norm
        if norm.channels != weight.outputs:
            return f"{norm.stem} has {norm.channels} channels and it gives {weight.outputs}"
        if self.count[norm.stem] > 1:
            return f"{norm.stem} may be its norm, or that of another convolution"
        if claim.by != NAME:
            return None
        if norm.position < weight.position and not self.alphabetical:
            return f"{norm.stem} stands before it: a pre-activation, by the order"
        if weight.inputs not in (None, norm.channels):
            return None  # it could not take what the convolution takes
        if self.before:
            return (
                f"{norm.stem} may normalise what it takes, as norms of such names do in this file"
            )
        if self.alphabetical and not self.behind:
            return f"{norm.stem} may stand before it or behind it: the order is the alphabet"
        return None


def _followed(claim: _Claim, epsilons: Mapping[str, float], *, biased: bool) -> Paired:
    norm = claim.norm
    epsilon = epsilons.get(norm.stem)
    evidence = f"followed by batch normalisation {norm.stem}, by {claim.by} and channels"
    if epsilon is None:
        evidence += f"; epsilon assumed to be {EPSILON:g}"
    if biased and claim.by == NAME:
        evidence += "; an activation between them would not show"
    gamma = norm.gamma.load if norm.gamma else None
    scale = partial(_scale, norm.variance.load, gamma, EPSILON if epsilon is None else epsilon)
    return Paired("raw", evidence, Norm(norm.stem, scale))


def _settle(
    found: dict[str, Paired],
    weights: Sequence[Bare],
    norms: Mapping[str, _Candidate],
    surroundings: _Surroundings,
) -> None:
    """Find the layers that no norm can follow: none is left for them, or there is none at all."""
    raw = sum(paired.state == "raw" for paired in found.values())
    distinct = len({norm.variance.identity or norm.stem for norm in norms.values()})
    for weight in weights:
        if found[weight.name].state == "raw":
            continue
        if norms and raw == distinct:
            found[weight.name] = Paired("no_norm", NONE_LEFT)
        elif not surroundings.may_have_norms and not surroundings.is_biased(weight):
            found[weight.name] = Paired("no_norm", NO_NORM_AT_ALL)


class _Surroundings:
    """What stands around the convolutions of a state dict."""

    def __init__(self, tensors: Sequence[Tensor], norms: Mapping[str, _Candidate]) -> None:
        self.norms = norms
        self.tensors = tensors
        self.names = {tensor.name for tensor in tensors}
        order = [tensor.name for tensor in tensors]
        self.alphabetical = order in (sorted(order), sorted(order, key=natural_key))
        self.may_have_norms = bool(norms) or any(
            len(tensor.shape) == 1 and tensor.shape[0] > 1 and not tensor.name.endswith(BIAS)
            for tensor in tensors
        )

    def claim(self, weight: Bare) -> _Claim | None:
        """The norm that a convolution's name or place points to."""
        if len(weight.name) > LONGEST:
            return None
        for stem, by in _partners(weight.stem):
            if stem in self.norms:
                return _Claim(self.norms[stem], by)
        if self.alphabetical or weight.stem.rpartition(".")[2].isdecimal():
            return None  # in a sequence its norm would be the next one
        behind = self.right_behind(weight)
        return _Claim(behind, ORDER) if behind is not None else None

    def right_behind(self, weight: Bare) -> _Candidate | None:
        """The norm of the same block that the next tensor is of, where there is no bias.

        Where another norm comes next, the norms of several layers may stand together.
        """
        if weight.position + 1 >= len(self.tensors) or self.is_biased(weight):
            return None
        following = self.tensors[weight.position + 1].name
        stem = re.split(r"[./][^./]*$", following, maxsplit=1)[0]
        if stem not in self.norms or _parent(stem) != _parent(weight.stem):
            return None
        after = next(
            (
                tensor.name
                for tensor in self.tensors[weight.position + 1 : weight.position + 9]
                if not tensor.name.startswith((f"{stem}.", f"{stem}/"))
            ),
            "",
        )
        other = re.split(r"[./][^./]*$", after, maxsplit=1)[0]
        if other in self.norms and _parent(other) == _parent(stem):
            return None
        return self.norms[stem]

    def is_biased(self, weight: Bare) -> bool:
        """True where a convolution has a bias, as one with a folded norm has."""
        return any(f"{weight.stem}{between}{name}" in self.names
                   for between in "./" for name in BIAS)  # fmt: skip

    def without(self, weight: Bare) -> str:
        """Why the state of a convolution that no norm is claimed for is not known."""
        if self.norms:
            return "no batch normalisation bears its name or stands right behind it"
        if self.is_biased(weight):
            return "the file has no batch normalisation: none was used, or it was folded"
        return "the file has no statistics of a batch normalisation"


def _candidates(tensors: Sequence[Tensor]) -> Iterator[_Candidate]:
    """Norms with a running variance, which layer and group norms have not."""
    by_name = {tensor.name: tensor for tensor in tensors if len(tensor.shape) == 1}
    position = {tensor.name: at for at, tensor in enumerate(tensors)}
    for name, tensor in by_name.items():
        told = STATISTICS.match(name) if len(name) <= LONGEST else None
        if told is None:
            continue
        own = (f"{told['stem']}{told['between']}{last}{told['tail'] or ''}" for last in GAMMA)
        gamma = next((by_name[one] for one in own if one in by_name), None)
        if gamma is not None and gamma.shape != tensor.shape:
            continue
        first = min(position[one.name] for one in (tensor, gamma) if one is not None)
        yield _Candidate(told["stem"], first, tensor.shape[0], tensor, gamma)


def _parent(stem: str) -> str:
    return stem[: max(stem.rfind("."), stem.rfind("/")) + 1]


def _partners(stem: str) -> Iterator[tuple[str, str]]:
    """Names that the norm behind a convolution may have, the likeliest first."""
    parent = _parent(stem)
    last = stem[len(parent) :]
    if last.isdecimal() and len(last) < 10:
        yield f"{parent}{int(last) + 1}", SEQUENCE
        return
    named = NAMED.match(last)
    for word in WORDS:
        if named is not None:
            yield f"{parent}{named['before']}{word}{named['after']}", NAME
        for joined in (f"{last}_{word}", f"{word}_{last}", f"{last}.{word}", f"{last}/{word}"):
            yield f"{parent}{joined}", NAME


def _scale(variance: Loader, gamma: Loader | None, epsilon: float) -> NDArray[np.float64]:
    """``gamma / sqrt(variance + epsilon)``, float64 ``(C_out,)``; NaN for impossible variances."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = 1 / np.sqrt(np.asarray(variance(), np.float64) + epsilon)
        return scale if gamma is None else np.asarray(gamma(), np.float64) * scale
