"""What a network begins with: filters of a trained one, of a set of keys, of a file, or chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from filterdb.errors import TransferError
from filterdb.transfer.networks.building import build
from filterdb.transfer.parts import (
    How,
    Part,
    Slot,
    assign,
    copy_part,
    fill,
    fingerprint,
    freeze,
    part_of,
)
from filterdb.transfer.run import Run, Start

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


def slots_of(model: nn.Module, start: Start) -> tuple[Slot, ...]:
    """The layers that a start is about.

    Raises
    ------
    TransferError
        The network has no such layers, or fewer than the cut.
    """
    slots = part_of(model, cast("Part", start.part))
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
    given = []
    for index, start in enumerate(run.starts):
        seed = int(np.random.SeedSequence([run.seed, index]).generate_state(1)[0])
        slots = slots_of(model, start)
        source = _write(model, slots, start, sources, seed)
        if start.frozen:
            freeze(slots)
        given.append(Given(start, slots, source))
    return tuple(given)


def _write(
    model: nn.Module, slots: tuple[Slot, ...], start: Start, sources: Sources, seed: int
) -> str | None:
    """Write the filters; the fingerprint of the source's, where they are copies."""
    kind, _, rest = (start.filters or "").partition(":")
    if kind == "random":
        return None
    if kind == "keys":
        _write_keys(slots, rest, seed)
        return None
    if kind == "donor":
        donors = donor_filters(rest, slots[0].kernel)
        fill(slots, assign(donors, slots, how=start.how or "depth", seed=seed))
        return None
    part = cast("Part", start.part)
    donor = sources(start.source or "")
    if start.how is None:
        copy_part(donor, model, part, first=start.first)
    else:
        _draw(donor, slots, part, start.how, seed)
    if kind == "spectrum":
        if any(slot.kernel == (1, 1) for slot in slots):
            msg = f"1x1 filters ({start.part}) have no phases: a matched spectrum is a copy."
            raise TransferError(msg)
        rng = np.random.default_rng(seed)
        fill(slots, [_scrambled(_values(slot), int(rng.integers(2**32))) for slot in slots])
        return None
    return fingerprint(part_of(donor, part)[: start.first]) if start.how is None else None


def _draw(donor: nn.Module, slots: tuple[Slot, ...], part: Part, how: How, seed: int) -> None:
    layers = [_values(slot) for slot in part_of(donor, part)]
    flat = [values.reshape(-1, *values.shape[2:]) for values in layers]
    fill(slots, assign(flat, slots, how=how, seed=seed))


def _values(slot: Slot) -> NDArray[np.float32]:
    """A copy of a layer's filters, ``(C_out, C_in/groups, kh, kw)``."""
    return np.array(slot.weight.detach().to("cpu", torch.float32).contiguous().numpy())


def _scrambled(values: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Filters with the same power spectrum each, and random phases: same mean, same norm."""
    from filterdb.keys.normal import normal_form
    from filterdb.keys.search.controls import same_spectrum

    kernel = (values.shape[2], values.shape[3])
    normal = normal_form(values.reshape(-1, kernel[0] * kernel[1]), zero=0)
    unit = same_spectrum(normal.unit, len(normal.unit), kernel, seed=seed)
    scrambled = unit * normal.norm[:, None] + normal.mean[:, None]
    return np.asarray(scrambled, np.float32).reshape(values.shape)


def _write_keys(slots: tuple[Slot, ...], spec: str, seed: int) -> None:
    """Keys drawn at random, of the strength that the network's own random filters have."""
    from filterdb import keys
    from filterdb.keys.torch.assigning import by_sample, checked_shares

    name, _, count = spec.rpartition(":")
    if not name or not count.isdecimal():
        name, count = spec, ""
    chosen = keys.load(name)
    if count:
        if not 1 <= int(count) <= len(chosen):
            msg = f"The key set {name!r} has {len(chosen)} keys, so that {count} cannot be taken."
            raise TransferError(msg)
        chosen = chosen.take(list(range(int(count))))
    shares = checked_shares(None, len(chosen))
    rng = np.random.default_rng(seed)
    filters: list[Filters] = []
    for slot in slots:
        if slot.kernel != chosen.kernel:
            msg = (
                "The keys of {!r} are {}x{} and the filters of the layer {!r} {}x{}. ".format(
                    name, *chosen.kernel, slot.name, *slot.kernel
                )
                + "Build the network with the kernel size of the keys, or take another set."
            )
            raise TransferError(msg)
        values = _values(slot)
        own = values.reshape(-1, slot.kernel[0] * slot.kernel[1])
        filters.append(by_sample(own, chosen, shares, rng).shapes.reshape(values.shape))
    fill(slots, filters)


def donor_filters(spec: str, kernel: tuple[int, int]) -> list[Filters]:
    """The depthwise filters of one kernel size in any file that filterdb reads, or a database.

    Parameters
    ----------
    spec
        Path of a file; of a database, with a condition on its layers after ``?`` where only some
        are meant.
    kernel
        Height and width.

    Returns
    -------
    list of ndarray
        One array ``(n_i, kh, kw)`` a layer, in the order of their relative depth.

    Raises
    ------
    TransferError
        There are none.
    ReadError, StoreError, QueryError
        The file or the database cannot be read, or the condition is wrong.
    """
    path, _, condition = spec.partition("?")
    layers = (_of_database if Path(path).is_dir() else _of_file)(path, condition, kernel)
    if not layers:
        msg = "{} has no depthwise layers of {}x{}{}, so it has no filters to give.".format(
            path, *kernel, f" where {condition}" if condition else ""
        )
        raise TransferError(msg)
    return layers


def _of_file(path: str, condition: str, kernel: tuple[int, int]) -> list[Filters]:
    from filterdb.reading import read

    if condition:
        msg = f"{path} is no database, so that no condition ({condition}) can be put to it."
        raise TransferError(msg)
    layers = [
        layer
        for layer in read(path).layers
        if layer.kind == "depthwise" and layer.shape[2:] == kernel
    ]
    layers.sort(key=lambda layer: layer.conv_depth_norm)
    return [layer.weights.reshape(-1, *kernel) for layer in layers]


def _of_database(path: str, condition: str, kernel: tuple[int, int]) -> list[Filters]:
    from filterdb.store.payload import payload_path, read_payload
    from filterdb.store.query import select_layers

    mine = "kind = 'depthwise' AND kh = {} AND kw = {}".format(*kernel)
    rows = select_layers(
        Path(path), f"{mine} AND n_invalid = 0 AND (\n{condition or 'TRUE'}\n)",
        also=("model_weights_hash",),
    )  # fmt: skip
    rows.sort(key=lambda row: float(row["conv_depth_norm"]))
    opened: dict[str, Mapping[str, Filters]] = {}
    layers = []
    for row in rows:
        key = row["model_weights_hash"]
        if key not in opened:
            opened[key] = read_payload(payload_path(Path(path), key))
        layers.append(opened[key][row["tensor"]].reshape(-1, *kernel))
    return layers


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
        The weights are not those of such a network.
    """
    data = run.data
    model = build(
        run.network, classes=classes, channels=data.channels, size=data.size, **run.arguments
    )
    try:
        model.load_state_dict({name: torch.from_numpy(own) for name, own in weights.items()})
    except RuntimeError as error:
        msg = f"The weights of {run.name} do not fit the network {run.network!r}: {error}"
        raise TransferError(msg) from error
    return model.eval()
