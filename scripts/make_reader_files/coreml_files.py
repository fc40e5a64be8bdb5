"""Write the small Core ML files that the reader is tested with, and their arrays.

coremltools writes the format and is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install "coremltools==9.0"
    /tmp/v/bin/python scripts/make_reader_files/coreml_files.py tests/readers/files/coreml
"""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")

import coremltools as ct  # noqa: E402
import coremltools.optimize.coreml as cto  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402
from coremltools.models import datatypes  # noqa: E402
from coremltools.models.neural_network import NeuralNetworkBuilder  # noqa: E402
from coremltools.models.neural_network import quantization_utils as quantise  # noqa: E402

quantise._optimize_nn = lambda _: None  # its fusion of norms fails with this protobuf
RANDOM = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype("float32")


def network() -> tuple[object, dict[str, np.ndarray]]:
    """Ordinary, grouped, depthwise and transposed convolutions; one norm. HWIO arrays go in."""
    arrays = {
        "first": normal(8, 3, 3, 3),
        "grouped": normal(8, 4, 3, 3),
        "depthwise": normal(8, 1, 5, 3),
        "up": normal(6, 8, 2, 2),  # (out, in, h, w)
        "up_grouped": normal(4, 3, 2, 2),  # 2 groups: (out, in/groups, h, w)
    }
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(3, 16, 16))],
        [("y", datatypes.Array(4, 32, 32))],
        disable_rank5_shape_mapping=True,
    )

    def conv(name, into, outof, weight, **more):
        height, width = weight.shape[2:]
        outs = weight.shape[0]
        kind = {"is_deconv": more.pop("is_deconv", False)}
        groups = more.pop("groups", 1)
        if kind["is_deconv"]:  # (h, w, in, out / groups)
            split = weight.reshape(groups, outs // groups, *weight.shape[1:])
            kernel = split.swapaxes(1, 2).reshape(-1, outs // groups, height, width)
            kernel = kernel.transpose(2, 3, 0, 1)
        else:
            kernel = weight.transpose(2, 3, 1, 0)
        bias = more.pop("bias", None)
        builder.add_convolution(
            name,
            kernel.shape[2],
            outs,
            height,
            width,
            more.pop("stride", 1),
            1,
            "same",
            groups,
            kernel,
            bias,
            bias is not None,
            input_name=into,
            output_name=outof,
            **kind,
            **more,
        )

    conv("first", "x", "a", arrays["first"], stride=2)
    gamma, variance = np.abs(normal(8)) + 0.5, np.abs(normal(8)) + 0.5
    builder.add_batchnorm("bn", 8, gamma, normal(8), normal(8), variance, "a", "b", epsilon=1e-3)
    builder.add_activation("relu", "RELU", "b", "c")
    conv("grouped", "c", "d", arrays["grouped"], groups=2, bias=normal(8))
    conv("depthwise", "d", "e", arrays["depthwise"], groups=8, dilation_factors=[2, 1])
    conv("up", "e", "f", arrays["up"], is_deconv=True)
    conv("up_grouped", "f", "y", arrays["up_grouped"], is_deconv=True, groups=2)
    arrays["bn scale"] = (gamma / np.sqrt(variance + 1e-3)).astype("float64")
    return ct.models.MLModel(builder.spec), arrays


def stored_weights(model) -> dict[str, np.ndarray]:
    """The weights of a (quantised) network as coremltools itself turns them back."""
    arrays = {}
    for layer in model.get_spec().neuralNetwork.layers:
        if layer.WhichOneof("layer") != "convolution":
            continue
        conv = layer.convolution
        kernel = tuple(conv.kernelSize)
        shape = (conv.outputChannels, conv.kernelChannels, *kernel)
        if conv.isDeconvolution:
            shape = (conv.kernelChannels, conv.outputChannels // conv.nGroups, *kernel)
        field = conv.weights
        if len(field.float16Value):
            values = np.frombuffer(field.float16Value, "float16").astype("float32").reshape(shape)
        else:
            values = np.array(field.floatValue, "float32").reshape(shape)
        arrays[layer.name] = values
    return arrays


def turned(arrays: dict[str, np.ndarray], groups: dict[str, int]) -> dict[str, np.ndarray]:
    """Transposed ones output first."""
    result = dict(arrays)
    for name, count in groups.items():
        into, outs, *kernel = arrays[name].shape
        split = arrays[name].reshape(count, into // count, outs, *kernel)
        result[name] = split.swapaxes(1, 2).reshape(count * outs, into // count, *kernel)
    return result


def table(bits: int, weights: np.ndarray) -> tuple[list[float], np.ndarray]:
    """A lookup table of quantiles, and the codes."""
    values = np.quantile(weights.reshape(-1), (np.arange(2**bits) + 0.5) / 2**bits)
    codes = np.abs(weights.reshape(-1, 1) - values).argmin(axis=1)
    return [float(value) for value in values], codes.astype(np.uint8)


def neural_networks(folder: Path) -> None:
    model, arrays = network()
    model.save(str(folder / "float32.mlmodel"))
    np.savez_compressed(folder / "float32.npz", **arrays)
    for name, bits, mode in (
        ("float16", 16, "linear"), ("linear8", 8, "linear"), ("symmetric8", 8, "linear_symmetric"),
        ("linear3", 3, "linear"), ("table4", 4, "custom_lut"), ("table1", 1, "custom_lut"),
    ):  # fmt: skip
        more = {"lut_function": table} if mode == "custom_lut" else {}
        spec = quantise.quantize_weights(model, bits, mode, **more)
        spec = spec if hasattr(spec, "WhichOneof") else spec.get_spec()
        ct.models.utils.save_spec(spec, str(folder / f"{name}.mlmodel"))
        plain = type(spec)()
        plain.CopyFrom(spec)
        if bits < 16:
            quantise._dequantize_nn_spec(plain.neuralNetwork)
        values = stored_weights(ct.models.MLModel(plain, skip_model_load=True))
        values = turned(values, {"up": 1, "up_grouped": 2})
        np.savez_compressed(folder / f"{name}.npz", **values)


def program(folder: Path) -> None:
    weights = {
        "w1": normal(8, 3, 3, 3), "w2": normal(8, 2, 3, 3), "w3": normal(8, 3, 2, 2),
        "w4": normal(16, 6, 3, 3),
    }  # fmt: skip
    gamma, variance = np.abs(normal(8)) + 0.5, np.abs(normal(8)) + 0.5

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 16, 16))], opset_version=ct.target.iOS18)
    def main(x):
        a = mb.conv(x=x, weight=mb.const(val=weights["w1"], name="w1"), strides=[2, 2],
                    pad_type="same")  # fmt: skip
        a = mb.batch_norm(x=a, mean=normal(8), variance=variance, gamma=gamma, beta=normal(8),
                          epsilon=np.float32(1e-3), name="bn")  # fmt: skip
        a = mb.relu(x=a)
        a = mb.conv(x=a, weight=mb.const(val=weights["w2"], name="w2"), bias=normal(8), groups=4,
                    dilations=[1, 2], pad_type="same")  # fmt: skip
        a = mb.conv_transpose(x=a, weight=mb.const(val=weights["w3"], name="w3"), groups=2)
        return mb.conv(x=a, weight=mb.const(val=weights["w4"], name="w4"))

    passes = ct.PassPipeline.EMPTY
    expected = turned(weights, {"w3": 2})
    scale = (gamma / np.sqrt(variance + 1e-3)).astype("float64")
    for name, precision in (("program32", ct.precision.FLOAT32), ("program16", None)):
        pipeline = passes
        if precision is None:
            pipeline = ct.PassPipeline(["common::add_fp16_cast", "common::const_elimination"])
        model = ct.convert(
            main,
            convert_to="mlprogram",
            pass_pipeline=pipeline,
            skip_model_load=True,
            compute_precision=precision or ct.precision.FLOAT16,
            minimum_deployment_target=ct.target.iOS18,
        )
        save(model, folder / f"{name}.mlpackage")
        half = {k: v.astype("float16").astype("float32") for k, v in expected.items()}
        np.savez_compressed(folder / f"{name}.npz", **(half if precision is None else expected),
                            scale=scale)  # fmt: skip
        if precision:
            compressed(model, folder, target="18")

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 16, 16))], opset_version=ct.target.iOS16)
    def older(x):
        a = mb.conv(x=x, weight=mb.const(val=weights["w1"], name="w1"), bias=normal(8))
        return mb.conv(x=a, weight=mb.const(val=normal(6, 8, 3, 3), name="w5"))

    model = ct.convert(
        older,
        convert_to="mlprogram",
        pass_pipeline=passes,
        skip_model_load=True,
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
    )
    compressed(model, folder, target="16")


