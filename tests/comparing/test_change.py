"""How far weights moved, against plain NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from filterdb.comparing import change
from filterdb.comparing.change import KEPT, compare_weights

SHAPES = [(8, 4, 3, 3), (16, 1, 5, 5), (5, 7, 1, 1), (6, 1, 1, 1), (1, 1, 3, 3), (3, 2, 1, 7)]


def pair(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights with zeros, and what became of them, with other zeros."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape).astype(np.float32)
    b = (a + 0.5 * rng.standard_normal(shape)).astype(np.float32)
    a[rng.random(shape) < 0.2] = 0
    b[rng.random(shape) < 0.3] = 0
    return a, b


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 50, 2**18])
def test_plain_numpy_says_the_same(
    shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change, "BLOCK", block)
    a, b = pair(shape)
    found, products, _ = compare_weights(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert found.relative_l2 == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x))
    assert found.cosine == pytest.approx(
        (x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12
    )
    assert found.sign_flips == np.mean(np.sign(x) * np.sign(y) == -1)
    assert found.newly_zero == np.mean((x != 0) & (y == 0))
    assert found.newly_nonzero == np.mean((x == 0) & (y != 0))
    rows = (len(x), -1) if x[0].size > 1 else (1, -1)
    np.testing.assert_allclose(products.ab, (x * y).reshape(rows).sum(1), rtol=1e-12, atol=1e-12)


@given(
    arrays(np.float32, (3, 2, 2, 2), elements=st.floats(-1e3, 1e3, width=32)),
    arrays(np.float32, (3, 2, 2, 2), elements=st.floats(-1e3, 1e3, width=32)),
)
@settings(max_examples=100, deadline=None)
def test_the_way_back(a: np.ndarray, b: np.ndarray) -> None:
    there, back = compare_weights(a, b)[0], compare_weights(b, a)[0]
    assert there.sign_flips == back.sign_flips
    assert there.newly_zero == back.newly_nonzero
    assert there.cosine == back.cosine
    assert there.sign_flips + there.newly_zero + there.newly_nonzero <= 1
    if there.relative_l2 is not None and back.relative_l2 is not None:
        x, y = (float(np.linalg.norm(w.astype(np.float64))) for w in (a, b))
        assert there.relative_l2 * x == pytest.approx(back.relative_l2 * y, rel=1e-9)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_no_overflow_no_underflow(factor: float) -> None:
    a, b = pair((8, 4, 3, 3))
    plain, _, _ = compare_weights(a, b)
    scaled, _, _ = compare_weights(a * np.float32(factor), b * np.float32(factor))
    assert scaled.relative_l2 == pytest.approx(plain.relative_l2, rel=1e-6)
    assert scaled.cosine == pytest.approx(plain.cosine, rel=1e-6)


def test_zeros() -> None:
    zeros, ones = np.zeros((2, 2, 3, 3), np.float32), np.ones((2, 2, 3, 3), np.float32)
    born, gone = compare_weights(zeros, ones)[0], compare_weights(ones, zeros)[0]
    assert (born.relative_l2, born.cosine, born.newly_nonzero) == (None, None, 1.0)
    assert (gone.relative_l2, gone.cosine, gone.newly_zero) == (1.0, None, 1.0)


def test_the_most_changed_filters() -> None:
    a, b = pair((20, 10, 3, 3))
    _, _, filters = compare_weights(a, b)
    x, y = (w.astype(np.float64).reshape(-1, 9) for w in (a, b))
    moved = np.linalg.norm(y - x, axis=1) / np.sqrt((x**2).sum(axis=1).mean())
    assert len(filters.index) == KEPT
    assert filters.index.tolist() == np.argsort(-moved)[:KEPT].tolist()
    np.testing.assert_allclose(filters.change, np.sort(moved)[::-1][:KEPT])
    np.testing.assert_array_equal(filters.before, a.reshape(-1, 3, 3)[filters.index])
    np.testing.assert_array_equal(filters.after, b.reshape(-1, 3, 3)[filters.index])


def test_filters_that_did_not_change_are_not_among_them() -> None:
    a, _ = pair((4, 4, 3, 3))
    b = a.copy()
    b[1, 2] += 1
    _, _, filters = compare_weights(a, b)
    assert filters.index.tolist() == [1 * 4 + 2]


def test_1x1_has_no_picture() -> None:
    assert compare_weights(*pair((8, 8, 1, 1)))[2].index.size == 0


def test_inputs_stay_as_they_are() -> None:
    a, b = pair((8, 4, 3, 3))
    before = a.copy(), b.copy()
    compare_weights(a, b)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])
