"""The layers of one checkpoint, taken one after the other: fitted by keys, and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import while_reading
from filterdb.keys.fit import Fit, fit_keys
from filterdb.keys.key_set import KeySet
from filterdb.keys.normal import CONSTANT_CLASS, SHAPED, ZERO_CLASS
from filterdb.keys.replacing.replacement import LayerLeft, ReplacedLayer
from filterdb.keys.replacing.writers.slot import FLOATS, Slot, Slots, Writer, by_layer, rounded
from filterdb.keys.storing import Storage, storage
from filterdb.layer import ConvLayer


class LeftAloneError(Exception):
    """A layer is not replaced; the message is the reason, a clause."""


class Surgeon:
    """Replaces the layers of one file, and remembers what it did.

    Attributes
    ----------
    changes
        New bytes of the slots that change.
    layers, left, storage
        As in :class:`~filterdb.keys.replacing.replacement.Replacement`.
    """

    def __init__(self, path: Path, writer: Writer, keys: KeySet, *, min_r2: float) -> None:
        self.path = path
        self.writer = writer
        self.keys = keys
        self.min_r2 = min_r2
        self.views = keys.equivalence.views(keys.flat, keys.kernel).astype(np.float64)
        self.slots: Slots = writer.slots(path)
        self.names = by_layer(self.slots)
        self.changes: dict[Slot, bytes] = {}
        self.layers: list[ReplacedLayer] = []
        self.left: list[LayerLeft] = []
        self.storage: list[Storage] = []

    def take(self, layer: ConvLayer) -> None:
        """Replace the filters of a layer, or note why not.

        Raises
        ------
        ReadError
            Its weights are damaged.
        """
        try:
            slot, weights = self.slot_of(layer)
            fit = self.fit(weights)
            new, replaced = self.replaced(weights, fit, layer.dtype)
        except LeftAloneError as error:
            left = LayerLeft(layer.name, layer.index, layer.kind, layer.kernel, str(error))
            self.left.append(left)
            return
        self.changes[slot] = slot.encode(new)
        self.layers.append(_account(layer, fit, replaced, weights, new))
        self.storage.append(
            storage(
                layer.n_filters,
                layer.kernel,
                len(self.keys),
                others=int(((fit.kind == SHAPED) & ~replaced).sum()),
                moves=self.views.shape[1],
                dtype=layer.dtype,
            )
        )

    def slot_of(self, layer: ConvLayer) -> tuple[Slot, NDArray[Any]]:
        """Where the weights of a layer lie, and the weights."""
        if layer.kind != "depthwise":
            msg = f"its kind is {layer.kind}, not depthwise"
            raise LeftAloneError(msg)
        if layer.kernel != self.keys.kernel:
            msg = "its filters are {}x{}, the keys {}x{}".format(*layer.kernel, *self.keys.kernel)
            raise LeftAloneError(msg)
        if layer.dtype not in FLOATS:
            msg = f"its weights are {layer.dtype}, which cannot hold a x + b"
            raise LeftAloneError(msg)
        named = [self.slots[name] for name in self.names.get(layer.name, ())]
        slots = [slot for slot in named if isinstance(slot, Slot) and slot.dtype == layer.dtype]
        with while_reading(file=str(self.path), layer=layer.name):
            weights = layer.load()
            same = [slot for slot in slots if self.holds(slot, weights)]
        if len(same) == 1:
            return same[0], weights
        reasons = [slot for slot in named if isinstance(slot, str)] or [self.writer.MISSING]
        if same:
            reasons = ["several tensors of the file may be its weight"]
        raise LeftAloneError(reasons[0])

    def holds(self, slot: Slot, weights: NDArray[Any]) -> bool:
        """Whether the bytes of a slot are those of the weights that the reader gives."""
        expected = slot.encode(weights)
        return self.writer.stored(self.path, slot, len(expected)) == expected

    def fit(self, weights: NDArray[Any]) -> Fit:
        """The fit of a layer's filters by the keys."""
        taps = weights.shape[2] * weights.shape[3]
        with np.errstate(over="ignore"):
            filters = np.asarray(weights, np.float32).reshape(-1, taps)
        if not np.isfinite(filters).all():
            msg = "a weight of it is NaN, infinite or beyond float32"
            raise LeftAloneError(msg)
        return fit_keys(
            filters, self.keys.flat, self.keys.kernel, equivalence=self.keys.equivalence
        )

    def replaced(
        self, weights: NDArray[Any], fit: Fit, dtype: str
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The new weights of a layer, of the type of the old, and which filters are new."""
        # Where the sign matters a filter may be like no key: a is 0, and a constant is no copy.
        chosen = (fit.kind == SHAPED) & (fit.r2 >= self.min_r2) & (fit.a != 0)
        moved = self.views[fit.key[chosen], fit.view[chosen]]
        a, b = (part[chosen, None].astype(np.float64) for part in (fit.a, fit.b))
        fitted = rounded(a * moved + b, dtype)
        if not np.isfinite(fitted).all():
            msg = f"a x + b is beyond {dtype} for a filter of it"
            raise LeftAloneError(msg)
        new = np.array(weights, order="C")
        new.reshape(-1, moved.shape[1])[chosen] = fitted
        return new, chosen


def _account(
    layer: ConvLayer,
    fit: Fit,
    replaced: NDArray[np.bool_],
    weights: NDArray[Any],
    new: NDArray[Any],
) -> ReplacedLayer:
    """The row of the report for a layer."""
    shaped = fit.kind == SHAPED
    r2 = fit.r2[shaped].astype(np.float64)
    return ReplacedLayer(
        name=layer.name,
        index=layer.index,
        shape=layer.shape,
        dtype=layer.dtype,
        filters=fit.n,
        replaced=int(replaced.sum()),
        other=int((shaped & ~replaced).sum()),
        constant=int((fit.kind == CONSTANT_CLASS).sum()),
        zero=int((fit.kind == ZERO_CLASS).sum()),
        mean_r2=float(r2.mean()) if len(r2) else None,
        worst_r2=float(r2.min()) if len(r2) else None,
        residual=_residual(weights, new),
        norm=_norm(weights),
    )


def _norm(weights: NDArray[Any]) -> float:
    """``||w||``; weights of any size stay in range."""
    peak = float(np.abs(weights).max(initial=0))
    return peak and peak * float(np.linalg.norm(weights.astype(np.float64) / peak))


def _residual(weights: NDArray[Any], new: NDArray[Any]) -> float:
    """``||w - w'|| / ||w||``; weights of any size stay in range."""
    peak = float(np.abs(weights).max(initial=0))
    if peak == 0:
        return 0.0
    old, change = weights.astype(np.float64) / peak, new.astype(np.float64) / peak
    return float(np.linalg.norm(old - change) / np.linalg.norm(old))
