"""Filters as (key, a, b): the bytes that are counted are the bytes that packing them takes."""

from __future__ import annotations

from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from filterdb.keys.equivalence import Equivalence
from filterdb.keys.fit import Fit, fit_keys
from filterdb.keys.key_set import THRESHOLD
from filterdb.keys.storing import Storage, index_bits, storage, together
from filterdb.readers import elements

KERNEL = (3, 3)


def pack(
    filters: NDArray[np.floating],
    fit: Fit,
    views: NDArray[np.float32],
    *,
    least_r2: float = THRESHOLD,
    dtype: str = "float32",
    scalar: str = "float16",
) -> bytes:
    """Pack a layer as the head of `filterdb.keys.storing` says.

    Parameters
    ----------
    filters
        Shape ``(n, k)``.
    fit
        Their fit by the keys.
    views
        Moves of the keys, shape ``(K, V, k)`` (:meth:`Equivalence.views`).
    least_r2
        Filters below it are "other"; so are those whose ``a`` or ``b`` the scalar cannot hold.
    dtype
        Element type of the layer: ``"float16"``, ``"bfloat16"``, ``"float32"`` or ``"float64"``.
    scalar
        Type of ``a`` and ``b``.
    """
    with np.errstate(over="ignore", under="ignore"):
        scalars = np.stack([fit.a, fit.b]).astype(np.dtype(scalar).newbyteorder("<"))
    other = (fit.r2 < least_r2) | ~np.isfinite(scalars).all(axis=0)
    index = np.maximum(fit.key, 0).astype(np.uint32) * views.shape[1] + fit.view
    parts = (
        np.packbits(other).tobytes(),
        _packed(index[~other], index_bits(views.shape[0] * views.shape[1])),
        scalars[:, ~other].tobytes(),
        _raw(np.asarray(filters)[other], dtype),
    )
    return b"".join(parts)


