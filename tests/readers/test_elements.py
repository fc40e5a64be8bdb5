from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.readers import elements


@pytest.mark.parametrize("name", sorted(elements.MINIFLOATS))
def test_every_code_of_the_8_bit_floats_has_the_value_ml_dtypes_gives(name: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    expected = codes.view(getattr(ml_dtypes, name)).astype(np.float32)
    ours = elements.decode(codes, name, (16, 16)).ravel()
    np.testing.assert_array_equal(ours, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(ours[numbers]), np.signbit(expected[numbers]))


def test_bfloat16_widens_exactly() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        expected = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(elements.widen_bfloat16(bits), expected)


@given(st.floats(width=32))
def test_rounding_to_bfloat16_is_that_of_ml_dtypes(number: float) -> None:
    array = np.array([number], np.float32)
    expected = array.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(elements.round_to_bfloat16(array), expected)


@pytest.mark.parametrize("name", ["int4", "uint4"])
def test_4_bit_integers_are_unpacked_low_nibble_first(name: str) -> None:
    packed = np.array([0x21, 0x8F, 0x07], np.uint8)
    expected = {"int4": [1, 2, -1, -8, 7], "uint4": [1, 2, 15, 8, 7]}[name]
    assert elements.stored_bytes(name, (5,)) == 3
    assert elements.decode(packed, name, (5,)).tolist() == expected


def test_native_types_are_views_of_what_is_stored() -> None:
    stored = np.arange(6, dtype="<f4")
    assert np.shares_memory(elements.decode(stored, "float32", (2, 3)), stored)
