"""Whether filters fit a network, found before anything is trained. No torch for built-in ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filterdb.errors import TransferError
from filterdb.extras import require
from filterdb.transfer.experiments.layers import layers_in
from filterdb.transfer.run import Data

Network = tuple[str, Mapping[str, Any]]
Kernel = tuple[int, int]


def kernel_of(network: Network, data: Data) -> Kernel:
    """Height and width of the depthwise filters of a network.

    A network that is not built in is built once to see.

    Parameters
    ----------
    network
        Name and arguments.
    data
        Says what images it takes.

    Raises
    ------
    TransferError
        It has no depthwise layers, or of several sizes.
    MissingExtraError
        It has to be built, and torch is not installed.
    """
    name, arguments = network
    if ":" in name:
        kernels = _built(network, data)
    else:
        side = int(arguments.get("kernel", 3))
        kernels = {(side, side)} if layers_in(network, "depthwise") else set()
    if not kernels:
        hint = " With separable = true it has." if name == "resnet" else ""
        msg = f"The network {name!r} has no depthwise layers to be given filters.{hint}"
        raise TransferError(msg)
    if len(kernels) > 1:
        told = ", ".join(map(size, sorted(kernels)))
        msg = (
            f"The network {name!r} has depthwise filters of several sizes ({told}): filters of "
            "one size cannot fill them all."
        )
        raise TransferError(msg)
    return kernels.pop()


def size(kernel: Kernel) -> str:
    """``"3x3"``."""
    return "{}x{}".format(*kernel)


def _built(network: Network, data: Data) -> set[Kernel]:
    require("torch", extra="transfer")
    from filterdb.transfer.beginning import sample_of
    from filterdb.transfer.networks.building import build
    from filterdb.transfer.parts import part_of

    name, arguments = network
    model = build(name, classes=2, channels=data.channels, size=data.size, **arguments)
    return {slot.kernel for slot in part_of(model, "depthwise", sample=sample_of(data))}
