"""What :func:`~filterdb.keys.replacing.replacing.replace` did to each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import hypot
from pathlib import Path
from typing import Any

from filterdb.keys.equivalence import Kernel
from filterdb.keys.storing import Storage


@dataclass(frozen=True, slots=True)
class ReplacedLayer:
    """A depthwise layer whose filters were replaced by their fits.

    Attributes
    ----------
    name, index, shape, dtype
        As in :class:`~filterdb.layer.ConvLayer`.
    filters
        All of them; the sum of the next four.
    replaced
        By ``a x + b``.
    other
        R² below the least that was asked for: kept as they are.
    constant, zero
        Constant and nearly zero filters, which are kept as they are.
    mean_r2, worst_r2
        Over all filters with a shape; None where there are none.
    residual
        ``||w - w'|| / ||w||`` over the layer, with w' as it was written; 0 where w is 0.
    norm
        ``||w||``.
    """

    name: str
    index: int
    shape: tuple[int, int, int, int]
    dtype: str
    filters: int
    replaced: int
    other: int
    constant: int
    zero: int
    mean_r2: float | None
    worst_r2: float | None
    residual: float
    norm: float

    @property
    def shaped(self) -> int:
        """Filters with a shape."""
        return self.replaced + self.other


@dataclass(frozen=True, slots=True)
class LayerLeft:
    """A layer that is in the copy as it was.

    Attributes
    ----------
    name, index, kind, kernel
        As in :class:`~filterdb.layer.ConvLayer`.
    reason
        Why, as a clause.
    """

    name: str
    index: int
    kind: str
    kernel: Kernel
    reason: str


@dataclass(frozen=True, slots=True)
class Replacement:
    """A checkpoint whose depthwise filters are affine copies of keys.

    Attributes
    ----------
    source, out, format
        The file, its copy, and the format of both.
    keys, keys_id
        Name and version of the key set.
    min_r2
        Filters below it were kept.
    layers, left
        The layers that were replaced, and all others, each with its reason.
    storage
        Bytes of the replaced layers, as they are and by keys.
    """

    source: Path
    out: Path
    format: str
    keys: str
    keys_id: str
    min_r2: float
    layers: Sequence[ReplacedLayer]
    left: Sequence[LayerLeft]
    storage: Storage

    @property
    def filters(self) -> int:
        """Filters in the layers that were replaced."""
        return sum(layer.filters for layer in self.layers)

    @property
    def replaced(self) -> int:
        """Filters that were replaced by their fits."""
        return sum(layer.replaced for layer in self.layers)

    @property
    def mean_r2(self) -> float | None:
        """Mean of R² over all filters with a shape in these layers; None where there are none."""
        known = [(one.shaped, one.mean_r2) for one in self.layers if one.mean_r2 is not None]
        count = sum(shaped for shaped, _ in known)
        return sum(shaped * mean for shaped, mean in known) / count if count else None

    @property
    def worst_r2(self) -> float | None:
        """The smallest R² in these layers; None where no filter has a shape."""
        return min((one.worst_r2 for one in self.layers if one.worst_r2 is not None), default=None)

    @property
    def residual(self) -> float:
        """``||w - w'|| / ||w||`` over all of these layers together."""
        peak = max((one.norm for one in self.layers), default=0.0)
        if not peak:
            return 0.0
        change = hypot(*(one.residual * (one.norm / peak) for one in self.layers))
        return change / hypot(*(one.norm / peak for one in self.layers))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        plain = asdict(self)
        return {
            **plain,
            "source": str(self.source),
            "out": str(self.out),
            "storage": self.storage.to_dict(),
            "total": {
                "filters": self.filters,
                "replaced": self.replaced,
                "mean_r2": self.mean_r2,
                "worst_r2": self.worst_r2,
                "residual": self.residual,
            },
        }
