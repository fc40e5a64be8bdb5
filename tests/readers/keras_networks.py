"""A small real Keras network with every kind of 2-D convolution, and what its layers compute."""

from __future__ import annotations

import os
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from filterdb.layer import ConvLayer, ModelFile

SHAPE = (12, 12, 4)


@cache
def import_keras() -> ModuleType:
    """Keras on the torch backend."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")


@cache
def network() -> Any:
    """A functional network with branches and a model in the model; weights all distinct."""
    keras = import_keras()
    layers = keras.layers
    block = keras.Sequential(
        [
            keras.Input((12, 12, 8)),
            layers.Conv2D(6, 3, padding="same", name="inner"),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="spread"),
        ],
        name="block",
    )
    image = keras.Input(SHAPE, name="image")
    stem = layers.Conv2D(8, (3, 5), strides=2, padding="same", name="stem")(image)
    stem = layers.Conv2DTranspose(8, 2, strides=2, name="up")(stem)
    left = block(stem)
    right = layers.Conv2D(12, 3, padding="same", groups=2, dilation_rate=2, name="split")(stem)
    right = layers.BatchNormalization(name="norm")(right)
    joined = layers.Add(name="sum")([left, right])
    joined = layers.SeparableConv2D(5, 3, depth_multiplier=3, padding="same", name="sep")(joined)
    joined = layers.GlobalAveragePooling2D(name="pool")(joined)
    model = keras.Model(image, layers.Dense(3, name="head")(joined), name="net")
    random = np.random.default_rng(7)
    model.set_weights([random.normal(size=w.shape).astype("float32") for w in model.get_weights()])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def save(path: Any) -> Any:
    """Save the network in the format of the path's suffix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if str(path).endswith(".weights.h5"):
            network().save_weights(path)
        else:
            network().save(path)
    return path


EXPECTED_DEPTHS = {
    # image -> stem -> up -> inner -> spread | split -> norm -> sum -> sep (two nodes)
    "stem": [1], "up": [2], "inner": [3], "spread": [4], "split": [3], "sep": [6, 7],
}  # fmt: skip


def check_values(file: ModelFile) -> None:
    """Require that every layer read computes what the layer of Keras computes."""
    model = network()
    kept = {layer.name: layer for layer in [*model.layers, *model.get_layer("block").layers]}
    by_name: dict[str, list[ConvLayer]] = {}
    for read in file.layers:
        owner = next(name for name in EXPECTED_DEPTHS if name in read.name.split("/"))
        by_name.setdefault(owner, []).append(read)
    assert set(by_name) == set(EXPECTED_DEPTHS)
    for name, read_layers in by_name.items():
        layer = kept[name]
        image = np.random.default_rng(1).normal(size=(1, *layer.input.shape[1:]))
        expected = np.asarray(layer(image.astype("float32")).detach())
        got = image
        for read in read_layers:
            got = compute(read, got, layer)
        bias = np.asarray(layer.bias.value.detach())
        np.testing.assert_allclose(got + bias, expected, rtol=1e-4, atol=1e-4)


def compute(read: ConvLayer, image: Any, layer: Any) -> Any:
    """Apply a layer by torch's own convolution, which takes our layout."""
    import torch
    from torch.nn import functional

    inputs = torch.tensor(image, dtype=torch.float32).permute(0, 3, 1, 2)
    weight = torch.tensor(read.weights.copy())
    pointwise = read.kernel == (1, 1)
    stride = 1 if pointwise else layer.strides
    if read.kind == "transposed":
        result = functional.conv_transpose2d(inputs, weight.swapaxes(0, 1), stride=stride)
    else:
        dilation = 1 if pointwise else layer.dilation_rate
        # Keras' "same" is not symmetric under a stride: pad here.
        pads: list[int] = []
        for size, taps, step, gap in zip(
            inputs.shape[2:], read.kernel, np.broadcast_to(stride, 2),
            np.broadcast_to(dilation, 2), strict=True,
        ):  # fmt: skip
            total = max(0, (-(-size // step) - 1) * step + (taps - 1) * gap + 1 - size)
            pads = [total // 2, total - total // 2, *pads]
        groups = inputs.shape[1] // read.in_per_group
        result = functional.conv2d(
            functional.pad(inputs, [int(p) for p in pads]), weight,
            stride=tuple(map(int, np.broadcast_to(stride, 2))),
            dilation=tuple(map(int, np.broadcast_to(dilation, 2))), groups=groups,
        )  # fmt: skip
    return result.permute(0, 2, 3, 1).numpy()
