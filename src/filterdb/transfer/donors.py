"""Depthwise filters of any file that filterdb reads, or of a selection from a database. No torch.

A donor is written ``PATH`` or ``DATABASE?CONDITION``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import TransferError
from filterdb.words import counted

Filters = NDArray[np.floating]
Kernel = tuple[int, int]

KEPT = 8
"""Donors whose filters stay in memory."""
DEAD = 1e-4
"""A filter none of whose weights is larger is dead."""
SHOWN = 6
"""Networks that a sentence names."""


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """What a file or a database has to give.

    Attributes
    ----------
    spec
        As it was asked for.
    kernel
        Height and width of the filters.
    layers
        One array ``(n_i, kh, kw)`` a layer, in the order of their relative depth.
    networks
        Names of those that the layers are of.
    left_out
        Layers of that size with values that are not finite.
    dead
        Filters that were left out because they do next to nothing (METHODS 3.3, item 1).
    """

    spec: str
    kernel: Kernel
    layers: tuple[Filters, ...]
    networks: tuple[str, ...]
    left_out: int = 0
    dead: int = 0

    @property
    def content(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the filters."""
        digest = hashlib.sha256()
        for layer in self.layers:
            digest.update(f"{layer.shape}".encode())
            digest.update(np.ascontiguousarray(layer, "<f4").tobytes())
        return digest.hexdigest()[:16]

    def __str__(self) -> str:
        count = sum(map(len, self.layers))
        names = ", ".join(self.networks[:SHOWN])
        more = f" and {len(self.networks) - SHOWN} more" if len(self.networks) > SHOWN else ""
        told = (
            f"{counted(count, f'depthwise {_size(self.kernel)} filter')} in "
            f"{counted(len(self.layers), 'layer')} of {counted(len(self.networks), 'network')} "
            f"({names}{more})"
        )
        if self.left_out:
            told += f", without {counted(self.left_out, 'layer')} whose values are not all finite"
        if self.dead:
            no = f"{counted(self.dead, 'dead filter')}, of no weight above {DEAD:g}"
            told += f"{' and' if self.left_out else ','} without {no}"
        return told


@lru_cache(maxsize=KEPT)
def donor(spec: str, kernel: Kernel) -> Donor:
    """Read the depthwise filters of one kernel size.

    Parameters
    ----------
    spec
        Path of a file; of a database, with a condition on its layers after ``?`` where only some
        are meant.
    kernel
        Height and width.

    Raises
    ------
    TransferError
        There are none (the message has the sizes that there are), or all are dead.
    ReadError, StoreError, QueryError
        The file or the database cannot be read, or the condition is wrong.
    """
    path, _, condition = spec.partition("?")
    if Path(path).is_dir():
        found = _of_database(Path(path), condition)
    elif condition:
        msg = f"{path} is no database, so that no condition ({condition}) can be put to it."
        raise TransferError(msg)
    else:
        found = _of_file(path)
    mine = [layer for layer in found if layer.kernel == kernel]
    if not mine:
        raise TransferError(_nothing(path, condition, kernel, found))
    whole = [layer for layer in mine if layer.finite]
    if not whole:
        msg = f"{path}: none of its depthwise {_size(kernel)} layers has finite values alone."
        raise TransferError(msg)
    whole.sort(key=lambda layer: layer.depth)
    every = [layer.load().reshape(-1, *kernel) for layer in whole]
    alive = [layer[np.abs(layer).max(axis=(1, 2)) > DEAD] for layer in every]
    layers = tuple(layer for layer in alive if len(layer))
    if not layers:
        msg = (
            f"{path}: all of its depthwise {_size(kernel)} filters are dead: none has a weight "
            f"above {DEAD:g}. Take another donor."
        )
        raise TransferError(msg)
    return Donor(
        spec=spec,
        kernel=kernel,
        layers=layers,
        networks=tuple(dict.fromkeys(layer.network for layer in whole)),
        left_out=len(mine) - len(whole),
        dead=sum(map(len, every)) - sum(map(len, layers)),
    )


def donor_filters(spec: str, kernel: Kernel) -> list[Filters]:
    """The filters of :func:`donor`, one array ``(n_i, kh, kw)`` a layer."""
    return list(donor(spec, kernel).layers)


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A depthwise layer of a donor; its weights are read when they are asked for."""

    network: str
    kernel: Kernel
    depth: float
    finite: bool
    load: Callable[[], Filters]


def _of_file(path: str) -> list[_Layer]:
    from filterdb.reading import read

    return [
        _Layer(Path(path).name, layer.shape[2:], layer.conv_depth_norm,
               bool(np.isfinite(layer.weights).all()), partial(getattr, layer, "weights"))
        for layer in read(path).layers
        if layer.kind == "depthwise"
    ]  # fmt: skip


def _of_database(path: Path, condition: str) -> list[_Layer]:
    from filterdb.store.payload import payload_path, read_payload
    from filterdb.store.query import select_layers

    def tensor(key: str, name: str) -> Filters:
        return read_payload(payload_path(path, key))[name]  # mapped, not read

    rows = select_layers(
        path, f"kind = 'depthwise' AND (\n{condition or 'TRUE'}\n)", also=("model_weights_hash",)
    )
    return [
        _Layer(row["model"], (row["kh"], row["kw"]), float(row["conv_depth_norm"]),
               not row["n_invalid"], partial(tensor, row["model_weights_hash"], row["tensor"]))
        for row in rows
    ]  # fmt: skip


def _nothing(path: str, condition: str, kernel: Kernel, found: Iterable[_Layer]) -> str:
    """Why there is nothing to take, and what there is."""
    where = f" where {condition}" if condition else ""
    sizes = Counter(layer.kernel for layer in found)
    if not sizes:
        return f"{path} has no depthwise layers{where}, so it has no filters to give."
    told = ", ".join(f"{_size(size)} ({counted(n, 'layer')})" for size, n in sorted(sizes.items()))
    return (
        f"{path} has no depthwise layers of {_size(kernel)}{where}. It has {told}. Build the "
        "network with such a kernel (network.kernel), or take another donor."
    )


def _size(kernel: Kernel) -> str:
    return "{}x{}".format(*kernel)
