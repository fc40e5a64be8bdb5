"""Chance beside labels: controls of the very filters, by the same keys, at the same threshold."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import filterdb
from filterdb.errors import KeySetError, QueryError
from filterdb.keys import sentences
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import MEASURED, KeyName, KeySet
from filterdb.keys.labels.chance import chance_of, levels
from filterdb.keys.labels.labelling import label
from filterdb.keys.labels.sampling import SampledFilters, found_on, sampled_filters
from filterdb.keys.naming.naming import analytic
from filterdb.keys.normal import normal_form
from filterdb.keys.search.claims import at_most
from filterdb.keys.search.controls import gaussian, same_covariance, same_spectrum, same_weights
from filterdb.keys.search.finding import find
from filterdb.keys.search.settings import Settings
from filterdb.keys.sets.set_file import load_keys, read_keys, save_keys
from filterdb.keys.sets.told_claims import told_claims, told_groups
from filterdb.population.preset import Scanning
from networks import save

HERE = Scanning(jobs=1)
SIDE = 5
RNG = np.random.default_rng(5)
PLANTED = RNG.normal(size=(3, SIDE, SIDE))
KEYS = KeySet("three", PLANTED)


def layers_of(seed, *, copies, layers=1, count=40):
    """Depthwise layers of affine copies of the planted keys, or of noise."""
    rng = np.random.default_rng(seed)
    found = {}
    for index in range(layers):
        noise = rng.normal(size=(count, SIDE, SIDE))
        key = PLANTED[rng.integers(3, size=count)]
        a, b = rng.normal(size=(2, count, 1, 1))
        filters = a * key + b + 0.05 * a * noise if copies else noise
        found[f"dw{index}.weight"] = filters[:, None].astype(np.float32)
    return found


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Six networks of copies, and six of noise."""
    folder = tmp_path_factory.mktemp("chance")
    for seed in range(6):
        save(folder / f"copies{seed}.safetensors", layers_of(seed, copies=True))
        save(folder / f"noise{seed}.safetensors", layers_of(seed + 20, copies=False))
    database = filterdb.open(folder / "db")
    database.ingest([folder], jobs=1)
    return database


COPIES, NOISE = "model LIKE 'copies%'", "model LIKE 'noise%'"


def chance_in(database, keys, where, **how):
    labels = label(database, keys, where=where, store=False, scanning=HERE, **how)
    return labels, chance_of(labels, database, where=where, scanning=HERE)


@pytest.mark.parametrize(
    ("same", "threshold"),
    [(Equivalence(), 0.8), (Equivalence(rotations=True), 0.6), (Equivalence(shifts=True), 0.5),
     (Equivalence(signed=True), 0.35)],
)  # fmt: skip
def test_levels_are_the_labels_of_the_controls(same, threshold):
    unit = normal_form(layers_of(1, copies=True, count=200)["dw0.weight"].reshape(-1, 25)).shaped
    owner = np.zeros(len(unit), np.intp)
    keys = replace(KEYS, equivalence=same)
    found = levels(SampledFilters(unit, owner), keys, threshold=threshold, n=800)
    drawn = {
        "gaussian": gaussian(800, (SIDE, SIDE)),
        "shuffled": same_weights(unit, 800),
        "spectrum": same_spectrum(unit, 800, (SIDE, SIDE)),
        "covariance": same_covariance(unit, 800, owners=(owner,)),
    }
    assert set(found) == set(drawn)
    for name, kernels in drawn.items():
        total = label({"dw.weight": kernels.reshape(-1, 1, SIDE, SIDE)}, keys,
                      threshold=threshold).total  # fmt: skip
        assert found[name].coverage == pytest.approx(total.coverage, abs=1e-9)
        assert found[name].mean_r2 == pytest.approx(total.mean_r2, abs=1e-5)


def test_more_moves_and_lower_thresholds_have_more_chance(database):
    reached = []
    for same, threshold in [
        (Equivalence(), 0.5), (Equivalence(), 0.2), (Equivalence(rotations=True), 0.2),
    ]:  # fmt: skip
        _, chance = chance_in(database, KEYS.alike(same), COPIES, threshold=threshold)
        reached.append((chance.controls["shuffled"].coverage, chance.controls["gaussian"].coverage))
        assert chance.copies.measure == f"R² >= {threshold:g}"
    assert all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(reached))


