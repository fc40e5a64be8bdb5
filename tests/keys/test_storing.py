"""Filters as (key, a, b): the bytes that are counted are the bytes that packing takes."""

from __future__ import annotations

from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.keys.equivalence import Equivalence
from filterdb.keys.fit import fit_keys
from filterdb.keys.storing import Storage, index_bits, pack, storage, together, unpack

KERNEL = (3, 3)


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
