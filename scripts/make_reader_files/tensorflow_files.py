"""Write the small TensorFlow files that the readers are tested with, and their arrays.

TensorFlow is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install tensorflow-cpu tf_keras python-snappy
    /tmp/v/bin/python scripts/make_reader_files/tensorflow_files.py tests/readers/files/tensorflow

Beside each file lies an ``.npz`` with what TensorFlow itself holds: the convolution weights in
the order of the network, as ``(C_out, C_in/groups, kh, kw)``, and scales of norms.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import snappy
import tensorflow as tf
import tf_keras

V1 = tf.compat.v1
OUT = Path(sys.argv[1])
RANDOM = np.random.default_rng(7)


def draw(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def conv(weight):
    return np.asarray(weight, np.float32).transpose(3, 2, 0, 1)


def depthwise(weight):
    weight = np.asarray(weight, np.float32)
    *_, c, m = weight.shape
    return np.stack([weight[:, :, i // m, i % m] for i in range(c * m)])[:, None]


def transposed(weight):
    return np.asarray(weight, np.float32).transpose(2, 3, 0, 1)


def save(name, *arrays, **others):
    numbered = {f"{i:03d}": array for i, array in enumerate(arrays)}
    np.savez_compressed(OUT / f"{name}.npz", **numbered, **others)


def frozen():
    """Every operator that a frozen graph may have, and three ways to write a constant."""
    with tf.Graph().as_default() as graph:
        x = V1.placeholder(tf.float32, (None, 12, 12, 3), name="x")
        a = tf.constant(draw(3, 3, 3, 4), name="first/weights")
        gamma, beta, mean = (tf.constant(draw(4), name=f"first/{n}") for n in "gbm")
        variance = tf.constant(np.abs(draw(4)), name="first/v")
        y = tf.nn.conv2d(x, tf.identity(a), (2, 1), "SAME", name="first/conv")
        y, *_ = V1.nn.fused_batch_norm(y, gamma, beta, mean, variance, epsilon=0.01,
                                       is_training=False, name="first/norm")  # fmt: skip
        y = tf.nn.relu(y)
        b = tf.constant(draw(3, 3, 4, 2), name="second/depthwise_weights")
        y = V1.nn.depthwise_conv2d_native(y, b, (1, 1, 1, 1), "SAME", name="second/depthwise")
        y = tf.nn.bias_add(y, tf.constant(draw(8), name="second/bias"))
        y = tf.nn.relu6(y)
        c = tf.constant(draw(3, 3, 2, 8), name="grouped/weights")
        y = tf.nn.conv2d(y, c, 1, "SAME", name="grouped/conv")
        g, s, m = (tf.constant(draw(8), name=f"written/{n}") for n in "gsm")
        v = tf.constant(np.abs(draw(8)), name="written/v")
        y = tf.nn.batch_normalization(y, m, v, s, g, 1e-3, name="written")
        d = tf.constant(draw(3, 3, 8, 5).astype(np.float16), name="half/weights")
        y = tf.nn.conv2d(y, tf.cast(d, tf.float32), 1, "SAME", dilations=2, name="half/conv")
        low, high = tf.constant(-2.0), tf.constant(2.0)
        e = tf.constant(draw(3, 3, 6, 5), name="up/weights")
        rounded = tf.quantization.fake_quant_with_min_max_vars(e, low, high)
        y = V1.nn.conv2d_transpose(y, rounded, (2, 24, 24, 6), 2, name="up/conv")
        f = tf.constant(0.25, tf.float32, (2, 2, 6, 3), name="same/weights")
        y = V1.space_to_batch_nd(y, [2, 2], [[0, 0], [0, 0]])
        y = tf.nn.conv2d(y, f, 1, "SAME", name="same/conv")
        y = V1.batch_to_space_nd(y, [2, 2], [[0, 0], [0, 0]])
        y = tf.concat([y, y], 3)
        k = tf.constant(draw(1, 1, 6, 2), name="BatchNorm/folded")
        y = tf.nn.conv2d(y, k, 1, "SAME", name="last/conv")
        y = tf.nn.conv2d(y + 1, tf.tile(k[:, :, :2], (1, 1, 1, 2)), 1, "SAME", name="made/conv")
        tf.nn.conv2d(y, tf.ones((1, 1, 4, 1)) * y[0, 0, 0, 0], 1, "SAME", name="moving/conv")
        with V1.Session() as session:
            values = session.run([a, b, c, d, e, f, k])
            scales = session.run([gamma / tf.sqrt(variance + 0.01), g / tf.sqrt(v + 1e-3)])
        (OUT / "frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())
    a, b, c, d, e, f, k = values
    save("frozen", conv(a), depthwise(b), conv(c), conv(d), transposed(e), conv(f), conv(k),
         scale0=scales[0], scale2=scales[1])  # fmt: skip


def quantised():
    """Stored as integers, and turned into real numbers by the graph."""
    with tf.Graph().as_default() as graph:
        y = V1.placeholder(tf.float32, (None, 8, 8, 3), name="x")
        low, high = -1.3, 2.1
        real = []
        for mode in ("MIN_COMBINED", "MIN_FIRST", "SCALED"):
            for dtype in (tf.quint8, tf.qint8):
                q, least, most = tf.quantization.quantize(
                    draw(3, 3, 3, 3), low, high, dtype, mode=mode
                )
                with V1.Session() as session:
                    q, least, most = session.run([tf.bitcast(q, tf.uint8), least, most])
                q = tf.bitcast(tf.constant(q), dtype)
                w = tf.quantization.dequantize(q, tf.constant(least), tf.constant(most), mode=mode)
                y = tf.nn.conv2d(y, w, 1, "SAME")
                real.append(w)
        q = RANDOM.integers(-127, 128, (3, 3, 3, 4)).astype(np.int8)
        q = tf.bitcast(tf.constant(q), tf.qint8)
        ends = np.array([0.5, 1, 2, 3], np.float32)
        w = tf.quantization.dequantize(q, -ends, ends, "SCALED", axis=3, narrow_range=True)
        real.append(w)
        tf.nn.conv2d(y, w, 1, "SAME")
        with V1.Session() as session:
            real = session.run(real)
        (OUT / "quantised.pb").write_bytes(graph.as_graph_def().SerializeToString())
    save("quantised", *map(conv, real))


def keras_network(library):
    layers = library.layers
    library.utils.set_random_seed(3)
    inputs = library.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, strides=2, use_bias=False, name="stem")(inputs)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.ReLU()(y)
    y = layers.DepthwiseConv2D(3, padding="same", name="deep")(y)
    y = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, name="apart")(y)
    y = layers.Conv2D(6, 3, padding="same", dilation_rate=2, name="wide")(y)
    y = layers.Conv2DTranspose(5, 2, strides=2, name="up")(y)
    y = layers.GlobalAveragePooling2D()(y)
    network = library.Model(inputs, layers.Dense(2)(y))
    network.compile("adam", "mse")
    return network


def keras_arrays(network):
    w = {v.name.split(":")[0] if "/" in v.name else v.path: v.numpy() for v in network.weights}
    scale = w["norm/gamma"] / np.sqrt(w["norm/moving_variance"] + 1e-3)
    deep = w.get("deep/depthwise_kernel", w.get("deep/kernel"))
    arrays = (conv(w["stem/kernel"]), depthwise(deep),
              depthwise(w["apart/depthwise_kernel"]), conv(w["apart/pointwise_kernel"]),
              conv(w["wide/kernel"]), transposed(w["up/kernel"]))  # fmt: skip
    return arrays, scale


def pack(name):
    """A folder as an archive: a graph of Keras is long, but repeats itself."""
    shutil.make_archive(str(OUT / name), "gztar", OUT, name)
    shutil.rmtree(OUT / name)


def saved_models():
    network = keras_network(tf_keras)
    network.fit(draw(4, 8, 8, 3), draw(4, 2), verbose=0)
    arrays, scale = keras_arrays(network)
    network.save(OUT / "keras_saved", save_format="tf", include_optimizer=False)
    (OUT / "keras_saved" / "keras_metadata.pb").unlink()
    pack("keras_saved")
    save("keras_saved", *arrays, scale0=scale)
    tf.train.Checkpoint(model=network, optimizer=network.optimizer).write(str(OUT / "objects.ckpt"))
    save("objects.ckpt", *arrays)
    network = keras_network(tf.keras)
    arrays, scale = keras_arrays(network)
    network.export(OUT / "keras3_saved", verbose=False)
    pack("keras3_saved")
    save("keras3_saved", *arrays, scale0=scale)

    class Module(tf.Module):
        def __init__(self):
            self.first = tf.Variable(draw(3, 3, 2, 4), name="kernel")
            self.second = tf.Variable(draw(3, 3, 4, 4), name="kernel")

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 2))])
        def forward(self, x):
            inner = tf.function(lambda y: tf.nn.relu(tf.nn.conv2d(y, self.second, 1, "SAME")))
            return inner(tf.nn.relu(tf.nn.conv2d(x, self.first, 1, "SAME")))

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 2))])
        def half(self, x):  # of several functions, none becomes a signature
            return tf.nn.conv2d(x, self.first, 1, "SAME")

    module = Module()
    tf.saved_model.save(module, str(OUT / "module_saved"))
    pack("module_saved")
    save("module_saved", conv(module.first), conv(module.second))


def variables(*, resource):
    x = V1.placeholder(tf.float32, (None, 8, 8, 3), name="x")
    with V1.variable_scope("net", use_resource=resource):
        a = V1.get_variable("conv10/weights", initializer=draw(3, 3, 3, 4))
        y = tf.nn.relu(tf.nn.conv2d(x, a, 1, "SAME"))
        b = V1.get_variable("conv2/depthwise_weights", initializer=draw(3, 3, 4, 1))
        y = tf.nn.relu(tf.nn.depthwise_conv2d(y, b, (1, 1, 1, 1), "SAME"))
        split = V1.fixed_size_partitioner(2, 3)
        c = V1.get_variable("conv1/weights", (3, 3, 4, 6), partitioner=split,
                            initializer=V1.glorot_uniform_initializer(5))  # fmt: skip
        y = tf.nn.conv2d(y, tf.convert_to_tensor(c) if not resource else tf.concat(list(c), 3), 1,
                         "SAME")  # fmt: skip
    whole = tf.concat(list(c), 3)
    return x, y, a, b, c, whole


def first_generation():
    """Checkpoints of both versions, in parts, with slots and averages; and a SavedModel."""
    for version, name in ((V1.train.SaverDef.V2, "slots.ckpt"), (V1.train.SaverDef.V1, "old.ckpt")):
        with tf.Graph().as_default(), V1.Session() as session:
            x, y, a, b, _, whole = variables(resource=False)
            step = V1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_mean(y**2))
            average = tf.train.ExponentialMovingAverage(0.9).apply([a, b])
            session.run(V1.variables_initializer(V1.trainable_variables()))
            first = {v.ref() for v in V1.trainable_variables()}
            rest = [v for v in V1.global_variables() if v.ref() not in first]
            session.run(V1.variables_initializer(rest))
            session.run([step], {x: draw(2, 8, 8, 3)})
            session.run([average])
            saver = V1.train.Saver(write_version=version, sharded=version == V1.train.SaverDef.V2)
            saver.save(session, str(OUT / name), write_meta_graph=False)
            found = session.run([a, b, whole])
            save(name, conv(found[2]), depthwise(found[1]), conv(found[0]))
            (OUT / "checkpoint").unlink()
    with tf.Graph().as_default(), V1.Session() as session:
        x, y, a, b, _, whole = variables(resource=True)
        session.run(V1.global_variables_initializer())
        saver = V1.train.Saver()
        saver.save(session, str(OUT / "graph.ckpt"))
        (OUT / "checkpoint").unlink()
        V1.saved_model.simple_save(session, str(OUT / "v1_saved"), {"x": x}, {"y": y})
        pack("v1_saved")
        found = session.run([a, b, whole])
        save("v1_saved", conv(found[0]), depthwise(found[1]), conv(found[2]))


def in_training():
    """A graph as it is trained: the norm's statistics are not those that its graph uses."""
    with tf.Graph().as_default(), V1.Session() as session:
        x = V1.placeholder(tf.float32, (None, 8, 8, 3), name="x")
        a = V1.get_variable("conv/weights", initializer=draw(3, 3, 3, 4))
        y = tf.nn.conv2d(x, a, 1, "SAME")
        gamma, beta = (V1.get_variable(f"conv/BatchNorm/{n}", initializer=draw(4))
                       for n in ("gamma", "beta"))  # fmt: skip
        variance = V1.get_variable("conv/BatchNorm/moving_variance", trainable=False,
                                   initializer=np.abs(draw(4)))  # fmt: skip
        y, *_ = V1.nn.fused_batch_norm(y, gamma, beta, epsilon=0.01, is_training=True)
        V1.train.AdamOptimizer().minimize(tf.reduce_mean(y**2))
        session.run(V1.global_variables_initializer())
        V1.train.Saver().save(session, str(OUT / "trained.ckpt"))
        (OUT / "checkpoint").unlink()
        found = session.run([a, gamma / tf.sqrt(variance + 0.01)])
        save("trained.ckpt", conv(found[0]), scale0=found[1])


def blocks():
    """Blocks of Snappy, as Google's own code packs them."""
    plain = [b"", b"a", b"abcd" * 500, bytes(RANDOM.integers(0, 4, 3000, np.uint8)), b"x" * 70000]
    held = {}
    for i, content in enumerate(plain):
        held[f"plain{i}"] = np.frombuffer(content, np.uint8)
        held[f"packed{i}"] = np.frombuffer(snappy.compress(content), np.uint8)
    np.savez_compressed(OUT / "snappy.npz", **held)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    frozen()
    quantised()
    saved_models()
    first_generation()
    in_training()
    blocks()
