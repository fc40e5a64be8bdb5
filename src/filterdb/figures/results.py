"""What a picture needs of a result: the classes themselves stand above the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ShownGroup(Protocol):
    """A group of layers, and how much it holds."""

    @property
    def name(self) -> str:
        """What the layers have in common."""

    @property
    def models(self) -> int:
        """Number of networks."""

    @property
    def filters(self) -> int:
        """Number of filters."""


class ShownShift(Protocol):
    """D between all pairs of groups, with its null."""

    @property
    def by(self) -> str:
        """The axis."""

    @property
    def preset(self) -> str:
        """How D was computed."""

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the filters."""

    @property
    def groups(self) -> Sequence[ShownGroup]:
        """The groups, in the order of the matrices."""

    @property
    def ordered(self) -> bool:
        """Whether that order means something (depth, epoch)."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """D, shape ``(G, G)``; NaN where there is none."""

    @property
    def null_p95(self) -> NDArray[np.float64]:
        """95th percentile of D between random splits, shape ``(G, G)``; NaN where none."""