def test_copies_are_above_chance_and_noise_is_not(database):
    labels, chance = chance_in(database, KEYS, COPIES)
    for claim, value in [(chance.copies, labels.total.coverage),
                         (chance.mean_r2, labels.total.mean_r2)]:  # fmt: skip
        assert claim.above
        assert claim.value == pytest.approx(value, abs=1e-6)
        assert claim.low <= claim.value <= claim.high
        assert 0 < claim.excess_low <= claim.value - claim.chance <= claim.excess_high + 1e-9
    level = chance.controls[chance.copies.control]
    ceiling = at_most(level.coverage, level.kernels, mean=False)
    assert chance.copies.excess_low == pytest.approx(chance.copies.low - ceiling)
    assert (chance.grouped_by, chance.groups) == ("model", 6)
    assert "is above chance (95% interval" in sentences.labelled_by_chance(chance)
    _, none = chance_in(database, KEYS, NOISE)
    assert none.copies.above is False
    assert none.mean_r2.above is False
    said = sentences.labelled_by_chance(none)
    assert said.count("no more than chance") == 2
    assert "over 6 models" in said


def test_smooth_noise_beats_gaussian_chance_but_not_the_hardest_control():
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE)).ravel() / 5
    smooth = rng.normal(size=(6, 200, 1)) * ramp + 1.2 * rng.normal(size=(6, 200, 25))
    source = {
        f"dw{i}.weight": filters.reshape(-1, 1, SIDE, SIDE).astype(np.float32)
        for i, filters in enumerate(smooth)
    }
    labels = label(source, KeySet("ramp", ramp.reshape(1, SIDE, SIDE)), threshold=0.5)
    chance = chance_of(labels, source)
    level = chance.controls["gaussian"]
    assert chance.copies.low > at_most(level.coverage, level.kernels, mean=False)
    assert chance.copies.control == "covariance"
    assert chance.copies.above is False


def test_few_layers_make_no_claim():
    source = layers_of(3, copies=True, layers=4)
    chance = chance_of(label(source, KEYS), source)
    assert chance.copies.above is None
    assert "no claim is possible (4 layers: too few for an interval)" in (
        sentences.labelled_by_chance(chance)
    )
    more = layers_of(3, copies=True, layers=5)
    assert chance_of(label(more, KEYS), more).copies.above is True


def test_without_a_shape_there_is_no_chance():
    source = {"dw.weight": np.ones((8, 1, SIDE, SIDE), np.float32)}
    assert chance_of(label(source, KEYS), source) is None


