"""A depthwise convolution of keys: frozen kernels, and one learnt offset a channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OFFSET = "key_offset"


class KeyConv2d(nn.Conv2d):
    """A convolution with the kernel ``weight + key_offset`` (METHODS 3.3, step 5).

    ``weight`` holds ``a x``, the keys at their strength; ``key_offset`` is the ``b`` of each
    output channel, added to its whole kernel, a parameter of shape ``(C_out,)`` that starts at 0:
    of one dimension, so that nobody takes it for a kernel of 1x1, and so that rules which keep
    weight decay from biases keep it from offsets too. All else is :class:`torch.nn.Conv2d`'s,
    the arguments too.

    A state dict holds ``X.weight`` and ``X.key_offset``; filterdb reads their sum. Neither what
    learns (``requires_grad``) nor the name of the key set is in it. To load one, let a fresh
    model have the same modules first: :func:`~filterdb.keys.torch.initialising.initialise` it
    with the same ``bias`` and ``freeze``, then ``load_state_dict``. The other way round fails
    for the offsets, or leaves what was loaded fitted anew.

    Attributes
    ----------
    key_set
        Name of the set that the keys are of; empty where it is not known.
    """

    key_set = ""  # without an annotation, which TorchScript would take for a string

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.key_offset = nn.Parameter(self.weight.detach().new_zeros(self.out_channels))

    @property
    def kernel(self) -> torch.Tensor:
        """What the input is convolved with, shape ``(C_out, C_in/groups, kh, kw)``."""
        return self.weight + self.key_offset.reshape(-1, 1, 1, 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as torch names it
        """Convolve."""
        result: torch.Tensor = self._conv_forward(input, self.kernel, self.bias)
        return result

    def extra_repr(self) -> str:
        """The arguments, the key set, and what learns."""
        keys = f", keys={self.key_set!r}" if self.key_set else ""
        parts = (("keys", self.weight), ("offsets", self.key_offset))
        frozen = [name for name, part in parts if not part.requires_grad]
        learnt = [name for name, part in parts if part.requires_grad]
        sides = [f"{what}={'+'.join(names)}"
                 for what, names in (("frozen", frozen), ("learnt", learnt)) if names]  # fmt: skip
        usual = str(super().extra_repr())  # type: ignore[no-untyped-call]
        return f"{usual}{keys}, {', '.join(sides)}"


def takes_offset(module: nn.Module) -> bool:
    """Whether :func:`add_offset` leaves nothing of a module behind: it is a plain ``Conv2d``."""
    return type(module) in (nn.Conv2d, KeyConv2d) and "forward" not in vars(module)


def add_offset(module: nn.Conv2d, offset: nn.Parameter, *, key_set: str) -> None:
    """Make a ``Conv2d`` a :class:`KeyConv2d` where it stands.

    It stays the same object, as in :mod:`torch.nn.utils.parametrize`: its parameters, hooks,
    settings, and every reference to it go on to hold, and a module without a parent will do.
    """
    module.__class__ = KeyConv2d
    module.register_parameter(OFFSET, offset)
    vars(module)["key_set"] = key_set


def held_offset(module: nn.Module) -> nn.Parameter | None:
    """The offsets that a module has already."""
    return module._parameters.get(OFFSET)


def drop_offset(module: nn.Conv2d) -> None:
    """Make a :class:`KeyConv2d` the ``Conv2d`` that it was; other modules are left as they are."""
    has_offset = type(module) is KeyConv2d
    if has_offset:
        del module.key_offset
        vars(module).pop("key_set", None)
        module.__class__ = nn.Conv2d


def effective_kernel(module: nn.Conv2d) -> torch.Tensor:
    """What a module convolves with, offset and all, detached."""
    kernel: torch.Tensor = module.kernel if isinstance(module, KeyConv2d) else module.weight
    return kernel.detach()
