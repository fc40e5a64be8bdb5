"""Which convolutions of a network belong to which part, and what is done to them.

Parts (METHODS 3.1) are told by shape alone:

- ``depthwise``: as many groups as input channels, more than one, and a kernel larger than 1x1;
- ``pointwise``: 1x1, one group;
- ``regular``: larger than 1x1, one group: the stem and patch embeddings too;
- ``all``: every ``Conv2d``; grouped convolutions are in no other part.

Linear layers belong to no part: the head never does. Only weights are copied and frozen: biases
and norms stay the target's own, and go on to learn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from filterdb.errors import TransferError
from filterdb.transfer.networks.order import in_forward_order
from filterdb.transfer.run import How

Part = Literal["depthwise", "pointwise", "regular", "all"]


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A convolution in its place.

    Attributes
    ----------
    name
        As in ``model.named_modules()``.
    module
        The convolution itself.
    position
        Its number within the part, from 0, in the order of the forward pass.
    depth_norm
        Its depth among all convolutions of the network, from 0 for the first to 1 for the last,
        as in a database.
    stem
        Whether it is the first of all convolutions, the one that sees the image.
    """

    name: str
    module: nn.Conv2d
    position: int
    depth_norm: float
    stem: bool

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of its filters."""
        height, width = self.module.kernel_size
        return height, width

    @property
    def filters(self) -> int:
        """Number of its 2-D filters."""
        return self.module.out_channels * self.module.in_channels // self.module.groups

    @property
    def weight(self) -> nn.Parameter:
        """Its filters, ``(C_out, C_in/groups, kh, kw)``.

        Raises
        ------
        TransferError
            The weight is computed from other parameters, so that it can be neither set nor kept.
        """
        weight = self.module._parameters.get("weight")
        if not isinstance(weight, nn.Parameter):
            msg = (
                f"The weight of the layer {self.name!r} is computed anew in each pass "
                "(parametrize, weight_norm, pruning): make it a plain parameter first, for "
                "instance with torch.nn.utils.parametrize.remove_parametrizations."
            )
            raise TransferError(msg)
        return weight

    def __str__(self) -> str:
        shape = "x".join(map(str, self.module.weight.shape))
        return f"{self.name!r} ({shape}, kernel {self.kernel[0]}x{self.kernel[1]})"


def part_of(
    model: nn.Module, part: Part, *, sample: torch.Tensor | None = None
) -> tuple[Slot, ...]:
    """The convolutions of one part, in the order in which a forward pass first uses them.

    Parameters
    ----------
    model
        Any network; it is run once without gradients, in evaluation mode, and is left in the
        modes it was in.
    part
        ``"depthwise"``, ``"pointwise"``, ``"regular"`` or ``"all"``.
    sample
        What to run it on, see :func:`~filterdb.transfer.networks.order.in_forward_order`.

    Raises
    ------
    TransferError
        There is no such part.
    """
    if part not in get_args(Part):
        msg = f"There is no part {part!r}: it is one of {', '.join(get_args(Part))}."
        raise TransferError(msg)
    every = in_forward_order(model, sample=sample)
    mine = [depth for depth, (_, module) in enumerate(every) if part in ("all", kind(module))]
    return tuple(
        Slot(
            *every[depth],
            position=position,
            depth_norm=depth / max(len(every) - 1, 1),
            stem=depth == 0,
        )
        for position, depth in enumerate(mine)
    )


def kind(module: nn.Conv2d) -> Part | None:
    """The part that a convolution belongs to besides ``"all"``; None for a grouped one."""
    spatial = max(module.kernel_size) > 1
    if module.groups == 1:
        return "regular" if spatial else "pointwise"
    return "depthwise" if spatial and module.groups == module.in_channels else None


def copy_part(
    source: nn.Module,
    target: nn.Module,
    part: Part,
    *,
    first: int | None = None,
    sample: torch.Tensor | None = None,
) -> tuple[Slot, ...]:
    """Copy the weights of a part from one network into another.

    Nothing is changed where an error is raised. Biases and norms are not copied.

    Parameters
    ----------
    source, target
        The donor, which is left as it is, and the network that is changed in place.
    part
        As in :func:`part_of`.
    first
        How many layers of the part, from the image on: the cut ``n`` of Yosinski et al. 2014.
        All of them if not given; both networks then have equally many.
    sample
        As in :func:`part_of`, for both.

    Returns
    -------
    tuple of Slot
        The layers of the target that were written, for :func:`freeze`.

    Raises
    ------
    TransferError
        A network has no such part, or not enough of it, or two layers differ in shape.
    """
    donors, slots = (part_of(each, part, sample=sample) for each in (source, target))
    for who, found in (("donor", donors), ("target", slots)):
        if not found:
            msg = f"The {who} has no {_layers(part)}, so nothing of the kind can be transferred."
            raise TransferError(msg)
    if first is None and len(donors) != len(slots):
        msg = (
            f"The donor has {len(donors)} {_layers(part)} and the target {len(slots)}: say how "
            "many of the first are meant."
        )
        raise TransferError(msg)
    count = len(slots) if first is None else first
    if not 0 <= count <= min(len(donors), len(slots)):
        msg = (
            f"The first {count} {_layers(part)} cannot be copied: the donor has {len(donors)}, "
            f"the target {len(slots)}."
        )
        raise TransferError(msg)
    pairs = list(zip(donors[:count], slots[:count], strict=True))
    for donor, slot in pairs:
        if donor.weight.shape != slot.weight.shape:
            msg = (
                f"The filters of {donor} of the donor do not fit {slot} of the target. "
                "Build both with the same arguments."
            )
            raise TransferError(msg)
    with torch.no_grad():
        for donor, slot in pairs:
            slot.weight.copy_(donor.weight)
    return slots[:count]


def freeze(slots: Iterable[Slot]) -> None:
    """Keep the filters of these layers from learning; their norms and biases still learn.

    Optimisers made from :func:`trainable` do not get them. One that has them already leaves them
    alone too, weight decay and all, because their gradient is taken away.
    """
    for slot in slots:
        slot.weight.requires_grad_(False)  # noqa: FBT003 - torch's own name for it
        slot.weight.grad = None


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimiser is to get: all but the frozen."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def fingerprint(slots: Iterable[Slot]) -> str:
    """SHA-256 of the weights, in hexadecimal: equal if and only if every bit is.

    Names do not count, so that layers can be compared across networks; shapes and types do.
    """
    return _digest(("", slot.weight) for slot in slots)


def fingerprint_of_rest(model: nn.Module, slots: Iterable[Slot]) -> str:
    """The same of everything else that a network keeps, by name: parameters and buffers.

    With :func:`fingerprint` it proves that a copy reached these layers and nothing else.
    """
    left_out = {id(slot.weight) for slot in slots}
    return _digest(
        (name, tensor)
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, torch.Tensor) and id(tensor) not in left_out
    )


def _digest(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        # contiguous(): channels_last is another order of the same numbers.
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _layers(part: Part) -> str:
    return "convolutions" if part == "all" else f"{part} layers"


def assign(
    donors: Sequence[NDArray[np.floating]],
    slots: Sequence[Slot],
    *,
    how: How = "depth",
    seed: int = 0,
) -> list[NDArray[np.float32]]:
    """Give each filter of a network a filter from another, of whatever architecture.

    Channels of two networks have nothing to do with one another, so that filters are drawn at
    random: without replacement until all are used up, then anew, so that all
    filters of a source are used equally often, give or take one.

    Parameters
    ----------
    donors
        The filters of each donor layer, ``(n_i, kh, kw)``, from the image on.
    slots
        The layers to be filled, from the image on.
    how
        ``"depth"``: from the donor layer whose relative depth, from 0 for the first of the given
        layers to 1 for the last, is nearest to the slot's among the given slots; of two equally
        near, the earlier. ``"pool"``: from all donor layers together, where large ones weigh more.
    seed
        Of the draw. torch's and NumPy's own random numbers are not used.

    Returns
    -------
    list of ndarray
        float32, one for each slot, of the shape of its weight: for :func:`fill`.

    Raises
    ------
    TransferError
        There are no donors or slots, a donor is not finite, or the kernel sizes differ.
    """
    if how not in get_args(How):
        msg = f"Filters cannot be drawn by {how!r}: it is one of {', '.join(get_args(How))}."
        raise TransferError(msg)
    layers = _checked_donors(donors, slots)
    rng = np.random.default_rng(seed)
    if how == "pool":
        sources = [_endless(np.concatenate(layers), rng)] * len(slots)
    else:
        endless = [_endless(layer, rng) for layer in layers]
        sources = [
            endless[_nearest_depth(index, len(slots), len(layers))] for index in range(len(slots))
        ]
    return [
        np.stack(list(islice(source, slot.filters))).reshape(slot.weight.shape)
        for source, slot in zip(sources, slots, strict=True)
    ]


def fill(slots: Sequence[Slot], filters: Sequence[NDArray[np.floating]]) -> None:
    """Write filters into layers, in place; nothing is written where an error is raised.

    Raises
    ------
    TransferError
        The arrays are not as many as the layers, or have other shapes than their weights.
    """
    if len(slots) != len(filters):
        msg = f"There are filters for {len(filters)} layers, and the network has {len(slots)}."
        raise TransferError(msg)
    for slot, values in zip(slots, filters, strict=True):
        if tuple(values.shape) != tuple(slot.weight.shape):
            shape = "x".join(map(str, values.shape))
            msg = f"Filters of shape {shape} do not fit the layer {slot}."
            raise TransferError(msg)
    with torch.no_grad():
        for slot, values in zip(slots, filters, strict=True):
            slot.weight.copy_(torch.from_numpy(np.array(values)))


def _checked_donors(
    donors: Sequence[NDArray[np.floating]], slots: Sequence[Slot]
) -> list[NDArray[np.float32]]:
    """The donor layers that have filters, as float32, all of the kernel size of all slots."""
    layers = [np.asarray(layer, np.float32) for layer in donors if len(layer)]
    if not layers:
        msg = "The donor has no filters to give: it has no depthwise layers, or none was selected."
        raise TransferError(msg)
    if not slots:
        msg = "The network has no layers that could be given the donor's filters."
        raise TransferError(msg)
    for index, layer in enumerate(layers):
        for slot in slots:
            if layer.shape[1:] != slot.kernel:
                size = "x".join(map(str, layer.shape[1:]))
                msg = (
                    f"The donor's filters are {size} and those of the layer {slot.name!r} "
                    "{}x{}. ".format(*slot.kernel)
                    + "Select donors of the network's kernel size, "
                    "or build the network with that of the donors."
                )
                raise TransferError(msg)
        if not np.isfinite(layer).all():
            msg = f"Donor layer {index} (from 0) has filters that are not finite: leave it out."
            raise TransferError(msg)
    return layers


def _nearest_depth(index: int, slots: int, donors: int) -> int:
    """The donor layer of a slot, by relative depth; whole numbers, so that ties are ties."""
    if slots == 1 or donors == 1:
        return 0
    distances = [abs(index * (donors - 1) - donor * (slots - 1)) for donor in range(donors)]
    return distances.index(min(distances))


def _endless(
    filters: NDArray[np.float32], rng: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """Filters in random order, all of them once, then all once more, and so on."""
    while True:
        yield from filters[rng.permutation(len(filters))]
