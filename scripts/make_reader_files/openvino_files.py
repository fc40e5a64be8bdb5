"""Write the small OpenVINO files that the reader is tested with, and their arrays.

OpenVINO is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install openvino
    /tmp/v/bin/python scripts/make_reader_files/openvino_files.py tests/readers/files/openvino

Beside each file lies an ``.npz``: the weight of each convolution as OpenVINO computes it (a network
of nothing but that weight is compiled and run), in the order of the file and in OpenVINO's layout.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

OUT = Path(sys.argv[1])
RANDOM = np.random.default_rng(3)
ONE, NO = [1, 1], [0, 0]


def array(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def constant(values: np.ndarray, name: str | None = None) -> ov.Node:
    return ops.constant(values, name=name) if name else ops.constant(values)


def convolution(x: ov.Node, weight: ov.Node, name: str, stride: int = 1) -> ov.Node:
    return ops.convolution(x, weight, [stride, stride], ONE, ONE, ONE, name=name)


def biased(x: ov.Node, channels: int) -> ov.Node:
    return ops.add(x, constant(array(1, channels, 1, 1)))


def plain() -> tuple[ov.Node, ov.Node]:
    """All four kinds, a branch, and both ways of a bias."""
    x = ops.parameter([1, 3, 9, 9], np.float32, name="x")
    y = ops.relu(biased(convolution(x, constant(array(4, 3, 3, 3)), "first", 2), 4))
    a = ops.group_convolution(y, constant(array(4, 1, 1, 3, 3)), ONE, ONE, ONE, ONE, name="depth")
    b = ops.group_convolution(
        y, constant(array(2, 3, 2, 3, 3)), ONE, ONE, ONE, [2, 2], name="grouped"
    )
    b = ops.convolution_backprop_data(ops.relu(b), constant(array(6, 4, 2, 2)), ONE, name="up")
    b = ops.group_convolution_backprop_data(
        b, constant(array(2, 2, 3, 3, 2)), [2, 2], name="up_grouped"
    )
    shared = constant(array(2, 4, 1, 1))
    a = ops.add(convolution(a, shared, "twin1"), convolution(a, shared, "twin2"))
    return [a, b], x


def norms() -> tuple[ov.Node, ov.Node]:
    """A normalisation as a layer, and as a factor and a shift."""
    x = ops.parameter([1, 3, 8, 8], np.float32, name="x")
    y = convolution(x, constant(array(4, 3, 3, 3)), "normed")
    y = ops.batch_norm_inference(
        y, *(constant(v) for v in (array(4), array(4), array(4), np.abs(array(4)) + 1)),
        1e-3, name="norm",
    )  # fmt: skip
    y = convolution(ops.relu(y), constant(array(5, 4, 3, 3)), "scaled")
    y = biased(ops.multiply(y, constant(array(1, 5, 1, 1)), name="factor"), 5)
    return [biased(convolution(ops.relu(y), constant(array(2, 5, 1, 1)), "last"), 2)], x


def quantised() -> tuple[ov.Node, ov.Node]:
    """Integers with scales and zero points, and rounded floats."""
    x = ops.parameter([1, 3, 8, 8], np.float32, name="x")
    codes = constant(RANDOM.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8))
    weight = ops.multiply(ops.convert(codes, np.float32), constant(np.abs(array(4, 1, 1, 1))))
    y = convolution(x, weight, "symmetric")
    codes = constant(RANDOM.integers(0, 256, (4, 4, 3, 3)).astype(np.uint8))
    zero = ops.convert(
        constant(RANDOM.integers(100, 150, (4, 1, 1, 1)).astype(np.uint8)), np.float32
    )
    weight = ops.subtract(ops.convert(codes, np.float32), zero)
    weight = ops.multiply(weight, constant(np.abs(array(4, 1, 1, 1))))
    y = convolution(y, weight, "affine")
    low = -np.abs(array(5, 1, 1, 1)) - 1
    limits = [constant(v) for v in (low, -low, low, -low)]
    weight = ops.fake_quantize(constant(array(5, 4, 3, 3)), *limits, 255)
    y = convolution(y, weight, "rounded")
    codes = constant(RANDOM.integers(-127, 128, (5, 9)).astype(np.int8))
    scaled = ops.multiply(ops.convert(codes, np.float32), constant(np.float32(0.1)))
    weight = ops.reshape(scaled, constant(np.array([5, 1, 1, 3, 3])), special_zero=False)
    y = ops.group_convolution(y, weight, ONE, ONE, ONE, ONE, name="reshaped")
    weight = ops.transpose(constant(array(3, 3, 5, 2)), constant(np.array([3, 2, 0, 1])))
    return [convolution(y, weight, "turned")], x


def loop() -> tuple[ov.Node, ov.Node]:
    """A convolution within the body of an If."""
    x = ops.parameter([1, 3, 8, 8], np.float32, name="x")
    y = convolution(x, constant(array(3, 3, 3, 3)), "outside")
    bodies = []
    for name in ("then", "else"):
        inner = ops.parameter([1, 3, 8, 8], np.float32)
        body = convolution(inner, constant(array(3, 3, 3, 3)), name)
        bodies.append((ov.Model([ops.result(body)], [inner], name), inner, body))
    # A condition of the input, so that nothing is decided when the file is written.
    condition = ops.greater(ops.reduce_sum(x, constant(np.arange(4)), keep_dims=False),
                            constant(np.float32(0)))  # fmt: skip
    node = ops.if_op(condition.output(0))
    node.set_then_body(bodies[0][0])
    node.set_else_body(bodies[1][0])
    node.set_input(y.output(0), bodies[0][1], bodies[1][1])
    out = node.set_output(bodies[0][0].get_results()[0], bodies[1][0].get_results()[0])
    return [convolution(ops.relu(out), constant(array(2, 3, 3, 3)), "after").output(0)], x


def weights(model: ov.Model) -> dict[str, np.ndarray]:
    """The weight of every convolution, computed by OpenVINO."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "If":
            for body in (node.get_function(0), node.get_function(1)):
                found |= weights(body)
        if "Convolution" in node.get_type_name():
            only = ov.Model([ops.relu(node.input_value(1)), ops.negative(node.input_value(1))], [])
            positive, negative = ov.compile_model(only, "CPU")([]).values()
            found[node.get_friendly_name()] = positive - np.maximum(negative, 0)
    return found


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for make in (plain, norms, quantised, loop):
        outputs, x = make()
        model = ov.Model(outputs, [x], make.__name__)
        half = [False, True] if make is plain else [False]
        for compressed in half:
            path = OUT / f"{make.__name__}{'_half' if compressed else ''}.xml"
            ov.save_model(model, path, compress_to_fp16=compressed)
            read = ov.Core().read_model(path)
            np.savez_compressed(path.with_suffix(".npz"), **weights(read))


if __name__ == "__main__":
    main()
