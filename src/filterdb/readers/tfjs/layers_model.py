"""The convolutions of a TensorFlow.js layers model (a Keras model), and of a bare manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from filterdb.layer import Convolution, Norm, Skipped, Tensor
from filterdb.readers.batch_norm import State, fused_scale
from filterdb.readers.keras.config import (
    Architecture,
    LayerFacts,
    is_model,
    layers_of,
    name_of,
    parse_architecture,
    sources,
)
from filterdb.readers.keras.kernel import HWIO, HWOI, Layout, convolution_of, layout_of
from filterdb.readers.limits import MAX_DEPTH
from filterdb.readers.tfjs.manifest import Weight

BATCH_NORM = "BatchNormalization"
EPSILON = 1e-3
"""What Keras takes where a norm does not say."""
SEPARABLE = "SeparableConv2D"
CONVOLUTIONS = {"Conv2D", "DepthwiseConv2D", SEPARABLE, "Conv2DTranspose"}
KERNEL_NAME = re.compile(r"(?:^|[/_.])(?:filters?|kernels?|weights?|[wW])(?:_\d+)?$")
SAYS_TRANSPOSED = re.compile(r"transpose|deconv", re.IGNORECASE)


def bare_contents(weights: Mapping[str, Weight]) -> tuple[list[Tensor], list[Skipped]]:
    """The weights of a manifest without a graph, told by their names.

    TensorFlow.js has four layouts of four axes, and no grouped convolution but the depthwise one.
    """
    tensors: list[Tensor] = []
    skipped: list[Skipped] = []
    for weight in weights.values():
        if weight.load is None:
            skipped.append(not_numbers(weight))
        elif len(weight.shape) != 4 or 0 in weight.shape:
            tensors.append(as_it_is(weight))
        elif not KERNEL_NAME.search(weight.name):
            reason = f"4-D of shape {weight.shape}, but by its name no kernel"
            skipped.append(Skipped(weight.name, reason))
        else:
            last = weight.name.rsplit("/", 1)[-1]
            depthwise = "depthwise" in last
            transposed = not depthwise and SAYS_TRANSPOSED.search(weight.name) is not None
            groups = weight.shape[2] if depthwise else 1
            conv = Convolution(groups, transposed, evidence="the file has no graph")
            layout = Layout(HWOI if depthwise or transposed else HWIO, depthwise=depthwise)
            tensors.append(in_layout(weight, layout, conv))
    return tensors, skipped


def not_numbers(weight: Weight) -> Skipped:
    """The row of a weight that holds no real numbers."""
    return Skipped(weight.name, f"its values are of type {weight.dtype}, which cannot be read")


def as_it_is(weight: Weight) -> Tensor:
    """A weight that is no kernel."""
    shape, values = weight.shape, weight.values
    return Tensor(weight.name, shape, weight.dtype, values, scheme=weight.scheme)


def in_layout(weight: Weight, layout: Layout, conv: Convolution | None) -> Tensor:
    """A kernel in the one layout."""
    load = partial(layout.apply, weight.values)
    return Tensor(weight.name, layout.shape(weight.shape), weight.dtype, load, conv, weight.scheme)


def layers_contents(
    topology: Mapping[str, Any], weights: Mapping[str, Weight]
) -> tuple[list[Tensor], list[Skipped]] | None:
    """The weights of a Keras model by its layers; None where its topology cannot be followed."""
    model = topology.get("model_config", topology)
    if isinstance(model, str):  # as Keras itself writes it
        text = model
        try:
            model = json.loads(model)
        except (ValueError, RecursionError):
            return None
    else:
        text = json.dumps(model)
    architecture = parse_architecture(text)
    if architecture is None:
        return None
    network = Network(architecture, weights)
    follow(network.followers, model)
    found = [network.tensor_of(weight) for weight in weights.values()]
    return (
        [item for item in found if isinstance(item, Tensor)],
        [item for item in found if isinstance(item, Skipped)],
    )


def follow(followers: dict[str, list[str]], model: Mapping[str, Any], level: int = 0) -> None:
    """Note for each layer of a model, and of the models in it, which ones take its output."""
    if level > MAX_DEPTH or not is_model(model):
        return
    layers = [layer for layer in layers_of(model) if isinstance(layer, dict)]
    names = [name_of(layer) for layer in layers]
    for position, (name, layer) in enumerate(zip(names, layers, strict=True)):
        followers.setdefault(name, [])
        if model.get("class_name") == "Sequential":
            followers[name] += names[position + 1 : position + 2]
        for node in layer.get("inbound_nodes") or ():
            for source, _ in sources(node):
                followers.setdefault(source, []).append(name)
        follow(followers, layer, level + 1)


@dataclass(slots=True)
class Network:
    """The layers of a model with their weights.

    Attributes
    ----------
    followers
        Name of a layer -> those that take its output.
    facts
        Name of a layer, without those of the models around it -> what is known of it.
    variables
        Path of a layer -> its weights by their own names.
    """

    architecture: Architecture
    weights: Mapping[str, Weight]
    followers: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, LayerFacts] = field(init=False)
    variables: dict[tuple[str, ...], dict[str, Weight]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts = {path[-1]: facts for path, facts in self.architecture.layers.items()}
        for weight in self.weights.values():
            names, variable = split_name(weight.name)
            owner = self.owner(names)
            if owner is not None:
                self.variables.setdefault(owner.path, {})[variable] = weight

    def owner(self, names: Sequence[str]) -> LayerFacts | None:
        """The layer of a weight, by the innermost of the names before the variable's own."""
        return next((self.facts[name] for name in reversed(names) if name in self.facts), None)

    def tensor_of(self, weight: Weight) -> Tensor | Skipped:
        """One weight in the one layout, or why it is left out."""
        if weight.load is None:
            return not_numbers(weight)
        shape = weight.shape
        names, variable = split_name(weight.name)
        facts = self.owner(names)
        if facts is not None and facts.class_name == "LocallyConnected2D" and len(shape) > 2:
            reason = "locally connected: its filters differ from place to place"
            return Skipped(weight.name, reason)
        if len(shape) != 4 or 0 in shape:
            return as_it_is(weight)
        class_name = facts.class_name if facts else None
        layout = layout_of(variable, class_name, theano_order=False, flipped=False)
        if layout is None or class_name not in CONVOLUTIONS:
            what = f"a {class_name}" if class_name else "a layer that its topology does not have"
            return Skipped(weight.name, f"4-D of shape {shape}, but of {what}: no 2-D convolution")
        conv = convolution_of(layout, shape, class_name, facts, variable, may_be_grouped=False)
        if conv is not None and facts is not None:
            told = self.state(facts, variable)
            conv = replace(conv, state=told.state, evidence=told.evidence, norm=told.norm)
        return in_layout(weight, layout, conv)

    def state(self, facts: LayerFacts, variable: str) -> State:
        """Whether a batch normalisation follows a kernel."""
        if facts.class_name == SEPARABLE and "depthwise" in variable:
            return State("no_norm", "its own pointwise convolution follows")
        if facts.config.get("activation") not in {None, "linear"}:
            return State("no_norm", "an activation follows in the layer itself")
        behind = [self.facts.get(name) for name in self.followers.get(facts.path[-1], ())]
        norms = [item for item in behind if item and item.class_name == BATCH_NORM]
        if not norms:
            return State("no_norm", "no batch normalisation follows in the topology")
        if len(behind) > 1:
            return State("unknown", "a batch normalisation follows, and other layers too")
        name = norms[0].path[-1]
        evidence = f"followed by batch normalisation {name[-200:]!r}"
        return State("raw", evidence, self.norm_of(norms[0], name))

    def norm_of(self, facts: LayerFacts, name: str) -> Norm | None:
        """A norm with its scale, where its weights are in the file."""
        own = self.variables.get(facts.path, {})
        epsilon = facts.config.get("epsilon", EPSILON)
        if "moving_variance" not in own or not isinstance(epsilon, int | float):
            return None
        gamma = own.get("gamma")
        if gamma is None and facts.config.get("scale", True) is not False:
            return None
        load = partial(
            fused_scale,
            None if gamma is None else gamma.values,
            own["moving_variance"].values,
            float(epsilon),
        )
        return Norm(name, load)


def split_name(name: str) -> tuple[list[str], str]:
    """The names of the layers around a variable, and its own: ``conv2d/kernel:0``."""
    *names, variable = re.sub(r":\d{1,6}$", "", name).split("/")
    return names, variable
