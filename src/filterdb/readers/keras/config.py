"""What a Keras model's configuration says of its layers.

It is JSON, and stays JSON: nothing in it (Lambda layers, custom objects) ever becomes code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from filterdb.readers.limits import MAX_DEPTH, MAX_JSON

LayerPath = tuple[str, ...]
"""Names of the models around a layer, outermost first, then its own."""

NO_NODE = frozenset({"InputLayer"})
TWO_NODES = re.compile(r"SeparableConv(olution)?2D")


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One layer of a configuration.

    Attributes
    ----------
    path
        Its names.
    class_name, config
        As in the file; of a ``TimeDistributed`` wrapper, those of the layer inside.
    depth
        Longest path, in nodes, from an input to the layer, itself included; None where the
        graph is not told. A separable convolution counts as the two nodes that it is.
    """

    path: LayerPath
    class_name: str
    config: Mapping[str, Any] = field(repr=False)
    depth: int | None


@dataclass(slots=True)
class Architecture:
    """The layers of a configuration, in its order, found by path or by where Keras 3 saves them."""

    layers: dict[LayerPath, LayerFacts] = field(default_factory=dict)
    saved_at: dict[str, LayerFacts] = field(default_factory=dict)

    within: dict[str, dict[str, LayerFacts]] = field(default_factory=dict)
    users: dict[LayerPath, list[LayerPath]] = field(default_factory=dict)
    """Layer (or model of layers) -> those that take what it gives, in the same model."""

    def find(self, outer: str, inner: list[str]) -> LayerFacts | None:
        """The facts of a layer in the top-level layer ``outer``, by any of its ``inner`` names."""
        known = self.within.get(outer, {})
        return next((known[name] for name in reversed([outer, *inner]) if name in known), None)


def parse_architecture(text: str) -> Architecture | None:
    """The layers of a configuration, or None where it is not one that we can follow."""
    architecture = Architecture()
    if len(text) > MAX_JSON:
        return None
    try:
        model = json.loads(text)
        if not is_model(model):
            return None
        try:
            add_model(architecture, model, (), "", 0)
        except (CycleError, KeyError):
            # The graph does not add up. The layers stand, their depths do not.
            architecture = Architecture()
            add_model(architecture, model, (), "", None)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return None
    return architecture


def is_model(layer: Any) -> bool:
    """Whether a layer is a model of layers itself."""
    return isinstance(layer, dict) and isinstance(layers_of(layer), list)


def layers_of(model: Mapping[str, Any]) -> Any:
    """The list of layers of a model; anything else for a layer that is none."""
    config = model.get("config")
    if isinstance(config, list):  # Sequential, up to Keras 2.2
        return config
    return config.get("layers") if isinstance(config, dict) else None


def name_of(layer: Mapping[str, Any]) -> str:
    """The name of a layer, wherever its generation of Keras puts it."""
    config = layer["config"]
    inner = config.get("name") if isinstance(config, dict) else None
    return str(inner or layer.get("name") or layer["class_name"])


def add_model(
    found: Architecture,
    model: Mapping[str, Any],
    path: LayerPath,
    saved: str,
    before: int | None,
) -> int | None:
    """Add the layers of a model that begins ``before`` nodes deep; return the depth at its end."""
    if len(path) > MAX_DEPTH:
        msg = "models nested too deeply"
        raise ValueError(msg)
    layers = [layer for layer in layers_of(model) if isinstance(layer, dict)]
    where = saved_paths(layers, saved)
    if model["class_name"] == "Sequential" or before is None:
        if model["class_name"] == "Sequential":
            names = [(*path, name_of(layer)) for layer in layers]
            found.users |= {a: [b] for a, b in pairwise(names)}
        for layer, place in zip(layers, where, strict=True):
            before = add_layer(found, layer, path, place, before)
        return before
    by_name = {name_of(layer): (layer, place) for layer, place in zip(layers, where, strict=True)}
    graph = {
        (name, index): set(sources(node))
        for name, (layer, _) in by_name.items()
        for index, node in enumerate(layer.get("inbound_nodes") or [[]])
    }
    for user, given in graph.items():
        for name, _ in given:
            found.users.setdefault((*path, name), []).append((*path, user[0]))
    ends: dict[tuple[str, int], int] = {}
    for node in TopologicalSorter(graph).static_order():
        start = max((ends[source] for source in graph[node]), default=before)
        layer, place = by_name[node[0]]
        end = add_layer(found, layer, path, place, start)
        ends[node] = start if end is None else end
    # Topological order is not the network's own, which is that of the configuration.
    inside = {key: i for i, key in enumerate(by_name)}
    depth = len(path)
    mine = [key for key in found.layers if key[:depth] == path]
    for key in sorted(mine, key=lambda key: inside.get(key[depth], 0)):
        found.layers[key] = found.layers.pop(key)
    return max(ends.values(), default=before)


def add_layer(
    found: Architecture,
    layer: Mapping[str, Any],
    path: LayerPath,
    saved: str,
    before: int | None,
) -> int | None:
    """Add one layer (or the model that it is); return the depth behind it."""
    here = (*path, name_of(layer))
    if is_model(layer):
        return add_model(found, layer, here, saved, before)
    inner = layer["config"].get("layer")
    if isinstance(inner, dict) and "class_name" in inner:  # TimeDistributed and its like
        if is_model(inner):
            return add_model(found, inner, here, f"{saved}/layer", before)
        layer, saved = inner, f"{saved}/layer"
    class_name = str(layer["class_name"])
    depth = None if before is None else before + 1
    # A layer that is called twice keeps the place of its first call.
    facts = found.layers.setdefault(here, LayerFacts(here, class_name, layer["config"], depth))
    found.within.setdefault(here[0], {})[here[-1]] = facts
    found.saved_at[saved] = facts
    if before is None or class_name in NO_NODE:
        return before
    return before + (2 if TWO_NODES.fullmatch(class_name) else 1)


def sources(node: Any) -> Iterator[tuple[str, int]]:
    """The (layer, call) pairs whose outputs one call of a layer takes, in Keras 1, 2 or 3."""
    if isinstance(node, dict):
        history = node.get("config", {}).get("keras_history") if "class_name" in node else None
        for part in [history] if history else node.values():
            yield from sources(part)
    elif isinstance(node, list | tuple):
        if len(node) >= 3 and isinstance(node[0], str) and type(node[1]) is type(node[2]) is int:
            yield node[0], node[1]
            node = node[3:]
        for part in node:
            yield from sources(part)


def saved_paths(layers: list[dict[str, Any]], prefix: str) -> list[str]:
    """Where Keras 3 saves each layer: by its class in snake case, counted within its model."""
    seen: dict[str, int] = {}
    paths = []
    for layer in layers:
        name = snake_case(str(layer["class_name"]))
        seen[name] = seen.get(name, -1) + 1
        number = f"_{seen[name]}" if seen[name] else ""
        paths.append(f"{prefix}/layers/{name}{number}".lstrip("/"))
    return paths


def snake_case(name: str) -> str:
    """``SeparableConv2D`` -> ``separable_conv2d``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
