"""Which batch normalisation follows a convolution of a Keras model, as its configuration says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from filterdb.layer import Convolution, Norm, Tensor
from filterdb.readers.batch_norm import fused_scale
from filterdb.readers.keras.config import Architecture, LayerFacts, LayerPath
from filterdb.readers.keras.weight import Weight

NORM = "BatchNormalization"
IDLE = frozenset({"Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"})
"""Layers that change nothing once a network is trained."""
MOST_IDLE = 8
VARIANCES = ("moving_variance", "running_std")
"""Keras 1 calls the variance ``running_std``."""
EPSILON = 1e-3
"""Keras' own."""


class Norms:
    """The batch normalisations of a model, and the layers that they follow.

    Parameters
    ----------
    architecture
        What the configuration says.
    weights
        All weights of the file.
    """

    def __init__(self, architecture: Architecture, weights: Iterable[Weight]) -> None:
        self.architecture = architecture
        self.variables: dict[LayerPath, dict[str, Weight]] = {}
        for weight in weights:
            if weight.facts is not None and weight.facts.class_name == NORM:
                own = self.variables.setdefault(weight.facts.path, {})
                own[last_of(weight.variable)] = weight

    def stated(self, tensor: Tensor, weight: Weight) -> Tensor:
        """A kernel with its state; where the configuration does not know it, it stays as it is."""
        if weight.facts is None:
            return tensor
        conv = self.state(tensor, weight.facts, weight.variable)
        return replace(tensor, conv=replace(tensor.conv or Convolution(), **conv))

    def state(self, tensor: Tensor, facts: LayerFacts, variable: str) -> Mapping[str, Any]:
        """The fields of :class:`Convolution` that tell raw from folded."""
        if facts.class_name.startswith("Separable") and "depthwise" in variable:
            return none("its pointwise part follows")
        activation = facts.config.get("activation")
        if activation not in (None, "linear"):
            shown = activation if isinstance(activation, str) else "of its own"
            return none(f"its activation {shown[:40]} comes first")
        return self.behind(tensor, facts)

    def behind(self, tensor: Tensor, facts: LayerFacts) -> Mapping[str, Any]:
        """As :meth:`state`, from the layers that take a layer's output."""
        users = self.users(facts.path)
        if users is None:
            return unknown("what follows it lies outside of the model that it is in")
        norms = [user for user in users if self.class_of(user) == NORM]
        if norms and len(norms) < len(users):
            return unknown(f"batch normalisation {norms[0][-1]} follows, and other layers too")
        if len(norms) > 1:
            return unknown(f"{len(norms)} batch normalisations follow")
        if norms:
            evidence = f"followed by batch normalisation {norms[0][-1]}, by the configuration"
            norm = self.norm(norms[0], tensor.shape[0])
            return {"state": "raw", "evidence": evidence, "norm": norm}
        told = "no batch normalisation follows in the configuration"
        return {"state": "no_norm", "evidence": told}

    def users(self, path: LayerPath) -> list[LayerPath] | None:
        """The layers behind one, idle ones left out; None where a model's border is between."""
        for _ in range(MOST_IDLE):
            users = self.architecture.users.get(path, [])
            if any(self.class_of(user) is None for user in users) or (not users and path[:-1]):
                return None
            if len(users) != 1 or self.class_of(users[0]) not in IDLE:
                return users
            path = users[0]
        return None

    def class_of(self, path: LayerPath) -> str | None:
        """The class of a layer; None of a model of layers."""
        facts = self.architecture.layers.get(path)
        return None if facts is None else facts.class_name

    def norm(self, path: LayerPath, channels: int) -> Norm | None:
        """A batch normalisation with its scale; None where its values are not in the file."""
        own = self.variables.get(path, {})
        variance = next((own[name] for name in VARIANCES if name in own), None)
        gamma = own.get("gamma")
        epsilon = self.architecture.layers[path].config.get("epsilon", EPSILON)
        if variance is None or not isinstance(epsilon, int | float):
            return None
        if any(w.dataset.shape != (channels,) for w in (variance, gamma) if w is not None):
            return None
        load = gamma.dataset.load if gamma is not None else None
        return Norm(path[-1], partial(fused_scale, load, variance.dataset.load, float(epsilon)))


def last_of(variable: str) -> str:
    """A variable's own name: Keras 1 puts that of its layer before it."""
    for name in (*VARIANCES, "gamma"):
        if variable.endswith(name):
            return name
    return variable


def none(why: str) -> Mapping[str, Any]:
    """Nothing to fold follows."""
    return {"state": "no_norm", "evidence": f"no batch normalisation can be folded in: {why}"}


def unknown(why: str) -> Mapping[str, Any]:
    """It cannot be told."""
    return {"state": "unknown", "evidence": why}
