"""Depthwise layers that start from keys: :func:`initialise`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeySet
from filterdb.keys.torch.assigning import Assigned, by_fit, by_mapping, by_sample, checked_shares
from filterdb.keys.torch.key_conv import add_offset, drop_offset, effective_kernel, takes_offset
from filterdb.keys.torch.layers import DepthwiseLayer, convolution_types, depthwise_layers

Bias = Literal["per-channel"]
Assign = Literal["fit", "sample"]

NOT_NAMED = "`assign` does not name it"


@dataclass(frozen=True, slots=True, eq=False)
class InitialisedLayer:
    """What became of one depthwise layer.

    Attributes
    ----------
    name, also
        Where it stands in the model (``""``: it is the model), and where else: a module that
        stands in several places, or a weight that several modules share, is one layer.
    kernel, channels
        Its kernel size, and the number of its filters.
    keys
        Index of the key of each filter, int16 of shape ``(channels,)``; -1 where the filter has
        no shape. Empty where the layer was left alone.
    counts
        How many filters each key has, int64 of shape ``(K,)``.
    r2
        Mean over the filters with a shape of the R² with which their keys fit what they were
        before; None where nothing was fitted, or no filter has a shape.
    constant
        Number of filters without a shape, constant or nearly zero, that keep their constant.
    frozen
        Whether the keys do not learn (``weight.requires_grad`` is False).
    offsets
        Number of learnt offsets, one a filter; 0 where there are none.
    reason
        Why it was left alone (one clause); None where it was not.
    """

    name: str
    also: tuple[str, ...]
    kernel: tuple[int, ...]
    channels: int
    keys: NDArray[np.int16]
    counts: NDArray[np.int64]
    r2: float | None
    constant: int
    frozen: bool
    offsets: int
    reason: str | None = None


def initialise(
    model: nn.Module,
    keys: KeySet | str | PathLike[str] = "published8",
    *,
    freeze: bool = True,
    bias: Bias | None = None,
    assign: Assign | Mapping[str, ArrayLike] = "fit",
    shares: Sequence[float] | None = None,
    seed: int = 0,
    equivalence: Equivalence | None = None,
) -> list[InitialisedLayer]:
    """Let the depthwise layers of a model start from keys (METHODS 3.3, steps 3 and 5).

    The model is changed in place. Layers of another kernel size than the keys' are left alone,
    so that a model of several sizes takes several calls, one a key set. Nothing is changed
    where an error is raised.

    Parameters
    ----------
    model
        Any module; a depthwise ``Conv2d`` itself will do.
    keys
        A key set, the name of one that comes with filterdb, or the path of a file.
    freeze
        Keep the keys from learning: ``weight.requires_grad`` becomes False. Else it is left as
        it is.
    bias
        ``None``: the layer stays a ``Conv2d`` with the weight ``a key + b``. ``"per-channel"``:
        it becomes a :class:`~filterdb.keys.torch.key_conv.KeyConv2d` where it stands, with the
        weight ``a key``, and with ``b`` as a learnt offset of each filter, a parameter
        ``offset`` of shape ``(channels,)``: make the optimiser afterwards. (The
        layer's own ``bias``, added to its output, is another thing, and stays.)
    assign
        ``"fit"``: each filter becomes its best affine fit, for models that have learnt.
        ``"sample"``: each becomes a key drawn at random, for models that have not; ``b`` is 0,
        and ``a`` the root mean square norm of the filters (without their means) that the layer
        has, or, where these are all constant, what PyTorch's own initialisation gives on
        average, ``sqrt((k - 1) / 3 k)`` with ``k`` taps.
        A mapping name of the layer -> index of the key of each filter: the affine fit with that
        very key; layers that it does not name are left alone.
    shares
        With ``"sample"``: how often each key is drawn, ``K`` numbers that need not sum to 1;
        all alike if not given.
    seed
        With ``"sample"``. torch's own random numbers are not used.
    equivalence
        With ``"fit"``: what does not matter besides ``a`` and ``b``; as the key set says if not
        given. A filter gets the moved key that fits it.

    Returns
    -------
    list of InitialisedLayer
        All depthwise layers in the order of the model, with those left alone and why:
        transposed convolutions and those of one or three dimensions, lazy modules, weights that
        are computed (``parametrize``, ``weight_norm``, ``spectral_norm``, pruning) or have no
        values, subclasses of ``Conv2d`` where offsets are asked for.

    Raises
    ------
    KeySetError
        No layer can take the keys; ``assign`` or ``shares`` does not go with the model and the
        keys; or the key set cannot be read.
    """
    if not isinstance(model, nn.Module):
        msg = f"A {type(model).__name__} is no torch.nn.Module: pass the model itself."
        raise KeySetError(msg)
    if bias not in (None, "per-channel"):
        msg = f"bias={bias!r} is not known: it is None or 'per-channel'."
        raise KeySetError(msg)
    key_set = _key_set(keys)
    layers = depthwise_layers(model)
    plans = _plans(layers, key_set, bias, assign=assign, shares=shares, seed=seed, same=equivalence)
    if all(isinstance(plan, str) for plan in plans):
        raise KeySetError(_nothing_to_do(model, key_set, layers, plans))
    return [
        _left_alone(layer, plan, len(key_set))
        if isinstance(plan, str)
        else _apply(layer, plan, key_set, freeze=freeze, offsets=bias is not None)
        for layer, plan in zip(layers, plans, strict=True)
    ]


def _key_set(keys: KeySet | str | PathLike[str]) -> KeySet:
    """The key set that is meant."""
    if isinstance(keys, KeySet):
        return keys
    from filterdb.keys.sets.set_file import load_keys

    return load_keys(keys)


def _plans(
    layers: list[DepthwiseLayer],
    keys: KeySet,
    bias: Bias | None,
    *,
    assign: Assign | Mapping[str, ArrayLike],
    shares: Sequence[float] | None,
    seed: int,
    same: Equivalence | None,
) -> list[Assigned | str]:
    """The new filters of each layer, or why it is left alone; nothing is changed yet."""
    reasons = [_reason(layer, keys, bias) for layer in layers]
    named: dict[int, ArrayLike] = {}
    if isinstance(assign, Mapping):
        named = _checked_names(assign, layers, reasons)
    elif assign not in ("fit", "sample"):
        msg = f"assign={assign!r} is not known: it is 'fit', 'sample' or a mapping."
        raise KeySetError(msg)
    if shares is not None and assign != "sample":
        msg = "`shares` says how often keys are drawn, which only assign='sample' does."
        raise KeySetError(msg)
    weights = checked_shares(shares, len(keys))
    rng = np.random.default_rng(seed)

    def plan(index: int, layer: DepthwiseLayer) -> Assigned | str:
        if reason := reasons[index]:
            return reason
        if isinstance(assign, Mapping) and index not in named:
            return NOT_NAMED
        kernels = effective_kernel(layer.modules[0]).to("cpu", torch.float32).numpy()
        filters = kernels.reshape(layer.channels, -1)
        if isinstance(assign, Mapping):
            return by_mapping(filters, keys, named[index], name=layer.names[0])
        if assign == "fit":
            return by_fit(filters, keys, same or keys.equivalence)
        return by_sample(filters, keys, weights, rng)

    return [plan(index, layer) for index, layer in enumerate(layers)]


def _reason(layer: DepthwiseLayer, keys: KeySet, bias: Bias | None) -> str | None:
    """Why a layer cannot take these keys."""
    if layer.reason:
        return layer.reason
    if layer.kernel != keys.kernel:
        return "its kernels are {}x{}, the keys {}x{}".format(*layer.kernel, *keys.kernel)
    if bias is not None:
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
    first = layer.modules[0]
    weight = first.weight
    values = assigned.shapes if offsets else assigned.shapes + assigned.b[:, None]
    with torch.inference_mode(mode=False), torch.no_grad():
        weight.copy_(torch.from_numpy(values).reshape(weight.shape).to(weight))
        if freeze:
            weight.requires_grad_(False)  # noqa: FBT003 - torch's own name for it
        if offsets:
            _add_offsets(layer, torch.from_numpy(assigned.b).to(weight))
        else:
            for module in layer.modules:
                drop_offset(module)
    return InitialisedLayer(
        **_place(layer),
        keys=assigned.key,
        counts=np.bincount(assigned.key[assigned.key >= 0], minlength=len(keys)),
        r2=assigned.r2,
        constant=int((assigned.key < 0).sum()),
        frozen=not weight.requires_grad,
        offsets=layer.channels if offsets else 0,
    )


def _add_offsets(layer: DepthwiseLayer, start: torch.Tensor) -> None:
    """Give a layer its learnt offsets; modules that share the weight share them too."""
    held = next((m._parameters["offset"] for m in layer.modules if "offset" in m._parameters), None)
    offset = nn.Parameter(start) if held is None else held
    offset.copy_(start)
    for module in layer.modules:
        add_offset(module, offset)


def _left_alone(layer: DepthwiseLayer, reason: str, n_keys: int) -> InitialisedLayer:
    """The row of a layer that stays as it is."""
    return InitialisedLayer(
        **_place(layer),
        keys=np.empty(0, np.int16),
        counts=np.zeros(n_keys, np.int64),
        r2=None,
        constant=0,
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
        types = ", ".join(_counted(convolution_types(model))) or "none at all"
        return (
            "The model has no depthwise layers, which keys are for. Its convolutions: "
            f"{types} (a depthwise one has as many groups as input channels)."
        )
    why = "; ".join(_counted(Counter(str(reason) for reason in reasons)))
    return (
        f"No depthwise layer of the model can start from the keys {keys.name!r}, and nothing was "
        f"changed. Its depthwise layers: {why}."
    )


def _counted(counts: Counter[str]) -> Iterator[str]:
    """``"3 x Conv2d"``, the most frequent first."""
    return (f"{count} x {text}" for text, count in counts.most_common())


def _some(names: list[str], most: int = 8) -> str:
    """A few names."""
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
