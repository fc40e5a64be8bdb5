"""How the depthwise layers of a model get keys: planned for all, then written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeySet
from filterdb.keys.sets.set_file import load_keys
from filterdb.keys.torch.assigning import (
    Assigned,
    by_fit,
    by_mapping,
    by_sample,
    checked_seed,
    checked_shares,
)
from filterdb.keys.torch.initialised import InitialisedLayer
from filterdb.keys.torch.key_conv import (
    add_offset,
    drop_offset,
    effective_kernel,
    held_offset,
    takes_offset,
)
from filterdb.keys.torch.layers import DepthwiseLayer, counted, depthwise_layers, what_it_has

NOT_NAMED = "`assign` does not name it"


def initialise_layers(
    model: nn.Module,
    keys: KeySet | str | PathLike[str],
    *,
    freeze: bool,
    bias: str | None,
    assign: str | Mapping[str, ArrayLike],
    shares: Sequence[float] | None,
    seed: int,
    same: Equivalence | None,
) -> list[InitialisedLayer]:
    """As :func:`~filterdb.keys.torch.initialising.initialise`, which says what the arguments are.

    Raises
    ------
    KeySetError
        As there.
    """
    if not isinstance(model, nn.Module):
        msg = f"A {type(model).__name__} is no torch.nn.Module: pass the model itself."
        raise KeySetError(msg)
    if bias is not None and not (isinstance(bias, str) and bias == "per-channel"):
        msg = f"bias={bias!r} is not known: it is None or 'per-channel'."
        raise KeySetError(msg)
    if same is not None and not isinstance(same, Equivalence):
        msg = f"equivalence={same!r} is no filterdb.keys.Equivalence, such as Equivalence()."
        raise KeySetError(msg)
    key_set = load_keys(keys)
    layers = depthwise_layers(model)
    plans = _plans(
        layers, key_set, offsets=bias is not None, assign=assign, shares=shares, seed=seed,
        same=same or key_set.equivalence,
    )  # fmt: skip
    if all(isinstance(plan, str) for plan in plans):
        raise KeySetError(_nothing_to_do(model, key_set, layers, plans))
    return [
        _left_alone(layer, plan, len(key_set))
        if isinstance(plan, str)
        else _apply(layer, plan, key_set, freeze=freeze, offsets=bias is not None)
        for layer, plan in zip(layers, plans, strict=True)
    ]


def _plans(
    layers: list[DepthwiseLayer],
    keys: KeySet,
    *,
    offsets: bool,
    assign: str | Mapping[str, ArrayLike],
    shares: Sequence[float] | None,
    seed: int,
    same: Equivalence,
) -> list[Assigned | str]:
    """The new filters of each layer, or why it is left alone; nothing is changed yet."""
    reasons = [_reason(layer, keys, offsets=offsets) for layer in layers]
    named: dict[int, ArrayLike] = {}
    if isinstance(assign, Mapping):
        named = _checked_names(assign, layers, reasons)
    elif not isinstance(assign, str) or assign not in ("fit", "sample"):
        msg = f"assign={assign!r} is not known: it is 'fit', 'sample' or a mapping."
        raise KeySetError(msg)
    if shares is not None and assign != "sample":
        msg = "`shares` says how often keys are drawn, which only assign='sample' does."
        raise KeySetError(msg)
    weights = checked_shares(shares, len(keys))
    rng = np.random.default_rng(checked_seed(seed))

    def plan(index: int, layer: DepthwiseLayer) -> Assigned | str:
        if reason := reasons[index]:
            return reason
        if isinstance(assign, Mapping) and index not in named:
            return NOT_NAMED
        kernels = effective_kernel(layer.modules[0]).to("cpu", torch.float32).numpy()
        filters = kernels.reshape(layer.channels, -1)
        if isinstance(assign, Mapping):
            assigned = by_mapping(filters, keys, named[index], name=layer.names[0])
        elif assign == "fit":
            assigned = by_fit(filters, keys, same)
        else:
            assigned = by_sample(filters, keys, weights, rng)
        dtype = layer.modules[0].weight.dtype
        return assigned.why_not(float(torch.finfo(dtype).max), str(dtype)) or assigned

    return [plan(index, layer) for index, layer in enumerate(layers)]


def _reason(layer: DepthwiseLayer, keys: KeySet, *, offsets: bool) -> str | None:
    """Why a layer cannot take these keys."""
    if layer.reason:
        return layer.reason
    if layer.kernel != keys.kernel:
        return "its kernels are {}x{}, the keys {}x{}".format(*layer.kernel, *keys.kernel)
    if offsets:
        for module in layer.modules:
            if not takes_offset(module):
                return f"a {type(module).__name__}, whose own forward would not add the offsets"
    return None


def _checked_names(
    assign: Mapping[str, ArrayLike], layers: list[DepthwiseLayer], reasons: list[str | None]
) -> dict[int, ArrayLike]:
    """What a mapping says, by the index of the layer."""
    places = {name: index for index, layer in enumerate(layers) for name in layer.names}
    for name in assign:
        if name not in places:
            msg = (
                f"The model has no depthwise layer {name!r} that `assign` names. "
                f"It has {_some(list(places))}."
            )
            raise KeySetError(msg)
        if reason := reasons[places[name]]:
            msg = f"The layer {name!r} that `assign` names cannot be given keys: {reason}."
            raise KeySetError(msg)
    by_index = {places[name]: indices for name, indices in assign.items()}
    if len(by_index) < len(assign):
        msg = "`assign` names a layer twice: modules that share a weight are one layer."
        raise KeySetError(msg)
    return by_index


def _apply(
    layer: DepthwiseLayer, assigned: Assigned, keys: KeySet, *, freeze: bool, offsets: bool
) -> InitialisedLayer:
    """Write the new filters into a layer."""
    weight = layer.modules[0].weight
    shapes, means = _new(layer, assigned, offsets=offsets)
    with torch.inference_mode(mode=False), torch.no_grad():
        weight.copy_(torch.from_numpy(shapes).reshape(weight.shape).to(weight))
        weight.grad = None  # of what it was: an optimiser would move a frozen weight by it
        if freeze:
            weight.requires_grad = False
        if offsets:
            _add_offsets(layer, torch.from_numpy(means).to(weight), keys)
        else:
            for module in layer.modules:
                drop_offset(module)
    return InitialisedLayer(
        **_place(layer),
        keys=assigned.key,
        counts=np.bincount(assigned.key[~assigned.kept], minlength=len(keys)),
        r2=assigned.r2,
        constant=assigned.constant,
        other=assigned.other,
        frozen=not weight.requires_grad,
        offsets=layer.channels if offsets else 0,
        note=assigned.note,
    )


def _new(
    layer: DepthwiseLayer, assigned: Assigned, *, offsets: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The new weights of a layer, ``(n, k)``, and its offsets, ``(n,)``.

    Kept filters stay as they are, bit for bit, or become what they are without their mean.
    """
    kernel = effective_kernel(layer.modules[0])
    old = kernel.to("cpu", torch.float64).numpy().reshape(layer.channels, -1)
    kept = assigned.kept
    means = np.where(kept, old.mean(axis=1), assigned.b)
    # As the element type of the layer holds them, so that their sum is the filter again.
    means = torch.from_numpy(means).to(kernel.dtype).to(torch.float64).numpy()
    if offsets:
        new, left = assigned.shapes, old - means[:, None]
    else:
        new, left = assigned.shapes + assigned.b[:, None], old
    return np.where(kept[:, None], left, new), means


