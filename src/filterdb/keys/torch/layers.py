"""The depthwise layers of a module, and why some of them cannot be given other filters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from filterdb.keys.torch.key_conv import effective_kernel

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d,
                nn.ConvTranspose3d)  # fmt: skip
QUANTISED = ("torch.ao.nn.quantized", "torch.nn.quantized")
"""Where torch has modules of integers, whose weights are packed."""


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


def what_it_has(model: nn.Module) -> str:
    """What a model without depthwise layers has instead, as a sentence."""
    types = Counter(type(module).__name__ for module in model.modules() if is_convolution(module))
    if types:
        return (
            f"Its convolutions: {counted(types, sep=', ')} (a depthwise one has as many groups as "
            "input channels)."
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return "It is TorchScript, whose modules stay as they are: change it before it is scripted."
    if isinstance(model, torch.fx.GraphModule):
        return "It is a graph without modules of its own: change the model before it is exported."
    return "Its convolutions: none at all."


def counted(counts: Counter[str], *, sep: str) -> str:
    """``"3 x Conv2d"``, the most frequent first."""
    return sep.join(f"{count} x {text}" for text, count in counts.most_common())


def is_convolution(module: nn.Module) -> bool:
    """A convolution, plain or quantised."""
    return isinstance(module, CONVOLUTIONS) or is_quantised(module)


def is_quantised(module: nn.Module) -> bool:
    """A convolution of torch's quantised ones, which are none of its plain ones."""
    homes = (base.__module__ for base in type(module).__mro__)
    return (
        not isinstance(module, CONVOLUTIONS)
        and all(hasattr(module, name) for name in ("groups", "in_channels", "kernel_size"))
        and any(home.startswith(QUANTISED) for home in homes)
    )


def _is_depthwise(module: nn.Module) -> bool:
    """As many groups as input channels, which a lazy module does not know yet (0)."""
    groups: Any = getattr(module, "groups", 1)
    return is_convolution(module) and bool(groups > 1) and module.in_channels in (0, groups)


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
        if is_quantised(module):
            return "a quantised module, whose weights are packed: change it before it is converted"
        if not isinstance(module, nn.Conv2d):
            return f"a {type(module).__name__}: keys are for plain convolutions of two dimensions"
        if weight is None:
            return "its weight is computed from other parameters (parametrised, normed or pruned)"
        if reason := _weight_reason(weight) or _kernel_reason(module):
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
    if not _is_apart(weight):
        return "its values share memory with one another, so that each cannot be set by itself"
    return None


def _kernel_reason(module: nn.Conv2d) -> str | None:
    """Why filters cannot be fitted, which is done in float32."""
    if not bool(torch.isfinite(effective_kernel(module).float()).all()):
        return "a weight is NaN, infinite or beyond float32"
    return None


def _is_apart(weight: torch.Tensor) -> bool:
    """Whether no two values can be at one place: each axis steps over all that lies within it."""
    reach = 0
    axes = zip(weight.stride(), weight.shape, strict=True)
    for stride, size in sorted(axis for axis in axes if axis[1] > 1):
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return True
