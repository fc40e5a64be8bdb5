from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.stats.basis import analytic_basis, fit_basis, fitted_bases, reference_basis
from filterdb.stats.moments import Moments
from filterdb.stats.summary import scale

SIZES = [(3, 3), (1, 7), (5, 5), (7, 7), (2, 4), (11, 11), (1, 2)]


def some_filters(n=2000, taps=9, seed=0):
    rng = np.random.default_rng(seed)
    return scale(rng.normal(size=(n, taps)) @ rng.normal(size=(taps, taps)))


def test_a_fit_from_moments_is_the_pca_of_the_filters():
    filters = some_filters()
    basis = fit_basis(Moments.of(np.ascontiguousarray(filters.T)), (3, 3))
    centred = filters - filters.mean(axis=0)
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    ratios = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(basis.explained_variance_ratio, ratios, atol=1e-12)
    np.testing.assert_allclose(basis.mean, filters.mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(np.abs(np.sum(basis.components * vectors, axis=1)), 1, atol=1e-9)
    expected = centred @ basis.components.T
    np.testing.assert_allclose(basis.coefficients(filters), expected, atol=1e-12)


def test_moments_of_parts_add_up():
    filters = some_filters(501)
    whole = Moments.of(np.ascontiguousarray(filters.T))
    parts = Moments.zero(9)
    for chunk in np.array_split(filters, 7):
        parts += Moments.of(np.ascontiguousarray(chunk.T))
    assert parts.n == whole.n == 501
    np.testing.assert_allclose(parts.covariance, np.cov(filters.T, bias=True), atol=1e-12)
    np.testing.assert_allclose(parts.second, whole.second, rtol=1e-12)
    assert np.isnan(Moments.zero(4).mean).all()
    assert np.isnan(Moments.zero(4).covariance).all()


@pytest.mark.parametrize("kernel", SIZES)
def test_a_reference_basis_is_orthonormal_and_sorted(kernel):
    basis = reference_basis(kernel)
    taps = kernel[0] * kernel[1]
    assert basis.kernel == kernel
    np.testing.assert_allclose(basis.components @ basis.components.T, np.eye(taps), atol=1e-9)
    assert basis.explained_variance_ratio.sum() == pytest.approx(1)
    assert (np.diff(basis.explained_variance_ratio) <= 1e-12).all()
    assert basis.reach == pytest.approx(np.sqrt(taps) + np.linalg.norm(basis.mean))
    assert reference_basis(kernel).id == basis.id
    assert len({reference_basis(size).id for size in SIZES}) == len(SIZES)


def test_the_package_brings_fitted_bases():
    fitted = fitted_bases()
    assert {(3, 3), (5, 5)} <= set(fitted)
    assert fitted[3, 3].n > 1_000_000
    # What everybody finds first in 3x3 filters: their mean, the two gradients, a centre.
    first, *others = reference_basis((3, 3)).components[:4].reshape(4, 3, 3)
    assert (first > 0).all()
    turned = [float((image * image[::-1, ::-1]).sum()) for image in others]
    np.testing.assert_allclose(sorted(turned), [-1, -1, 1], atol=0.05)


def test_the_analytic_basis_is_the_pca_of_its_covariance():
    basis = analytic_basis((2, 3))
    places = [(y, x) for y in range(2) for x in range(3)]
    covariance = [[0.3 ** (abs(a - c) + abs(b - d)) for c, d in places] for a, b in places]
    projected = basis.components @ covariance @ basis.components.T
    np.testing.assert_allclose(projected, np.diag(basis.explained_variance_ratio) * 6, atol=1e-12)


def test_a_basis_needs_filters_of_its_size():
    with pytest.raises(ValueError, match="0 filters of 9 taps"):
        fit_basis(Moments.zero(9), (3, 3))
    with pytest.raises(ValueError, match="25"):
        fit_basis(Moments.of(np.ones((25, 2))), (3, 3))


def test_equal_filters_have_a_basis_without_variance():
    basis = fit_basis(Moments.of(np.ones((4, 3))), (2, 2))
    np.testing.assert_allclose(basis.explained_variance_ratio, 0.25)


@given(st.integers(0, 2**32 - 1))
def test_no_coefficient_leaves_the_reach(seed):
    rng = np.random.default_rng(seed)
    filters = scale(np.sign(rng.normal(size=(50, 9))) * rng.choice([1, 1, 1e-9], size=(50, 9)))
    basis = reference_basis((3, 3))
    assert np.abs(basis.coefficients(filters)).max() <= basis.reach


def test_the_id_forgives_rounding_and_nothing_else():
    basis = reference_basis((3, 3))
    near = replace(basis, components=basis.components + 1e-13, mean=basis.mean - 1e-13)
    other = replace(basis, mean=basis.mean + 1e-6)
    assert near.id == basis.id != other.id
