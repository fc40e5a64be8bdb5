"""What does not matter when filters are compared: the moves, against NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest

from filterdb.keys.equivalence import Equivalence
from filterdb.keys.fit import fit_keys


def moved(row: np.ndarray, kernel: tuple[int, int], same: Equivalence) -> list[np.ndarray]:
    return [matrix @ row for matrix in same.transforms(kernel)]


def test_eight_rotations_of_a_square_kernel() -> None:
    image = np.arange(9.0).reshape(3, 3)
    expected = {
        np.rot90(base, turns).tobytes() for base in (image, image[::-1]) for turns in range(4)
    }
    found = moved(image.ravel(), (3, 3), Equivalence(rotations=True))
    assert {one.reshape(3, 3).tobytes() for one in found} == expected
    assert len(found) == 8


@pytest.mark.parametrize(("kernel", "count"), [((3, 5), 4), ((1, 7), 2), ((7, 7), 8), ((2, 2), 8)])
def test_moves_that_keep_the_shape(kernel: tuple[int, int], count: int) -> None:
    assert len(Equivalence(rotations=True).transforms(kernel)) == count


def test_shifts_lose_what_leaves() -> None:
    image = np.arange(1.0, 10).reshape(3, 3)
    found = [one.reshape(3, 3) for one in moved(image.ravel(), (3, 3), Equivalence(shifts=True))]
    down = np.array([[0, 0, 0], [1, 2, 3], [4, 5, 6]])
    left_up = np.array([[5, 6, 0], [8, 9, 0], [0, 0, 0]])
    assert len(found) == 9
    assert any((one == down).all() for one in found)
    assert any((one == left_up).all() for one in found)


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_copy_is_the_same_key_only_if_asked(turns: int) -> None:
    rng = np.random.default_rng(3)
    keys = rng.normal(size=(4, 25))
    turned = np.rot90(keys.reshape(4, 5, 5), turns, axes=(1, 2)).reshape(4, 25) * -2 + 1
    same = Equivalence(rotations=True)
    found = fit_keys(turned.astype(np.float32), keys, (5, 5), equivalence=same)
    assert found.key.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found.r2, 1, atol=1e-5)
    views = same.views(keys, (5, 5))
    again = found.a[:, None] * views[found.key, found.view] + found.b[:, None]
    np.testing.assert_allclose(again, turned, atol=1e-4)
    plain = fit_keys(turned.astype(np.float32), keys, (5, 5))
    assert (plain.r2 > 0.99).all() == (turns == 0)


def test_a_shifted_copy_is_the_same_key_only_if_asked() -> None:
    key = np.zeros((1, 5, 5))
    key[0, 2, 1:4] = 1, 2, -3
    shifted = np.roll(key, (1, -1), axis=(1, 2)).reshape(1, 25).astype(np.float32)
    flat = key.reshape(1, 25)
    assert fit_keys(shifted, flat, (5, 5), equivalence=Equivalence(shifts=True)).r2[0] > 0.9999
    assert fit_keys(shifted, flat, (5, 5)).r2[0] < 0.5


def test_sign() -> None:
    keys = np.random.default_rng(0).normal(size=(1, 9))
    negative = (-keys).astype(np.float32)
    assert fit_keys(negative, keys, (3, 3)).r2[0] == pytest.approx(1, abs=1e-5)
    assert fit_keys(negative, keys, (3, 3)).a[0] < 0
    signed = fit_keys(negative, keys, (3, 3), equivalence=Equivalence(signed=True))
    assert signed.r2[0] == 0
    assert signed.a[0] == 0
