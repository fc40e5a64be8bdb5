"""What a network begins with: filters of a trained one, of a set of keys, of a file, or chance."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from filterdb.errors import TransferError
from filterdb.transfer.donors import donor
from filterdb.transfer.networks.building import build
from filterdb.transfer.networks.code import refuse_changed_code
from filterdb.transfer.parts import (
    Part,
    Slot,
    assign,
    copy_part,
    fill,
    fingerprint,
    freeze,
    part_of,
)
from filterdb.transfer.run import Data, How, Run, Start

if TYPE_CHECKING:
    from filterdb.keys import KeySet

KEYS = re.compile(r"^(.+?)(?::\[(\d+(?:,\d+)*)\]|:(\d+))?$", re.DOTALL)
"""A set, and the numbers of its keys or how many."""
Filters = NDArray[np.floating]
Sources = Callable[[str], nn.Module]
"""From the id of a run to its trained network."""


@dataclass(frozen=True, slots=True)
class Given:
    """What one start has done.

    Attributes
    ----------
    start
        What was asked for.
    slots
        The layers that were given their filters.
    source
        Fingerprint of the filters in the source that were copied into place; None where they
        were drawn.
    """

    start: Start
    slots: tuple[Slot, ...]
    source: str | None = None


def sample_of(data: Data) -> torch.Tensor:
    """A black image such as a network of these data takes, ``(1, C, H, W)``."""
    return torch.zeros(1, data.channels, data.size, data.size)


def slots_of(
    model: nn.Module, start: Start, *, sample: torch.Tensor | None = None
) -> tuple[Slot, ...]:
    """The layers that a start is about.

    Parameters
    ----------
    model
        The network.
    start
        What it begins with.
    sample
        As of :func:`~filterdb.transfer.parts.part_of`.

    Raises
    ------
    TransferError
        The network has no such layers, or fewer than the cut.
    """
    slots = part_of(model, cast("Part", start.part), sample=sample)
    if not slots:
        msg = f"The network has no {start.part} layers, so none can be given filters."
        raise TransferError(msg)
    if start.first is not None and not 0 <= start.first <= len(slots):
        msg = (
            f"The first {start.first} {start.part} layers cannot be given filters: the network "
            f"has {len(slots)}."
        )
        raise TransferError(msg)
    return slots[: start.first]


def begin(model: nn.Module, run: Run, sources: Sources) -> tuple[Given, ...]:
    """Give a network the filters that its run begins with, and freeze those that stay.

    Parameters
    ----------
    model
        As it was built; changed in place.
    run
        Its starts are done in their order; its seed decides all that is drawn.
    sources
        Trained networks by the ids of their runs.

    Raises
    ------
    TransferError
        The filters do not fit, or there are none.
    """
    given, sample = [], sample_of(run.data)
    for index, start in enumerate(run.starts):
        seed = int(np.random.SeedSequence([run.seed, index]).generate_state(1)[0])
        slots = slots_of(model, start, sample=sample)
        source = _write(model, slots, start, sources, seed=seed, sample=sample)
        if start.frozen:
            freeze(slots)
        given.append(Given(start, slots, source))
    return tuple(given)


def _write(
    model: nn.Module,
    slots: tuple[Slot, ...],
    start: Start,
    sources: Sources,
    *,
    seed: int,
    sample: torch.Tensor,
) -> str | None:
    """Write the filters; the fingerprint of the source's, where they are copies."""
    kind, _, rest = (start.filters or "").partition(":")
    if kind == "random" and not rest:
        return None
    if kind in ("keys", "random"):
        keys = _keys(rest, start) if kind == "keys" else _random_keys(int(rest), slots[0], seed)
        _write_keys(slots, keys, seed)
        return None
    if kind.startswith("donor"):
        given = donor(rest, slots[0].kernel)
        _check_content(start, given.content)
        fill(slots, assign(given.layers, slots, how=start.how or "depth", seed=seed))
        if kind == "donor-spectrum":
            _scramble(slots, seed)
        return None
    part = cast("Part", start.part)
    source = sources(start.source or "")
    theirs = part_of(source, part, sample=sample)
    if start.how is None:
        copy_part(source, model, part, first=start.first, sample=sample)
    else:
        _draw(theirs, slots, start.how, seed)
    if kind == "spectrum":
        _scramble(slots, seed)
        return None
    return fingerprint(theirs[: start.first]) if start.how is None else None


def _check_content(start: Start, found: str) -> None:
    """Refuse a file or database that is not the one that the run was planned with."""
    if start.content not in (None, found):
        _, _, name = (start.filters or "").partition(":")
        msg = (
            f"{name}: it has other filters ({found}) than when the run was planned "
            f"({start.content}). Give the command again: runs with these filters are other runs."
        )
        raise TransferError(msg)


