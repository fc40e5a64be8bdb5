"""Percentiles against plain Python, SciPy, and what has to hold of any of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, percentileofscore

from filterdb.errors import QueryError
from filterdb.reference import Percentile, ReferencePopulation, reference_population
from filterdb.reference.networks import MEASURES, Layers, Network, Stored
from filterdb.reference.percentile import families, percent, shares, wilson_interval

NETWORK = Network("a", "o/r", "c", "p", "MIT", "CNN", "t", "v", "pytorch", 1, 9, "healthy", 0.0)


def population(repository: list[int], model: list[int], *, depth=0.5, kernel=(3, 3), kind="conv",
               values=None) -> ReferencePopulation:  # fmt: skip
    """A population of networks (their repositories) and layers (their networks)."""
    number = len(model)
    layers = Layers(
        model=np.array(model, np.intp),
        depth=np.broadcast_to(np.array(depth, float), number),
        kernel=np.broadcast_to(np.array(kernel), (number, 2)),
        kind=np.broadcast_to(np.array(kind), number),
        verdict=np.full(number, "healthy"),
        filters=np.full(number, 9),
        measures={name: np.arange(number) / number if values is None else np.array(values, float)
                  for name in MEASURES},
    )  # fmt: skip
    networks = tuple(replace(NETWORK, name=f"m{i}", repository=f"o/r{r}", degenerate_share=i / 10)
                     for i, r in enumerate(repository))  # fmt: skip
    return ReferencePopulation(Stored(1, "0", networks, (), layers, {}))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 5)), min_size=1),
       st.integers(0, 5))  # fmt: skip
@settings(deadline=None)
def test_every_repository_counts_once_and_ties_by_half(members, value) -> None:
    tree = defaultdict(lambda: defaultdict(list))
    for repository, network, own in members:
        tree[repository][repository * 5 + network].append(own)

    def mean(score) -> float:
        networks = [[np.mean([score(own) for own in layers]) for layers in networks.values()]
                    for networks in tree.values()]  # fmt: skip
        return float(np.mean([np.mean(repository) for repository in networks]))

    model = np.array([repository * 5 + network for repository, network, _ in members])
    weighted = families(model, np.repeat(np.arange(4), 5))
    below, tied = shares(np.array([own for *_, own in members], float), value, weighted.weights)
    assert below == pytest.approx(mean(lambda own: own < value))
    assert tied == pytest.approx(mean(lambda own: own == value))
    assert weighted.models == len(set(model.tolist()))
    assert weighted.repositories == len(tree)


@given(st.lists(st.integers(0, 9), min_size=30, max_size=60), st.integers(-1, 10))
@settings(deadline=None)
def test_one_layer_a_repository_is_the_mid_rank_of_scipy(values, value) -> None:
    number = len(values)
    reference = population(list(range(number)), list(range(number)), values=values)
    found = reference.percentile("sparsity", value, depth=0.5)
    assert found.share * 100 == pytest.approx(percentileofscore(values, value, kind="mean"))
    assert found.below * 100 == pytest.approx(percentileofscore(values, value, kind="strict"))
    assert (found.layers, found.models, found.repositories) == (number, number, number)
    assert 0 <= found.low <= found.share <= found.high <= 1


@given(st.integers(1, 80), st.data())
@settings(deadline=None)
def test_the_interval_is_wilsons(n, data) -> None:
    hits = data.draw(st.integers(0, n))
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson_interval(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_shipped_layers_against_plain_numpy() -> None:
    reference = reference_population()
    layers, networks = reference.stored.layers, reference.models
    values = layers.measures["entropy_ratio"]
    of_repository = defaultdict(lambda: defaultdict(list))
    for i in range(len(values)):
        near = abs(layers.depth[i] - 0.41) <= 0.1 and layers.kind[i] != "depthwise"
        if near and tuple(layers.kernel[i]) == (3, 3) and np.isfinite(values[i]):
            network = networks[layers.model[i]]
            of_repository[network.repository][network.name].append(values[i] < 0.9)
    expected = np.mean([np.mean([np.mean(own) for own in of.values()])
                        for of in of_repository.values()])  # fmt: skip
    found = reference.percentile("entropy_ratio", 0.9, depth=0.41, kind="conv")
    assert found.below == pytest.approx(expected)
    assert found.tied == 0
    assert found.repositories == len(of_repository)
    assert found.layers == sum(len(own) for of in of_repository.values() for own in of.values())
    assert found.depths == pytest.approx((0.31, 0.51))


def test_the_window_is_widened_until_it_holds_enough() -> None:
    depth = np.linspace(0, 1, 41)  # 9 layers within 0.1 of the middle
    reference = population(list(range(41)), list(range(41)), depth=depth)
    found = reference.percentile("sparsity", 0.5, depth=0.5)
    assert found.layers == 33  # 0.35 holds 29, 0.4 is a step more
    assert found.depths == pytest.approx((0.1, 0.9))
    # At an end the window has one side only.
    assert reference.percentile("sparsity", 0.5, depth=1.0).depths == pytest.approx((0.25, 1))


def test_layers_of_few_repositories_are_not_enough() -> None:
    many = population([i % 9 for i in range(60)], list(range(60)))
    assert many.percentile("sparsity", 0.5, depth=0.5) is None
    assert population([i % 10 for i in range(60)], list(range(60))).percentile(
        "sparsity", 0.5, depth=0.5
    )


def test_layers_of_the_kind_come_first_then_the_size_then_any_size() -> None:
    number = list(range(120))
    kind = ["depthwise"] * 40 + ["conv"] * 80
    kernel = [(3, 3)] * 80 + [(5, 5)] * 20 + [(1, 1)] * 20
    reference = population(number, number, kind=kind, kernel=kernel)

    def compared(kernel, kind, measure="sparsity") -> tuple[int, str] | None:
        found = reference.percentile(measure, 0.5, depth=0.5, kernel=kernel, kind=kind)
        return found and (found.layers, found.compared)

    assert compared((3, 3), "depthwise") == (40, "3x3, depthwise")
    assert compared((3, 3), "grouped") == (40, "3x3, not depthwise")
    assert compared((3, 3), "unknown") == compared((3, 3), None) == (80, "3x3")
    assert compared((5, 5), "conv") == (100, "any kernel size above 1x1")
    assert compared((5, 5), "conv", "variance_entropy") is None  # other sizes end elsewhere
    assert compared((1, 1), "conv", "orthogonality") is None  # they have no shape to compare


def test_what_is_undefined_has_no_percentile() -> None:
    number = list(range(40))
    values = [float("nan")] * 5 + [0.5] * 35
    reference = population(number, number, values=values)
    assert reference.percentile("sparsity", None, depth=0.5) is None
    assert reference.percentile("sparsity", float("nan"), depth=0.5) is None
    assert reference.percentile("sparsity", 0.5, depth=0.5).layers == 35


def test_an_unknown_measure_is_refused_with_the_known_ones() -> None:
    with pytest.raises(QueryError, match=r"sparsty.*sparsity, variance_entropy"):
        reference_population().percentile("sparsty", 0.1, depth=0.5)


def test_networks_have_percentiles_too() -> None:
    reference = population([0, 0, 0, 1], [0, 1, 2, 3])  # shares .0 .1 .2 of one, .3 of the other
    found = reference.network_percentile(0.1)
    assert (found.below, found.tied) == pytest.approx((1 / 6, 1 / 6))
    assert (found.models, found.repositories, found.depths) == (4, 2, None)
    assert found.coverage == "4 networks of 2 repositories"


@pytest.mark.parametrize(
    ("below", "tied", "named", "words"),
    [
        (0.0, 0.71, 0.71, "like 71 % of comparable layers (between {} and {}), none lower"),
        (0.9, 0.1, 0.1, "like 10 % of comparable layers (between {} and {}), none higher"),
        (0.2, 0.5, 0.5, "like 50 % of comparable layers (between {} and {})"),
        (0.6, 0.3, 0.6, "higher than 60 % of comparable layers (between {} and {})"),
        (0.1, 0.1, 0.8, "lower than 80 % of comparable layers (between {} and {})"),
        (0.8, 0.02, 0.81, "higher than 81 % of comparable layers (between {} and {})"),
        (0.41, 0.0, 0.59, "lower than 59 % of comparable layers (between {} and {})"),
        (0.0, 0.0, 1.0, "lower than all comparable layers (at least {})"),
        (1.0, 0.0, 1.0, "higher than all comparable layers (at least {})"),
        (0.0, 1.0, 1.0, "like all comparable layers (at least {})"),
    ],
)
def test_words_name_one_share_with_its_own_interval(below, tied, named, words) -> None:
    place = Percentile(below, tied, 0, 1, 30, 10, 12, (0, 1), "3x3")
    low, high = wilson_interval(named, 12)
    assert low <= named <= high
    assert place.words == words.format(percent(low), percent(high))
    assert place.named[1] == pytest.approx(named)
    assert "comparable networks" in replace(place, depths=None).words


def test_a_network_is_not_compared_with_itself() -> None:
    reference = population([0, 1, *range(2, 40)], list(range(40)))
    own = reference.models[7]
    found = reference.percentile("sparsity", 7 / 40, depth=0.5, without=own)
    assert (found.layers, found.tied) == (39, 0)
    assert found.below == pytest.approx(7 / 39)
    whole = reference.network_percentile(0.7, without=own)
    assert (whole.models, whole.tied) == (39, 0)


def test_words_do_not_round_to_none_or_all() -> None:
    assert [percent(share) for share in (0, 1e-4, 0.5, 0.9999, 1)] == [
        "0 %", "1 %", "50 %", "99 %", "all"]  # fmt: skip
    coverage = Percentile(0, 0, 0, 1, 1330, 41, 27, (0.4, 0.6), "3x3").coverage
    assert coverage == (
        "1,330 layers (3x3) at relative depth 0.40 to 0.60 in 41 networks of 27 repositories"
    )
