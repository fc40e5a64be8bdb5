"""The null of a shift: how large it is where the groups do not differ.

A shift is never zero, not even between two halves of one population. So the units that make up
the groups (layers, or models) change sides at random, and the shift is compared with what comes
of that: a permutation test. It needs nothing but each unit's histogram, since those add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.shift import divergence, smoothed

ONE_IN = 20  # a shift is significant if not more than one relabelling in so many has as large a one
SAME = 1e-12
"""Shifts that differ by less differ by rounding: no number of filters resolves as little."""
RESIDUE = 1e-12  # share of a bin's total that is rounding where fractions are subtracted
EXACT = 1 << 24  # float32 holds whole numbers up to here, and with them their sums in any order
BLOCK = 1 << 21  # entries of a block of labels: memory does not grow with the permutations

Array = NDArray[np.float64]
Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]
Times = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Null:
    """What a shift is where it makes no difference which unit is in which group.

    Attributes
    ----------
    p95
        95th percentile of the shift over relabellings, the observed one among them. A shift is
        above it if and only if its ``p_value`` is at most 0.05. None where there is no null.
    p_value
        Share of the relabellings, the observed one among them, with as large a shift or larger.
    permutations
        Number of relabellings: those drawn at random, or all that there are.
    exact
        Whether these are all that there are.
    reason
        A clause that says why there is no null, or why it cannot tell anything; else None.
    """

    p95: float | None
    p_value: float | None
    permutations: int
    exact: bool
    reason: str | None

    @property
    def powerless(self) -> bool:
        """Whether there are so few units that no shift could lie above it."""
        return self.p95 is not None and self.reason is not None

    @property
    def usable(self) -> Null:
        """The null, or none where it is powerless."""
        return no_null(self.reason) if self.powerless and self.reason else self


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The histograms of the units of two groups P and Q, a unit a row of ``k * bins`` counts.

    Attributes
    ----------
    pieces
        What units in P alone give to P, those in Q alone to Q, those in both to P, and the same
        ones to Q. All float32 if that makes every sum exact, else float64.
    shape
        ``(k, bins)``.
    """

    pieces: tuple[Floats, Floats, Floats, Floats]
    shape: tuple[int, int]

    @classmethod
    def of(cls, p_parts: NDArray[Any], q_parts: NDArray[Any], *, in_p: Flags, in_q: Flags) -> Self:
        """Pick the rows that matter, as views where they lie side by side."""
        if p_parts.shape != q_parts.shape or p_parts.ndim != 3:
            msg = (
                "Both groups' parts are of one shape (U, k, bins), "
                f"not {p_parts.shape} and {q_parts.shape}."
            )
            raise ValueError(msg)
        in_p, in_q = np.asarray(in_p, np.bool_), np.asarray(in_q, np.bool_)
        if not in_p.shape == in_q.shape == p_parts.shape[:1]:
            msg = f"A flag a unit is needed, {len(p_parts)}, not {in_p.shape} and {in_q.shape}."
            raise ValueError(msg)
        both = in_p & in_q
        chosen = (
            rows(p_parts, in_p & ~both),
            rows(q_parts, in_q & ~both),
            rows(p_parts, both),
            rows(q_parts, both),
        )
        dtype: type[np.floating] = np.float32 if adds_exactly(chosen) else np.float64
        own_p, own_q, both_p, both_q = (np.asarray(piece, dtype) for piece in chosen)
        return cls((own_p, own_q, both_p, both_q), p_parts.shape[1:])

    @property
    def columns(self) -> int:
        """Length of a row: what one relabelling takes, beside its labels."""
        return self.shape[0] * self.shape[1]

    @property
    def numbers(self) -> tuple[int, int, int]:
        """How many units are in P alone, in Q alone, and in both."""
        return len(self.pieces[0]), len(self.pieces[1]), len(self.pieces[2])

    @property
    def fewest(self) -> int:
        """Number of units of the smaller group."""
        only_p, only_q, both = self.numbers
        return min(only_p, only_q) + both

    def observed(self) -> tuple[Array, Array]:
        """The histograms of P and of Q, float64 of shape ``(k, bins)``."""
        own_p, own_q, both_p, both_q = (
            piece.sum(axis=0, dtype=np.float64).reshape(self.shape) for piece in self.pieces
        )
        return own_p + both_p, own_q + both_q

    def sums(self, times: Times) -> Floats:
        """Sums of parts; each piece's are taken as many times as the columns of ``times`` say.

        Returns
        -------
        numpy.ndarray
            Shape ``(n, k, bins)`` for ``n`` rows of each of ``times``, in the pieces' dtype.
        """
        k, bins = self.shape
        dtype = self.pieces[0].dtype
        total = np.zeros((len(times[0]), k * bins), dtype)
        for number, piece in zip(times, self.pieces, strict=True):
            if number.size:
                total += number.astype(dtype) @ piece
        return total.reshape(-1, k, bins)


