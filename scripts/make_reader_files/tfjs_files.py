"""Write the small TensorFlow.js models that the reader is tested with, and their arrays.

TensorFlow.js's converter is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install tensorflow-cpu tf_keras tensorflow_hub
    /tmp/v/bin/pip install --no-deps tensorflowjs==4.22.0
    /tmp/v/bin/python scripts/make_reader_files/tfjs_files.py tests/readers/files/tfjs

Beside each folder lies an ``.npz`` with what TensorFlow itself holds: the convolution weights in
the order of the network, as ``(C_out, C_in/groups, kh, kw)``, and scales of norms by layer.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import types
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_USE_LEGACY_KERAS"] = "1"
for name in ("tensorflow_decision_forests", "jax", "jax.experimental", "jax.experimental.jax2tf"):
    sys.modules[name] = types.ModuleType(name)  # the converter imports what it does not use here
sys.modules["jax.experimental"].jax2tf = sys.modules["jax.experimental.jax2tf"]

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras  # noqa: E402
from tensorflowjs import read_weights  # noqa: E402
from tensorflowjs.converters import keras_h5_conversion, tf_saved_model_conversion_v2  # noqa: E402

OUT = Path(sys.argv[1])
RANDOM = np.random.default_rng(6)
LAYERS = tf_keras.layers


def draw(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def out_first(kernel, kind="conv"):
    """A Keras kernel in the one layout."""
    kernel = np.asarray(kernel, np.float32)
    if kind == "depthwise":
        c, m = kernel.shape[2:]
        return np.stack([kernel[:, :, i // m, i % m] for i in range(c * m)])[:, None]
    return kernel.transpose(2, 3, 0, 1) if kind == "transposed" else kernel.transpose(3, 2, 0, 1)


def randomise(model):
    model.set_weights(
        [np.abs(draw(*w.shape)) + 0.5 if "variance" in v.name else draw(*w.shape)
         for v, w in zip(model.weights, model.get_weights(), strict=True)]
    )  # fmt: skip
    return model


def scale_of(norm):
    gamma, _, _, variance = norm.get_weights()
    return gamma / np.sqrt(variance + norm.epsilon)


def network():
    """Every kind of convolution: followed by a norm, by an activation and a norm, by none."""
    x = start = LAYERS.Input((16, 12, 3), batch_size=1)
    x = LAYERS.Conv2D(4, 3, strides=(2, 1), use_bias=False, name="first")(x)
    x = LAYERS.ReLU(name="relu1")(LAYERS.BatchNormalization(name="norm1")(x))
    x = LAYERS.DepthwiseConv2D(3, depth_multiplier=2, name="deep")(x)
    x = LAYERS.BatchNormalization(name="norm2", epsilon=0.01)(x)
    x = LAYERS.SeparableConv2D(6, (1, 3), activation="relu", name="apart")(x)
    x = LAYERS.BatchNormalization(name="norm3")(x)
    x = LAYERS.Conv2D(4, 3, dilation_rate=(2, 1), name="wide")(x)
    x = LAYERS.Conv2DTranspose(5, (2, 3), strides=2, name="up")(x)
    x = LAYERS.Conv2D(2, 1, use_bias=False, name="head")(x)
    return randomise(tf_keras.Model(start, x, name="net"))


def kernels(model):
    found = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    return [
        out_first(found["first"][0]), out_first(found["deep"][0], "depthwise"),
        out_first(found["apart"][0], "depthwise"), out_first(found["apart"][1]),
        out_first(found["wide"][0]), out_first(found["up"][0], "transposed"),
        out_first(found["head"][0]),
    ]  # fmt: skip


def save(name, *arrays, **others):
    numbered = {f"{i:03d}": array for i, array in enumerate(arrays)}
    np.savez_compressed(OUT / f"{name}.npz", **numbered, **others)


def layers_models(model):
    raw = kernels(model)
    scales = {name: scale_of(model.get_layer(name)) for name in ("norm1", "norm2")}
    write = keras_h5_conversion.save_keras_model
    write(model, str(OUT / "layers"), weight_shard_size_bytes=1000)
    save("layers", *raw, **scales)
    for dtype in ("uint8", "uint16", "float16"):
        folder = OUT / f"layers_{dtype}"
        write(model, str(folder), quantization_dtype_map={dtype: "*"})
        manifest = json.loads((folder / "model.json").read_text())
        groups = read_weights.read_weights(manifest["weightsManifest"], str(folder))
        held = {entry["name"]: entry["data"] for group in groups for entry in group}
        save(
            folder.name,
            out_first(held["first/kernel"]), out_first(held["deep/depthwise_kernel"], "depthwise"),
            out_first(held["apart/depthwise_kernel"], "depthwise"),
            out_first(held["apart/pointwise_kernel"]), out_first(held["wide/kernel"]),
            out_first(held["up/kernel"], "transposed"), out_first(held["head/kernel"]),
        )  # fmt: skip
    nested = randomise(tf_keras.Sequential([
        LAYERS.Input((8, 8, 3)),
        tf_keras.Sequential([LAYERS.Conv2D(4, 3, name="in_a"),
                             LAYERS.BatchNormalization(name="in_n")], name="inner"),
        LAYERS.Conv2D(2, 3, name="out_b"),
    ], name="outer"))  # fmt: skip
    write(nested, str(OUT / "layers_nested"))
    inner = nested.get_layer("inner")
    save("layers_nested", out_first(inner.get_layer("in_a").get_weights()[0]),
         out_first(nested.get_layer("out_b").get_weights()[0]),
         in_n=scale_of(inner.get_layer("in_n")))  # fmt: skip


def converted(saved, name, **options):
    saved_model = str(OUT / "saved")
    saved(saved_model)
    tf_saved_model_conversion_v2.convert_tf_saved_model(
        saved_model, str(OUT / name), skip_op_check=True, **options
    )
    shutil.rmtree(saved_model)


def graph_models(model):
    first, deep, *rest = kernels(model)
    scales = [scale_of(model.get_layer(name))[:, None, None, None] for name in ("norm1", "norm2")]
    folded = [first * scales[0], deep * scales[1], *rest]
    converted(model.export, "graph", weight_shard_size_bytes=1000)
    save("graph", *folded)
    module = Branches()
    signature = module.run.get_concrete_function()
    converted(lambda path: tf.saved_model.save(module, path, signatures=signature),
              "graph_functions", control_flow_v2=True)  # fmt: skip
    save("graph_functions", *map(out_first, module.kernels))
    module = Unfolded()
    signature = module.run.get_concrete_function()
    converted(lambda path: tf.saved_model.save(module, path, signatures=signature),
              "graph_raw")  # fmt: skip
    scale = module.norm[0] / np.sqrt(module.norm[3] + 1e-3)
    save("graph_raw", out_first(module.kernel), scale=scale)


class Branches(tf.Module):
    """Convolutions in the bodies of a loop and of a conditional."""

    def __init__(self):
        super().__init__()
        self.kernels = [tf.constant(draw(3, 3, 2, 2)) for _ in range(4)]

    def conv(self, x, i):
        return tf.nn.conv2d(x, self.kernels[i], 1, "SAME")

    @tf.function(input_signature=[tf.TensorSpec((1, 6, 6, 2), tf.float32, name="x")])
    def run(self, x):
        x = self.conv(x, 0)
        x = tf.cond(tf.reduce_sum(x) > 0, lambda: self.conv(x, 1), lambda: x + 1)
        _, x = tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, self.conv(x, 2)), (0, x))
        return {"y": self.conv(x, 3)}


class Unfolded(tf.Module):
    """A norm that cannot be folded: the blocks are brought back to space before it."""

    def __init__(self):
        super().__init__()
        self.kernel = draw(3, 3, 3, 4)
        self.norm = [np.abs(draw(4)) + 0.5, draw(4), draw(4), np.abs(draw(4)) + 0.5]

    @tf.function(input_signature=[tf.TensorSpec((1, 9, 9, 3), tf.float32, name="x")])
    def run(self, x):
        x = tf.space_to_batch(x, [3, 3], [[3, 3], [3, 3]])
        x = tf.nn.conv2d(x, self.kernel, 1, "VALID", name="wide")
        x = tf.batch_to_space(x, [3, 3], [[1, 2], [0, 2]])
        norm = tf.compat.v1.nn.fused_batch_norm
        return {"y": tf.nn.relu(norm(x, *self.norm, epsilon=1e-3, is_training=False)[0])}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    model = network()
    layers_models(model)
    graph_models(model)


if __name__ == "__main__":
    main()
