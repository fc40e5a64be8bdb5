"""The whole search: planted keys are recovered and claimed, noise is not, and chance is beside."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

import filterdb
from filterdb.errors import KeySetError, QueryError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.search.agreement import match
from filterdb.keys.search.claims import at_most, bootstrap
from filterdb.keys.search.coverage import explained, explained_layers
from filterdb.keys.search.crossing import halves
from filterdb.keys.search.finding import find
from filterdb.keys.search.found import MEAN, THRESHOLDS, FoundKeys
from filterdb.keys.search.runs import UNTRAINED
from filterdb.keys.search.sample import draw
from filterdb.keys.search.settings import Settings
from filterdb.population.preset import Scanning
from networks import save
from planted import network, planted_database, random_keys, unit

KEYS = random_keys(4, (5, 5))
HERE = Scanning(jobs=1)


@cache
def planted() -> filterdb.Database:
    return planted_database(Path(mkdtemp()), KEYS, (5, 5), runs=True)


@cache
def noise() -> filterdb.Database:
    return planted_database(Path(mkdtemp()), None, (3, 3), models=10, width=60)


@cache
def found() -> FoundKeys:
    population = planted().select("epoch > 0")
    return find(population, Settings(k=4, seeds=3), scanning=HERE)


def filters_of(database: filterdb.Database, where: str) -> np.ndarray:
    rows = [row for row in database.layers(where) if row["kind"] == "depthwise"]
    size = rows[0]["kh"] * rows[0]["kw"]
    return np.concatenate(
        [database.weights(row["model"], row["name"]).reshape(-1, size) for row in rows]
    ).astype(np.float64)


def test_planted_keys_are_recovered() -> None:
    keys = found().keys.flat
    assert (match(KEYS, keys, (5, 5), Equivalence()) > 0.99).all()
    assert found().searched.filters == 8 * 3 * 40
    assert found().searched.models == 8
    assert (np.diff(found().shares) <= 0).all()
    assert found().shares.sum() == pytest.approx(1)


def test_fitted_against_plain_numpy() -> None:
    filters = unit(filters_of(planted(), "epoch > 0"))
    r2 = np.square(filters @ found().keys.flat.T).max(axis=1)
    assert found().fitted.mean_r2 == pytest.approx(r2.mean(), abs=1e-5)
    for threshold, share in zip(THRESHOLDS, found().fitted.shares, strict=True):
        assert share == pytest.approx((r2 >= threshold).mean(), abs=2e-3)


def test_structure_is_claimed_beside_its_chance() -> None:
    claims = {claim.measure: claim for claim in found().claims}
    assert set(claims) == {*(f"R² >= {t:g}" for t in THRESHOLDS), MEAN}
    for claim in claims.values():
        assert claim.above
        assert claim.low <= claim.value <= claim.high
        assert 0 < claim.excess_low < claim.value - claim.chance < claim.excess_high
    assert set(found().point.controls) == {
        "gaussian", "shuffled", "spectrum", "covariance", "initialisation",
    }  # fmt: skip


def test_initialisation_is_what_noise_is() -> None:
    controls = found().point.controls
    start, plain = controls["initialisation"].by_own, controls["gaussian"].by_own
    assert start.mean_r2 == pytest.approx(plain.mean_r2, abs=0.04)


def test_curve_rises_and_covers_every_network() -> None:
    curve = found().curve
    assert [point.k for point in curve] == sorted(point.k for point in curve)
    means = [point.networks.mean_r2 for point in curve]
    assert means[0] < 0.5 < 0.95 < means[[point.k for point in curve].index(4)]
    assert all(point.controls and min(point.layers) >= 0 for point in curve)
    assert len(found().networks) == 8
    assert sum(row.filters for row in found().networks) == 960


def test_seeds_and_methods_agree() -> None:
    by_name = {one.other: one for one in found().agreement}
    assert set(by_name) == {"seed 2", "seed 3", "greedy"}
    assert by_name["greedy"].matched > 0.98 > by_name["greedy"].chance_matched
    assert by_name["greedy"].rand_index > 0.95


def test_noise_is_not_reported_as_structure() -> None:
    result = find(noise().select(), Settings(k=8, seeds=2), scanning=HERE)
    for claim in result.claims:
        assert claim.above is False
        assert claim.value == pytest.approx(claim.chance, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_reported_whatever_the_seed(seed: int) -> None:
    settings = Settings(k=4, seeds=1, seed=seed, compare=())
    result = find(noise().select(), settings, scanning=HERE)
    assert not any(claim.above for claim in result.claims)


def heavy(rng: np.random.Generator, count: int, taps: int) -> np.ndarray:
    return rng.standard_t(2, size=(count, taps))


def pruned(rng: np.random.Generator, count: int, taps: int) -> np.ndarray:
    return rng.normal(size=(count, taps)) * (rng.random((count, taps)) < 0.25)


def flat(rng: np.random.Generator, count: int, taps: int) -> np.ndarray:
    plane = np.random.default_rng(5).normal(size=(2, taps))
    return rng.normal(size=(count, 2)) @ plane


def smooth(rng: np.random.Generator, count: int, taps: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    side = round(taps**0.5)
    sigma = rng.uniform(0.2, 1.5)
    return gaussian_filter(rng.normal(size=(count, side, side)), (0, sigma, sigma)).reshape(
        -1, taps
    )


@pytest.mark.parametrize("drawn", [heavy, pruned, flat], ids=lambda drawn: drawn.__name__)
def test_noise_of_any_weights_is_no_structure(tmp_path: Path, drawn) -> None:
    database = planted_database(tmp_path, None, (3, 3), models=10, width=80, drawn=drawn)
    settings = Settings(k=8, seeds=1, compare=(), ladder=())
    result = find(database.select(), settings, scanning=HERE)
    assert not any(claim.above for claim in result.claims), result.claims


def test_networks_that_differ_in_smoothness_alone_are_no_structure(tmp_path: Path) -> None:
    database = planted_database(tmp_path, None, (3, 3), models=10, width=120, drawn=smooth)
    settings = Settings(k=8, seeds=1, compare=(), ladder=())
    result = find(database.select(), settings, scanning=HERE)
    assert not any(claim.above for claim in result.claims), result.claims


def test_epochs_of_a_run_are_held_out_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = tmp_path / "files"
    source.mkdir()
    rows = ["file,run,epoch"]
    for run in range(6):
        base = rng.normal(size=(16, 9))
        for epoch in range(1, 4):
            name = f"r{run}e{epoch}.safetensors"
            near = (base + 0.01 * rng.normal(size=base.shape)).astype(np.float32)
            save(source / name, network([near], (3, 3)))
            rows.append(f"{name},run{run},{epoch}")
    table = tmp_path / "models.csv"
    table.write_text("\n".join(rows))
    database = filterdb.open(tmp_path / "db")
    database.ingest([source], metadata=table, jobs=1)
    settings = Settings(k=24, seeds=1, compare=(), ladder=())
    result = find(database.select(), settings, scanning=HERE)
    assert result.searched.held_out_by == "run"
    assert result.searched.groups == 6
    assert not any(claim.above for claim in result.claims)
    apart = find(database.select(), replace(settings, hold_out="model"), scanning=HERE)
    assert any(claim.above for claim in apart.claims)  # what copies of one network would claim


def test_greedy_finds_the_planted_keys_too() -> None:
    settings = Settings(k=4, seeds=1, method="greedy", compare=("lines",))
    result = find(planted().select("epoch > 0"), settings, scanning=HERE)
    assert (match(KEYS, result.keys.flat, (5, 5), Equivalence()) > 0.98).all()
    assert all(claim.above for claim in result.claims)


def test_fewest_keys_for_a_coverage() -> None:
    settings = Settings(coverage=0.95, threshold=0.9, seeds=3, compare=())
    result = find(planted().select("epoch > 0"), settings, scanning=HERE)
    assert len(result.keys) == 4
    assert result.point.networks.at(0.9) >= 0.95
    assert result.curve[[p.k for p in result.curve].index(4) - 1].networks.at(0.9) < 0.95
    with pytest.raises(KeySetError, match="lower --coverage"):
        find(noise().select(), Settings(coverage=1.0, threshold=0.95), scanning=HERE)


def test_processes_give_the_same() -> None:
    settings = Settings(k=4, seeds=3)
    again = find(planted().select("epoch > 0"), settings, scanning=Scanning(jobs=2))
    assert json.dumps(again.to_dict()) == json.dumps(found().to_dict())


def test_a_sample_of_a_population_refined_by_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    import filterdb.keys.search.finding as module

    monkeypatch.setattr(module, "draw", lambda *a, **k: draw(*a, **{**k, "most": 300}))
    result = find(planted().select("epoch > 0"), Settings(k=4, seeds=3), scanning=HERE)
    assert 200 < result.searched.sampled < 400
    assert result.searched.shaped == 960
    assert (match(KEYS, result.keys.flat, (5, 5), Equivalence()) > 0.99).all()
    assert result.fitted.mean_r2 == pytest.approx(found().fitted.mean_r2, abs=1e-4)
    assert any("passes over all" in note for note in result.notes)


def test_a_sample_takes_each_layers_share() -> None:
    whole = draw(planted().select("kind = 'depthwise'"), hold_out="repo", scanning=HERE)
    assert whole.whole
    assert len(whole.unit) == whole.shaped == 2 * 960
    half = draw(planted().select("kind = 'depthwise'"), hold_out="repo", most=960, scanning=HERE)
    assert 800 < len(half.unit) < 1120
    assert (half.counts == whole.counts).all()
    assert np.bincount(half.layer, minlength=48).min() > 5
    # Models without a value of the column are groups of their own.
    assert len(whole.group_names) == 4 + 8


def test_one_network_is_held_out_layer_by_layer(tmp_path: Path) -> None:
    database = planted_database(tmp_path, KEYS, (5, 5), models=1, layers=6)
    result = find(database.select(), Settings(k=4), scanning=HERE)
    assert result.searched.held_out_by == "layer"
    assert any("Layers are held out" in note for note in result.notes)
    few = planted_database(tmp_path / "few", KEYS, (5, 5), models=1, layers=3)
    result = find(few.select(), Settings(k=4), scanning=HERE)
    assert all(claim.above is None and claim.low is None for claim in result.claims)
    assert any("no claim is made" in note for note in result.notes)


class TestBadInput:
    def test_no_depthwise_layers(self) -> None:
        with pytest.raises(KeySetError, match=r"48 conv.*--kind any") as caught:
            find(planted().select("kind = 'conv'"), scanning=HERE)
        assert "depthwise" in str(caught.value)
        dense = planted().select("kind <> 'depthwise' AND kh = 3")
        every = find(dense, Settings(kind="any", k=2), scanning=HERE)
        assert any("all kinds" in note for note in every.notes)

    def test_another_kernel_size(self) -> None:
        with pytest.raises(KeySetError, match=r"No depthwise layer of the selection is 3x3.*5x5"):
            find(planted().select(kernel=(3, 3)), scanning=HERE)

    def test_more_keys_than_filters(self, tmp_path: Path) -> None:
        filters = [np.repeat(KEYS[:1], 6, axis=0).astype(np.float32) * np.arange(1, 7)[:, None]]
        save(tmp_path / "one.safetensors", network(filters, (5, 5)))
        database = filterdb.open(tmp_path / "db")
        database.ingest([tmp_path / "one.safetensors"], jobs=1)
        with pytest.raises(KeySetError, match="has 1 filter that are no copies"):
            find(database.select(), Settings(k=2), scanning=HERE)

    def test_constant_layers(self, tmp_path: Path) -> None:
        filters = [np.full((6, 25), 0.3, np.float32), np.zeros((6, 25), np.float32)]
        save(tmp_path / "flat.safetensors", network(filters, (5, 5)))
        database = filterdb.open(tmp_path / "db")
        database.ingest([tmp_path / "flat.safetensors"], jobs=1)
        with pytest.raises(KeySetError, match="6 are constant and 6 nearly zero"):
            find(database.select(), Settings(k=2), scanning=HERE)

    @pytest.mark.parametrize(
        "settings",
        [Settings(k=0), Settings(seeds=0), Settings(coverage=1.2), Settings(threshold=0.5)],
    )
    def test_settings(self, settings: Settings) -> None:
        with pytest.raises(KeySetError):
            find(planted().select(), settings, scanning=HERE)

    def test_choices(self) -> None:
        with pytest.raises(QueryError, match="lines"):
            find(planted().select(), Settings(method="line"), scanning=HERE)  # type: ignore
        with pytest.raises(QueryError, match="colour"):
            find(planted().select(), Settings(hold_out="colour"), scanning=HERE)


def test_upper_end_of_chance_is_wilsons() -> None:
    from scipy.stats import binomtest

    for hits, n in [(0, 100), (3, 500), (400, 1000), (100, 100)]:
        high = binomtest(hits, n).proportion_ci(method="wilson").high
        assert at_most(hits / n, n, mean=False) == pytest.approx(high, abs=1e-4)
    assert at_most(0.5, 10_000, mean=True) == pytest.approx(0.5098)


def test_the_autoencoder_finds_the_planted_keys_and_its_axis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = pytest.importorskip("filterdb.keys.torch.autoencoder")
    quick = partial(module.train_autoencoder, restarts=1, steps=500)
    monkeypatch.setattr(module, "train_autoencoder", quick)
    settings = Settings(k=4, seeds=1, method="autoencoder", compare=())
    result = find(planted().select("epoch > 0"), settings, scanning=HERE)
    assert (match(KEYS, result.keys.flat, (5, 5), Equivalence()) > 0.95).all()
    assert result.axis is not None
    assert result.axis.decoded.shape == (50, 5, 5)
    assert result.axis.counts.sum() == 960
    assert len(result.axis.kept) == 4
    assert all(claim.above for claim in result.claims)


def test_halves_are_of_groups_and_of_about_one_size() -> None:
    groups = np.repeat(np.arange(30), np.random.default_rng(0).integers(1, 50, size=30))
    half = halves(groups, 0)
    for group in range(30):
        assert len(set(half[groups == group])) == 1
    assert 0.4 < half.mean() < 0.6
    assert (halves(groups, 1) != half).any()


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for turn in range(100):
        sizes = rng.integers(10, 100, size=40).astype(float)
        rates = rng.beta(4, 6, size=40)
        low, high = bootstrap((rates * sizes)[:, None], sizes, seed=turn)
        hits += low[0] <= 0.4 <= high[0]
    assert hits >= 85
    assert bootstrap(np.ones((4, 1)), np.ones(4), seed=0) == (None, None)


def test_explained_against_plain_numpy() -> None:
    r2 = np.array([0.7, 0.69, 0.95, 1.0, 0.1], np.float32)
    result = explained(r2)
    assert result.shares == pytest.approx((0.6, 0.4, 0.4, 0.4))
    assert result.mean_r2 == pytest.approx(r2.mean())
    layer = np.array([0, 0, 1, 1, 3])
    assert explained_layers(layer, r2) == pytest.approx((2 / 3, 1 / 3, 1 / 3, 1 / 3))


def test_examples_are_of_every_key() -> None:
    examples = found().examples
    keys = found().keys.flat
    best = np.abs(examples.best.reshape(len(examples.best), -1) @ keys.T)
    assert sorted(best.argmax(axis=1)[:4]) == [0, 1, 2, 3]
    np.testing.assert_allclose(np.square(best.max(axis=1)), examples.best_r2, atol=1e-4)
    assert examples.worst_r2.max() < examples.best_r2.min()
    assert (np.diff(examples.worst_r2) >= 0).all()


def test_groups_along_axes_hold_every_layer_once() -> None:
    settings = Settings(k=4, seeds=1, compare=(), by=("depth", "repo", "epoch"))
    result = find(planted().select(), settings, scanning=HERE)
    axes = {name: [row for row in result.groups if row.axis == name]
            for name in ("depth_decile", "repo", "epoch")}  # fmt: skip
    for rows in axes.values():
        assert sum(row.layers for row in rows) == result.searched.layers
        assert sum(row.filters for row in rows) == result.searched.shaped
        mean = sum(row.filters * row.explained.mean_r2 for row in rows) / result.searched.shaped
        assert mean == pytest.approx(result.point.networks.mean_r2, abs=1e-6)
    (end,) = axes["epoch"]
    assert end.name == "9"
    assert result.searched.left_out == {UNTRAINED: 24}  # the epochs 0, which are a control
    assert result.searched.held_out_by == "run"
    assert [row.name for row in axes["repo"]] == ["repo0", "repo1", "repo2", "repo3"]
    assert any(row.name == "[0.0,0.1]" for row in axes["depth_decile"])