def rows(parts: NDArray[Any], flags: Flags) -> NDArray[Any]:
    """The flagged units, a row each; a view where they lie side by side."""
    places = np.flatnonzero(flags)
    side_by_side = places.size and places[-1] - places[0] < places.size
    chosen = parts[places[0] : places[-1] + 1] if side_by_side else parts[places]
    return chosen.reshape(places.size, parts.shape[1] * parts.shape[2])


def adds_exactly(pieces: tuple[NDArray[Any], ...]) -> bool:
    """Whether float32 holds all sums of the rows of ``pieces``: whole numbers, and not too many."""
    total = sum(piece.sum(axis=0, dtype=np.float64) for piece in pieces)
    return bool(np.max(total, initial=0) < EXACT) and all(
        piece.dtype.kind in "iub" or bool((np.rint(piece) == piece).all()) for piece in pieces
    )


def permutation_null(
    p_parts: NDArray[Any],
    q_parts: NDArray[Any],
    weights: NDArray[Any],
    *,
    width: float,
    in_p: Flags,
    in_q: Flags,
    permutations: int = 200,
    seed: int = 0,
    unit: str = "model",
) -> Null:
    """Test the shift between two groups by permuting the units that they are made of.

    Units in one group only are relabelled; how many each group has, stays. Units in both (a model
    has early layers and late ones) are paired: their two parts are swapped, or not.

    Parameters
    ----------
    p_parts, q_parts
        Histograms of what each unit gives to P and to Q, both of shape ``(U, k, bins)``; may be
        the same array. Whole numbers, or fractions where layers are weighted. Not changed, and
        not copied if they are float32 (whole numbers up to 2**24 a bin, in all; otherwise the
        sums run in float64) and the units of a group lie side by side: so one array of all
        units, sorted by group, serves all pairs of groups.
    weights
        ``a_i`` of the components, shape ``(k,)``.
    width
        Width of a bin, in units of the coefficients.
    in_p, in_q
        Whether a unit is in the group, bool of shape ``(U,)``; the others are not looked at.
    permutations
        Number of random relabellings. Where there are no more than that, all are used.
    seed
        Equal seeds give equal results.
    unit
        What a unit is called in ``reason``.

    Raises
    ------
    ValueError
        The shapes do not match, or ``permutations`` is not positive.

    Notes
    -----
    ``p = (1 + #{D* >= D}) / (1 + permutations)``, which is never 0 (Phipson & Smyth 2010), or the
    plain share where all relabellings are used. The test is as good as the units are
    exchangeable. Models mostly are; the layers of one model resemble each other, so that a null
    of layers is too narrow wherever whole models are in one group.
    """
    if permutations < 1:
        msg = f"A null needs at least one permutation, not {permutations}."
        raise ValueError(msg)
    units = Units.of(p_parts, q_parts, in_p=in_p, in_q=in_q)
    if units.fewest < 2:
        number = "one" if units.fewest else "no"
        return no_null(f"a group of {number} {unit} cannot be permuted")
    p, q = units.observed()
    observed = float(divergence(smoothed(p, width=width), smoothed(q, width=width), weights))
    if math.isnan(observed):
        return no_null("a group without filters has no shift")
    exact = relabellings(units) <= permutations
    labels = all_labels(units) if exact else random_labels(units, permutations, seed)
    drawn = np.concatenate(
        [relabelled_shifts(units, some, p + q, weights=weights, width=width) for some in labels]
    )
    drawn = drawn[~np.isnan(drawn)]  # a side may get nothing but units without filters
    pool = np.sort(drawn if exact else np.append(drawn, observed))
    p_value = float(np.mean(pool >= observed - SAME))
    p95 = float(pool[pool.size - pool.size // ONE_IN - 1]) + SAME
    return Null(p95, p_value, drawn.size, exact, caution(units, unit))


def no_null(reason: str) -> Null:
    """The result where there is no null."""
    return Null(p95=None, p_value=None, permutations=0, exact=False, reason=reason)


def relabelled_shifts(
    units: Units, labels: Times, total: Array, *, weights: NDArray[Any], width: float
) -> Array:
    """The shift under each of several relabellings, shape ``(n,)``."""
    p = units.sums(labels)
    q = total - p
    if p.dtype == np.float64:  # fractions do not cancel exactly, but an empty bin must be empty
        q[q < RESIDUE * total] = 0
    return divergence(smoothed(p, width=width), smoothed(q, width=width), weights)


def relabellings(units: Units) -> int:
    """How many relabellings there are; some large number where there are very many."""
    only_p, only_q, both = units.numbers
    return math.comb(only_p + only_q, min(only_p, only_q, 32)) << min(both, 64)


def caution(units: Units, unit: str) -> str | None:
    """Say so where there are too few units for any shift to be significant."""
    only_p, only_q, both = units.numbers
    # Groups of equal size can trade places as a whole, which does not change the shift.
    as_large = 2 if only_p == only_q else 1
    if as_large * ONE_IN <= relabellings(units):
        return None
    least = as_large / relabellings(units)
    sizes = f"{only_p + both} and {only_q + both} {unit}s"
    return f"with {sizes} the smallest possible p value is {least:.2g}"


def all_labels(units: Units) -> Iterator[Times]:
    """Which parts make up P, in every way there is, the observed one among them."""
    only_p, only_q, both = units.numbers
    choices = np.array(list(combinations(range(only_p + only_q), only_p)), np.intp)
    own = (choices[:, :, None] == np.arange(only_p + only_q)).any(axis=1)
    swapped = (np.arange(1 << both)[:, None] >> np.arange(both)) % 2 == 1
    own, swapped = np.repeat(own, len(swapped), axis=0), np.tile(swapped, (len(own), 1))
    height = max(1, BLOCK // units.columns)
    for start in range(0, len(own), height):
        rows_own, rows_swapped = own[start : start + height], swapped[start : start + height]
        yield rows_own[:, :only_p], rows_own[:, only_p:], ~rows_swapped, rows_swapped


def random_labels(units: Units, permutations: int, seed: int) -> Iterator[Times]:
    """Which parts make up P, at random, block by block."""
    only_p, only_q, both = units.numbers
    rng = np.random.default_rng(seed)
    height = max(1, BLOCK // max(only_p + only_q + both, units.columns))
    for start in range(0, permutations, height):
        number = min(height, permutations - start)
        # Each unit draws a lot, and the smallest ones make up P.
        lots = rng.random((number, only_p + only_q))
        own = np.zeros(lots.shape, np.bool_)
        if only_p:
            own = lots <= np.partition(lots, only_p - 1, axis=1)[:, only_p - 1 : only_p]
        swapped = rng.integers(0, 2, (number, both), dtype=np.bool_)
        yield own[:, :only_p], own[:, only_p:], ~swapped, swapped
