"""What a picture needs of a result: the classes themselves stand above the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class ShownKeyName(Protocol):
    """What the analytic family calls a key."""

    @property
    def sigma_x(self) -> float | None:
        """Scale across, in pixels; None where it has none."""

    @property
    def sigma_y(self) -> float | None:
        """Scale down, in pixels; None where it has none."""


class ShownKeys(Protocol):
    """A key set."""

    @property
    def name(self) -> str:
        """Of the set."""

    @property
    def filters(self) -> NDArray[np.float64]:
        """The keys, shape ``(K, kh, kw)``."""

    @property
    def texts(self) -> Sequence[str]:
        """What each key is called; no two alike."""

    @property
    def names(self) -> Sequence[ShownKeyName]:
        """The scales of each."""


class ShownExplained(Protocol):
    """How well keys fit filters."""

    @property
    def filters(self) -> int:
        """Number of filters with a shape."""

    @property
    def shares(self) -> Sequence[float]:
        """Of these, with R² of at least each threshold."""


class ShownControl(Protocol):
    """What chance does with as many keys."""

    @property
    def by_found(self) -> ShownExplained:
        """Kernels of the control, explained by the networks' keys."""

    @property
    def by_own(self) -> ShownExplained:
        """Kernels of the control, explained by keys found on others of its kernels."""


class ShownPoint(Protocol):
    """What so many keys explain of networks that they were not found on."""

    @property
    def k(self) -> int:
        """Number of keys."""

    @property
    def networks(self) -> ShownExplained:
        """Filters of held-out networks."""

    @property
    def layers(self) -> Sequence[float]:
        """Share of their layers whose median filter has R² of at least each threshold."""

    @property
    def controls(self) -> Mapping[str, ShownControl]:
        """Name of a control -> what chance does."""


class ShownExamples(Protocol):
    """The filters that keys fit best and worst."""

    @property
    def best(self) -> NDArray[np.float32]:
        """Normal forms, shape ``(m, kh, kw)``."""

    @property
    def best_r2(self) -> NDArray[np.float32]:
        """Their R², shape ``(m,)``."""

    @property
    def worst(self) -> NDArray[np.float32]:
        """Normal forms, shape ``(m, kh, kw)``."""

    @property
    def worst_r2(self) -> NDArray[np.float32]:
        """Their R², shape ``(m,)``."""


class ShownCodeAxis(Protocol):
    """What an autoencoder with one code draws along it."""

    @property
    def decoded(self) -> NDArray[np.float64]:
        """Filters at evenly spaced codes, shape ``(C, kh, kw)``."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many filters have their code nearest to each, shape ``(C,)``."""

    @property
    def kept(self) -> Sequence[int]:
        """Indices of those that became keys."""
