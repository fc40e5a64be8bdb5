"""Norms of Keras models: the configuration says what follows what."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_networks import import_keras

import filterdb
from filterdb.layer import ConvLayer

SHAPE = (8, 8, 3)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def read(model: Any, folder: Path, name: str) -> dict[str, ConvLayer]:
    random = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_weights([random.uniform(0.5, 2, w.shape) for w in model.get_weights()])
        model.save(folder / name)
    return {layer.name: layer for layer in filterdb.read(folder / name).layers}


@pytest.fixture(params=["net.keras", "net.h5"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_follows_in_a_graph(name: str, tmp_path: Path) -> None:
    keras = import_keras()
    layers = keras.layers
    image = keras.Input(SHAPE)
    stem = layers.Conv2D(4, 3, name="stem")(image)
    x = layers.Dropout(0.5)(stem)
    norm = layers.BatchNormalization(epsilon=0.25, name="norm")
    x = layers.ReLU()(norm(x))
    x = layers.Conv2D(4, 3, activation="relu", name="active")(x)
    x = layers.BatchNormalization(name="after")(x)
    split = layers.Conv2D(4, 1, name="split")(x)
    x = layers.Add()([layers.BatchNormalization(name="one")(split), split])
    x = layers.SeparableConv2D(4, 3, name="sep")(x)
    x = layers.BatchNormalization(scale=False, name="plain")(x)
    x = layers.Conv2D(2, 1, name="head")(x)
    model = keras.Model(image, x)
    found = read(model, tmp_path, name)
    states = {name.split("/")[0]: layer.state for name, layer in found.items()}
    assert states == {
        "stem": "raw", "active": "no_norm", "split": "unknown", "sep": "raw", "head": "no_norm",
    }  # fmt: skip
    stem_layer = found["stem"]
    assert stem_layer.norm is not None
    gamma, _, _, variance = norm.get_weights()
    np.testing.assert_allclose(stem_layer.norm.scale(), gamma / np.sqrt(variance + 0.25), rtol=1e-6)
    depthwise = next(layer for name, layer in found.items() if "depthwise" in name)
    assert depthwise.state == "no_norm"
    pointwise = next(layer for name, layer in found.items() if "pointwise" in name)
    assert pointwise.norm is not None
    plain = model.get_layer("plain").get_weights()[-1]
    np.testing.assert_allclose(pointwise.norm.scale(), 1 / np.sqrt(plain + 1e-3), rtol=1e-6)


def test_what_follows_in_a_sequence_and_in_a_model_of_models(name: str, tmp_path: Path) -> None:
    keras = import_keras()
    layers = keras.layers
    block = keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(4, 3, name="in"), layers.BatchNormalization(name="bn"),
         layers.Conv2D(5, 1, name="last")],
        name="block",
    )  # fmt: skip
    net = keras.Sequential(
        [keras.Input(SHAPE), block, layers.BatchNormalization(), layers.Conv2D(2, 1, name="out")]
    )
    found = {name.split("/")[-1]: layer for name, layer in read(net, tmp_path, name).items()}
    assert {key: layer.state for key, layer in found.items()} == {
        "in": "raw", "last": "unknown", "out": "no_norm",
    }  # fmt: skip


def test_folded_it_answers_as_it_does(name: str, tmp_path: Path) -> None:
    keras = import_keras()
    net = keras.Sequential([
        keras.Input(SHAPE), keras.layers.Conv2D(4, 3, use_bias=False, name="c"),
        keras.layers.BatchNormalization(),
    ])  # fmt: skip
    read(net, tmp_path, name)
    (layer,) = filterdb.read(tmp_path / name, weights="folded").layers
    other = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(4, 3, use_bias=False)])
    other.set_weights([layer.weights.transpose(2, 3, 1, 0)])
    image = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    answers = [model.predict(image, verbose=0) for model in (net, other)]
    nothing = net.predict(0 * image, verbose=0)
    np.testing.assert_allclose(answers[1], answers[0] - nothing, rtol=1e-4, atol=1e-5)
