"""What a scan goes through: layers, dealt into parts that are about equally much work."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError
from filterdb.stats.basis import Kernel
from filterdb.stats.folding import folded
from filterdb.stats.summary import BLOCK
from filterdb.store.folded import scale_of
from filterdb.store.payload import payload_path, read_payload

PART_BYTES = 32 * 2**20
"""Weights of a part: a moment's work, and what a killed worker loses."""


@dataclass(frozen=True, slots=True)
class ScanLayer:
    """A layer as the catalogue knows it.

    Attributes
    ----------
    model_id, layer_index
        Its place in the catalogue.
    tensor
        Its name in the payload.
    shape
        ``(C_out, C_in/groups, kh, kw)``.
    n_filters
        Number of filters that the catalogue says it has.
    weights_hash
        Of the model: the name of the payload.
    scale
        What its filters are multiplied by, one number an output channel, as the catalogue has
        it; empty to take them as they are.
    """

    model_id: int
    layer_index: int
    tensor: str
    shape: tuple[int, ...]
    n_filters: int
    weights_hash: str
    scale: bytes = b""

    @classmethod
    def of(cls, row: Mapping[str, Any], *, scale: bytes | None = None) -> Self:
        """A row of ``layers`` with the ``weights_hash`` of its model as ``model_weights_hash``."""
        return cls(
            model_id=row["model_id"],
            layer_index=row["layer_index"],
            tensor=row["tensor"],
            shape=(row["out_channels"], row["in_per_group"], row["kh"], row["kw"]),
            n_filters=row["n_filters"],
            weights_hash=row["model_weights_hash"],
            scale=scale or b"",
        )

    @property
    def kernel(self) -> Kernel:
        """Height and width of its filters, in taps."""
        return self.shape[-2], self.shape[-1]

    @property
    def taps(self) -> int:
        """Number of weights of a filter."""
        return self.shape[-2] * self.shape[-1]


@dataclass(frozen=True, slots=True)
class Part:
    """Layers that are scanned at one go: some of a payload, or those of several small ones.

    Attributes
    ----------
    folder
        The database, as an absolute path that is the same for every worker.
    layers
        At least one.
    """

    folder: Path
    layers: tuple[ScanLayer, ...]

    @property
    def n_filters(self) -> int:
        """Number of filters that the catalogue says it has."""
        return sum(layer.n_filters for layer in self.layers)

    @property
    def paths(self) -> list[Path]:
        """Its payload files."""
        hashes = dict.fromkeys(layer.weights_hash for layer in self.layers)
        return [payload_path(self.folder, weights_hash) for weights_hash in hashes]

    @property
    def label(self) -> str:
        """Its payload files, in words."""
        first, *others = self.paths
        return f"{first} (and {len(others)} more)" if others else str(first)

    @property
    def key(self) -> str:
        """16 hexadecimal digits: a hash of the weights that it stands for, wherever they lie."""
        content = [
            (layer.weights_hash, layer.tensor, layer.shape)
            + ((hashlib.sha256(layer.scale).hexdigest(),) if layer.scale else ())
            for layer in self.layers
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def read(self) -> Iterator[tuple[ScanLayer, NDArray[np.float32]]]:
        """Map the layers one after the other, each with its filters of shape ``(n, k)``.

        Raises
        ------
        FileNotFoundError
            A payload is not there, or cannot be seen from here.
        DamagedStoreError
            A payload cannot be read, or holds something else than the catalogue says.
        """
        for weights_hash, layers in groupby(self.layers, key=attrgetter("weights_hash")):
            path = payload_path(self.folder, weights_hash)
            if not path.is_file():
                raise FileNotFoundError(errno.ENOENT, "There is no such payload", str(path))
            tensors = read_payload(path)
            for layer in layers:
                weights = tensors.get(layer.tensor)
                if weights is None or weights.shape != layer.shape:
                    found = "none" if weights is None else f"one of shape {weights.shape}"
                    msg = (
                        f"The payload {path} should hold a tensor {layer.tensor!r} of shape "
                        f"{layer.shape}, and holds {found}. `filterdb verify` names what is "
                        "damaged; remove those models and ingest their files again."
                    )
                    raise DamagedStoreError(msg)
                if layer.scale:
                    weights = folded(weights, scale_of(layer.scale, layer.shape[0]))
                yield layer, weights.reshape(-1, layer.taps)


def split(folder: Path, layers: Iterable[ScanLayer], *, part_bytes: int = PART_BYTES) -> list[Part]:
    """Deal layers into parts of about the same size, in their order.

    Parameters
    ----------
    folder
        The database.
    layers
        Those of one model should stand together: each payload is then opened once or twice.
    part_bytes
        Weights of a part, in bytes. A small layer counts as one of 8,192 filters, since what is
        found out about it is as large; a larger layer than this is a part of its own, and is
        read a block of filters at a time.
    """
    place = folder.absolute()
    parts: list[Part] = []
    chosen: list[ScanLayer] = []
    size = 0
    for layer in layers:
        cost = 4 * layer.taps * max(layer.n_filters, BLOCK)
        if chosen and size + cost > part_bytes:
            parts.append(Part(place, tuple(chosen)))
            chosen, size = [], 0
        chosen.append(layer)
        size += cost
    return [*parts, Part(place, tuple(chosen))] if chosen else parts
