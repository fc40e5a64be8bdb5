"""The depthwise layers of a module, and why some of them cannot be given other filters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d,
                nn.ConvTranspose3d)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class DepthwiseLayer:
    """One depthwise weight, and all who use it.

    Attributes
    ----------
    names
        Where it stands in the model; several, where a module stands in several places or modules
        share a weight. ``""`` is the model itself.
    modules
        That hold the weight, each once.
    reason
        Why its filters have to stay as they are (one clause); None where they need not.
    """

    names: tuple[str, ...]
    modules: tuple[nn.Conv2d, ...]
    reason: str | None

    @property
    def kernel(self) -> tuple[int, ...]:
        """Its kernel size, one number a dimension."""
        return tuple(self.modules[0].kernel_size)

    @property
    def channels(self) -> int:
        """Number of its filters."""
        return int(self.modules[0].out_channels)


def depthwise_layers(model: nn.Module) -> list[DepthwiseLayer]:
    """All depthwise convolutions of a model, in its order.

    Depthwise is what has as many groups as input channels, and more than one. Of lazy modules
    the input channels are not known: those with groups are listed, with that reason.
    """
    owners = _owners(model)
    found: dict[int, tuple[list[str], dict[int, nn.Conv2d]]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if _is_depthwise(module):
            weight = module._parameters.get("weight")
            tied = id(module) if weight is None or is_lazy(weight) else id(weight)
            names, modules = found.setdefault(tied, ([], {}))
            names.append(name)
            modules[id(module)] = module
    return [
        DepthwiseLayer(tuple(names), (held := tuple(modules.values())), _reason(held, owners))
        for names, modules in found.values()
    ]


def convolution_types(model: nn.Module) -> Counter[str]:
    """How many convolutions of each type a model has."""
    return Counter(type(module).__name__ for module in model.modules()
                   if isinstance(module, CONVOLUTIONS))  # fmt: skip


def _is_depthwise(module: nn.Module) -> bool:
    """As many groups as input channels, which a lazy module does not know yet (0)."""
    return (
        isinstance(module, CONVOLUTIONS)
        and module.groups > 1
        and module.in_channels in (0, module.groups)
    )


def _owners(model: nn.Module) -> dict[int, list[nn.Module]]:
    """The modules that hold each parameter, by its identity."""
    owners: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(module)
    return owners


def _reason(modules: tuple[nn.Conv2d, ...], owners: dict[int, list[nn.Module]]) -> str | None:
    """Why a layer's filters have to stay; None where they need not."""
    for module in modules:
        weight = module._parameters.get("weight")
        if weight is not None and is_lazy(weight):
            return "a lazy module without a shape yet: run the model once on an input"
        if not isinstance(module, nn.Conv2d):
            return f"a {type(module).__name__}: keys are for plain convolutions of two dimensions"
        if weight is None:
            return "its weight is computed from other parameters (parametrised, normed or pruned)"
        if reason := _weight_reason(weight):
            return reason
        if others := [owner for owner in owners[id(weight)] if owner not in modules]:
            return f"a {type(others[0]).__name__}, which is not depthwise, has the same weight"
    return "its kernels are of one tap" if modules[0].kernel_size == (1, 1) else None


def _weight_reason(weight: torch.Tensor) -> str | None:
    """Why values cannot be written into a weight."""
    if weight.is_meta:
        return "a tensor of the meta device, which has no values"
    if not weight.is_floating_point():
        return f"its element type {str(weight.dtype).removeprefix('torch.')} is not a float"
    if weight.is_inference():
        return "a tensor made in inference mode, which cannot be changed outside of it"
    if not bool(torch.isfinite(weight.detach()).all()):
        return "a weight is NaN or infinite"
    return None
