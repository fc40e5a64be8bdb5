"""From the datasets of a Keras HDF5 file to tensors in the one layout.

Three layouts of such files exist: ``layer_names`` and ``weight_names`` attributes (Keras 1 to
3), ``layer_0/param_0`` (before Keras 1), and ``layers/conv2d/vars/0`` (Keras 3). A file of none
of them is taken as a bag of arrays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from filterdb.errors import CorruptFileError
from filterdb.layer import Contents, Skipped, Tensor
from filterdb.readers.keras.config import Architecture, LayerFacts, LayerPath, parse_architecture
from filterdb.readers.keras.hdf5_file import Dataset, Inventory
from filterdb.readers.keras.kernel import (
    KERNEL,
    OIHW,
    Layout,
    channels_first,
    convolution_of,
    known_class,
    layout_of,
)
from filterdb.readers.keras.norms import Norms
from filterdb.readers.keras.weight import Weight
from filterdb.readers.name_order import natural_key

NO_GRAPH = "The model's configuration cannot be followed; the layers are read by their names."
GROUPS_SINCE = (2, 4)
"""Version of Keras from which Conv2D may be grouped."""
SAVED = re.compile(r"(?:(.*)/)?vars/([0-9]{1,6})")
"""Where Keras 3 saves a variable: the path of its layer, and its number."""
VARIABLES = {
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


OPTIONAL = {"scale": "gamma", "center": "beta"}
"""What a norm lacks if its configuration says so."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What holds for all kernels of one file."""

    theano_order: bool = False
    flipped: bool = False
    may_be_grouped: bool = True
    notes: tuple[str, ...] = ()


def contents_of(
    format_name: str, inventory: Inventory, config: str | None, version: str | None
) -> Contents:
    """Turn an inventory, and the configuration beside it if there is one, into contents.

    Raises
    ------
    CorruptFileError
        A weight that the file lists is not in it.
    """
    base = next((b for b in ("model_weights", "") if is_listed(inventory, b)), None)
    architecture = parse_architecture(config) if config else None
    notes: tuple[str, ...] = (NO_GRAPH,) if config and architecture is None else ()
    if base is not None:
        weights = list(listed_weights(inventory, base, architecture))
    elif any(SAVED.fullmatch(path) for path in inventory.datasets):
        weights = list(saved_weights(inventory, architecture))
        if architecture is None:
            notes = (*notes, "The file groups its layers by class, so their order is a guess.")
    else:
        return bag(inventory)
    dialect = dialect_of(inventory, base or "", weights, version)
    tensors: list[Tensor] = []
    skipped = [item for item in inventory.skipped if not item.name.startswith("optimizer")]
    norms = Norms(architecture, weights) if architecture else None
    for weight in under_own_names(weights):
        found = tensor_of(weight, dialect)
        if isinstance(found, Tensor):
            kernel = len(found.shape) == 4 and norms is not None
            tensors.append(norms.stated(found, weight) if kernel and norms else found)
        else:
            skipped.append(found)
    return Contents(
        format=format_name,
        tensors=tuple(tensors),
        skipped=tuple(skipped),
        producer=f"keras {version}" if version else "keras",
        notes=(*notes, *dialect.notes),
    )


def under_own_names(weights: Iterable[Weight]) -> Iterator[Weight]:
    """Each dataset once; of two weights of one name the second goes by its path in the file."""
    names: set[str] = set()
    paths: set[str] = set()
    for weight in weights:
        path = weight.dataset.path
        if path in paths:
            continue
        if weight.name in names:
            weight = replace(weight, name=path)
        names.add(weight.name)
        paths.add(path)
        yield weight


def is_listed(inventory: Inventory, base: str) -> bool:
    """Whether a group lists its layers."""
    return bool({"layer_names", "nb_layers"} & set(inventory.attributes.get(base, {})))


