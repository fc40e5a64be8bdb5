"""The affine fit of filters by keys: ``a x + b`` with the key that leaves least (METHODS 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.normal import SHAPED, ZERO, NormalForm, normal_form

NO_KEY = -1
BLOCK = 2048
"""Filters at a time: their cosines with some ten keys stay in the cache of a core."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The best key of each filter, and how well it fits.

    Attributes
    ----------
    key
        Index of the key, int16 of shape ``(n,)``; -1 where the filter has no shape.
    view
        Which of the moves of the key (:meth:`Equivalence.transforms`), uint8 of shape ``(n,)``.
    a, b
        Float32 of shape ``(n,)``: ``a key + b`` is the filter, as nearly as may be. ``b`` is the
        mean of the filter; ``a`` is 0 where the filter has no shape.
    r2
        Share of the filter's variance over its taps that the fit explains, the squared cosine,
        float32 of shape ``(n,)`` in 0..1; NaN where the filter has no shape.
    kind
        Class of the filter (:mod:`filterdb.keys.normal`), int8 of shape ``(n,)``.
    """

    key: NDArray[np.int16]
    view: NDArray[np.uint8]
    a: NDArray[np.float32]
    b: NDArray[np.float32]
    r2: NDArray[np.float32]
    kind: NDArray[np.int8]

    @property
    def n(self) -> int:
        """Number of filters."""
        return len(self.key)


def fit_keys(
    filters: NDArray[np.floating],
    keys: NDArray[np.floating],
    kernel: Kernel,
    *,
    equivalence: Equivalence | None = None,
    zero: float = ZERO,
) -> Fit:
    """Fit every filter with its best key.

    Parameters
    ----------
    filters
        Shape ``(n, k)``; not changed.
    keys
        Shape ``(K, k)``, any offset and norm.
    kernel
        Height and width, ``kh * kw = k``.
    equivalence
        What does not matter besides ``a`` and ``b``; the sign alone if not given.
    zero
        As :func:`~filterdb.keys.normal.normal_form` takes it.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        A weight is not finite, or the shapes do not go together.
    """
    same = equivalence or Equivalence()
    taps = kernel[0] * kernel[1]
    if np.ndim(filters) != 2 or not filters.shape[1] == taps == np.shape(keys)[-1]:
        msg = f"filters of shape {filters.shape} and keys of {np.shape(keys)} are not {kernel}"
        raise ValueError(msg)
    views = same.views(keys, kernel)
    blocks = [
        _fit_block(normal_form(filters[start : start + BLOCK], zero=zero), views, same)
        for start in range(0, max(len(filters), 1), BLOCK)
    ]
    joined = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Fit(*joined)


def best_view(
    unit: NDArray[np.float32], views: NDArray[np.float32], *, signed: bool
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The view that is most like each filter, and its cosine.

    Parameters
    ----------
    unit
        Filters in normal form, ``(n, k)``.
    views
        Keys in normal form, ``(K V, k)``.
    signed
        Whether a negative cosine is no likeness.

    Returns
    -------
    best : ndarray of intp, shape (n,)
    cosine : ndarray of float32, shape (n,)
        With its sign; 0 where it would be negative and ``signed`` is set.
    """
    cosines = unit @ views.T
    best = (cosines if signed else np.abs(cosines)).argmax(axis=1)
    cosine = np.take_along_axis(cosines, best[:, None], axis=1)[:, 0]
    return best, np.maximum(cosine, 0) if signed else cosine


def nearest_keys(
    unit: NDArray[np.float32], keys: NDArray[np.floating], kernel: Kernel, same: Equivalence
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The best key of filters in normal form, and R² by it.

    Parameters
    ----------
    unit
        Filters in normal form, ``(n, k)``.
    keys
        Shape ``(K, k)``.
    kernel, same
        Height and width; what does not matter.

    Returns
    -------
    key : ndarray of intp, shape (n,)
    r2 : ndarray of float32, shape (n,)
    """
    views = same.views(keys, kernel)
    flat = views.reshape(-1, views.shape[2])
    key, r2 = np.zeros(len(unit), np.intp), np.zeros(len(unit), np.float32)
    for begin in range(0, len(unit), BLOCK):
        own = slice(begin, begin + BLOCK)
        best, cosine = best_view(unit[own], flat, signed=same.signed)
        key[own] = best // views.shape[1]
        np.minimum(np.square(cosine), 1, out=r2[own])
    return key, r2


def _fit_block(
    normal: NormalForm, views: NDArray[np.float32], same: Equivalence
) -> tuple[NDArray[np.generic], ...]:
    """The fields of a :class:`Fit` for a few filters."""
    moves = views.shape[1]
    best, cosine = best_view(normal.unit, views.reshape(-1, views.shape[2]), signed=same.signed)
    shaped = normal.kind == SHAPED
    key = np.where(shaped, best // moves, NO_KEY).astype(np.int16)
    view = np.where(shaped, best % moves, 0).astype(np.uint8)
    a = np.where(shaped, cosine * normal.norm, 0).astype(np.float32)
    r2 = np.where(shaped, np.clip(np.square(cosine), 0, 1), np.nan).astype(np.float32)
    return key, view, a, normal.mean.astype(np.float32), r2, normal.kind
