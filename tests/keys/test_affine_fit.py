"""The affine fit: the least squares of ``a x + b``, and the key that leaves least."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.keys.fit import NO_KEY, fit_keys
from filterdb.keys.normal import CONSTANT_CLASS, ZERO_CLASS
from planted import random_keys, unit


def test_against_least_squares() -> None:
    rng = np.random.default_rng(0)
    keys = random_keys(6, (5, 5))
    rows = rng.normal(size=(200, 25)).astype(np.float32)
    found = fit_keys(rows, keys, (5, 5))
    for index, row in enumerate(rows.astype(np.float64)):
        residuals, solutions = [], []
        for key in keys:
            design = np.stack([key, np.ones(25)], axis=1)
            solution, left, *_ = np.linalg.lstsq(design, row, rcond=None)
            residuals.append(left[0])
            solutions.append(solution)
        best = int(np.argmin(residuals))
        assert found.key[index] == best
        assert found.a[index] == pytest.approx(solutions[best][0], abs=1e-5)
        assert found.b[index] == pytest.approx(solutions[best][1], abs=1e-5)
        r2 = 1 - residuals[best] / np.square(row - row.mean()).sum()
        assert found.r2[index] == pytest.approx(r2, abs=1e-5)


@settings(max_examples=30)
@given(st.integers(1, 12), st.sampled_from([(3, 3), (7, 7), (1, 9), (2, 2)]), st.integers(0, 99))
def test_each_key_labels_itself(count: int, kernel: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = random_keys(count, kernel, seed)
    a = rng.normal(size=(count, 1)) * 10
    a += np.sign(a) * 0.1
    b = rng.normal(size=(count, 1))
    found = fit_keys((a * keys + b).astype(np.float32), keys, kernel)
    np.testing.assert_allclose(found.r2, 1, atol=2e-5)
    rebuilt = found.a[:, None] * keys[found.key] + found.b[:, None]
    np.testing.assert_allclose(rebuilt, a * keys + b, atol=2e-4)


def test_chance_line_of_two_taps() -> None:
    # Without its mean a filter of two taps has one dimension: any key explains all of it.
    rows = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.testing.assert_allclose(fit_keys(rows, np.array([[1.0, -1.0]]), (1, 2)).r2, 1, atol=1e-5)


def test_filters_without_a_shape() -> None:
    rows = np.array([[0.5] * 9, [0.0] * 9, list(range(9))], np.float32)
    found = fit_keys(rows, random_keys(3, (3, 3)), (3, 3))
    assert found.kind.tolist() == [CONSTANT_CLASS, ZERO_CLASS, 0]
    assert found.key[:2].tolist() == [NO_KEY, NO_KEY]
    assert found.a[:2].tolist() == [0, 0]
    assert found.b.tolist() == pytest.approx([0.5, 0, 4])
    assert np.isnan(found.r2[:2]).all()
    assert found.r2[2] > 0


def test_many_filters_are_fitted_block_by_block() -> None:
    keys = random_keys(5, (3, 3))
    rows = np.random.default_rng(1).normal(size=(10_000, 9)).astype(np.float32)
    found = fit_keys(rows, keys, (3, 3))
    cosines = np.abs(unit(rows.astype(np.float64)) @ keys.T)
    np.testing.assert_allclose(found.r2, np.square(cosines.max(axis=1)), atol=1e-5)
    assert found.n == 10_000
    assert fit_keys(rows[:0], keys, (3, 3)).n == 0


def test_shapes_have_to_go_together() -> None:
    with pytest.raises(ValueError, match="not"):
        fit_keys(np.zeros((3, 9), np.float32), random_keys(2, (5, 5)), (5, 5))
    with pytest.raises(ValueError, match="not"):
        fit_keys(np.zeros((3, 9), np.float32), random_keys(2, (5, 5)), (3, 3))
