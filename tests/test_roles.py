"""From tensors to layers: what is left out and why, order, depth, names, layout."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.layer import Contents, Convolution, ModelFile, Tensor
from filterdb.roles import assign_roles


def tensor(name: str, shape: tuple[int, ...], conv: Convolution | None = None) -> Tensor:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Tensor(name, shape, "float32", lambda: values, conv)


def assigned(*tensors: Tensor) -> ModelFile:
    return assign_roles(Contents("test", tensors), "memory")


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("fc.weight", (10, 8), "fully connected"),
        ("conv.weight", (8, 4, 3), "1-D convolution"),
        ("conv.weight", (8, 4, 3, 3, 3), "3-D convolution"),
        ("conv.weight", (0, 4, 3, 3), "empty"),
        ("block.gamma_1", (1, 16, 1, 1), "no filter"),
        ("block.sigma.scale", (1, 32, 1, 1), "one value a channel"),
        ("esa.bias", (1, 24, 1, 1), "no filter"),
        ("attn.relative_position_bias_table", (1, 4, 7, 7), "no filter"),
        ("x", (1, 1, 1, 1, 1, 1), "6-D"),
        ("0.parametrizations.weight.0.base", (8, 4, 3, 3), "parametrised"),
    ],
)
def test_left_out_with_a_reason(name: str, shape: tuple[int, ...], words: str) -> None:
    file = assigned(tensor(name, shape))
    assert not file.layers
    assert [item.name for item in file.skipped] == [name]
    assert words in file.skipped[0].reason


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["_", "a_mask", "anchor", ".up", "_up_"])
def test_a_long_name_costs_no_time(part: str) -> None:
    assert len(assigned(tensor(part * 20_000, (4, 4, 3, 3))).layers) <= 1


def test_a_squeezing_1x1_layer_is_a_layer() -> None:
    assert len(assigned(tensor("att.weight", (1, 16, 1, 1))).layers) == 1


def test_biases_and_norms_are_no_layers() -> None:
    file = assigned(tensor("conv.weight", (4, 3, 3, 3)), tensor("conv.bias", (4,)))
    assert len(file.layers) == 1
    assert not file.skipped


def test_order_in_the_file_is_the_depth_of_a_bag() -> None:
    file = assigned(*(tensor(f"l{i}.weight", (4, 4, 3, 3)) for i in range(5)))
    assert [layer.conv_depth for layer in file.layers] == [0, 1, 2, 3, 4]
    assert [layer.conv_depth_norm for layer in file.layers] == [0, 0.25, 0.5, 0.75, 1]
    assert {layer.depth_source for layer in file.layers} == {"order"}


def test_graph_depth_is_ranked() -> None:
    depths = {"c": 9, "a": 2, "b": 5, "d": 5}
    file = assigned(
        *(tensor(name, (4, 4, 3, 3), Convolution(1, depth=d)) for name, d in depths.items())
    )
    assert [layer.name for layer in file.layers] == ["a", "b", "d", "c"]
    assert [layer.conv_depth for layer in file.layers] == [0, 1, 1, 2]
    assert [layer.conv_depth_norm for layer in file.layers] == [0, 0.5, 0.5, 1]
    assert {layer.depth_source for layer in file.layers} == {"graph"}


def test_one_depth_is_zero_not_a_division() -> None:
    layer = assigned(tensor("a.weight", (4, 4, 3, 3), Convolution(1, depth=7))).layers[0]
    assert (layer.conv_depth, layer.conv_depth_norm) == (0, 0.0)


def test_names_lose_their_suffix_unless_they_would_collide() -> None:
    file = assigned(tensor("a.weight", (4, 4, 3, 3)), tensor("b/W", (4, 4, 3, 3)),
                    tensor("c.W", (4, 4, 3, 3)), tensor("c/W:0", (4, 4, 3, 3)))  # fmt: skip
    assert [layer.name for layer in file.layers] == ["a", "b", "c.W", "c/W:0"]


def test_a_bare_transposed_weight_is_turned() -> None:
    first = tensor("up.weight", (6, 2, 2, 2))
    layer = assigned(first, tensor("up.bias", (2,))).layers[0]
    assert layer.kind == "transposed"
    assert layer.shape == (2, 6, 2, 2)
    np.testing.assert_array_equal(layer.weights, first.load().transpose(1, 0, 2, 3))
    assert layer.weights.dtype == np.float32


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_every_weight_is_a_layer_once_and_keeps_its_filters(pairs: list[tuple[int, int]]) -> None:
    tensors = [tensor(f"l{i}.weight", (a, b, 3, 3)) for i, (a, b) in enumerate(pairs)]
    file = assigned(*tensors)
    assert [layer.index for layer in file.layers] == list(range(len(pairs)))
    for layer, given_tensor in zip(file.layers, tensors, strict=True):
        assert layer.weights.shape == layer.shape
        assert layer.n_filters == given_tensor.shape[0] * given_tensor.shape[1]
        rows = sorted_rows(layer.weights)
        np.testing.assert_array_equal(rows, sorted_rows(given_tensor.load()))


def sorted_rows(weights: np.ndarray) -> np.ndarray:
    rows = weights.reshape(-1, 9)
    return rows[np.lexsort(rows.T)]


def test_pixels_are_no_filters() -> None:
    pixels = Tensor("images", (10, 3, 8, 8), "uint8", lambda: np.zeros((10, 3, 8, 8), "u1"))
    scaled = Tensor(
        "q.weight", (4, 3, 3, 3), "uint8", lambda: np.ones((4, 3, 3, 3)), None, "affine"
    )
    found = assign_roles(Contents("npz", (pixels, scaled)), "images.npz")
    assert [layer.name for layer in found.layers] == ["q"]
    assert "pixels or indices" in found.skipped[0].reason