def listed_weights(
    inventory: Inventory, base: str, architecture: Architecture | None
) -> Iterator[Weight]:
    """The weights in the order in which the file lists them."""
    refused = {item.name for item in inventory.skipped}
    for layer in layer_names(inventory.attributes[base]):
        group = f"{base}/{layer}".lstrip("/")
        listed = texts(inventory.attributes.get(group, {}).get("weight_names"))
        prefix = f"{group}/"
        if not listed:
            listed = [
                path.removeprefix(prefix)
                for path in inventory.datasets
                if path.startswith(f"{prefix}param_")
            ]
        for written in listed:
            path = prefix + written
            if path in refused:
                continue
            if path not in inventory.datasets:
                msg = "It is listed, but it is not in the file. Download or copy the file again."
                raise CorruptFileError(msg).at(layer=written)
            *inner, variable = re.sub(r":\d+$", "", written).split("/")
            facts = architecture.find(layer, inner) if architecture else None
            shown = written if written.startswith(layer) or inner else f"{layer}/{written}"
            yield Weight(shown, (layer, *inner), variable, inventory.datasets[path], facts)


def layer_names(attributes: Any) -> list[str]:
    """The names of the layers; before Keras 1 only their number was written."""
    if "layer_names" in attributes:
        return texts(attributes["layer_names"])
    count = attributes["nb_layers"]
    return [f"layer_{i}" for i in range(min(count, 10_000))] if isinstance(count, int) else []


def texts(value: Any) -> list[str]:
    """An attribute as a list of strings."""
    return [str(part) for part in value] if isinstance(value, list) else []


def saved_weights(inventory: Inventory, architecture: Architecture | None) -> Iterator[Weight]:
    """The weights as Keras 3 saves them, in the order of the configuration where there is one."""
    groups: dict[str, list[tuple[int, Dataset]]] = {}
    for path, dataset in inventory.datasets.items():
        match = SAVED.fullmatch(path)
        if match and not path.startswith("optimizer"):
            groups.setdefault(match[1] or "model", []).append((int(match[2]), dataset))
    saved: dict[str, LayerFacts] = {}
    position: dict[LayerPath, int] = {}
    if architecture:
        position = {path: i for i, path in enumerate(architecture.layers)}
        # The first writers of the format called the list of layers otherwise.
        now = {path: re.sub(r"_layer_checkpoint_dependencies[/\\]", "layers/", path)
               for path in groups}  # fmt: skip
        known = architecture.saved_at
        saved = {path: known[now[path]] for path in groups if now[path] in known}

    def order(layer: str) -> tuple[int, list[tuple[int, int, str]]]:
        facts = saved.get(layer)
        return position[facts.path] if facts else len(position), natural_key(layer)

    for layer in sorted(groups, key=order):
        facts = saved.get(layer)
        names = tuple(re.split(r"[/\\]", layer))[-1:]
        own = inventory.attributes.get(f"{layer}/vars", {}).get("name")
        shown = "/".join(facts.path) if facts else str(own or layer)
        variables = VARIABLES.get(known_class(names, facts) or "", ("kernel", "bias"))
        left_out = {told for option, told in OPTIONAL.items()
                    if facts is not None and facts.config.get(option) is False}  # fmt: skip
        variables = tuple(name for name in variables if name not in left_out)
        for number, dataset in sorted(groups[layer], key=lambda found: found[0]):
            variable = variables[number] if number < len(variables) else str(number)
            yield Weight(f"{shown}/{variable}", names, variable, dataset, facts)


