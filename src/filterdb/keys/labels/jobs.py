"""What a scan asks of the filters: which key each is a copy of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.fit import Fit, fit_keys
from filterdb.keys.key_set import KeySet
from filterdb.keys.normal import ZERO
from filterdb.scan.job import SEEN, Arrays, Job
from filterdb.scan.parts import ScanLayer
from filterdb.store.key_labels import LABEL

FLOATS = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class LabelJob(Job[Fit]):
    """The best key of every filter of each layer.

    Attributes
    ----------
    keys
        Little-endian float64, ``K * kh * kw`` of them: plain settings tell one job from another.
    kernel
        Height and width of the keys.
    equivalence
        What does not matter when filters are compared with them.
    zero
        Filters whose weights are all at most this are nearly zero.
    """

    keys: bytes
    kernel: Kernel
    equivalence: Equivalence
    zero: float = ZERO

    @classmethod
    def of(cls, keys: KeySet) -> Self:
        """The job that labels filters by a set."""
        return cls(keys.flat.astype(FLOATS).tobytes(), keys.kernel, keys.equivalence)

    def __call__(self, filters: NDArray[np.float32], layer: ScanLayer) -> Arrays:
        """Labels of a layer."""
        if layer.kernel != self.kernel:
            msg = f"keys of size {self.kernel} do not fit filters of size {layer.kernel}"
            raise ValueError(msg)
        keys = np.frombuffer(self.keys, FLOATS).reshape(-1, layer.taps)
        fit = fit_keys(filters, keys, self.kernel, equivalence=self.equivalence, zero=self.zero)
        return {SEEN: np.asarray(fit.n), "labels": labels_of(fit)}

    def value(self, arrays: Arrays) -> Fit:
        """The fits of the layer's filters."""
        return fit_of(arrays["labels"])


def labels_of(fit: Fit) -> NDArray[np.void]:
    """Fits as the catalogue keeps them, shape ``(n,)`` and of dtype ``LABEL``."""
    labels = np.empty(fit.n, LABEL)
    for name in LABEL.names or ():
        labels[name] = getattr(fit, name)
    return labels


def fit_of(labels: NDArray[np.void]) -> Fit:
    """The fits that :func:`labels_of` put together."""
    return Fit(**{name: np.ascontiguousarray(labels[name]) for name in LABEL.names or ()})
