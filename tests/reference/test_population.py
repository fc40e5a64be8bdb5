"""The reference population that is shipped: what it holds, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import filterdb
import make_reference_population as script
from filterdb.errors import QueryError
from filterdb.ingest.vocabulary import in_vocabulary
from filterdb.reference import ReferencePopulation, reference_population
from filterdb.reference.near import chance
from filterdb.reference.networks import BUILD, MEASURES, SizeSummary, unpacked
from filterdb.stats.basis import reference_basis
from filterdb.stats.moments import Moments
from filterdb.stats.shift import shift_matrix

FILE = Path(str(files("filterdb.reference") / "population.npz"))
PERMISSIVE = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear"}
FEW = ("ai8x--mnist-smallnet.pth.tar", "anime4k--model-checkpoint.h5",
       "ext-portrait-seg--extremec3.pth", "libfacedet--yunet-s-640.onnx", "mesonet--meso4_df.h5",
       "mesonet--mesoinception_df.h5", "ssrnet--ssrnet-gender-wiki.h5")  # fmt: skip


def test_it_is_small_and_holds_no_weights() -> None:
    assert FILE.stat().st_size <= 5_000_000
    with np.load(FILE, allow_pickle=False) as stored:
        arrays = dict(stored)
    layers = len(arrays["layer_model"])
    for name, array in arrays.items():
        if name.startswith("layer_"):  # one value a layer, or one for each measure or axis
            assert array.shape in [(layers,), (layers, 2), (layers, len(MEASURES))], name
    for (height, width), size in reference_population().stored.sizes.items():
        taps, name = height * width, f"{height}x{width}"
        networks = len(size.model)
        assert arrays[f"first_{name}"].shape == (networks, taps)
        assert arrays[f"second_{name}"].shape == (networks, taps, taps)
        assert arrays[f"counts_{name}"].shape == (networks, taps, 70)
        # Sums over a few filters would be the filters.
        assert size.filters.min() >= 100 > (taps + 3) / 2
    sized = {f"{part}_{h}x{w}" for h, w in reference_population().stored.sizes
             for part in ("model", "n", "first", "second", "counts")}  # fmt: skip
    assert {name for name in arrays if not name.startswith("layer_")} == {"about", *sized}


def test_every_network_has_a_source_and_a_permissive_licence() -> None:
    reference = reference_population()
    text = (FILE.parent / "README.md").read_text(encoding="utf-8")
    for network in reference.models:
        assert network.repository.count("/") == 1
        assert len(network.commit) == 40
        assert network.license in PERMISSIVE
        assert network.source.startswith(f"https://github.com/{network.repository}/blob/")
        assert f"| {network.name} | [{network.repository}]({network.source}) |" in text
    assert text == script.readme(reference.stored)
    names = [network.name for network in reference.models]
    assert names == sorted(set(names))


def test_its_parts_agree_with_one_another() -> None:
    stored = reference_population().stored
    layers = stored.layers
    for place, network in enumerate(stored.networks):
        own = layers.model == place
        assert own.sum() == network.n_layers
        assert layers.filters[own].sum() == network.n_filters
    for kernel, size in stored.sizes.items():
        of_size = (layers.kernel == kernel).all(axis=1)
        for place, moments, counts in zip(size.model, size.moments, size.counts, strict=True):
            own = of_size & (layers.model == place)
            assert moments.n == layers.filters[own].sum()
            assert set(counts.sum(axis=1).tolist()) == {moments.n}
    assert ((layers.depth >= 0) & (layers.depth <= 1)).all()
    with np.errstate(invalid="ignore"):
        ratio = layers.measures["variance_entropy"] / layers.measures["randomness_threshold"]
    np.testing.assert_allclose(layers.measures["entropy_ratio"], ratio, rtol=1e-12)


def test_the_histograms_are_in_the_bases_of_the_package() -> None:
    ids = {kernel: reference_basis(kernel).id for kernel in reference_population().basis_ids}
    assert reference_population().basis_ids == ids, (
        f"The reference basis has changed. Make the reference population anew: {BUILD}"
    )
    assert (3, 3) in ids


def test_a_network_is_nearest_to_itself() -> None:
    reference = reference_population()
    size = reference.stored.sizes[3, 3]
    found = reference.nearest(size.counts[7], kernel=(3, 3), basis_id=size.basis_id)
    assert len(found) == len(size.model)
    assert (found[0].model, found[0].shift) == (reference.models[size.model[7]], 0)
    assert found[0].filters == size.moments[7].n
    assert [row.shift for row in found] == sorted(row.shift for row in found)
    assert (
        reference.nearest(size.counts[7], kernel=(3, 3), basis_id=size.basis_id, n=3) == found[:3]
    )
    large = reference.nearest(size.counts[7], kernel=(3, 3), basis_id=size.basis_id, least=1_000)
    assert large == tuple(row for row in found if row.filters >= 1_000)


def test_chance_is_what_samples_of_one_population_reach() -> None:
    rng = np.random.default_rng(1)
    weights, width = np.array([0.7, 0.3]), 0.1
    population = rng.dirichlet(np.full(20, 4.0), size=2)
    found = []
    for _ in range(300):
        one, other = (rng.multinomial(n, population) for n in (1_500, 4_000))
        found.append(shift_matrix(np.array([one, other]), weights, width=width)[0, 1])
    one, other = (rng.multinomial(n, population) for n in (1_500, 4_000))
    assert chance(one, other, weights, width=width) == pytest.approx(
        np.quantile(found, 0.95), rel=0.15
    )


def test_the_shift_is_that_of_the_formula() -> None:
    reference = reference_population()
    size, basis = reference.stored.sizes[3, 3], reference_basis((3, 3))
    first, second = size.counts[0], size.counts[1]
    found = reference.nearest(first, kernel=(3, 3), basis_id=basis.id)
    (shift,) = [row.shift for row in found if row.model == reference.models[size.model[1]]]
    expected = 0.0
    for p, q, ratio in zip(first, second, basis.explained_variance_ratio, strict=True):
        p, q = (side / side.sum() / (2 * basis.reach / 70) for side in (p, q))  # densities
        p, q = (np.where(side == 0, np.float64(np.finfo(np.float32).eps), side) for side in (p, q))
        p, q = p / p.sum(), q / q.sum()
        expected += ratio * float((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())
    assert shift == pytest.approx(expected, rel=1e-9)


def test_another_basis_is_refused_with_the_mend() -> None:
    reference = reference_population()
    counts = reference.stored.sizes[3, 3].counts[0]
    with pytest.raises(QueryError, match="filterdb basis DB --adopt reference"):
        reference.nearest(counts, kernel=(3, 3), basis_id="0" * 16)
    with pytest.raises(QueryError, match=r"11x11 filters. It has .*3x3"):
        reference.nearest(counts, kernel=(11, 11), basis_id="0" * 16)
    with pytest.raises(QueryError, match="11x11"):
        reference.basis((11, 11))


def test_the_basis_counts_every_repository_once() -> None:
    rng = np.random.default_rng(0)
    filters = [rng.standard_normal((n, 9)) @ rng.standard_normal((9, 9)) for n in (200, 500, 900)]
    stored = reference_population().stored
    networks = tuple(
        replace(stored.networks[0], name=name, repository=repository)
        for name, repository in (("a", "o/one"), ("b", "o/one"), ("c", "o/two"))
    )
    size = SizeSummary("", np.arange(3), tuple(Moments.of(own.T) for own in filters),
                       np.zeros((3, 9, 70), np.int64))  # fmt: skip
    reference = ReferencePopulation(replace(stored, networks=networks, sizes={(3, 3): size}))
    found = reference.basis((3, 3))
    weights = np.concatenate([np.full(200, 1 / 4 / 200), np.full(500, 1 / 4 / 500),
                              np.full(900, 1 / 2 / 900)])  # fmt: skip
    together = np.concatenate(filters)
    covariance = np.cov(together.T, aweights=weights, bias=True)
    np.testing.assert_allclose(found.mean, weights @ together, atol=1e-12)
    np.testing.assert_allclose(
        found.components.T * found.explained_variance_ratio @ found.components,
        covariance / np.trace(covariance),
        atol=1e-12,
    )
    assert found.n == 1600


def test_the_summary_says_what_it_holds_and_what_is_left_out() -> None:
    reference = reference_population()
    said = reference.summary
    assert f"{len(reference.models)} public networks of" in said
    assert f"{len(reference.stored.layers.model):,} convolution layers" in said
    assert "2 with the weights of another network" in said


def test_the_shared_networks_give_the_same_numbers(zoo: Path, tmp_path: Path) -> None:
    filterdb.open(tmp_path / "db").ingest(
        [zoo / "weights" / name for name in FEW], metadata=zoo / "manifest.csv", jobs=1
    )
    fresh, shipped = unpacked(script.collect(tmp_path / "db")), reference_population().stored
    assert [network.name for network in fresh.networks] == list(FEW)
    place = {network.name: i for i, network in enumerate(shipped.networks)}
    for i, network in enumerate(fresh.networks):
        there = place[network.name]
        stored = shipped.networks[there]  # made before there was a vocabulary
        assert network == replace(
            stored,
            task=in_vocabulary("task", stored.task),
            visual_category=in_vocabulary("visual_category", stored.visual_category),
        )
        new, old = fresh.layers.model == i, shipped.layers.model == there
        for field in ("depth", "kernel", "kind", "verdict", "filters"):
            np.testing.assert_array_equal(
                getattr(fresh.layers, field)[new], getattr(shipped.layers, field)[old]
            )
        for name in MEASURES:  # sums run in another order on another machine
            np.testing.assert_allclose(
                fresh.layers.measures[name][new], shipped.layers.measures[name][old], rtol=1e-6
            )
    assert (3, 3) in fresh.sizes
    for kernel, size in fresh.sizes.items():
        assert size.basis_id == shipped.sizes[kernel].basis_id
        for model, moments, counts in zip(size.model, size.moments, size.counts, strict=True):
            there = place[fresh.networks[model].name]
            row = shipped.sizes[kernel].model.tolist().index(there)
            old_moments, old_counts = (
                shipped.sizes[kernel].moments[row],
                shipped.sizes[kernel].counts[row],
            )
            assert moments.n == old_moments.n
            np.testing.assert_allclose(moments.first, old_moments.first, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(moments.second, old_moments.second, rtol=1e-6, atol=1e-6)
            assert np.abs(counts - old_counts).sum() <= 2e-3 * counts.sum()


def test_weights_that_a_network_has_before_are_left_out() -> None:
    models = [{"name": name, "weights_hash": weights} for name, weights in
              (("c", "x"), ("a", "x"), ("b", "y"))]  # fmt: skip
    for order in (models, models[::-1]):
        kept, doubles = script.distinct(order)
        assert [model["name"] for model in kept] == ["a", "b"]
        assert [name for name, _ in doubles] == ["c"]
