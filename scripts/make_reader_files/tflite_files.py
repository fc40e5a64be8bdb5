"""Write the small TFLite files that the reader is tested with, and their arrays.

TensorFlow is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install tensorflow-cpu tf_keras
    /tmp/v/bin/python scripts/make_reader_files/tflite_files.py tests/readers/files/tflite

Beside each file lies an ``.npz`` with what TensorFlow itself holds: the convolution weights in
the order of the network, as ``(C_out, C_in/groups, kh, kw)``, and scales of norms.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import flatbuffers
import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.lite.python import schema_py_generated as schema

OUT = Path(sys.argv[1])
RANDOM = np.random.default_rng(5)
LAYERS = tf_keras.layers
LITE = tf.lite


def draw(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def out_first(kernel, kind="conv"):
    """A Keras kernel in the one layout."""
    kernel = np.asarray(kernel, np.float32)
    if kind == "depthwise":
        c, m = kernel.shape[2:]
        return np.stack([kernel[:, :, i // m, i % m] for i in range(c * m)])[:, None]
    return kernel.transpose(2, 3, 0, 1) if kind == "transposed" else kernel.transpose(3, 2, 0, 1)


def save(name, content, *arrays, **others):
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.tflite").write_bytes(content)
    numbered = {f"{i:03d}": array for i, array in enumerate(arrays)}
    np.savez_compressed(OUT / f"{name}.npz", **numbered, **others)
    print(name, len(content))


def randomise(model):
    model.set_weights(
        [np.abs(draw(*w.shape)) + 0.5 if "variance" in v.name else draw(*w.shape)
         for v, w in zip(model.weights, model.get_weights(), strict=True)]
    )  # fmt: skip


def scale_of(norm):
    gamma, _, _, variance = norm.get_weights()
    return gamma / np.sqrt(variance + norm.epsilon)


def network():
    """Every kind of convolution, with a norm folded, one that cannot be, and none."""
    x = start = LAYERS.Input((12, 12, 3), batch_size=1)
    x = LAYERS.Conv2D(4, 3, strides=(2, 1), use_bias=False, name="first")(x)
    x = LAYERS.ReLU(name="relu1")(LAYERS.BatchNormalization(name="bn1")(x))
    x = LAYERS.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="deep")(x)
    x = LAYERS.ReLU(name="relu2")(LAYERS.BatchNormalization(name="bn2")(x))
    x = LAYERS.Conv2D(6, (1, 3), dilation_rate=1, name="plain")(x)
    x = LAYERS.Conv2D(4, 3, groups=2, activation="relu", name="grouped")(x)
    x = LAYERS.Conv2DTranspose(5, (2, 3), strides=2, name="up")(x)
    x = LAYERS.Conv2D(2, 1, use_bias=False, name="head")(x)
    model = tf_keras.Model(start, x)
    randomise(model)
    return model


def converted(model, **options):
    converter = LITE.TFLiteConverter.from_keras_model(model)
    for key, value in options.items():
        setattr(converter, key, value)
    return converter.convert()


def expected(model):
    kernels = {layer.name: layer.get_weights()[0] for layer in model.layers if layer.weights}
    first = out_first(kernels["first"]) * scale_of(model.get_layer("bn1"))[:, None, None, None]
    deep = out_first(kernels["deep"], "depthwise")
    deep *= scale_of(model.get_layer("bn2"))[:, None, None, None]
    rest = [out_first(kernels["plain"]), out_first(kernels["grouped"]),
            out_first(kernels["up"], "transposed"), out_first(kernels["head"])]  # fmt: skip
    return [first, deep, *rest]


def dequantised(content):
    """The filters as TensorFlow's own interpreter holds them, in the order of its operators."""
    interpreter = LITE.Interpreter(model_content=content)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    arrays = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] not in {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}:
            continue
        index = operator["inputs"][1]
        rule = details[index]["quantization_parameters"]
        values = interpreter.get_tensor(index).astype(np.float64)
        if len(rule["scales"]):
            spread = [1] * 4
            spread[rule["quantized_dimension"]] = -1
            spread = spread if len(rule["scales"]) > 1 else [1] * 4
            values = values - rule["zero_points"].reshape(spread)
            values = values * rule["scales"].astype(np.float64).reshape(spread)
        axes = (3, 0, 1, 2) if operator["op_name"] == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2)
        arrays.append(values.astype(np.float32).transpose(axes))
    return arrays


def examples():
    for _ in range(3):
        yield [draw(1, 12, 12, 3)]


def whole(content):
    return schema.ModelT.InitFromPackedBuf(content, 0)


