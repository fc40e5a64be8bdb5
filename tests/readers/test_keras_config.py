from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.readers.keras.config import parse_architecture, snake_case


def layer(kind: str, name: str, *inbound: Any, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": list(inbound)}


def old(*names: str) -> list[Any]:
    return [[name, 0, 0, {}] for name in names]


def new(*names: str) -> dict[str, Any]:
    tensors = [
        {"class_name": "__keras_tensor__", "config": {"shape": [1], "keras_history": [name, 0, 0]}}
        for name in names
    ]
    return {"args": [tensors], "kwargs": {"training": False}}


def model(*layers: dict[str, Any], kind: str = "Functional", name: str = "m") -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "layers": list(layers)}}


def depths(config: dict[str, Any]) -> dict[str, int | None]:
    found = parse_architecture(json.dumps(config))
    assert found is not None
    return {"/".join(path): facts.depth for path, facts in found.layers.items()}


@pytest.mark.parametrize("inbound", [old, new])
def test_depth_is_the_longest_path_in_the_order_of_the_file(inbound) -> None:
    config = model(
        layer("Add", "sum", inbound("b", "short")),
        layer("InputLayer", "x"),
        layer("Conv2D", "a", inbound("x")),
        layer("Conv2D", "short", inbound("x")),
        layer("Conv2D", "b", inbound("a")),
    )
    assert depths(config) == {"sum": 3, "x": 1, "a": 1, "short": 1, "b": 2}
    assert list(depths(config)) == ["sum", "x", "a", "short", "b"]


def test_tensors_among_the_arguments_count() -> None:
    call = [["a", 0, 0, {"mask": ["c", 0, 0]}]]
    config = model(
        layer("Conv2D", "a"), layer("Conv2D", "b", old("a")), layer("Conv2D", "c", old("b")),
        layer("Conv2D", "d", call),
    )  # fmt: skip
    assert depths(config)["d"] == 4


def test_models_in_models_and_wrappers() -> None:
    inner = model(layer("Conv2D", "p"), layer("SeparableConv2D", "q"), kind="Sequential", name="in")
    wrapped = layer("TimeDistributed", "t", layer=layer("Conv2D", "hidden", filters=3))
    config = model(layer("Conv2D", "a"), inner, wrapped, kind="Sequential")
    assert depths(config) == {"a": 1, "in/p": 2, "in/q": 3, "t": 5}
    found = parse_architecture(json.dumps(config))
    assert found is not None
    assert found.layers["t",].class_name == "Conv2D"
    assert set(found.saved_at) == {
        "layers/conv2d",
        "layers/sequential/layers/conv2d",
        "layers/sequential/layers/separable_conv2d",
        "layers/time_distributed/layer",
    }


def test_a_layer_called_twice_keeps_its_first_place() -> None:
    config = model(
        layer("InputLayer", "x"),
        layer("Conv2D", "shared", old("x"), [["between", 0, 0, {}]]),
        layer("Conv2D", "between", old("shared")),
        layer("Conv2D", "last", [["shared", 1, 0, {}]]),
    )
    assert depths(config) == {"x": 1, "shared": 1, "between": 2, "last": 4}


@pytest.mark.parametrize("inbound", [old("b"), old("nowhere")])
def test_a_graph_that_does_not_add_up_has_no_depths(inbound: list[Any]) -> None:
    config = model(layer("Conv2D", "a", inbound), layer("Conv2D", "b", old("a")))
    assert depths(config) == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Conv2D", "conv2d"),
        ("SeparableConv2D", "separable_conv2d"),
        ("BatchNormalization", "batch_normalization"),
        ("Conv2DTranspose", "conv2d_transpose"),
    ],
)
def test_snake_case_is_that_of_keras(name: str, expected: str) -> None:
    assert snake_case(name) == expected


KEYS = ["class_name", "config", "layers", "name", "layer", "inbound_nodes", "keras_history"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["Conv2D", "Model", "Sequential"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(layers=st.lists(VALUES, max_size=4), kind=st.sampled_from(["Sequential", "Functional"]))
def test_no_json_whatever_is_an_exception(layers: list[Any], kind: str) -> None:
    parse_architecture(json.dumps({"class_name": kind, "config": {"layers": layers}}))
    parse_architecture(json.dumps(layers))


@pytest.mark.parametrize("depth", [50, 200, 5_000, 100_000])
def test_nesting_without_end(depth: int) -> None:
    opening = '{"class_name": "Sequential", "config": {"name": "s", "layers": ['
    found = parse_architecture(opening * depth + "]}}" * depth)
    assert found is None or not found.layers


def test_a_long_chain_is_no_recursion() -> None:
    layers = [layer("Conv2D", f"c{i}", old(f"c{i - 1}") if i else []) for i in range(5000)]
    assert depths(model(*reversed(layers)))["c4999"] == 5000


@pytest.mark.parametrize("entry", ["{}", '{"":0}', "[[]]"])
def test_a_configuration_that_unfolds_beyond_reason_is_not_followed(entry: str) -> None:
    text = '{"class_name": "Sequential", "config": [' + f"{entry}," * (8_000_000 // len(entry))
    text += "{}]}"
    tracemalloc.start()
    assert parse_architecture(text) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
