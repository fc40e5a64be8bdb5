"""Which layer is which: by name, by content, by order; and what must not lead astray."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.comparing.matching import align, bare_names, match_layers
from filterdb.comparing.sketch import closest_pairs, sketch
from filterdb.layer import Kind, ModelFile
from filterdb.reading import read

Shape = tuple[int, ...]
Network = dict[str, np.ndarray]


def network(shapes: dict[str, Shape], seed: int = 0) -> Network:
    """Random layers, the order that of the mapping."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def pairs(a: Network | ModelFile, b: Network | ModelFile) -> dict[str, tuple[str, str]]:
    """Name in a -> name in b, and what told so."""
    files = [side if isinstance(side, ModelFile) else read(side) for side in (a, b)]
    return {match.a.name: (match.b.name, match.by) for match in match_layers(*files)}


PLAIN = {
    "conv1.weight": (8, 3, 3, 3),
    "conv2.weight": (16, 8, 3, 3),
    "conv3.weight": (16, 16, 3, 3),
    "conv4.weight": (16, 16, 3, 3),
    "conv5.weight": (16, 16, 1, 1),
}


def test_by_name_whatever_the_order() -> None:
    a, b = network(PLAIN), network(PLAIN, seed=1)
    there = dict(reversed(b.items()))
    assert pairs(a, there) == {f"conv{i}": (f"conv{i}", "name") for i in range(1, 6)}


@pytest.mark.parametrize("frame", ["model.", "module.", "net.model.", "0."])
def test_what_wraps_a_whole_network_does_not_count(frame: str) -> None:
    a, b = network(PLAIN), network(PLAIN, seed=1)
    wrapped = {frame + name: weights for name, weights in b.items()}
    found = pairs(a, wrapped)
    assert [name.split(".")[-1] for name, _ in found.values()] == list(found)
    assert {by for _, by in found.values()} == {"name"}


def test_bare_names_stay_apart() -> None:
    layers = read(network({"0.a.weight": (2, 2, 3, 3), "0.b.weight": (2, 2, 3, 3)})).layers
    assert bare_names(layers) == ["a", "b"]
    layers = read(network({"model.weight": (2, 2, 3, 3), "model.b.weight": (2, 2, 3, 3)})).layers
    assert len(set(bare_names(layers))) == 2


def test_the_same_weights_find_one_another_under_any_name_and_order() -> None:
    a = network(PLAIN)
    renamed = {f"{100 + i}.weight": a[name] for i, name in enumerate(reversed(a))}
    found = pairs(a, renamed)
    assert {name: int(other) for name, (other, _) in found.items()} == {
        f"conv{i}": 105 - i for i in range(1, 6)
    }
    assert {by for _, by in found.values()} == {"content"}


def test_swapped_names_do_not_lead_astray() -> None:
    a = network(PLAIN)
    swapped = a | {"conv3.weight": a["conv4.weight"], "conv4.weight": a["conv3.weight"]}
    found = pairs(a, swapped)
    assert found["conv3"] == ("conv4", "content")
    assert found["conv4"] == ("conv3", "content")


def test_folded_and_trained_on_under_other_names() -> None:
    rng = np.random.default_rng(1)
    a = network({f"layer{i}.weight": (16, 16, 3, 3) for i in range(6)})
    there = list(a)
    rng.shuffle(there)
    b = {
        f"{i}.weight": (
            a[name] * rng.normal(size=(16, 1, 1, 1)) + 0.05 * rng.normal(size=a[name].shape)
        ).astype(np.float32)
        for i, name in enumerate(there)
    }
    expected = {name.removesuffix(".weight"): (str(i), "content") for i, name in enumerate(there)}
    assert pairs(a, b) == expected


def test_layers_of_zeros_are_told_by_their_name() -> None:
    a, b = network(PLAIN), network(PLAIN, seed=1)
    a["conv3.weight"] = np.zeros_like(a["conv3.weight"])
    b["conv4.weight"] = np.zeros_like(b["conv4.weight"])
    assert pairs(a, b) == {f"conv{i}": (f"conv{i}", "name") for i in range(1, 6)}