def packed(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def one_layer(kernel):
    """A network of one convolution, to be rewritten."""
    height, width, into, out = kernel.shape
    x = start = LAYERS.Input((8, 8, into), batch_size=1)
    x = LAYERS.Conv2D(out, (height, width), use_bias=False, name="only")(x)
    model = tf_keras.Model(start, x)
    model.set_weights([kernel])
    return model


def requantised(stored, type_number, scale, zero_point, axis, content):
    """The one layer's filter replaced by integers; ``content`` is how they lie in the file."""
    model = whole(converted(one_layer(draw(*np.transpose(stored, (1, 2, 3, 0)).shape))))
    graph = model.subgraphs[0]
    operator = next(o for o in graph.operators if len(o.inputs) == 3)
    tensor = graph.tensors[operator.inputs[1]]
    tensor.type = type_number
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = list(scale)
    tensor.quantization.zeroPoint = list(zero_point)
    tensor.quantization.quantizedDimension = axis
    model.buffers[tensor.buffer].data = content
    spread = (-1, 1, 1, 1) if len(scale) > 1 else (1, 1, 1, 1)
    values = np.float32(scale).reshape(spread) * (
        stored.astype(np.float32) - np.float32(zero_point).reshape(spread)
    )
    return packed(model), values.transpose(0, 3, 1, 2)


def quantised_by_hand():
    stored = RANDOM.integers(0, 256, (3, 3, 3, 2), dtype=np.uint8)
    content, values = requantised(
        stored, schema.TensorType.UINT8, [0.02], [131], 0, stored.reshape(-1)
    )
    save("uint8", content, values)
    stored = RANDOM.integers(-7, 8, (3, 3, 3, 3), dtype=np.int8)
    flat = np.append(stored.reshape(-1), 0) & 15
    nibbles = (flat[0::2] | flat[1::2] << 4).astype(np.uint8)
    content, values = requantised(
        stored, schema.TensorType.INT4, [0.5, 0.25, 0.125], [0, 0, 0], 0, nibbles
    )
    save("int4", content, values)


def sparse():
    """Pruned weights, which the converter stores sparse."""
    kernel = draw(1, 1, 32, 16)
    kernel[RANDOM.random(kernel.shape) < 0.9] = 0
    content = converted(one_layer(kernel), optimizations=[LITE.Optimize.EXPERIMENTAL_SPARSITY])
    assert any(tensor.sparsity for tensor in whole(content).subgraphs[0].tensors)
    save("sparse", content, out_first(kernel))
    blocks = draw(1, 1, 32, 16)
    keep = np.repeat(RANDOM.random((1, 1, 8, 16)) < 0.1, 4, axis=2)
    blocks[~keep] = 0
    content = converted(one_layer(blocks), optimizations=[LITE.Optimize.EXPERIMENTAL_SPARSITY])
    save("sparse_blocks", content, out_first(blocks))


class Branches(tf.Module):
    """Convolutions in the bodies of a loop and of a conditional, and two entries to the network."""

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

    @tf.function(input_signature=[tf.TensorSpec((1, 6, 6, 2), tf.float32, name="x")])
    def other(self, x):
        return {"y": self.conv(self.conv(x, 0), 3)}


def subgraphs():
    module = Branches()
    converter = LITE.TFLiteConverter.from_concrete_functions(
        [module.run.get_concrete_function()], module
    )
    save("subgraphs", converter.convert(), *map(out_first, module.kernels))
    folder = str(OUT / "saved")
    signatures = {"run": module.run, "other": module.other}
    tf.saved_model.save(module, folder, signatures=signatures)
    converter = LITE.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
    save("signatures", converter.convert(), *map(out_first, module.kernels))
    tf.io.gfile.rmtree(folder)


def unfolded():
    """A norm that stays, since another node uses the convolution's output beside it."""
    x = start = LAYERS.Input((8, 8, 3), batch_size=1)
    y = LAYERS.Conv2D(5, 1, name="both")(x)
    x = LAYERS.Add()([LAYERS.BatchNormalization(name="bn_both")(y), LAYERS.ReLU()(y)])
    model = tf_keras.Model(start, LAYERS.ReLU()(x))
    randomise(model)
    save("unfolded", converted(model), out_first(model.get_layer("both").get_weights()[0]))


def main():
    model = network()
    save("float32", converted(model), *expected(model))
    halves = {"optimizations": [LITE.Optimize.DEFAULT]}
    half = [tf.float16]
    converter = LITE.TFLiteConverter.from_keras_model(model)
    converter.optimizations = halves["optimizations"]
    converter.target_spec.supported_types = half
    save("float16", converter.convert(), *(a.astype(np.float16) for a in expected(model)))
    save("outside", converted(model, _experimental_use_buffer_offset=True), *expected(model))
    content = converted(model, **halves, representative_dataset=examples)
    save("int8", content, *dequantised(content))
    quantised_by_hand()
    sparse()
    subgraphs()
    unfolded()


if __name__ == "__main__":
    main()
