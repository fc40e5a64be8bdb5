"""K-means on lines: planted keys are found, a step never loses, and moves are undone."""

from __future__ import annotations

import numpy as np
import pytest

from filterdb.keys.equivalence import Equivalence
from filterdb.keys.normal import normal_form
from filterdb.keys.search.agreement import match
from filterdb.keys.search.greedy import r2_with_each, remove_greedily
from filterdb.keys.search.lines import Accumulator, blocks_of, find_lines
from planted import copies, random_keys, unit

SIGN = Equivalence()


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 7), (1, 9)])
@pytest.mark.parametrize("count", [2, 5])
def test_planted_keys_are_found(kernel: tuple[int, int], count: int) -> None:
    keys = random_keys(count, kernel)
    rows = copies(np.random.default_rng(0), keys, 3000)
    filters = normal_form(rows).shaped
    best = max((find_lines(filters, count, kernel, seed=seed) for seed in range(5)),
               key=lambda found: found.mean_r2)  # fmt: skip
    assert (match(keys, best.keys, kernel, SIGN) > 0.995).all()
    assert best.members.sum() == 3000
    assert (np.diff(best.members) <= 0).all()


def test_one_line_is_the_first_principal_axis() -> None:
    # The line that explains most of all is the dominant eigenvector of the second moments.
    rng = np.random.default_rng(2)
    filters = normal_form(rng.normal(size=(800, 9)) @ rng.normal(size=(9, 9))).shaped
    found = find_lines(filters, 1, (3, 3), steps=3000)
    values, vectors = np.linalg.eigh(filters.astype(np.float64).T @ filters)
    assert abs(found.keys[0] @ vectors[:, -1]) > 0.999
    assert found.mean_r2 == pytest.approx(values[-1] / 800, abs=1e-4)


def test_a_step_against_plain_numpy_and_never_loses() -> None:
    filters = normal_form(np.random.default_rng(3).normal(size=(5000, 9))).shaped
    keys = random_keys(6, (3, 3))
    before = 0.0
    for _ in range(15):
        step = Accumulator(keys, (3, 3), SIGN).step(blocks_of(filters))
        cosines = filters.astype(np.float64) @ keys.T
        best = np.abs(cosines).argmax(axis=1)
        own = cosines[np.arange(5000), best]
        assert step.explained.sum() == pytest.approx(np.square(own).sum(), rel=1e-5)
        pull = np.stack([(own * (best == j)) @ filters for j in range(6)])
        np.testing.assert_allclose(step.pull[:, 0], pull, atol=1e-2)
        assert step.members[:, 0].tolist() == np.bincount(best, minlength=6).tolist()
        assert step.explained.sum() >= before - 1e-3
        before, keys = step.explained.sum(), step.next_keys(keys, SIGN.transforms((3, 3)))
        np.testing.assert_allclose(keys, unit(pull), atol=1e-4)


@pytest.mark.parametrize("same", [Equivalence(rotations=True), Equivalence(shifts=True)])
def test_moved_copies_are_found_as_one_key(same: Equivalence) -> None:
    rng = np.random.default_rng(4)
    blob = np.zeros((2, 7, 7))
    blob[:, 2:5, 2:5] = rng.normal(size=(2, 3, 3)) * 2
    keys = unit(blob.reshape(2, 49))
    views = same.views(keys, (7, 7)).reshape(-1, 49)
    rows = copies(rng, views.astype(np.float64), 3000, noise=0.05)
    filters = normal_form(rows).shaped
    best = max((find_lines(filters, 2, (7, 7), same=same, seed=seed) for seed in range(6)),
               key=lambda found: found.mean_r2)  # fmt: skip
    assert best.mean_r2 > 0.97
    assert find_lines(filters, 2, (7, 7)).mean_r2 < 0.6