def compressed(model, folder: Path, *, target: str) -> None:
    """Every way in which coremltools makes weights smaller, and what it makes of them again."""
    op = {"weight_threshold": 10}
    ways = {
        "linear": (cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(
            mode="linear", dtype="uint8", **op)),
        "palette4": (cto.palettize_weights, cto.OpPalettizerConfig(
            mode="uniform", nbits=4, **op)),
        "sparse": (cto.prune_weights, cto.OpMagnitudePrunerConfig(target_sparsity=0.6, **op)),
    }  # fmt: skip
    if target == "18":
        ways["int4"] = (cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int4", granularity="per_channel", **op))  # fmt: skip
        ways["palette3"] = (cto.palettize_weights, cto.OpPalettizerConfig(
            mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=4,
            **op))  # fmt: skip
    for name, (function, config) in ways.items():
        small = function(model, cto.OptimizationConfig(global_config=config))
        save(small, folder / f"{name}_{target}.mlpackage")
        values = {}
        for function_ in small._mil_program.functions.values():
            for item in function_.operations:
                if item.op_type in ("conv", "conv_transpose"):
                    var = item.weight
                    value = var.val if var.val is not None else var.op.materialized_val_inference()
                    values[var.name] = np.asarray(value, "float32")
                    if item.op_type == "conv_transpose":
                        values = turned(values, {var.name: 2})
        np.savez_compressed(folder / f"{name}_{target}.npz", **values)


def save(model, path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    neural_networks(folder)
    program(folder)


if __name__ == "__main__":
    main()
