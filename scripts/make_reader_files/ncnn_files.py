"""Write the small ncnn files that the reader is tested with, and what ncnn makes of them.

ncnn is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install ncnn
    /tmp/v/bin/python scripts/make_reader_files/ncnn_files.py tests/readers/files/ncnn

The numbers are written here, one layer after another. Before ``probe``, the last convolution, is
one layer of nearly every type with weights; ncnn runs that convolution on a unit impulse at each
place, which gives back its weights, and so proves that ncnn takes as many numbers for all layers
before it as this script has written. Beside the files lies an ``.npz`` with the weights of all
convolutions as they were written.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import ncnn
import numpy as np

OUT = Path(sys.argv[1])
RANDOM = np.random.default_rng(6)
HALF, INT8, TABLE = 0x01306B47, 0x000D4B38, 1


def numbers(count: int) -> bytes:
    return np.abs(RANDOM.normal(size=count)).astype("<f4").tobytes()


def tagged(values: np.ndarray, tag: int = 0) -> bytes:
    """Numbers after their tag, filled up to four bytes."""
    if tag == HALF:
        stored = values.astype("<f2").tobytes()
    elif tag == INT8:
        stored = values.astype("<i1").tobytes()
    elif tag == TABLE:
        table = np.linspace(-1, 1, 256, dtype="<f4")
        nearest = np.abs(values.ravel()[:, None] - table).argmin(axis=1).astype("u1")
        return struct.pack("<I", tag) + table.tobytes() + padded(nearest.tobytes())
    else:
        stored = values.astype("<f4").tobytes()
    return struct.pack("<I", tag) + padded(stored)


def padded(stored: bytes) -> bytes:
    return stored + bytes(-len(stored) % 4)


def floats(count: int) -> bytes:
    return tagged(RANDOM.normal(size=count).astype("f4"))


def convolution(out: int, per_group: int, size: int, *, tag: int = 0, groups: int = 1,
                extra: str = "") -> tuple[str, bytes, np.ndarray]:  # fmt: skip
    shape = (out, per_group, size, size)
    weight = RANDOM.normal(size=shape).astype("f4") / 2
    if tag == INT8:
        weight = RANDOM.integers(-127, 128, shape).astype("f4")
    if tag == TABLE:
        weight = np.linspace(-1, 1, 256, dtype="f4")[RANDOM.integers(0, 256, shape)]
    if tag == HALF:
        weight = weight.astype("f2").astype("f4")
    text = f"0={out} 1={size} 5=1 6={weight.size}" + (f" 7={groups}" if groups > 1 else "") + extra
    content = tagged(weight, tag) + numbers(out)
    if tag == INT8:
        scales = np.abs(RANDOM.normal(size=groups if groups > 1 else out)).astype("f4") + 1
        content += scales.tobytes() + numbers(1)
        weight = weight / np.repeat(scales, out // len(scales))[:, None, None, None]
    return text, content, weight


def all_layers() -> list[tuple[str, str, str, bytes, np.ndarray | None]]:
    """Type, name, parameters, numbers, and a weight for convolutions."""
    made: list[tuple[str, str, str, bytes, np.ndarray | None]] = []

    def conv(kind: str, name: str, *sizes: int, **options: object) -> None:
        made.append((kind, name, *convolution(*sizes, **options)))

    def other(kind: str, text: str, *content: bytes) -> None:
        made.append((kind, f"{kind}_{len(made)}", text, b"".join(content), None))

    conv("Convolution", "single", 4, 3, 3)
    conv("Convolution", "half", 3, 5, 3, tag=HALF)
    conv("Convolution", "table", 5, 2, 3, tag=TABLE)
    conv("Convolution", "int8", 4, 3, 3, tag=INT8, extra=" 8=1")
    conv("ConvolutionDepthWise", "depth", 6, 1, 3, groups=6)
    conv("ConvolutionDepthWise", "depth_int8", 6, 1, 3, groups=6, tag=INT8, extra=" 8=1")
    conv("Deconvolution", "up", 4, 3, 2)
    conv("DeconvolutionDepthWise", "up_grouped", 4, 3, 2, groups=2)
    other("Convolution1D", "0=4 1=3 5=1 6=24", floats(24), numbers(4))
    other("Convolution3D", "0=2 1=2 5=0 6=16", floats(16))
    conv("DeformableConv2D", "deformed", 2, 2, 3)
    other("BatchNorm", "0=4 1=1e-3", numbers(16))
    other("Bias", "0=7", numbers(7))
    other("Scale", "0=5 1=1", numbers(10))
    other("PReLU", "0=3", numbers(3))
    other("InnerProduct", "0=6 1=1 2=30", floats(30), numbers(6))
    other("InnerProduct", "0=2 1=0 2=8 8=2", tagged(np.ones(8), INT8), numbers(3))
    other("Embed", "0=3 1=4 2=1 3=12", floats(12), numbers(3))
    other("MemoryData", "0=3 1=2 2=2", numbers(12))
    other("MemoryData", "0=3 21=0", floats(3))
    other("Normalize", "3=4", numbers(4))
    other("Padding", "0=1 1=1 2=1 3=1 6=3", numbers(3))
    other("LSTM", "0=3 1=24 2=0", floats(24), floats(12), floats(36))
    other("LSTM", "0=3 1=80 2=2 3=5", floats(80), floats(40), floats(120), floats(30))
    other("GRU", "0=3 1=36 2=0", floats(36), floats(12), floats(27))
    other("RNN", "0=3 1=12 2=2", floats(12), floats(6), floats(18))
    attention = (16, 4, 24, 4, 24, 4, 16, 4)
    other("MultiHeadAttention", "0=4 1=2 2=16 3=6 4=6",
          *(floats(n) if i % 2 == 0 else numbers(n) for i, n in enumerate(attention)))  # fmt: skip
    other("Gemm", "2=0 3=1 4=0 5=1 6=1 7=0 8=3 9=5 10=4", floats(15), floats(3))
    other("GroupNorm", "0=2 1=4", numbers(8))
    other("GroupNorm", "0=2 1=4 3=0")
    other("InstanceNorm", "0=4", numbers(8))
    other("LayerNorm", "0=6", numbers(12))
    other("RMSNorm", "0=6", numbers(6))
    other("Quantize", "0=2", numbers(2))
    other("Dequantize", "0=1 1=3", numbers(4))
    other("Requantize", "0=1 1=2 2=3", numbers(6))
    other("BinaryOp", "0=0")
    other("Softmax", "0=0 1=1")
    conv("Convolution", "probe", 3, 2, 3)
    return made


def write(stem: Path) -> dict[str, np.ndarray]:
    layers = all_layers()
    lines = ["Input x 0 1 x 0=8 1=8 2=2", f"Split copies 1 {len(layers)} x "
             + " ".join(f"x{i}" for i in range(len(layers)))]  # fmt: skip
    for i, (kind, name, text, _, _) in enumerate(layers):
        reads = "0 1" if kind == "MemoryData" else f"1 1 x{i}"
        lines.append(f"{kind} {name} {reads} {name} {text}")
    blobs = 1 + 2 * len(layers)
    text = "\n".join(["7767517", f"{len(lines)} {blobs}", *lines]) + "\n"
    stem.with_suffix(".param").write_text(text)
    stem.with_suffix(".bin").write_bytes(b"".join(layer[3] for layer in layers))
    return {layer[1]: layer[4] for layer in layers if layer[4] is not None}


def as_binary(text: str) -> bytes:
    """The binary form of a ``.param``: everything a number, types by ncnn's own index."""
    lines = [line.split() for line in text.splitlines()[2:]]
    blobs: dict[str, int] = {}
    words = [7767517, len(lines), 0]
    for kind, _, reads, writes, *rest in lines:
        joined = int(reads) + int(writes)
        words += [ncnn.layer_to_index(kind), int(reads), int(writes)]
        words += [blobs.setdefault(blob, len(blobs)) for blob in rest[:joined]]
        for key, value in (pair.split("=") for pair in rest[joined:]):
            is_float = "." in value or "e" in value
            words += [int(key), struct.unpack("<i", struct.pack("<f", float(value)))[0]
                      if is_float else int(value)]  # fmt: skip
        words.append(-233)
    words[2] = len(blobs)
    return struct.pack(f"<{len(words)}i", *words)


