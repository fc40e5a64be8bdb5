"""In which order a network uses its convolutions: found by running it once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

SIZES = (32, 64, 224)
"""Image sizes that are tried."""


def in_forward_order(
    model: nn.Module, *, sample: torch.Tensor | None = None
) -> list[tuple[str, nn.Conv2d]]:
    """All convolutions with their names, in the order in which a forward pass first uses them.

    The network is run without gradients, in evaluation mode, on the sample, or, without one that
    it takes, on black images of 1 or 3 channels and usual sizes. Where all of these fail, the
    order is that of ``named_modules()``; convolutions that the pass does not reach come last, in
    that order.
    """
    named = {
        module: name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)
    }
    used: dict[nn.Conv2d, None] = {}
    for images in chain(() if sample is None else [sample], _samples(model)):
        used.clear()
        try:
            with _watched(model, named, used):
                model(images)
        except Exception:  # noqa: S112 - whatever a network says to a wrong size
            continue
        break
    else:
        used.clear()
    return [(named[module], module) for module in (used | dict.fromkeys(named))]


def _samples(model: nn.Module) -> Iterator[torch.Tensor]:
    """Black images where the network is, and of its type."""
    like = next((tensor for tensor in model.parameters() if tensor.is_floating_point()), None)
    if like is not None:
        for size in SIZES:
            for channels in (3, 1):
                yield like.new_zeros((1, channels, size, size))


@contextmanager
def _watched(
    model: nn.Module, convolutions: Iterable[nn.Conv2d], used: dict[nn.Conv2d, None]
) -> Iterator[None]:
    """Note the order of use during a pass that leaves no trace in the network."""

    def note(module: nn.Module, _: object) -> None:
        assert isinstance(module, nn.Conv2d)  # noqa: S101 - hung on those alone
        used.setdefault(module)

    modes = [(module, module.training) for module in model.modules()]
    hooks = [module.register_forward_pre_hook(note) for module in convolutions]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model.eval()
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
