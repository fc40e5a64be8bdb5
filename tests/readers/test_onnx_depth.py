from __future__ import annotations

import random
from functools import cache
from itertools import pairwise

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_models import make, stored, value, weights

from filterdb.errors import CorruptFileError
from filterdb.readers.onnx.depth import measure_depths
from filterdb.readers.onnx.graph import flatten

node = helper.make_node
SIZE = 10_000


def depths_of(model: onnx.ModelProto) -> dict[str, int]:
    """Name of each node's first output -> its depth."""
    graph = flatten(model, SIZE)
    depths = measure_depths(graph).depths
    return {
        graph.names[held.outputs[0]]: depths[i]
        for i, held in enumerate(graph.nodes)
        if held.cost and held.outputs and held.outputs[0] is not None
    }


def test_the_longest_path_counts() -> None:
    model = make(
        [
            node("Relu", ["x"], ["a"]),
            node("Relu", ["a"], ["b"]),
            node("Add", ["x", "b"], ["c"]),
            node("Add", ["c", "x2"], ["y"]),
        ],
        inputs=("x", "x2"),
    )
    assert depths_of(model) == {"a": 1, "b": 2, "c": 3, "y": 4}


def test_constants_are_no_inputs() -> None:
    model = make(
        [
            node("Constant", [], ["k"], value_floats=[1.0]),
            node("Neg", ["k"], ["n"]),
            node("Neg", ["n"], ["m"]),
            node("Add", ["w", "m"], ["p"]),
            node("Add", ["x", "p"], ["y"]),
        ],
        stored(w=weights(1)),
    )
    assert depths_of(model) == {"n": 0, "m": 0, "p": 0, "y": 1}


def test_a_random_generator_is_an_input() -> None:
    model = make(
        [node("RandomNormal", [], ["r"], shape=[1]), node("Relu", ["r"], ["y"])], inputs=()
    )
    assert depths_of(model) == {"r": 1, "y": 2}


def test_a_loops_body_stands_behind_all_its_inputs() -> None:
    body = helper.make_graph(
        [node("Relu", ["s"], ["t"]), node("Identity", ["go"], ["goes"])],
        "body",
        [value("i"), value("go"), value("s")],
        [value("goes"), value("t")],
    )
    model = make(
        [
            node("Relu", ["x"], ["a"]),
            node("Relu", ["a"], ["b"]),
            node("Loop", ["n", "", "b"], ["z"], body=body),
            node("Relu", ["z"], ["y"]),
        ],
        inputs=("x", "n"),
    )
    assert depths_of(model) == {"a": 1, "b": 2, "t": 3, "goes": 3, "z": 4, "y": 5}


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_depths_are_those_of_a_recursive_definition(seed: int, size: int) -> None:
    rng = random.Random(seed)
    known = ["x", "w"]
    nodes = []
    for i in range(size):
        inputs = rng.choices(known, k=rng.randint(1, 3))
        nodes.append(node("Sum", inputs, [f"v{i}"]))
        known.append(f"v{i}")
    producer = {held.output[0]: list(held.input) for held in nodes}

    @cache
    def depth(name: str) -> int | None:
        if name in ("x", "w"):
            return 0 if name == "x" else None
        reached = [d for d in map(depth, producer[name]) if d is not None]
        return 1 + max(reached) if reached else None

    rng.shuffle(nodes)
    model = make(nodes, stored(w=weights(1)), outputs=())
    assert depths_of(model) == {name: depth(name) or 0 for name in producer}


def test_a_cycle_is_refused() -> None:
    model = make([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"])])
    with pytest.raises(CorruptFileError, match="cycle"):
        measure_depths(flatten(model, SIZE))


def test_a_long_chain_needs_no_recursion() -> None:
    names = ["x", *(f"v{i}" for i in range(10_000))]
    model = make([node("Identity", [a], [b]) for a, b in pairwise(names)])
    assert depths_of(model)["v9999"] == 10_000
