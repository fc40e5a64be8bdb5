"""Agreement of two searches: the Rand index of scikit-learn, and keys matched one to one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from filterdb.keys.equivalence import Equivalence
from filterdb.keys.normal import normal_form
from filterdb.keys.search.agreement import adjusted_rand_index, agreement, chance_matched, match
from planted import random_keys


@pytest.mark.parametrize("seed", range(6))
def test_rand_index_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(5, size=300)
    second = np.where(rng.random(300) < seed / 5, first, rng.integers(4, size=300))
    assert adjusted_rand_index(first, second) == pytest.approx(adjusted_rand_score(first, second))


def test_rand_index_of_one_class() -> None:
    zeros = np.zeros(10, int)
    assert adjusted_rand_index(zeros, zeros) == 1


def test_matching_undoes_order_and_sign() -> None:
    keys = random_keys(6, (5, 5))
    others = -keys[[3, 1, 5, 0, 2, 4]]
    np.testing.assert_allclose(match(keys, others, (5, 5), Equivalence()), 1, atol=1e-5)
    signed = match(keys, others, (5, 5), Equivalence(signed=True))
    assert (signed < 0.9).all()
    assert len(match(keys, keys[:4], (5, 5), Equivalence())) == 4


def test_agreement_of_the_same_and_of_random_keys() -> None:
    filters = normal_form(np.random.default_rng(0).normal(size=(2000, 25))).shaped
    keys = random_keys(8, (5, 5))
    ask = {"kernel": (5, 5), "same": Equivalence(), "name": "x"}
    itself = agreement(keys, keys[::-1], filters, **ask)
    assert itself.rand_index == pytest.approx(1)
    assert itself.same == 8
    assert itself.least > 0.999
    other = agreement(keys, random_keys(8, (5, 5), seed=1), filters, **ask)
    assert other.rand_index < 0.15
    assert other.matched == pytest.approx(other.chance_matched, abs=0.06)
    assert other.same == 0


def test_chance_grows_as_taps_shrink() -> None:
    by_size = [chance_matched(8, 8, size, Equivalence()) for size in [(7, 7), (5, 5), (3, 3)]]
    assert by_size == sorted(by_size)
    assert by_size[-1] > 0.5
