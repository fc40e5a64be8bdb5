"""Normal forms: offset and strength are gone, and what has no shape is told apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.keys.normal import CONSTANT_CLASS, SHAPED, ZERO_CLASS, canonical, normal_form


def test_against_plain_numpy() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 25)).astype(np.float32) * 3 + 1
    found = normal_form(rows)
    exact = rows.astype(np.float64)
    mean = exact.mean(axis=1)
    centred = exact - mean[:, None]
    norm = np.linalg.norm(centred, axis=1)
    np.testing.assert_allclose(found.unit, centred / norm[:, None], atol=2e-6)
    np.testing.assert_allclose(found.mean, mean, atol=2e-6)
    np.testing.assert_allclose(found.norm, norm, rtol=1e-5)
    assert (found.kind == SHAPED).all()


@given(
    st.floats(-1e3, 1e3).filter(lambda a: abs(a) > 1e-3),
    st.floats(-10, 10),
    st.integers(0, 1000),
)
def test_offset_and_strength_do_not_matter(a: float, b: float, seed: int) -> None:
    row = np.random.default_rng(seed).normal(size=(1, 9))
    first = normal_form(row.astype(np.float32)).unit
    second = normal_form((a * row + a * b).astype(np.float32)).unit
    np.testing.assert_allclose(second, np.sign(a) * first, atol=2e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_scale_costs_no_accuracy(scale: float) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 9))
    found = normal_form((rows * scale).astype(np.float32), zero=0)
    np.testing.assert_allclose(found.unit, normal_form(rows.astype(np.float32)).unit, atol=2e-6)
    assert np.isfinite(found.norm).all()
    assert (found.norm > 0).all()


def test_classes() -> None:
    rows = np.zeros((5, 9), np.float32)
    rows[1] = 0.7  # constant
    rows[2, 3] = 1e-4  # nearly zero: not above 1e-4
    rows[3, 3] = 1.1e-4
    rows[4] = 0.1 + 1e-8 * np.arange(9)  # constant but for rounding
    found = normal_form(rows)
    assert found.kind.tolist() == [ZERO_CLASS, CONSTANT_CLASS, ZERO_CLASS, SHAPED, CONSTANT_CLASS]
    assert not found.unit[[0, 1, 2, 4]].any()
    assert len(found.shaped) == 1
    assert normal_form(rows, zero=0).kind[2] == SHAPED
    assert normal_form(rows[:0]).kind.shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    rows = np.ones((3, 4), np.float32)
    rows[1, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        normal_form(rows)


def test_canonical_sign() -> None:
    keys = np.array([[0.1, -0.9, 0.8], [0.5, -0.2, -0.3]])
    assert canonical(keys).tolist() == [[-0.1, 0.9, -0.8], [0.5, -0.2, -0.3]]
