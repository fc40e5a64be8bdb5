"""The traps of a state dict: grey first layers, transposed layers, groups, splits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from filterdb.layer import Convolution, Tensor
from filterdb.neighbours import Role, infer_roles

Shapes = list[tuple[str, tuple[int, ...]]]


def roles(shapes: Shapes) -> dict[str, Role]:
    tensors = [Tensor(name, shape, "float32", lambda: np.empty(0)) for name, shape in shapes]
    return infer_roles([tensor for tensor in tensors if len(tensor.shape) == 4], tensors)


def kinds(shapes: Shapes) -> list[str]:
    return [role.kind for role in roles(shapes).values()]


def test_first_layer_on_grey_images_is_not_depthwise() -> None:
    assert kinds([("a.weight", (16, 1, 3, 3)), ("b.weight", (16, 16, 3, 3))]) == ["conv", "conv"]


def test_depthwise_by_the_layer_before() -> None:
    found = roles([("a.weight", (16, 3, 3, 3)), ("b.weight", (16, 1, 3, 3)),
                   ("c.weight", (32, 16, 1, 1))])  # fmt: skip
    assert found["b.weight"].kind == "depthwise"
    assert found["b.weight"].groups == 16
    assert "16 channels" in found["b.weight"].reason


def test_depthwise_with_a_multiplier() -> None:
    found = roles([("a.weight", (8, 3, 3, 3)), ("b.weight", (16, 1, 3, 3)),
                   ("c.weight", (32, 16, 1, 1))])  # fmt: skip
    assert (found["b.weight"].kind, found["b.weight"].groups) == ("depthwise", 8)


def test_depthwise_first_layer_by_its_name() -> None:
    assert kinds([("depthwise_conv.weight", (3, 1, 3, 3))]) == ["depthwise"]


def test_a_second_look_at_a_grey_image_is_unknown() -> None:
    shapes: Shapes = [("a.weight", (7, 1, 3, 3)), ("b.weight", (12, 1, 5, 5))]
    assert kinds(shapes) == ["conv", "unknown"]


def test_one_channel_in_the_middle() -> None:
    shapes: Shapes = [("a.weight", (8, 3, 3, 3)), ("mask.weight", (1, 8, 1, 1)),
                      ("b.weight", (8, 1, 3, 3)), ("c.weight", (1, 1, 3, 3))]  # fmt: skip
    assert kinds(shapes) == ["conv"] * 4


@pytest.mark.parametrize("source", ["bias", "norm"])
def test_transposed_by_its_outputs(source: str) -> None:
    outputs = ("up.bias", (16,)) if source == "bias" else ("bn.weight", (16,))
    shapes: Shapes = [("a.weight", (32, 3, 3, 3)), ("up.weight", (32, 16, 2, 2)), outputs,
                      ("c.weight", (8, 16, 3, 3))]  # fmt: skip
    found = roles(shapes)["up.weight"]
    assert (found.kind, found.groups) == ("transposed", 1)
    assert "16 values, not 32" in found.reason


def test_transposed_last_layer_to_one_channel_is_not_depthwise() -> None:
    shapes: Shapes = [("a.weight", (64, 3, 3, 3)), ("b.weight", (64, 1, 4, 4)), ("b.bias", (1,))]
    assert kinds(shapes)[1] == "transposed"


def test_transposed_by_its_neighbours_alone() -> None:
    shapes: Shapes = [("a.weight", (64, 3, 3, 3)), ("b.weight", (64, 24, 4, 4)),
                      ("c.weight", (3, 24, 3, 3))]  # fmt: skip
    assert kinds(shapes) == ["conv", "transposed", "conv"]


def test_a_bias_says_convolution_whatever_the_name() -> None:
    shapes: Shapes = [("up.weight", (32, 16, 3, 3)), ("up.bias", (32,))]
    assert kinds(shapes) == ["conv"]


def test_square_layer_with_a_hint_is_unknown_not_guessed() -> None:
    shapes: Shapes = [("a.weight", (16, 3, 3, 3)), ("up.weight", (16, 16, 2, 2))]
    assert kinds(shapes)[1] == "unknown"


def test_square_layer_that_says_so_is_transposed() -> None:
    shapes: Shapes = [("a.weight", (16, 3, 3, 3)), ("deconv1.weight", (16, 16, 2, 2))]
    assert kinds(shapes)[1] == "transposed"


def test_the_channels_of_a_transposed_layer_are_its_second_extent() -> None:
    shapes: Shapes = [("z.deconv.weight", (100, 64, 4, 4)), ("dw.weight", (64, 1, 3, 3)),
                      ("last.weight", (9, 64, 1, 1))]  # fmt: skip
    assert kinds(shapes) == ["transposed", "depthwise", "conv"]


def test_grouped_by_the_layer_before() -> None:
    found = roles([("a.weight", (128, 3, 1, 1)), ("b.weight", (128, 4, 3, 3)),
                   ("c.weight", (256, 128, 1, 1))])["b.weight"]  # fmt: skip
    assert (found.kind, found.groups) == ("grouped", 32)


def test_half_of_the_channels_is_unknown() -> None:
    found = roles([("a.weight", (48, 3, 3, 3)), ("b.weight", (24, 24, 3, 3))])["b.weight"]
    assert found.kind == "unknown"
    assert "2 groups by the layers before, or a part" in found.reason


def test_several_group_counts_that_fit_are_unknown() -> None:
    shapes: Shapes = [("a.weight", (64, 3, 3, 3)), ("b.weight", (256, 64, 3, 3)),
                      ("c.weight", (256, 16, 3, 3)), ("d.weight", (9, 256, 1, 1))]  # fmt: skip
    found = roles(shapes)["c.weight"]
    assert (found.kind, found.groups) == ("unknown", None)
    assert "4 or 16 groups" in found.reason


def test_a_fixed_depthwise_upscaling_of_a_colour_image_is_no_grey_layer() -> None:
    shapes: Shapes = [("near.weight", (48, 1, 3, 3)), ("a.weight", (32, 3, 3, 3))]
    assert kinds(shapes) == ["unknown", "conv"]


def test_a_generator_without_biases_is_transposed_throughout() -> None:
    sizes = [100, 512, 256, 128, 64]
    shapes: Shapes = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        shapes += [(f"main.{3 * i}.weight", (a, b, 4, 4)), (f"main.{3 * i + 1}.weight", (b,))]
    for channels in (3, 1):
        last = ("main.12.weight", (64, channels, 4, 4))
        assert kinds([*shapes, last]) == ["transposed"] * 5


def test_parallel_siblings_are_not_transposed() -> None:
    shapes: Shapes = [("a.weight", (64, 3, 3, 3)), ("theta.weight", (8, 64, 1, 1)),
                      ("phi.weight", (8, 64, 1, 1)), ("g.weight", (32, 64, 1, 1))]  # fmt: skip
    assert kinds(shapes) == ["conv"] * 4


def test_a_bare_decoder_is_unknown_not_guessed() -> None:
    shapes: Shapes = [("0.weight", (16, 1, 3, 3)), ("2.weight", (32, 16, 3, 3)),
                      ("4.weight", (32, 32, 3, 3)), ("6.weight", (32, 16, 3, 3)),
                      ("8.weight", (16, 1, 3, 3))]  # fmt: skip
    assert kinds(shapes)[3:] == ["unknown", "unknown"]


def test_the_norm_of_a_dense_block_belongs_to_the_next_layer() -> None:
    shapes: Shapes = [("a.weight", (128, 64, 1, 1)), ("a_norm.weight", (128,)),
                      ("b.weight", (32, 128, 3, 3)), ("next_norm.weight", (128,)),
                      ("c.weight", (128, 128, 1, 1))]  # fmt: skip
    assert kinds(shapes) == ["conv"] * 3


def test_a_pixel_shuffle_is_not_taken_for_groups() -> None:
    shapes: Shapes = [("a.weight", (256, 3, 3, 3)), ("b.weight", (16, 64, 3, 3))]
    assert kinds(shapes) == ["conv", "unknown"]


def test_stacked_depthwise_layers_are_not_transposed() -> None:
    shapes: Shapes = [("a.weight", (64, 3, 3, 3)), ("b.weight", (64, 1, 3, 1)),
                      ("c.weight", (64, 1, 3, 1)), ("d.weight", (9, 64, 1, 1))]  # fmt: skip
    assert kinds(shapes) == ["conv", "depthwise", "depthwise", "conv"]


def test_joined_layers_are_plain_convolutions() -> None:
    shapes: Shapes = [("a.weight", (16, 3, 3, 3)), ("b.weight", (8, 40, 3, 3))]
    assert kinds(shapes) == ["conv", "conv"]


@pytest.mark.parametrize(
    ("stated", "shape", "kind"),
    [
        (Convolution(groups=1), (8, 1, 3, 3), "conv"),
        (Convolution(groups=8), (8, 1, 3, 3), "depthwise"),
        (Convolution(groups=2), (8, 4, 3, 3), "grouped"),
        (Convolution(groups=1, transposed=True), (8, 4, 3, 3), "transposed"),
        (Convolution(), (8, 4, 3, 3), "unknown"),
    ],
)
def test_what_the_file_states_is_taken(
    stated: Convolution, shape: tuple[int, ...], kind: str
) -> None:
    tensor = Tensor("up.weight", shape, "float32", lambda: np.empty(0), stated)
    assert infer_roles([tensor], [tensor])["up.weight"].kind == kind
