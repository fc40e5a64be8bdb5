"""Controls have what they are said to share with the networks, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from filterdb.keys.normal import normal_form
from filterdb.keys.search.controls import gaussian, same_covariance, same_spectrum
from planted import random_keys


def edges(count: int, kernel: tuple[int, int]) -> np.ndarray:
    """Filters that vary along x alone, so that their power lies on one axis."""
    rng = np.random.default_rng(0)
    rows = np.broadcast_to(rng.normal(size=(count, 1, kernel[1])), (count, *kernel))
    return normal_form(rows.reshape(count, -1).astype(np.float32)).shaped


@pytest.mark.parametrize("kernel", [(3, 3), (7, 7), (4, 4), (1, 9), (2, 3)])
def test_spectrum_is_kept_exactly(kernel: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    filters = normal_form(rng.normal(size=(200, kernel[0] * kernel[1]))).shaped
    found = same_spectrum(filters, 200, kernel)
    power = [np.abs(np.fft.fft2(rows.reshape(-1, *kernel))) ** 2 for rows in (filters, found)]
    np.testing.assert_allclose(power[0], power[1], atol=1e-5)
    if kernel == (7, 7):
        assert np.abs(np.einsum("ij,ij->i", filters, found)).mean() < 0.3


def test_spectrum_of_edges_stays_that_of_edges() -> None:
    found = same_spectrum(edges(300, (5, 5)), 500, (5, 5)).reshape(-1, 5, 5)
    assert np.abs(found - found[:, :1]).max() < 1e-5


def test_covariance_is_kept() -> None:
    rng = np.random.default_rng(2)
    filters = normal_form(rng.normal(size=(4000, 9)) * np.arange(1, 10)).shaped
    found = same_covariance(filters, 40_000)
    wanted = filters.T @ filters / len(filters)
    drawn = found.T @ found / len(found)
    assert np.abs(wanted - drawn).max() < 0.01


def test_gaussian_has_no_direction() -> None:
    found = gaussian(50_000, (3, 3))
    second = found.T @ found / len(found)
    expected = (np.eye(9) - 1 / 9) / 8
    assert np.abs(second - expected).max() < 0.003


def test_draws_follow_the_seed() -> None:
    filters = normal_form(random_keys(50, (3, 3))).shaped
    for draw in (
        lambda seed: gaussian(40, (3, 3), seed=seed),
        lambda seed: same_spectrum(filters, 40, (3, 3), seed=seed),
        lambda seed: same_covariance(filters, 40, seed=seed),
    ):
        assert (draw(3) == draw(3)).all()
        assert (draw(3) != draw(4)).any()
        np.testing.assert_allclose(np.linalg.norm(draw(3), axis=1), 1, atol=1e-5)