@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (1, 7)])
@pytest.mark.parametrize(
    "same", [Equivalence(shifts=True), Equivalence(rotations=True, shifts=True)]
)
def test_taking_more_for_the_same_explains_no_less(
    kernel: tuple[int, int], same: Equivalence
) -> None:
    keys = random_keys(3, kernel)
    filters = normal_form(copies(np.random.default_rng(7), keys, 800)).shaped
    plain = max(find_lines(filters, 3, kernel, seed=seed).mean_r2 for seed in range(2))
    moved = max(find_lines(filters, 3, kernel, same=same, seed=seed).mean_r2 for seed in range(2))
    assert moved > plain - 0.01


@pytest.mark.parametrize("seed", range(3))
def test_planted_shifted_keys_are_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = Equivalence(shifts=True)
    keys = random_keys(3, (7, 7), seed)
    rows = copies(rng, same.views(keys, (7, 7)).reshape(-1, 49).astype(np.float64), 1500)
    filters = normal_form(rows).shaped
    best = max((find_lines(filters, 3, (7, 7), same=same, seed=turn) for turn in range(2)),
               key=lambda found: found.mean_r2)  # fmt: skip
    assert best.mean_r2 > 0.95


def test_signed_keys_tell_a_filter_from_its_negative() -> None:
    rng = np.random.default_rng(5)
    key = random_keys(1, (3, 3))
    filters = normal_form(np.concatenate([copies(rng, key, 500), -copies(rng, key, 500)])).shaped
    assert find_lines(filters, 1, (3, 3)).mean_r2 > 0.95
    signed = Equivalence(signed=True)
    assert find_lines(filters, 1, (3, 3), same=signed).mean_r2 < 0.6
    two = find_lines(filters, 2, (3, 3), same=signed)
    assert two.mean_r2 > 0.95
    assert two.keys[0] @ two.keys[1] < -0.95


def test_the_same_seed_gives_the_same_keys() -> None:
    filters = normal_form(np.random.default_rng(6).normal(size=(20_000, 9))).shaped
    first, second = (find_lines(filters, 4, (3, 3), seed=7) for _ in range(2))
    assert (first.keys == second.keys).all()


def test_copies_alone_and_too_few() -> None:
    filters = normal_form(np.repeat(np.random.default_rng(0).normal(size=(2, 9)), 5, axis=0)).shaped
    assert find_lines(filters, 4, (3, 3)).mean_r2 == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="cannot give 11"):
        find_lines(filters, 11, (3, 3))


def test_greedy_removal_keeps_the_planted_keys() -> None:
    keys = random_keys(6, (5, 5))
    filters = normal_form(copies(np.random.default_rng(0), keys, 4000)).shaped
    candidates = np.concatenate([random_keys(20, (5, 5), seed=9), keys, random_keys(4, (5, 5), 8)])
    kept = remove_greedily(filters, candidates, 6, kernel=(5, 5))
    assert kept.indices == (20, 21, 22, 23, 24, 25)
    assert (np.diff(kept.mean_r2) <= 1e-7).all()
    assert len(kept.removed) == 24
    assert sorted((*kept.removed, *kept.indices)) == list(range(30))
    with pytest.raises(ValueError, match="31 keys"):
        remove_greedily(filters, candidates, 31, kernel=(5, 5))


def test_r2_with_each_key() -> None:
    keys = random_keys(3, (3, 3))
    filters = normal_form(np.random.default_rng(1).normal(size=(100, 9))).shaped
    plain = np.square(filters.astype(np.float64) @ keys.T)
    np.testing.assert_allclose(r2_with_each(filters, keys, (3, 3)), plain, atol=1e-5)
    turned = r2_with_each(filters, keys, (3, 3), same=Equivalence(rotations=True))
    views = Equivalence(rotations=True).views(keys, (3, 3)).astype(np.float64)
    best = np.square(np.einsum("nk,jvk->njv", filters, views)).max(axis=2)
    np.testing.assert_allclose(turned, best, atol=1e-5)
