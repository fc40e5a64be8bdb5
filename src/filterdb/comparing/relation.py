"""What two layers of one shape are to each other, where that can be measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.comparing.change import Change, Products

Weights = NDArray[np.float32]
Name = Literal["identical", "rounded", "scaled", "scaled by channel", "rearranged", "pruned",
               "quantised", "changed", "reshaped", "invalid"]  # fmt: skip

ROUNDING = {"float16": 1e-3, "bfloat16": 5e-3}
"""Relative error of a few roundings by the type that a file stores."""
FLOAT32_ROUNDING = 1e-5
MOST_LEVELS = 256
"""Distinct values of a layer, or of each output channel, up to which it is quantised."""
SAME_NETWORK = 0.9
"""Cosine from which on one layer counts as the other one quantised."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What a layer is to its counterpart: a word, and a sentence where there is more to say."""

    name: Name
    note: str = ""


def relate(
    a: Weights, b: Weights, change: Change, products: Products, dtypes: tuple[str, str]
) -> Relation:
    """Find the simplest thing that makes ``b`` of ``a``.

    Parameters
    ----------
    a, b
        Before and after, finite and not the same, shape ``(C_out, C_in/groups, kh, kw)``.
    change, products
        Of :func:`~filterdb.comparing.change.compare_weights`.
    dtypes
        The types that the two files store.
    """
    tolerance = max(ROUNDING.get(dtype, FLOAT32_ROUNDING) for dtype in dtypes)
    return (
        rounded(a, b)
        or pruned(a, b, change)
        or scaled(products, tolerance)
        or quantised(a, b, change, dtypes)
        or rearranged(a, b, products, tolerance)
        or Relation("changed")
    )


def rounded(a: Weights, b: Weights) -> Relation | None:
    """One is the other, every weight rounded to a shorter type."""
    for name, short in (("float16", to_float16), ("bfloat16", to_bfloat16)):
        if np.array_equal(short(a), b):
            return Relation("rounded", f"The weights of the first, rounded to {name}.")
        if np.array_equal(short(b), a):
            return Relation("rounded", f"The second's weights are the first's before {name}.")
    return None


def to_float16(weights: Weights) -> Weights:
    """Weights rounded to float16, as float32."""
    with np.errstate(over="ignore"):
        return weights.astype(np.float16).astype(np.float32)


def to_bfloat16(weights: Weights) -> Weights:
    """Weights rounded to bfloat16 (ties to even), as float32."""
    bits = np.ascontiguousarray(weights).view(np.uint32)
    rounded: Weights = ((bits + (0x7FFF + ((bits >> 16) & 1))) & 0xFFFF0000).view(np.float32)
    return rounded


def pruned(a: Weights, b: Weights, change: Change) -> Relation | None:
    """Some weights became zero, and all others are as they were."""
    if not change.newly_zero or not np.array_equal(np.where(b == 0, b, a), b):
        return None
    note = f"{change.newly_zero:.1%} of the weights became zero; no other moved."
    return Relation("pruned", note)


def scaled(products: Products, tolerance: float) -> Relation | None:
    """The same but for rounding, for one factor, or for a factor per output channel."""
    if not products.aa.any() or products.residual > tolerance:
        return None
    factors = products.factors
    low, high = float(factors.min()), float(factors.max())
    if max(abs(low - 1), abs(high - 1)) <= tolerance:
        return Relation("rounded", "The same but for rounding.")
    if high - low <= tolerance * max(abs(low), abs(high)):
        return Relation("scaled", f"The same but for the factor {low:.6g}.")
    note = f"The same but for a factor per output channel, {low:.3g} to {high:.3g}"
    return Relation("scaled by channel", f"{note} (a folded BatchNorm?).")


def quantised(a: Weights, b: Weights, change: Change, dtypes: tuple[str, str]) -> Relation | None:
    """One holds few distinct values, the other does not, and they are close."""
    if change.cosine is None or change.cosine < SAME_NETWORK:
        return None
    found = levels(a), levels(b)
    stored = tuple("int" in dtype for dtype in dtypes)
    for which, words in ((1, "second"), (0, "first")):
        here, there = found[which], found[1 - which]
        if here is not None and there is None:
            return Relation("quantised", f"The {words} holds {here} distinct values other than 0.")
        if stored[which] and not stored[1 - which]:
            return Relation("quantised", f"The {words} is stored as {dtypes[which]}.")
    return None


def levels(weights: Weights) -> str | None:
    """How many distinct values other than zero a layer holds, in words, if few and repeated."""
    rows = weights.reshape(len(weights), -1)
    sample = rows.reshape(-1)[: 4 * MOST_LEVELS**2]
    if few(sample) and few(rows):
        return str(distinct(rows))
    counts: list[tuple[int, int]] = []  # distinct values, and weights, other than zero
    for row in rows:
        counts.append((distinct(row), int(np.count_nonzero(row))))
        if counts[-1][0] > MOST_LEVELS:
            return None
    total = sum(count for count, _ in counts)
    if not 0 < 2 * total <= sum(held for _, held in counts):
        return None
    return f"at most {max(count for count, _ in counts)} in any output channel,"


def few(values: Weights) -> bool:
    """Whether there are few distinct values, and each is there twice on average."""
    count = distinct(values)
    return 0 < count <= MOST_LEVELS and 2 * count <= int(np.count_nonzero(values))


def distinct(values: Weights) -> int:
    """Number of distinct values other than zero."""
    return int(np.unique(values[values != 0]).size)


def rearranged(a: Weights, b: Weights, products: Products, tolerance: float) -> Relation | None:
    """The same weights in another arrangement of the taps, or of three input channels."""
    before, after = float(products.aa.sum()), float(products.bb.sum())
    if not math.isclose(before, after, rel_tol=2 * tolerance):
        return None
    for words, turned in arrangements(a):
        if turned.shape == b.shape and np.allclose(turned, b, rtol=tolerance, atol=0):
            return Relation("rearranged", f"The same with {words}.")
    return None


def arrangements(weights: Weights) -> Iterator[tuple[str, NDArray[Any]]]:
    """Arrangements that converters get wrong, or mean to change, in words."""
    yield "height and width of the filters swapped", weights.swapaxes(2, 3)
    yield "the filters turned by 180 degrees", weights[:, :, ::-1, ::-1]
    yield "the filters mirrored left to right", weights[:, :, :, ::-1]
    yield "the filters mirrored top to bottom", weights[:, :, ::-1]
    if weights.shape[1] == 3:
        yield "the input channels in reverse, as between RGB and BGR", weights[:, ::-1]
