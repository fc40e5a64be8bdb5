"""Which key each filter of a layer is given, at which strength and offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.fit import NO_KEY, fit_keys
from filterdb.keys.key_set import KeySet
from filterdb.keys.normal import SHAPED, normal_form
from filterdb.keys.torch.noise import noise_level

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Assigned:
    """The new filters of a layer.

    Attributes
    ----------
    key
        Index of the key of each filter, int16 of shape ``(n,)``; -1 where the filter is kept.
    shapes
        ``a key``, float32 of shape ``(n, k)``; rows of zeros where the filter is kept.
    b
        Offsets, float32 of shape ``(n,)``.
    r2
        Mean R² over the filters with a shape; None where nothing was fitted.
    constant, other
        Number of filters that are kept: without a shape; with one that no key is like.
    note
        A sentence on the fit, or None.
    """

    key: NDArray[np.int16]
    shapes: Array
    b: Array
    r2: float | None
    constant: int = 0
    other: int = 0
    note: str | None = None

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which filters stay as they are."""
        result: NDArray[np.bool_] = self.key == NO_KEY
        return result

    def why_not(self, largest: float, dtype: str) -> str | None:
        """Why these filters cannot be written into a layer of such a type, or None."""
        if self.kept.all():
            return (
                "no key is like any of its filters" if self.other else "its filters have no shape"
            )
        reach = np.abs(self.shapes).max(axis=1).astype(np.float64) + np.abs(self.b)
        if not (reach <= largest).all():
            return f"a x + b is beyond {dtype.removeprefix('torch.')} for a filter of it"
        return None


def by_fit(filters: Array, keys: KeySet, same: Equivalence) -> Assigned:
    """The best affine fit of every filter, with the moved key that fits it.

    Parameters
    ----------
    filters
        Shape ``(n, k)``.
    keys, same
        The keys, and what does not matter besides ``a`` and ``b``.
    """
    with np.errstate(over="ignore"):  # strengths beyond float32 are left alone
        fit = fit_keys(filters, keys.flat, keys.kernel, equivalence=same)
    moved = same.views(keys.flat, keys.kernel)[fit.key, fit.view]
    assigned = _assigned(fit.key, moved, fit.a, fit.b, r2=fit.r2)
    shaped = int((fit.key != NO_KEY).sum())
    if assigned.r2 is None or assigned.r2 > (level := noise_level(keys, same, shaped)):
        return assigned
    note = (
        f"Its keys explain no more of it (mean R² {assigned.r2:.2f}) than they may of random "
        f"filters ({level:.2f}): if it has not learnt yet, draw keys with assign='sample'."
    )
    return replace(assigned, note=note)


def by_mapping(filters: Array, keys: KeySet, indices: ArrayLike, *, name: str) -> Assigned:
    """The affine fit of every filter with a key that is given.

    Raises
    ------
    KeySetError
        The indices are not one of the keys for each filter.
    """
    try:
        chosen = np.asarray(indices)
    except (ValueError, TypeError, RuntimeError):  # ragged, or a tensor that is not of the CPU
        chosen = np.empty(0)
    whole = chosen.dtype.kind in "iu" and chosen.shape == (len(filters),)
    if not whole or chosen.min() < 0 or chosen.max() >= len(keys):
        msg = (
            f"`assign` has to give the layer {name!r} {len(filters)} whole numbers from 0 to "
            f"{len(keys) - 1}, the index of the key of each filter."
        )
        raise KeySetError(msg)
    normal = normal_form(filters)
    flat = keys.flat.astype(np.float32)[chosen]
    cosine = np.einsum("ij,ij->i", normal.unit, flat)
    shaped = normal.kind == SHAPED
    key = np.where(shaped, chosen, NO_KEY)
    return _assigned(key, flat, cosine * normal.norm, normal.mean,
                     r2=np.where(shaped, np.square(cosine), np.nan))  # fmt: skip


def by_sample(
    filters: Array, keys: KeySet, shares: NDArray[np.float64], rng: np.random.Generator
) -> Assigned:
    """Keys drawn at random, all as strong as the filters are on average."""
    count, taps = filters.shape
    norm = np.sqrt(np.square(normal_form(filters).norm).mean())
    # The weights of torch's Conv2d are uniform in +-1/sqrt(k): so much is left without the mean.
    strength = norm if norm > 0 else np.sqrt((taps - 1) / (3 * taps))
    chosen = np.asarray(rng.choice(len(keys), size=count, p=shares))
    zeros = np.zeros(count)
    return _assigned(chosen, keys.flat[chosen], np.full(count, strength), zeros, r2=None)


def checked_shares(shares: Sequence[float] | None, n_keys: int) -> NDArray[np.float64]:
    """Probabilities of the keys.

    Raises
    ------
    KeySetError
        They are not as many, or not such as can be drawn by.
    """
    if shares is None:
        return np.full(n_keys, 1 / n_keys)
    try:
        given = np.asarray(shares, np.float64)
    except (ValueError, TypeError, RuntimeError):  # ragged, text, or not of the CPU
        given = np.empty(0)
    if given.shape != (n_keys,) or not (np.isfinite(given) & (given >= 0)).all() or not given.any():
        msg = f"`shares` has to be {n_keys} numbers, one a key, none negative and not all zero."
        raise KeySetError(msg)
    relative = given / given.max()  # so that no sum is out of range
    result: NDArray[np.float64] = relative / relative.sum()
    return result


def checked_seed(seed: object) -> int:
    """A seed.

    Raises
    ------
    KeySetError
        It is no whole number from 0 on.
    """
    if not isinstance(seed, int | np.integer) or seed < 0:
        msg = f"seed={seed!r} is no whole number from 0 on."
        raise KeySetError(msg)
    return int(seed)


def _assigned(
    key: NDArray[np.integer],
    keys: NDArray[np.floating],
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    *,
    r2: NDArray[np.floating] | None,
) -> Assigned:
    """The new filters, but for those without a shape and those that no key is like."""
    strength = np.where(key >= 0, a, 0)
    given = strength != 0
    with np.errstate(over="ignore", invalid="ignore"):
        shapes = (strength[:, None] * keys).astype(np.float32)
    fitted = r2 is not None and bool(np.isfinite(r2).any())
    mean = float(np.nanmean(r2, dtype=np.float64)) if fitted and r2 is not None else None
    return Assigned(
        key=np.where(given, key, NO_KEY).astype(np.int16),
        shapes=shapes,
        b=b.astype(np.float32),
        r2=mean,
        constant=int((key == NO_KEY).sum()),
        other=int((~given & (key != NO_KEY)).sum()),
    )
