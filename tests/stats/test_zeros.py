from __future__ import annotations

import numpy as np
import pytest

from filterdb import check
from filterdb.stats.zeros import Zeros, count_zeros


def weights(*shape):
    return np.random.default_rng(5).uniform(0.5, 1, size=shape).astype(np.float32)


def test_no_zero():
    assert count_zeros(weights(4, 3, 3, 3)) == Zeros(0, 0, 0)


def test_unstructured_pruning_leaves_filters_alone():
    pruned = weights(8, 4, 3, 3)
    pruned[:, :, ::2, 1] = 0
    assert count_zeros(pruned) == Zeros(8 * 4 * 2, 0, 0)


def test_structured_pruning_takes_whole_channels():
    pruned = weights(8, 4, 3, 3)
    pruned[2:5] = 0
    assert count_zeros(pruned) == Zeros(3 * 4 * 9, 3 * 4, 3)


def test_tiny_values_are_no_zeros_and_minus_zero_is_one():
    pruned = weights(2, 2, 3, 3)
    pruned[0] = np.float32(1e-45)
    pruned[1, 1] = np.float32(-0.0)
    assert count_zeros(pruned) == Zeros(9, 1, 0)


def test_nan_is_no_zero():
    assert count_zeros(np.full((2, 2, 3, 3), np.nan, np.float32)) == Zeros()


@pytest.mark.parametrize("shape", [(4, 2, 1, 1), (1, 1, 3, 3), (6, 1, 5, 3)])
def test_all_zero(shape):
    n = int(np.prod(shape))
    assert count_zeros(np.zeros(shape)) == Zeros(n, shape[0] * shape[1], shape[0])


def test_the_check_has_them():
    pruned = weights(8, 4, 3, 3)
    pruned[0] = 0
    (layer,) = check({"conv.weight": pruned}).to_dict()["layers"]
    assert layer["zeros"] == {"weights": 36, "filters": 4, "channels": 1}
