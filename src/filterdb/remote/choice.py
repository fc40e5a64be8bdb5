"""Which of a repository's files is the network, best first: one network is one set of weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

# Ways to store a network, the one to be preferred first: a header that can be read on its own,
# then those with all layers, then graphs, of which a part may be folded into another.
KINDS = (
    (".safetensors",),
    (".bin", ".pt", ".pth", ".th", ".ckpt", ".pth.tar"),
    (".keras", ".h5", ".hdf5", ".weights"),
    (".onnx",),
    (".tflite", ".pb", ".caffemodel", ".mlmodel", ".pdparams", ".param", ".xml"),
    (".msgpack", ".npz", ".pkl", ".pickle", ".zip", ".gz", ".tar"),
)
USUAL = ("model", "pytorch_model", "open_clip_pytorch_model", "open_clip_model",
         "diffusion_pytorch_model", "tf_model", "flax_model")  # fmt: skip
"""What the weights of a repository are called, without the suffix."""
NO_WEIGHTS = re.compile(
    r"(training_args|optimizer|scheduler|scaler|rng_state\w*|random_states\w*|trainer_state|"
    r"tokenizer\w*|vocab\w*|spiece|sentencepiece\w*|preprocessor\w*|events\.out.*)\.\w+",
    re.IGNORECASE,
)
SHARD = re.compile(r"(.+)[-_]\d{3,6}-of-\d{3,6}(\.\w+)")
INDEX = ".index.json"
VARIANT = re.compile(r"[._-](fp16|bf16|fp8|int8|int4|uint8|q4|q4f16|quantized|ema|non_ema|lora)\b")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository, and its size in bytes if that is known."""

    name: str
    size: int | None = None


def candidates(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Files that may be the network, best first; of shards only the index that names them.

    Of the best kind of format, in the folder that is nearest, under the most usual name.
    """
    indexed = {item.name.removesuffix(INDEX) for item in files if item.name.endswith(INDEX)}
    found = []
    for item in files:
        kind = kind_of(item.name)
        base = PurePosixPath(item.name).name
        shard = SHARD.fullmatch(item.name)
        if kind is None or NO_WEIGHTS.fullmatch(base) or item.size == 0:
            continue
        if shard and f"{shard[1]}{shard[2]}" in indexed and not item.name.endswith(INDEX):
            continue
        found.append((rank(item.name, kind), item))
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def kind_of(name: str) -> int | None:
    """Place of a file's kind in :data:`KINDS`, or None for what holds no weights."""
    lower = name.lower().removesuffix(INDEX)
    return next((place for place, kind in enumerate(KINDS) if lower.endswith(kind)), None)


def rank(name: str, kind: int) -> tuple[int, int, bool, int, bool, str]:
    """What is smaller is better."""
    path = PurePosixPath(name.removesuffix(INDEX))
    stem = path.name.partition(".")[0]
    usual = USUAL.index(stem) if stem in USUAL else len(USUAL)
    variant = VARIANT.search(path.name) is not None
    return kind, len(path.parts), variant, usual, name.endswith(INDEX), name


def companions(name: str, files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Files that a file cannot be read without: the values beside a graph."""
    path = PurePosixPath(name)
    stem = str(path.with_suffix(""))
    beside = {
        ".onnx": (f"{name}_data", f"{name}.data", f"{stem}.data", f"{stem}.onnx_data"),
        ".xml": (f"{stem}.bin",),
        ".param": (f"{stem}.bin",),
        ".weights": (f"{stem}.cfg",),
        ".caffemodel": (f"{stem}.prototxt",),
    }.get(path.suffix.lower(), ())
    return [item for item in files if item.name in beside]


def without_weights(files: Sequence[RemoteFile]) -> str:
    """What a repository has instead of a network, in one clause."""
    if not files:
        return "it is empty"
    shown = ", ".join(item.name for item in files[:8])
    return f"it has {shown}" + (f" and {len(files) - 8} more files" if len(files) > 8 else "")