def open_network(stem: Path, *, binary: bool = False) -> ncnn.Net:
    network = ncnn.Net()
    network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
    network.opt.use_bf16_storage = False
    load = network.load_param_bin if binary else network.load_param
    assert load(f"{stem}.param{'.bin' if binary else ''}") == 0
    assert network.load_model(str(stem.with_suffix(".bin"))) == 0
    return network


def impulses(network: ncnn.Net, name: str, channels: int) -> np.ndarray:
    """What a layer makes of a one at (2, 2) in each of its input channels."""

    def run(x: np.ndarray) -> np.ndarray:
        extractor = network.create_extractor()
        extractor.input("x", ncnn.Mat(x))
        return np.array(extractor.extract(name)[1])

    still = run(np.zeros((channels, 8, 8), np.float32))
    found = []
    for channel in range(channels):
        x = np.zeros((channels, 8, 8), np.float32)
        x[channel, 2, 2] = 1
        found.append(run(x) - still)
    return np.stack(found, axis=1)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    stem = OUT / "layers"
    written = write(stem)
    Path(f"{stem}.param.bin").write_bytes(as_binary(stem.with_suffix(".param").read_text()))
    network = open_network(stem)
    assert np.allclose(
        written["probe"], impulses(network, "probe", 2)[..., 2::-1, 2::-1], atol=1e-5
    )
    assert np.allclose(written["up"], impulses(network, "up", 3)[..., 2:4, 2:4], atol=1e-5)
    grouped = impulses(network, "up_grouped", 6)[..., 2:4, 2:4]
    assert np.allclose(written["up_grouped"][:2], grouped[:2, :3], atol=1e-5)
    assert np.allclose(written["up_grouped"][2:], grouped[2:, 3:], atol=1e-5)
    open_network(stem, binary=True)
    np.savez_compressed(OUT / "layers.npz", **written)


if __name__ == "__main__":
    main()
