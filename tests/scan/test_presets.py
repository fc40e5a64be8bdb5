"""The presets against the formulae of METHODS 1.3, written down in ``plain.py``."""

from __future__ import annotations

import numpy as np
import plain
import pytest

from filterdb.errors import QueryError
from filterdb.population import choices
from filterdb.scan import PRESETS, executor_for, preset_histograms, split
from filterdb.stats.shift import divergence, smoothed
from filterdb.store.payload import payload_path, read_payload


def weights_of(folder, layer):
    tensors = read_payload(payload_path(folder, layer.weights_hash))
    return tensors[layer.tensor].reshape(-1, layer.taps)


def plain_shift(preset, p_layers, q_layers):
    """``D`` of two groups of layers, each an array (n, k), with all filters in memory."""
    groups = []
    for layers in (p_layers, q_layers):
        if preset == "cvprw2022":
            layers = [layer[~plain.sparse(layer)] for layer in layers]
        groups.append(plain.scaled(np.concatenate(layers)))
    mean, components, ratios = plain.principal_components(np.concatenate(groups))
    p, q = [(group - mean) @ components.T for group in groups]
    if preset == "medneurips2022":
        return plain.shift(p, q, np.full(len(ratios), 1 / len(ratios)), (-3, 3))
    limits = min(p.min(), q.min()), max(p.max(), q.max())
    return plain.shift(p, q, ratios, limits)


def shift(found, p, q):
    """``D`` of two groups of layers, given by their places."""
    width = (found.high - found.low) / found.counts.shape[-1]
    sides = [smoothed(found.counts[group].sum(axis=0), width=width) for group in (p, q)]
    return divergence(*sides, found.weights)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [1, 10**9], ids=["small parts", "one part"])
def test_the_shift_is_that_of_the_paper(folder, networks, preset, size):
    found = preset_histograms(split(folder, networks, part_bytes=size), preset)
    layers = [weights_of(folder, layer) for layer in networks]
    for p, q in ([0, 1, 2], [3, 4]), ([0, 4], [1, 2, 3, 5, 6, 7]), ([6], [7]):
        expected = plain_shift(preset, [layers[i] for i in p], [layers[i] for i in q])
        whole = preset_histograms(split(folder, [networks[i] for i in p + q]), preset)
        sides = slice(None, len(p)), slice(len(p), None)
        assert expected > 0.01
        assert shift(whole, *sides) == pytest.approx(expected, abs=1e-9)
    assert found.counts.shape == (len(networks), 9, 70)
    assert found.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("preset", PRESETS)
def test_other_kernel_sizes(folder, publish, preset):
    generator = np.random.default_rng(3)
    weights = [generator.normal(size=(20, 10, 5, 4)).cumsum(axis=i) for i in (2, 3)]
    layers = publish({str(i): array.astype(np.float32) for i, array in enumerate(weights)})
    found = preset_histograms(split(folder, layers), preset)
    expected = plain_shift(preset, *[[weights_of(folder, layer)] for layer in layers])
    assert shift(found, [0], [1]) == pytest.approx(expected, abs=1e-9)


def test_the_same_twice_has_no_shift(folder, networks):
    found = preset_histograms(split(folder, networks + networks), "cvpr2022")
    assert shift(found, slice(None, 8), slice(8, None)) == 0


def test_what_was_left_out_is_said(folder, networks):
    total = sum(layer.n_filters for layer in networks)
    sparse = sum(plain.sparse(weights_of(folder, layer)).sum() for layer in networks)
    parts = split(folder, networks)
    (signs,) = preset_histograms(parts, "cvpr2022").notes
    assert "signs of the components" in signs
    removed = preset_histograms(parts, "cvprw2022")
    assert 0 < sparse == total - removed.n.sum()
    assert removed.notes == (signs, f"{sparse} sparse filters were removed first.")
    also = preset_histograms(parts, "medneurips2022", drop_sparse=True)
    np.testing.assert_array_equal(also.n, removed.n)
    np.testing.assert_array_equal(removed.counts.sum(axis=(1, 2)), 9 * removed.n)
    outside = preset_histograms(parts, "medneurips2022")
    lost = 9 * total - outside.counts.sum()
    expected = f"{lost} coefficients lie outside the range and were left out."
    assert outside.notes == ((expected,) if lost else ())


def test_coefficients_outside_the_range_are_counted_as_left_out(folder, publish):
    signs = np.where(np.random.default_rng(0).random((40, 10, 1, 1)) < 0.5, -1, 1)
    weights = (signs * np.ones((40, 10, 5, 5))).astype(np.float32)  # all are 5 long
    found = preset_histograms(split(folder, publish({"conv": weights})), "medneurips2022")
    assert found.notes == ("400 coefficients lie outside the range and were left out.",)


def test_processes_find_the_same(folder, networks):
    parts = split(folder, networks, part_bytes=1)
    here = preset_histograms(parts, "cvprw2022")
    told = []
    with executor_for(jobs=2) as executor:
        there = preset_histograms(
            parts, "cvprw2022", executor=executor, progress=lambda *item: told.append(item[:2])
        )
    np.testing.assert_array_equal(there.counts, here.counts)
    np.testing.assert_allclose(there.weights, here.weights, rtol=1e-9)
    assert told == [(done, 24) for done in range(1, 25)]


def test_an_interrupted_one_goes_on_where_it_was(folder, networks):
    parts = split(folder, networks, part_bytes=1)
    expected = preset_histograms(parts, "cvpr2022")
    told = []

    def interrupt(done, total, _):
        told.append(done)
        if done == 20:  # in the third pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preset_histograms(parts, "cvpr2022", checkpoint=folder / "scans", progress=interrupt)
    kept = {path.parent.name for path in (folder / "scans").glob("*/*.npz")}
    assert len(kept) == 3
    parts[0].paths[0].unlink()  # what is kept is not asked again
    found = preset_histograms(parts, "cvpr2022", checkpoint=folder / "scans")
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert not (folder / "scans").exists()


def test_bad_questions(folder, networks, publish):
    with pytest.raises(ValueError, match="cvprw2022"):
        preset_histograms(split(folder, networks), "cvpr2023")
    other = publish({"other": np.ones((2, 2, 5, 5), np.float32)})
    with pytest.raises(ValueError, match="one kernel size"):
        preset_histograms(split(folder, networks + other), "cvpr2022")
    with pytest.raises(QueryError, match="No filters"):
        preset_histograms([], "cvpr2022")
    zero = publish({"zero": np.zeros((2, 2, 3, 3), np.float32)})
    with pytest.raises(QueryError, match="sparse"):
        preset_histograms(split(folder, zero), "cvprw2022")


def test_the_names_are_those_that_users_choose_from():
    assert ("reference", *PRESETS) == choices.PRESETS