def test_a_sample_takes_a_share_of_each_layer():
    source = layers_of(3, copies=False, layers=3, count=400)
    source["point.weight"] = np.ones((400, 400, 1, 1), np.float32)
    every = sampled_filters(source, (SIDE, SIDE))
    assert every.unit.shape == (1200, 25)
    some = sampled_filters(source, (SIDE, SIDE), most=300).unit
    assert 200 < len(some) < 400
    assert (some @ every.unit.T).max(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_networks_that_the_set_was_found_on(database):
    keys = find(database.select(COPIES), Settings(k=3, seeds=1, compare=()), scanning=HERE).keys
    assert len(keys.metadata["networks_found_on"]) == 6
    labels = label(database, keys, store=False, scanning=HERE)
    assert found_on(database, labels) == 6
    chance = chance_of(labels, database, scanning=HERE)
    assert sentences.in_sample(chance) == (
        "6 of 12 networks are among those that the set was found on."
    )
    labels = label(database, keys, where=NOISE, store=False, scanning=HERE)
    assert found_on(database, labels, NOISE) == 0
    for seed, copies, there in [(0, True, 1), (20, False, 0)]:
        source = layers_of(seed, copies=copies)
        chance = chance_of(label(source, keys), source)
        assert chance.found_on == there
        assert sentences.in_sample(chance) == (
            f"The network is {'' if there else 'not '}among those that the set was found on."
        )
    assert found_on(source, label(source, KEYS)) is None
    assert sentences.in_sample(replace(chance, found_on=None)) is None
    assert json.loads(json.dumps(chance.to_dict(), allow_nan=False))["found_on"] == 0


# --- what was measured holds for the very keys alone --------------------------------------------


def measured():
    told = {"source": "somewhere", "networks_found_on": ["ab"], **dict.fromkeys(MEASURED, 1)}
    names = (KeyName("Gaussian", "Gaussian", 0.7, 0.7, 0.9),)
    return KeySet("one", np.eye(25)[12].reshape(1, 5, 5), names, metadata=told)


@pytest.mark.parametrize(
    "change",
    [
        lambda keys: keys.padded((7, 7)),
        lambda keys: keys.padded((3, 3)),
        lambda keys: analytic(keys, (7, 7)),
        lambda keys: keys.alike(Equivalence(rotations=True)),
        lambda keys: keys.take([0]),
        lambda keys: label(layers_of(1, copies=True), keys,
                           equivalence=Equivalence(signed=True)).key_set,
    ],
)  # fmt: skip
def test_other_keys_leave_what_was_measured_behind(change):
    keys = measured()
    told = change(keys).metadata
    assert not set(MEASURED) & set(told)
    assert told["source"] == "somewhere"
    assert told["networks_found_on"] == ["ab"]
    assert keys.alike(Equivalence()) is keys


def test_cropping_is_called_so():
    assert measured().padded((3, 3)).metadata["resized_from"] == "5x5 by cropping its rim"
    assert "zero-padding" in measured().padded((7, 7)).metadata["resized_from"]


def test_claims_of_a_file_are_checked(tmp_path):
    good = {"measure": "mean R²", "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.3,
            "control": "covariance", "above": True}  # fmt: skip
    held = {"groups": 7, "by": "repo"}
    keys = KeySet("one", PLANTED, metadata={"claims": [good], "held_out": held})
    read = read_keys(save_keys(keys, tmp_path / "one.safetensors"))
    (claim,) = told_claims(read)
    assert (claim.low, claim.excess_low, told_groups(read)) == (0.4, None, (7, "repo"))
    assert sentences.told_headline(read) == (
        "3 keys explain 50% of the variance of a 5x5 filter, on average, in held-out models (95% "
        "interval 40% to 60%, over 7 values of repo). Of Gaussian kernels with the same "
        "covariance, as many keys explain 30%: above chance."
    )
    for bad in ({"value": "0.5"}, {"above": 1}, {"low": True}, {"measure": None}, {"chance": []}):
        broken = replace(keys, metadata={"claims": [good, good | bad], "held_out": held})
        assert told_claims(broken) == ()
        assert sentences.told_headline(broken) is None
    for told in (None, 3, [4], {"groups": "7", "by": 1}):
        other = replace(keys, metadata={"claims": told, "held_out": told})
        assert told_claims(other) == ()
        assert told_groups(other) is None


# --- messages -----------------------------------------------------------------------------------


def test_an_array_is_no_key_set():
    with pytest.raises(KeySetError, match=r"ndarray.*filterdb\.keys\.KeySet\("):
        load_keys(PLANTED)


def test_what_is_no_safetensors_file_says_how_to_make_one(tmp_path):
    picture = tmp_path / "keys.png"
    picture.write_bytes(b"\x89PNG" + bytes(100))
    with pytest.raises(KeySetError, match=r"filterdb\.keys\.save\(") as caught:
        load_keys(picture)
    assert "png.safetensors" not in str(caught.value)
    assert "keys.safetensors" not in str(caught.value)


def test_an_unknown_column_to_hold_out_by_is_named(database):
    with pytest.raises(QueryError, match=r"--hold-out.*Did you mean task\?.*layer, model") as told:
        find(database.select(), Settings(k=3, hold_out="tasks"), scanning=HERE)
    assert "SQL" not in str(told.value)


def test_an_empty_selection_names_the_condition(database):
    with pytest.raises(KeySetError, match=r"no layer meets the condition task = 'x'.*--where"):
        find(database.select("task = 'x'", kernel=(5, 5)), Settings(k=3), scanning=HERE)