def test_copies_within_a_network_are_told_by_name_else_by_order() -> None:
    weights = network({"w": (8, 8, 3, 3)})["w"]
    a = {f"up{i}.weight": weights for i in range(4)}
    assert pairs(a, a) == {f"up{i}": (f"up{i}", "name") for i in range(4)}
    other = {f"{i}.weight": weights for i in range(4)}
    assert pairs(a, other) == {f"up{i}": (str(i), "content") for i in range(4)}


def test_an_inserted_layer_does_not_shift_the_rest() -> None:
    shapes = [(8, 3, 3, 3), (8, 8, 3, 3), (16, 8, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3)]
    a = network({f"a{i}.weight": shape for i, shape in enumerate(shapes)})
    longer = [*shapes[:2], (8, 8, 5, 5), *shapes[2:]]
    b = network({f"b{i}.weight": shape for i, shape in enumerate(longer)}, seed=1)
    assert [other for other, _ in pairs(a, b).values()] == ["b0", "b1", "b3", "b4", "b5"]
    assert {by for _, by in pairs(a, b).values()} == {"order"}


def test_shifted_numbers_are_no_names() -> None:
    """One more block in front: 1.conv2 means another layer then, though its shape fits."""

    def blocks(*narrow_then_wide: int) -> Network:
        narrow, wide = narrow_then_wide
        sizes = [(8, 8)] * narrow + [(8, 16)] + [(16, 16)] * (wide - 1)
        return network(
            {
                f"{i}.conv{k}.weight": (out, into if k == 1 else out, 3, 3)
                for i, (into, out) in enumerate(sizes)
                for k in (1, 2)
            },
            seed=narrow,
        )

    found = pairs(blocks(1, 2), blocks(2, 2))
    assert found["0.conv1"] == ("0.conv1", "name")
    assert [found[name][0] for name in ("1.conv1", "1.conv2", "2.conv1", "2.conv2")] == [
        "2.conv1", "2.conv2", "3.conv1", "3.conv2"]  # fmt: skip


def test_a_wider_network_keeps_its_names() -> None:
    """Half of the shapes occur in both, one stage further back."""

    def stages(width: int) -> Network:
        sizes = [width, 2 * width, 4 * width]
        return network({f"stage{s}.conv{i}.weight": (size, size, 3, 3)
                        for s, size in enumerate(sizes) for i in range(4)}, seed=width)  # fmt: skip

    found = pairs(stages(4), stages(8))
    assert all(name == other for name, (other, _) in found.items())
    assert len(found) == 12


def test_another_head_is_the_same_name_of_another_shape() -> None:
    a = network(PLAIN | {"head.weight": (10, 16, 1, 1)})
    b = network(PLAIN | {"head.weight": (3, 16, 1, 1)}, seed=1)
    assert pairs(a, b)["head"] == ("head", "name")


@pytest.mark.parametrize("number", [1, 2, 13])
def test_a_second_build_of_the_same_layers(number: int) -> None:
    """The first name of the second build is one of the first build, too."""
    shapes = [(8, 1, 3, 3), (16, 8, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3)]
    names = [*(f"conv2d_{i}" for i in range(1, 5)), "block/conv"]
    a = network(dict(zip((f"{name}.weight" for name in names), shapes, strict=True)))
    again = [re.sub(r"^([^/]+)", rf"\1_{number}", name) for name in names]
    wider = [(9, *shape[1:]) if i % 2 else shape for i, shape in enumerate(shapes)]
    backwards = zip(reversed(again), reversed(wider), strict=True)
    b = network({f"{name}.weight": shape for name, shape in backwards}, seed=1)
    expected = {name: (other, "name") for name, other in zip(names, again, strict=True)}
    assert pairs(a, b) == expected
    assert pairs(b, a) == {other: (name, "name") for name, (other, _) in expected.items()}


def test_numbers_that_tell_layers_apart_stay() -> None:
    a = network({f"block_{i}.weight": (8, 8, 3, 3) for i in (1, 2, 3)})
    b = network({f"block_{i}.weight": (8, 8, 3, 3) for i in (2, 3, 4)}, seed=1)
    assert pairs(a, b)["block_2"] == ("block_2", "name")
    assert pairs(a, b)["block_3"] == ("block_3", "name")


def of_kinds(layers: Network, *kinds: Kind) -> ModelFile:
    file = read(layers)
    return replace(
        file,
        layers=tuple(replace(la, kind=kind) for la, kind in zip(file.layers, kinds, strict=True)),
    )


