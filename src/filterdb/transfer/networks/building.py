"""A network by its name: :func:`build`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import nn

from filterdb.errors import TransferError
from filterdb.transfer.networks.own import from_timm, own
from filterdb.transfer.networks.registry import NETWORKS, check_size, checked_arguments


def build(
    name: str, *, classes: int, channels: int, size: int, seed: int = 0, **arguments: Any
) -> nn.Module:
    """Build a network on the CPU, ready to train.

    Parameters
    ----------
    name
        One of :data:`~filterdb.transfer.networks.registry.NETWORKS`, ``module:function`` or
        ``timm:NAME``.
    classes
        Number of outputs, at least 2.
    channels
        Of the images, 1 or 3.
    size
        Height and width of the images in pixels, at least 8. What is built takes images of any
        other size too, square or not, from 8 pixels on; a convnext from
        ``patch * 2 ** (stages - 1)``, a convmixer from ``patch`` if that is more.
    seed
        Of the initial weights. torch's random numbers are left as they are. A function of one's
        own has to draw from torch's for this to hold.
    **arguments
        Of the network; the table says which.

    Returns
    -------
    torch.nn.Module
        Maps float images of shape ``(N, channels, size, size)`` to logits ``(N, classes)``. It
        is in training mode, where BatchNorm needs more than one image.

    Raises
    ------
    TransferError
        The name, an argument or a size is wrong, or a network from elsewhere does not do what is
        said above.
    MissingExtraError
        timm is asked for and not installed.
    """
    given = checked_arguments(name, arguments)
    _check_sizes(name, given, classes=classes, channels=channels, size=size)
    with torch.random.fork_rng(devices=[]):
        # The CPU's generator alone: torch.manual_seed would reach those of the GPUs too.
        torch.default_generator.manual_seed(seed)
        if name in NETWORKS:
            make = getattr(import_module(f"filterdb.transfer.networks.{name}"), name)
            model: nn.Module = make(classes=classes, channels=channels, **given)
            return model
        if name.startswith("timm:"):
            kind = name.removeprefix("timm:")
            model = from_timm(kind, classes=classes, channels=channels, **given)
        else:
            model = own(name, classes=classes, channels=channels, size=size, **given)
        _try_out(model, name, classes=classes, shape=(2, channels, size, size))
    return model.train()


def _check_sizes(
    name: str, given: dict[str, Any], *, classes: int, channels: int, size: int
) -> None:
    """Refuse what no network could be built for."""
    if classes < 2:
        msg = f"A network that tells {classes} class apart learns nothing: it takes at least 2."
        raise TransferError(msg)
    if channels not in (1, 3):
        msg = f"Images have 1 channel (grey) or 3 (colour), not {channels}."
        raise TransferError(msg)
    check_size(name, given, size)


def _try_out(
    model: nn.Module, name: str, *, classes: int, shape: tuple[int, int, int, int]
) -> None:
    """One forward pass, so that a network that does not fit says so before the experiment."""
    images = "x".join(map(str, shape))
    try:
        with torch.no_grad():
            result = model.eval()(torch.zeros(shape))
    except Exception as error:
        msg = f"The network {name} does not take images of {images}: {error}"
        raise TransferError(msg) from error
    found = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
    if found != (shape[0], classes):
        msg = (
            f"The network {name} makes {found} of images of {images}, and not logits of shape "
            f"{(shape[0], classes)}."
        )
        raise TransferError(msg)
