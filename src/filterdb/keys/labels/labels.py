"""Labels: which key the filters of every layer are copies of, and how many are of none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.fit import Fit
from filterdb.keys.key_set import THRESHOLD, KeySet
from filterdb.keys.normal import CONSTANT_CLASS, SHAPED, ZERO_CLASS
from filterdb.keys.storing import Storage, storage

if TYPE_CHECKING:
    import pandas as pd

SAME_WEIGHTS = "the same weights as another model's"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tally:
    """How many filters are copies of which key: each of them is counted once.

    Attributes
    ----------
    counts
        Filters by key with R² of at least the threshold, int64 of shape ``(K,)``.
    other
        Filters with a shape that no key fits so well.
    constant, zero
        Filters without a shape: constant ones, and nearly zero ones.
    mean_r2
        Mean R² of the filters with a shape; None where there are none.
    raw_bytes, keyed_bytes
        Of the weights as they are in the file, and as :func:`filterdb.keys.storing.storage`
        counts them by keys, the table of keys itself not included.
    """

    counts: NDArray[np.int64]
    other: int
    constant: int
    zero: int
    mean_r2: float | None
    raw_bytes: int
    keyed_bytes: int

    @property
    def n(self) -> int:
        """Number of filters."""
        return int(self.counts.sum()) + self.other + self.constant + self.zero

    @property
    def shaped(self) -> int:
        """Number of filters with a shape."""
        return int(self.counts.sum()) + self.other

    @property
    def columns(self) -> list[int]:
        """Filters by key, then those that are other, constant and nearly zero."""
        return [*map(int, self.counts), self.other, self.constant, self.zero]

    @property
    def coverage(self) -> float | None:
        """Share of the filters with a shape that a key fits; None where there are none."""
        return int(self.counts.sum()) / self.shaped if self.shaped else None

    @staticmethod
    def of(fit: Fit, keys: KeySet, *, threshold: float, dtype: str) -> Tally:
        """Count the filters of a layer.

        Parameters
        ----------
        fit
            Of its filters by the keys.
        keys
            The set.
        threshold
            R² from which a filter is a copy of its key.
        dtype
            Of the weights in the file.
        """
        shaped = fit.kind == SHAPED
        named = shaped & (fit.r2 >= threshold)
        other = int(np.count_nonzero(shaped & ~named))
        size = storage(
            fit.n, keys.kernel, len(keys), others=other, moves=moves_of(keys), dtype=dtype
        )
        return Tally(
            counts=np.bincount(fit.key[named], minlength=len(keys)),
            other=other,
            constant=int(np.count_nonzero(fit.kind == CONSTANT_CLASS)),
            zero=int(np.count_nonzero(fit.kind == ZERO_CLASS)),
            mean_r2=float(fit.r2[shaped].mean(dtype=np.float64)) if shaped.any() else None,
            raw_bytes=size.raw,
            keyed_bytes=size.keyed,
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON has them."""
        names = ("other", "constant", "zero", "mean_r2", "raw_bytes", "keyed_bytes")
        return {
            "filters": self.n,
            "counts": self.counts.tolist(),
            "coverage": self.coverage,
            **{name: getattr(self, name) for name in names},
        }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LayerLabels(Tally):
    """A layer, and how many of its filters are copies of which key.

    Attributes
    ----------
    model, layer
        Their names.
    model_id
        Number of the model in the catalogue; None for a file.
    layer_index
        Place among the model's convolution layers, from 0.
    kind
        ``"depthwise"``, ``"conv"``, ...
    depth
        Of the layer, 0 (first) to 1 (last).
    repeated
        The weights are those of an earlier model's layer: totals leave it out.
    """

    model: str
    model_id: int | None
    layer: str
    layer_index: int
    kind: str
    depth: float
    repeated: bool = False

    @classmethod
    def of_tally(cls, tally: Tally, **layer: Any) -> Self:
        """A tally, and the layer that it is of."""
        return cls(**{item.name: getattr(tally, item.name) for item in fields(Tally)}, **layer)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        names = ("model", "layer", "layer_index", "kind", "depth", "repeated")
        return {**{name: getattr(self, name) for name in names}, **Tally.to_dict(self)}


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Every layer's filters by key.

    Attributes
    ----------
    key_set
        The keys: ``.id``, ``.name``, ``.texts``, ``.kernel``.
    threshold
        R² from which a filter is a copy of its key.
    layers
        One row a layer, those with weights that an earlier model has included.
    left_out
        Why layers are not in it, or not in the totals -> how many.
    notes
        What else to know, in sentences.
    """

    key_set: KeySet
    threshold: float
    layers: tuple[LayerLabels, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[LayerLabels, ...]:
        """The layers that are in the totals: weights that several models share count once."""
        return tuple(layer for layer in self.layers if not layer.repeated)

    @property
    def total(self) -> Tally:
        """All filters together."""
        return added(self.counted, len(self.key_set))

    @property
    def storage(self) -> Storage:
        """Bytes of all filters, as they are and by keys, and of the table of keys."""
        total = self.total
        table = storage(0, self.key_set.kernel, len(self.key_set)).table
        return Storage(total.raw_bytes, total.keyed_bytes, table)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are in the totals."""
        return tuple(dict.fromkeys(layer.model for layer in self.counted))

    def by_model(self) -> dict[str, Tally]:
        """The filters of each model together, also of those with an earlier one's weights."""
        rows: dict[str, list[LayerLabels]] = {}
        for layer in self.layers:
            rows.setdefault(layer.model, []).append(layer)
        return {model: added(found, len(self.key_set)) for model, found in rows.items()}

    @property
    def coverage(self) -> dict[str, Any]:
        """What was gone through, and what was left out: models, layers, filters, reasons."""
        return {
            "models": len(self.models),
            "layers": len(self.counted),
            "filters": self.total.n,
            "left_out": dict(self.left_out),
        }

    def to_dict(self) -> dict[str, Any]:
        """The labels as JSON has them; counts are in the order of the keys."""
        return {
            "key_set": {
                "id": self.key_set.id,
                "name": self.key_set.name,
                "kernel": list(self.key_set.kernel),
                "keys": list(self.key_set.texts),
                "equivalence": self.key_set.equivalence.to_dict(),
            },
            "threshold": self.threshold,
            "coverage": self.coverage,
            "total": self.total.to_dict(),
            "storage": self.storage.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row a layer, one column a key (``"key 1: Gaussian"``), as CSV has them."""
        columns = [f"key {place}: {text}" for place, text in enumerate(self.key_set.texts, 1)]
        rows = []
        for layer in self.layers:
            row = layer.to_dict()
            counts = row.pop("counts")
            rows.append(row | dict(zip(columns, counts, strict=True)))
        return rows

    def to_pandas(self) -> pd.DataFrame:
        """One row a layer, one column a key (needs the extra ``pandas``)."""
        from filterdb.extras import data_frame

        return data_frame(self.rows())

    def __repr__(self) -> str:
        total = self.total
        share = "no filter has a shape" if total.coverage is None else (
            f"{total.coverage:.1%} of {total.shaped:,} filters are copies of a key "
            f"(R² >= {self.threshold:g})"
        )  # fmt: skip
        return f"<Labels by {self.key_set.name!r}: {share}>"


def check_threshold(threshold: float) -> None:
    """Require a share of variance.

    Raises
    ------
    KeySetError
        It is none.
    """
    if not 0 <= threshold <= 1:
        msg = f"threshold is {threshold:g}; R² is a share between 0 and 1, such as {THRESHOLD}."
        raise KeySetError(msg)


def moves_of(keys: KeySet) -> int:
    """How many moves of each key are the same key (:meth:`Equivalence.transforms`)."""
    return _moves_of(keys.equivalence, keys.kernel)


@cache
def _moves_of(same: Equivalence, kernel: Kernel) -> int:
    return len(same.transforms(kernel))


def added(tallies: Iterable[Tally], n_keys: int) -> Tally:
    """Several tallies together."""
    found = list(tallies)
    return Tally(
        counts=sum((tally.counts for tally in found), np.zeros(n_keys, np.int64)),
        mean_r2=_mean_r2(found),
        **{name: sum(getattr(tally, name) for tally in found) for name in SUMS},
    )


def _mean_r2(tallies: Sequence[Tally]) -> float | None:
    """Mean over the filters with a shape."""
    known = [(t.shaped, t.mean_r2) for t in tallies if t.mean_r2 is not None]
    total = sum(shaped for shaped, _ in known)
    return sum(shaped * mean for shaped, mean in known) / total if total else None


SUMS = tuple(item.name for item in fields(Tally) if item.name not in ("counts", "mean_r2"))