def test_a_kind_has_counterparts_of_its_own() -> None:
    shape = (8, 1, 3, 3)
    a, b = network({"a.weight": shape, "b.weight": shape}), network({"c.weight": shape}, seed=1)
    for kinds, other, expected in [
        (("conv", "depthwise"), "depthwise", "b"),
        (("conv", "depthwise"), "conv", "a"),
        (("transposed", "grouped"), "conv", "b"),  # a file may not say that there are groups
        (("conv", "unknown"), "transposed", "b"),
        (("conv", "depthwise"), "transposed", None),
    ]:
        found = pairs(of_kinds(a, *kinds), of_kinds(b, other))  # type: ignore[arg-type]
        assert found == ({expected: ("c", "order")} if expected else {})
    assert len(pairs(of_kinds(a, "conv", "depthwise"), of_kinds(b, "unknown"))) == 1


def test_a_kind_is_doubted_before_weights_and_whole_names_are() -> None:
    a = network({"a.weight": (8, 1, 3, 3)})
    before, same = of_kinds(a, "conv"), of_kinds(a, "depthwise")
    assert pairs(before, same) == {"a": ("a", "name")}
    retrained = network({"a.weight": (8, 1, 3, 3)}, seed=1)
    assert pairs(before, of_kinds(retrained, "depthwise")) == {"a": ("a", "name")}
    renamed = of_kinds({"b.weight": a["a.weight"]}, "depthwise")
    assert pairs(before, renamed) == {"a": ("b", "content")}
    wider = of_kinds(network({"a.weight": (16, 1, 3, 3)}), "depthwise")
    assert pairs(before, wider) == {}


@given(st.integers(0, 2**32 - 1), st.sampled_from([(8, 4, 3, 3), (1, 2, 3, 3), (70, 1, 5, 5)]))
@settings(max_examples=50, deadline=None)
def test_a_sketch_does_not_see_factors(seed: int, shape: Shape) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(shape).astype(np.float32)
    factors = rng.choice([-1, 1], (shape[0], 1, 1, 1)) * np.exp(
        3 * rng.standard_normal((shape[0], 1, 1, 1))
    )
    there, scaled = sketch(weights), sketch((weights * factors).astype(np.float32))
    np.testing.assert_allclose(there, scaled, atol=1e-5)


def test_a_sketch_moves_with_the_noise() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((64, 32, 3, 3)).astype(np.float32)
    start = sketch(weights)
    for noise in (0.001, 0.01, 0.1):
        moved = sketch((weights + noise * rng.standard_normal(weights.shape)).astype(np.float32))
        assert np.sqrt(np.mean((moved - start) ** 2)) == pytest.approx(noise, rel=0.2)
    other = sketch(rng.standard_normal(weights.shape).astype(np.float32))
    assert np.sqrt(np.mean((other - start) ** 2)) == pytest.approx(np.sqrt(2 - 4 / np.pi), rel=0.1)


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan, np.inf])
def test_what_tells_nothing_has_no_sketch(value: float) -> None:
    assert sketch(np.full((4, 4, 3, 3), value, np.float32)).size == 0


def test_closest_pairs() -> None:
    a, b = np.array([[0.0], [1.0], [5.0]]), np.array([[1.1], [0.05], [1.0]])
    none = np.zeros((3, 3), bool)
    assert sorted(closest_pairs(a, b, 0.3, preferred=none)) == [(0, 1), (1, 2)]
    none[1, 0] = True
    assert sorted(closest_pairs(a, b, 0.3, preferred=none)) == [(0, 1), (1, 0)]


SCORE = st.sampled_from([0.0, 1.0, 2.0, 3.0])


@given(st.lists(st.lists(SCORE, min_size=5, max_size=5), max_size=6))
@settings(max_examples=200, deadline=None)
def test_an_alignment_is_the_best_there_is(rows: list[list[float]]) -> None:
    @cache
    def best(r: int, c: int) -> float:
        if r == len(rows) or c == 5:
            return 0.0
        return max(best(r + 1, c), best(r, c + 1), rows[r][c] + best(r + 1, c + 1))

    found = align(np.array(rows).reshape(-1, 5))
    assert sum(rows[r][c] for r, c in found) == best(0, 0)
    assert all(r < s and c < d for (r, c), (s, d) in pairwise(found))
    assert all(rows[r][c] > 0 for r, c in found)
