from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.readers.keras.kernel import (
    CLASSES,
    HWIO,
    HWOI,
    OIHW,
    Layout,
    channels_first,
    known_class,
    layout_of,
    pair,
)

EXTENTS = st.tuples(*[st.integers(1, 5)] * 4)


@given(shape=EXTENTS, axes=st.sampled_from([HWIO, HWOI, OIHW]), flipped=st.booleans())
def test_no_value_is_lost_and_the_shape_is_told_beforehand(shape, axes, flipped) -> None:
    stored = np.arange(np.prod(shape)).reshape(shape)
    layout = Layout(axes, flipped=flipped)
    values = layout.apply(lambda: stored)
    assert values.shape == layout.shape(shape)
    assert sorted(values.ravel()) == sorted(stored.ravel())
    turned = values[:, :, ::-1, ::-1] if flipped else values
    np.testing.assert_array_equal(turned.transpose(np.argsort(axes)), stored)


@given(shape=EXTENTS)
def test_output_of_a_depthwise_kernel_is_channel_times_multiplier_plus_which(shape) -> None:
    height, width, channels, multiplier = shape
    stored = np.random.default_rng(0).normal(size=shape)
    layout = Layout(HWOI, depthwise=True)
    values = layout.apply(lambda: stored)
    assert values.shape == layout.shape(shape) == (channels * multiplier, 1, height, width)
    for c in range(channels):
        for m in range(multiplier):
            np.testing.assert_array_equal(values[c * multiplier + m, 0], stored[:, :, c, m])


@pytest.mark.parametrize("name", CLASSES)
def test_every_automatic_name_tells_its_class(name: str) -> None:
    assert known_class((name,), None) == known_class((f"{name}_12",), None) == CLASSES[name]


@pytest.mark.parametrize("name", ["my_conv2d", "conv2d_a", "separable_convolution2d", "conv3d", ""])
def test_other_names_tell_nothing(name: str) -> None:
    assert known_class((name,), None) is None


@pytest.mark.parametrize(
    ("variable", "class_name", "axes"),
    [
        ("kernel", "Conv2D", HWIO),
        ("kernel", "Conv2DTranspose", HWOI),
        ("kernel", "DepthwiseConv2D", HWOI),
        ("depthwise_kernel", None, HWOI),
        ("pointwise_kernel", "SeparableConv2D", HWIO),
        ("recurrent_kernel", "ConvLSTM2D", HWIO),
        ("c1_W", None, HWIO),
    ],
)
def test_layouts(variable: str, class_name: str | None, axes: tuple[int, ...]) -> None:
    layout = layout_of(variable, class_name, theano_order=False, flipped=False)
    assert layout is not None
    assert layout.axes == axes


@pytest.mark.parametrize("variable", ["bias", "gamma", "alpha", "kernel_mask", "Wq"])
def test_what_is_no_kernel(variable: str) -> None:
    assert layout_of(variable, "Conv2D", theano_order=False, flipped=False) is None


@pytest.mark.parametrize(
    ("kernels", "first"),
    [
        ([((3, 3, 3, 3), None)], None),
        ([((3, 3, 3, 3), None), ((3, 3, 3, 16), 16)], False),
        ([((64, 64, 3, 3), 64)], True),
        ([((3, 3, 64, 64), 64)], False),
        ([((64, 64, 1, 1), None)], True),
        ([], None),
    ],
)
def test_order_is_weighed_over_the_file(kernels, first: bool | None) -> None:
    assert channels_first(kernels) is first


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2, (2, 2)), ([2, 1], (2, 1)), ([2], None), (None, None), ("2", None), ([True, 1], None)],
)
def test_pairs(value: object, expected: tuple[int, int] | None) -> None:
    assert pair(value) == expected