def _draw(donors: tuple[Slot, ...], slots: tuple[Slot, ...], how: How, seed: int) -> None:
    layers = [_values(slot) for slot in donors]
    flat = [values.reshape(-1, *values.shape[2:]) for values in layers]
    fill(slots, assign(flat, slots, how=how, seed=seed))


def _values(slot: Slot) -> NDArray[np.float32]:
    """A copy of a layer's filters, ``(C_out, C_in/groups, kh, kw)``."""
    return np.array(slot.weight.detach().to("cpu", torch.float32).contiguous().numpy())


def _scramble(slots: tuple[Slot, ...], seed: int) -> None:
    """Give the filters of layers random phases, and leave them their power spectra."""
    for slot in slots:
        if slot.kernel == (1, 1):
            msg = f"The 1x1 filters of {slot.name!r} have no phases: a matched spectrum is a copy."
            raise TransferError(msg)
    rng = np.random.default_rng(seed)
    fill(slots, [_scrambled(_values(slot), int(rng.integers(2**32))) for slot in slots])


def _scrambled(values: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Filters with the same power spectrum each, and random phases: same mean, same norm."""
    from filterdb.keys.normal import normal_form
    from filterdb.keys.search.controls import same_spectrum

    kernel = (values.shape[2], values.shape[3])
    normal = normal_form(values.reshape(-1, kernel[0] * kernel[1]), zero=0)
    unit = same_spectrum(normal.unit, len(normal.unit), kernel, seed=seed)
    scrambled = unit * normal.norm[:, None] + normal.mean[:, None]
    return np.asarray(scrambled, np.float32).reshape(values.shape)


def _keys(spec: str, start: Start) -> KeySet:
    """The keys that ``SET``, ``SET:k`` or ``SET:[1,3]`` means."""
    from filterdb.keys import load

    name, some, count = KEYS.findall(spec)[0]
    keys = load(name)
    _check_content(start, keys.id)
    numbers = [*map(int, some.split(","))] if some else [*range(1, int(count or len(keys)) + 1)]
    if not numbers or min(numbers) < 1 or max(numbers) > len(keys):
        msg = f"The key set {name!r} has {len(keys)} keys, so that {some or count} cannot be taken."
        raise TransferError(msg)
    return keys.take([number - 1 for number in numbers])


def _random_keys(count: int, slot: Slot, seed: int) -> KeySet:
    """Gaussian filters of a layer's size; fewer of the same seed are the first of more."""
    from filterdb.keys import KeySet

    if slot.kernel == (1, 1):
        msg = f"The filters of the layer {slot.name!r} are 1x1: they have no shape to be drawn."
        raise TransferError(msg)
    # Not the generator that says which layer gets which: arms of k keys share that one.
    rng = np.random.default_rng([seed, 1])
    return KeySet("random", rng.standard_normal((count, *slot.kernel)))


def _write_keys(slots: tuple[Slot, ...], keys: KeySet, seed: int) -> None:
    """Keys drawn at random, of the strength that the network's own random filters have."""
    from filterdb.keys.torch.assigning import by_sample, checked_shares

    shares = checked_shares(None, len(keys))
    rng = np.random.default_rng(seed)
    filters: list[Filters] = []
    for slot in slots:
        if slot.kernel != keys.kernel:
            msg = (
                "The keys of {!r} are {}x{} and the filters of the layer {!r} {}x{}. ".format(
                    keys.name, *keys.kernel, slot.name, *slot.kernel
                )
                + "Build the network with the kernel size of the keys, or take another set."
            )
            raise TransferError(msg)
        values = _values(slot)
        own = values.reshape(-1, slot.kernel[0] * slot.kernel[1])
        filters.append(by_sample(own, keys, shares, rng).shapes.reshape(values.shape))
    fill(slots, filters)


def weights_of(model: nn.Module) -> dict[str, NDArray[Any]]:
    """The parameters and buffers of a network by name, copied."""
    return {
        name: np.array(values.detach().cpu().contiguous().numpy())
        for name, values in model.state_dict().items()
    }


def restored(run: Run, classes: int, weights: Mapping[str, NDArray[Any]]) -> nn.Module:
    """The trained network of a run, on the CPU.

    Parameters
    ----------
    run
        Says how it is built.
    classes
        How many it tells apart.
    weights
        As :func:`weights_of` had them.

    Raises
    ------
    TransferError
        The weights are not those of such a network, or its code has changed.
    """
    data = run.data
    refuse_changed_code(run.network, run.code)
    model = build(
        run.network, classes=classes, channels=data.channels, size=data.size, **run.arguments
    )
    try:
        model.load_state_dict({name: torch.from_numpy(own) for name, own in weights.items()})
    except RuntimeError as error:
        msg = f"The weights of {run.name} do not fit the network {run.network!r}: {error}"
        raise TransferError(msg) from error
    return model.eval()
