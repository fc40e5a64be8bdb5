"""The graph of an ncnn network: ``.param``, a line a layer, or its binary form."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from filterdb.errors import CorruptFileError
from filterdb.readers.layer_graph import MAX_LAYERS

MAGIC = 7767517
BINARY_MAGIC = MAGIC.to_bytes(4, "little")
ARRAY, END = -23300, -233
TYPES = (
    "AbsVal", "ArgMax", "BatchNorm", "Bias", "BNLL", "Concat", "Convolution", "Crop",
    "Deconvolution", "Dropout", "Eltwise", "ELU", "Embed", "Exp", "Flatten", "InnerProduct",
    "Input", "Log", "LRN", "MemoryData", "MVN", "Pooling", "Power", "PReLU", "Proposal",
    "Reduction", "ReLU", "Reshape", "ROIPooling", "Scale", "Sigmoid", "Slice", "Softmax", "Split",
    "SPP", "TanH", "Threshold", "Tile", "RNN", "LSTM", "BinaryOp", "UnaryOp",
    "ConvolutionDepthWise", "Padding", "Squeeze", "ExpandDims", "Normalize", "Permute",
    "PriorBox", "DetectionOutput", "Interp", "DeconvolutionDepthWise", "ShuffleChannel",
    "InstanceNorm", "Clip", "Reorg", "YoloDetectionOutput", "Quantize", "Dequantize",
    "Yolov3DetectionOutput", "PSROIPooling", "ROIAlign", "Packing", "Requantize", "Cast",
    "HardSigmoid", "SELU", "HardSwish", "Noop", "PixelShuffle", "DeepCopy", "Mish",
    "StatisticsPooling", "Swish", "Gemm", "GroupNorm", "LayerNorm", "Softplus", "GRU",
    "MultiHeadAttention", "GELU", "Convolution1D", "Pooling1D", "ConvolutionDepthWise1D",
    "Convolution3D", "ConvolutionDepthWise3D", "Pooling3D", "MatMul", "Deconvolution1D",
    "DeconvolutionDepthWise1D", "Deconvolution3D", "DeconvolutionDepthWise3D", "Einsum",
    "DeformableConv2D", "GLU", "Fold", "Unfold", "GridSample", "CumulativeSum", "CopyTo", "Erf",
    "Diag", "CELU", "Shrink", "RMSNorm", "Spectrogram", "InverseSpectrogram", "Flip",
    "SDPA", "RotaryEmbed",
)  # fmt: skip
"""Numbers of the layers in the binary form, in order; new ones are only ever added."""

Value = int | float | tuple[float, ...] | str


@dataclass(slots=True)
class Layer:
    """A layer: its type and name, the blobs it reads and writes, its parameters by number."""

    type: str
    name: str
    bottoms: Sequence[str]
    tops: Sequence[str]
    values: dict[int, Value] = field(default_factory=dict)

    def integer(self, key: int, default: int = 0) -> int:
        """An integer parameter; one of another kind is the default."""
        value = self.values.get(key, default)
        return value if isinstance(value, int) else default

    def number(self, key: int, default: float) -> float:
        """A floating-point parameter; the binary form does not tell them from integers."""
        value = self.values.get(key, default)
        if isinstance(value, Bits):
            return float(struct.unpack("<f", struct.pack("<i", value))[0])
        return float(value) if isinstance(value, int | float) else default


class Bits(int):
    """Four bytes that may be an integer or a float."""


def read_text(text: str) -> list[Layer]:
    """The layers of a ``.param``.

    Raises
    ------
    CorruptFileError
        A line is no layer, or lines are missing.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    counts = lines[1].split() if len(lines) > 1 else []
    if not lines or lines[0].split() != [str(MAGIC)] or not counts or not is_integer(counts[0]):
        raise damaged(what="it has no sound beginning")
    count = int(counts[0])
    if not 0 <= count <= MAX_LAYERS or len(lines) - 2 < count:
        raise damaged(what=f"it announces {count:,} layers and has {len(lines) - 2:,}")
    return [read_line(line) for line in lines[2 : 2 + count]]


def read_line(line: str) -> Layer:
    """One layer: type, name, two counts, so many blobs, then ``key=value`` without end."""
    words = re.findall(r'(?:[^\s"]|"[^"]*")+', line)
    if len(words) < 4 or not is_integer(words[2]) or not is_integer(words[3]):
        raise damaged(what=f"the line {line[:60]!r} is no layer")
    reads, writes = int(words[2]), int(words[3])
    if reads < 0 or writes < 0 or len(words) < 4 + reads + writes:
        raise damaged(what=f"the line {line[:60]!r} has fewer blobs than it announces")
    layer = Layer(words[0], words[1], words[4 : 4 + reads], words[4 + reads : 4 + reads + writes])
    for word in words[4 + reads + writes :]:
        key, found, value = word.partition("=")
        if not found or not is_integer(key):
            raise damaged(what=f"{word[:40]!r} is no parameter")
        number = int(key)
        if number <= ARRAY:
            layer.values[ARRAY - number] = tuple(map(as_number, value.split(",")[1:]))
        else:
            layer.values[number] = value if value.startswith('"') else as_number(value)
    return layer


def is_integer(word: str) -> bool:
    """A decimal integer that a machine can count."""
    return re.fullmatch(r"[+-]?\d{1,10}", word) is not None


def as_number(word: str) -> int | float:
    """A number as ncnn tells them: an integer, unless it has a point or an exponent."""
    if is_integer(word):
        return int(word)
    try:
        return float(word)
    except ValueError as error:
        raise damaged(what=f"{word[:40]!r} is no number") from error


def read_binary(data: bytes) -> list[Layer]:
    """The layers of a ``.param.bin``; blobs and layers have numbers for names.

    Raises
    ------
    CorruptFileError
        It is cut short, or contradicts itself.
    """
    words = Words(data)
    magic, count, _ = words.take(3)
    if magic != MAGIC or not 0 <= count <= MAX_LAYERS:
        raise damaged(what="it has no sound beginning")
    layers = []
    for index in range(count):
        kind, reads, writes = words.take(3)
        name = TYPES[kind] if 0 <= kind < len(TYPES) else f"number {kind}"
        bottoms = [str(blob) for blob in words.take(reads)]
        layer = Layer(name, f"layer{index}", bottoms, [str(blob) for blob in words.take(writes)])
        while (key := words.take(1)[0]) != END:
            if key <= ARRAY:
                layer.values[ARRAY - key] = words.take(words.take(1)[0])
            else:
                layer.values[key] = Bits(words.take(1)[0])
        layers.append(layer)
    return layers


class Words:
    """Little-endian integers of four bytes, one after another."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> tuple[int, ...]:
        """The next ``count``."""
        end = self.position + 4 * count
        if count < 0 or end > len(self.data):
            raise damaged(what="it is cut short")
        values = struct.unpack_from(f"<{count}i", self.data, self.position)
        self.position = end
        return values


def damaged(*, what: str) -> CorruptFileError:
    """The error for a ``.param`` that is none."""
    return CorruptFileError(
        f"Its .param file is damaged: {what}. Download or copy both files again."
    )