def unpack(
    packed: bytes,
    views: NDArray[np.float32],
    *,
    n_filters: int,
    dtype: str = "float32",
    scalar: str = "float16",
) -> NDArray[np.float64]:
    """The filters that :func:`pack` packed, float64 of shape ``(n, k)``: ``a key + b``.

    Raises
    ------
    ValueError
        The bytes are not as many as the flags say.
    """
    keys, moves, taps = views.shape
    data = np.frombuffer(packed, np.uint8)
    flags, rest = np.split(data, [-(-n_filters // 8)])
    other = np.unpackbits(flags)[:n_filters].astype(bool)
    count, bits = int((~other).sum()), index_bits(keys * moves)
    ends = np.cumsum([-(-count * bits // 8), 2 * count * np.dtype(scalar).itemsize])
    others = elements.stored_bytes(dtype, (n_filters - count, taps))
    if len(rest) != ends[-1] + others:
        msg = f"{len(packed):,} bytes are not {n_filters:,} filters with {count:,} keys"
        raise ValueError(msg)
    indices, scalars, raw = np.split(rest, ends)
    a, b = scalars.view(np.dtype(scalar).newbyteorder("<")).astype(np.float64).reshape(2, count)
    key = views.reshape(-1, taps)[_unpacked(indices, count, bits)]
    result = np.empty((n_filters, taps))
    result[~other] = a[:, None] * key + b[:, None]
    result[other] = _values(raw, dtype).reshape(-1, taps)
    return result


def _packed(index: NDArray[np.uint32], bits: int) -> bytes:
    """The low bits of integers, one after the other."""
    wide = np.unpackbits(index.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    return np.packbits(wide[:, 32 - bits :]).tobytes()


def _unpacked(packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.intp]:
    """The integers of :func:`_packed`."""
    found = np.unpackbits(packed)[: count * bits].reshape(count, bits)
    return found.astype(np.intp) @ (1 << np.arange(bits)[::-1])


def _raw(filters: NDArray[np.floating], dtype: str) -> bytes:
    """Weights as their element type stores them."""
    if dtype == "bfloat16":
        exact = elements.round_to_bfloat16(filters.astype(np.float32))
        return (exact.view(np.uint32) >> 16).astype("<u2").tobytes()
    return filters.astype(np.dtype(dtype).newbyteorder("<")).tobytes()


def _values(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.floating]:
    """The weights of :func:`_raw`."""
    if dtype == "bfloat16":
        return elements.widen_bfloat16(raw.view("<u2"))
    stored: NDArray[np.floating] = raw.view(np.dtype(dtype).newbyteorder("<"))
    return stored


def layer(rng: np.random.Generator, keys: np.ndarray, n: int) -> np.ndarray:
    """Copies of keys, noise, a constant and a zero filter."""
    taps = keys.shape[1]
    filters = rng.normal(size=(n, 1)) * keys[rng.integers(0, len(keys), n)]
    filters += rng.normal(size=(n, 1))
    filters[n // 2 :] += rng.normal(size=(n - n // 2, taps))
    filters[0], filters[1] = 0.25, 0
    return filters.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16), n=st.integers(2, 40), n_keys=st.integers(1, 20),
    rotations=st.booleans(), dtype=st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
    scalar=st.sampled_from(["float16", "float32"]),
)  # fmt: skip
def test_what_is_counted_is_what_is_packed(seed, n, n_keys, rotations, dtype, scalar):
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(n_keys, 9))
    same = Equivalence(rotations=rotations)
    views = same.views(keys, KERNEL)
    filters = layer(rng, keys, n)
    fit = fit_keys(filters, keys, KERNEL, equivalence=same)
    packed = pack(filters, fit, views, dtype=dtype, scalar=scalar)
    other = fit.r2 < 0.8
    counted = storage(n, KERNEL, n_keys, others=int(other.sum()), moves=views.shape[1],
                      dtype=dtype, scalar=scalar)  # fmt: skip
    assert len(packed) == counted.keyed
    assert len(keys.astype("<f4").tobytes()) == counted.table

    found = unpack(packed, views, n_filters=n, dtype=dtype, scalar=scalar)
    precision = {"float16": 2.0**-10, "float32": 2.0**-22}[scalar]
    fitted = fit.a[:, None] * views[fit.key, fit.view] + fit.b[:, None]
    size = np.abs(fit.a) + np.abs(fit.b)
    error = np.abs(found - fitted)[~other]
    assert np.all(error <= precision * size[~other, None] + 1e-6)
    exact = {"float16": 2.0**-10, "bfloat16": 2.0**-8, "float32": 0, "float64": 0}[dtype]
    np.testing.assert_allclose(found[other], filters[other], rtol=exact, atol=1e-7 * (exact > 0))


def test_the_arithmetic_by_hand() -> None:
    # 100 filters of 7x7: 13 bytes of flags, 3 bits for each of 90 indices, 2 + 2 bytes each.
    found = storage(100, (7, 7), 8, others=10)
    assert found == Storage(100 * 49 * 4, 13 + 34 + 90 * 4 + 10 * 49 * 4, 8 * 49 * 4)
    assert found.saved == found.raw - found.keyed - found.table == found.to_dict()["saved"]
    half = storage(100, (7, 7), 8, others=10, dtype="float16", scalar="float32")
    assert half == Storage(100 * 49 * 2, 13 + 34 + 90 * 8 + 10 * 49 * 2, 8 * 49 * 4)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 64, 65, 4096])
def test_an_index_takes_the_bits_it_needs(count: int) -> None:
    assert index_bits(count) == ceil(log2(count))


def test_layers_share_one_table() -> None:
    parts = [storage(10, KERNEL, 8), storage(20, KERNEL, 8, others=3)]
    assert together(parts) == Storage(30 * 36, sum(part.keyed for part in parts), 8 * 36)
    assert together([]) == Storage(0, 0, 0)


def test_small_layers_can_cost_more_than_they_save() -> None:
    assert storage(2, KERNEL, 8).saved < 0 < storage(1000, KERNEL, 8).saved


def test_scalars_that_float16_cannot_hold_keep_the_filter() -> None:
    keys = np.random.default_rng(0).normal(size=(4, 9))
    filters = (keys * [[1e6], [1], [1], [1]]).astype(np.float32)
    fit = fit_keys(filters, keys, KERNEL)
    views = Equivalence().views(keys, KERNEL)
    packed = pack(filters, fit, views)
    assert len(packed) == storage(4, KERNEL, 4, others=1).keyed
    np.testing.assert_array_equal(unpack(packed, views, n_filters=4)[0], filters[0])


def test_bytes_that_are_cut_short_are_refused() -> None:
    keys = np.random.default_rng(0).normal(size=(4, 9))
    filters = keys.astype(np.float32)
    views = Equivalence().views(keys, KERNEL)
    packed = pack(filters, fit_keys(filters, keys, KERNEL), views)
    with pytest.raises(ValueError, match="bytes"):
        unpack(packed[:-3], views, n_filters=4)
