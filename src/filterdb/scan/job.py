"""What is asked of every layer: a small object that goes to the workers, with its settings."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import StoreError
from filterdb.scan.parts import Part, ScanLayer
from filterdb.stats.basis import Basis
from filterdb.store.payload import payload_path

VERSION = 1
"""Raise it when a job's arrays come to mean something else: older checkpoints are then void."""
SEEN = "seen"

Arrays = Mapping[str, NDArray[Any]]
Value = TypeVar("Value")


class Job(ABC, Generic[Value]):
    """A question to a layer. Subclasses are frozen dataclasses of plain settings.

    The answer travels, and is kept for resuming, as a few arrays; :meth:`value` says what they
    mean. One of them, ``seen``, is the number of filters that were gone through: a scan compares
    it with the catalogue.
    """

    per_layer: ClassVar[bool] = True
    """Whether each layer has an answer of its own; else the arrays of a part are added up."""

    @abstractmethod
    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:
        """Ask a layer.

        Parameters
        ----------
        filters
            Shape ``(n, k)``, perhaps mapped; not changed.
        layer
            What the catalogue says of it.

        Raises
        ------
        ValueError
            A weight is not finite, or the job does not fit the kernel size.
        """

    @abstractmethod
    def value(self, arrays: Arrays) -> Value:
        """The answer that the arrays stand for."""

    def answers(self, part: Part) -> list[Arrays]:
        """Ask every layer of a part: one answer a layer, or their sum."""
        each = (self.ask(part, layer, filters) for layer, filters in part.read())
        return list(each) if self.per_layer else [added(each)]

    def ask(self, part: Part, layer: ScanLayer, filters: NDArray[np.float32]) -> Arrays:
        """Ask a layer; what goes wrong says where.

        Raises
        ------
        StoreError
            The layer cannot be scanned.
        """
        try:
            return self(filters, layer)
        except Exception as error:
            path = payload_path(part.folder, layer.weights_hash)
            msg = (
                f"The layer {layer.tensor!r} of the payload {path} cannot be scanned "
                f"({type(error).__name__}: {error}). Leave its model out, and if its weights are "
                "sound, please report this."
            )
            raise StoreError(msg) from error

    def fits(self, part: Part, answers: Sequence[Arrays]) -> bool:
        """Whether answers are about as many layers and filters as the catalogue says."""
        expected = [layer.n_filters for layer in part.layers]
        seen = [int(arrays[SEEN]) for arrays in answers]
        return seen == (expected if self.per_layer else [sum(expected)])

    @property
    def key(self) -> str:
        """16 hexadecimal digits: a hash of the question and its settings."""
        settings = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        content = [VERSION, type(self).__qualname__, settings]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]


def added(answers: Iterable[Arrays]) -> dict[str, NDArray[Any]]:
    """Arrays of several layers, added up name by name."""
    total: dict[str, NDArray[Any]] = {}
    for arrays in answers:
        for name, array in arrays.items():
            total[name] = total[name] + array if name in total else array
    return total


def _plain(setting: object) -> object:
    """A setting as JSON has it: a basis is known by its hash."""
    if isinstance(setting, Basis):
        return setting.id
    if isinstance(setting, tuple):
        return [_plain(item) for item in setting]
    return setting