def dialect_of(
    inventory: Inventory, base: str, weights: list[Weight], version: str | None
) -> Dialect:
    """The order of the axes, the direction of the taps, and whether there may be groups."""
    attributes = {**inventory.attributes.get("", {}), **inventory.attributes.get(base, {})}
    kernels = [w for w in weights if len(w.dataset.shape) == 4 and KERNEL.search(w.variable)]
    # Keras 2 writes `name/kernel:0`, Keras 1 `name_W` (and `:0` where TensorFlow named it).
    first_generation = str(version).startswith("1.") or (
        version is None and any(re.search(r"(_W|param_0)$", w.variable) for w in kernels)
    )
    theano = attributes.get("backend") == "theano" or (
        first_generation and not any(w.dataset.path.endswith(":0") for w in weights)
    )
    notes = []
    order = False
    if first_generation and kernels:
        order, how = theano_order(kernels, weights)
        axes = "(out, in, h, w)" if order else "(h, w, in, out)"
        notes.append(f"Keras 1: the kernels lie as {axes}, {how}.")
    if theano and kernels:
        notes.append(
            "Written under Theano, whose convolution runs the taps backwards: the kernels are "
            "turned by 180 degrees to read as those of every other framework."
        )
    numbers = tuple(int(n) for n in re.findall(r"\d{1,6}", version or "")[:2])
    return Dialect(
        theano_order=order,
        flipped=theano,
        may_be_grouped=not first_generation and (not numbers or numbers >= GROUPS_SINCE),
        notes=tuple(notes),
    )


def theano_order(kernels: list[Weight], weights: list[Weight]) -> tuple[bool, str]:
    """Whether the channels come first, and how that is known."""
    stated = Counter(w.facts.config.get("dim_ordering") for w in kernels if w.facts is not None)
    stated.pop(None, None)
    if stated:
        return stated.most_common(1)[0][0] == "th", "as the configuration says"
    biases = {
        w.names: w.dataset.shape[0] for w in weights
        if len(w.dataset.shape) == 1 and re.search(r"(^|_)(b|bias|param_1)$", w.variable)
    }  # fmt: skip
    told = channels_first([(w.dataset.shape, biases.get(w.names)) for w in kernels])
    if told is None:
        return False, "a guess: neither shapes nor biases tell"
    return told, "as their shapes and biases tell"


def tensor_of(weight: Weight, dialect: Dialect) -> Tensor | Skipped:
    """One weight in the one layout, or why it is left out."""
    dataset, shape = weight.dataset, weight.dataset.shape
    class_name = known_class(weight.names, weight.facts)
    if class_name == "LocallyConnected2D" and len(shape) > 2:
        return Skipped(weight.name, "locally connected: its filters differ from place to place")
    if len(shape) != 4 or 0 in shape:
        return Tensor(weight.name, shape, dataset.dtype, dataset.load)
    layout = layout_of(
        weight.variable, class_name, theano_order=dialect.theano_order, flipped=dialect.flipped
    )
    if layout is None:
        return Skipped(weight.name, f"4-D of shape {shape}, but by its name no kernel")
    conv = convolution_of(
        layout, shape, class_name, weight.facts, weight.variable,
        may_be_grouped=dialect.may_be_grouped,
    )  # fmt: skip
    load = partial(layout.apply, dataset.load)
    return Tensor(weight.name, layout.shape(shape), dataset.dtype, load, conv)


def bag(inventory: Inventory) -> Contents:
    """A file without Keras' layout: its arrays by path, in one order for all."""
    datasets = [d for path, d in inventory.datasets.items() if not path.startswith("optimizer")]
    kernels = [(d.shape, None) for d in datasets if len(d.shape) == 4 and 0 not in d.shape]
    first = channels_first(kernels)
    layout = Layout(OIHW) if first in {True, None} else Layout((3, 2, 0, 1))
    tensors = [
        Tensor(d.path, layout.shape(d.shape), d.dtype, partial(layout.apply, d.load))
        if len(d.shape) == 4 and 0 not in d.shape
        else Tensor(d.path, d.shape, d.dtype, d.load)
        for d in datasets
    ]  # fmt: skip
    order = "(h, w, in, out)" if first is False else "(out, in, h, w)"
    why = "a guess" if first is None else "as their shapes tell"
    note = f"HDF5 without Keras' layout: 4-D arrays are taken as {order}, {why}."
    return Contents("hdf5", tuple(tensors), inventory.skipped, notes=(note,) if kernels else ())