def _add_offsets(layer: DepthwiseLayer, start: torch.Tensor, keys: KeySet) -> None:
    """Give a layer its learnt offsets; modules that share the weight share them too."""
    held = next((found for found in map(held_offset, layer.modules) if found is not None), None)
    offset = nn.Parameter(start) if held is None else held
    offset.copy_(start)
    offset.grad = None
    offset.requires_grad = True
    for module in layer.modules:
        add_offset(module, offset, key_set=keys.name)


def _left_alone(layer: DepthwiseLayer, reason: str, n_keys: int) -> InitialisedLayer:
    """The row of a layer that stays as it is."""
    return InitialisedLayer(
        **_place(layer),
        keys=np.empty(0, np.int16),
        counts=np.zeros(n_keys, np.int64),
        r2=None,
        constant=0,
        other=0,
        frozen=False,
        offsets=0,
        reason=reason,
    )


def _place(layer: DepthwiseLayer) -> dict[str, Any]:
    """Where a layer stands, and of what size it is."""
    return {
        "name": layer.names[0],
        "also": layer.names[1:],
        "kernel": layer.kernel,
        "channels": layer.channels,
    }


def _nothing_to_do(
    model: nn.Module, keys: KeySet, layers: list[DepthwiseLayer], reasons: Sequence[object]
) -> str:
    """What to say where no layer can take the keys."""
    if not layers:
        return f"The model has no depthwise layers, which keys are for. {what_it_has(model)}"
    why = counted(Counter(str(reason) for reason in reasons), sep="; ")
    return (
        f"No depthwise layer of the model can start from the keys {keys.name!r}, and nothing was "
        f"changed. Its depthwise layers: {why}."
    )


def _some(names: list[str], most: int = 8) -> str:
    """A few names."""
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
