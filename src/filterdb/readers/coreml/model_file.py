"""The Core ML reader: ``.mlmodel`` files and ``.mlpackage`` folders.

A model is a neural network, an ML program with its weights in a file beside it, or a pipeline
of models.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path, PurePosixPath

from filterdb.errors import CorruptFileError, LimitError, ReadError, UnsupportedFormatError
from filterdb.layer import Contents, Skipped, Tensor
from filterdb.readers.companion import is_beside
from filterdb.readers.coreml.blob_file import BlobFile
from filterdb.readers.coreml.neural_network import Found, read_network
from filterdb.readers.coreml.program import functions_of
from filterdb.readers.coreml.program_layers import read_function
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layer_graph import unique
from filterdb.readers.limits import MAX_DEPTH, MAX_JSON, check_expansion
from filterdb.readers.mapping import map_file
from filterdb.readers.recognise.protobuf_outline import is_coreml
from filterdb.readers.tensorflow.message import Message

FORMAT = Format(
    "coreml",
    "Core ML model (mlmodel or mlpackage)",
    (".mlmodel", ".mlpackage"),
    reads=(
        "neural networks and pipelines of them (float32, float16, linear and table codes of 1 to "
        "8 bits), ML programs with their weights (affine, lookup table, sparse, in blocks); norms "
        "and depth from the graph"
    ),
)

MANIFEST, DATA = "Manifest.json", "Data"
USUAL = "com.apple.CoreML/model.mlmodel"
NETWORKS = (500, 403, 303)
"""Fields of a neural network: plain, a classifier, a regressor."""
PIPELINE, WRAPPED_PIPELINES, PROGRAM = 202, (200, 201), 502
MOST_MODELS = 100


@dataclass
class Reading:
    """What has been found so far, in the models of a file."""

    path: Path
    tensors: list[Tensor] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    blobs: dict[str, BlobFile] = field(default_factory=dict)
    depth: int = 0

    def open_blobs(self, name: str) -> BlobFile:
        """A file of weights, opened once."""
        if name not in self.blobs:
            self.blobs[name] = BlobFile.of(self.path, name)
        return self.blobs[name]

    def take(self, found: Found, prefix: str = "") -> None:
        """Add the layers of a network that runs after those found so far."""
        for tensor in found.tensors:
            conv = tensor.conv
            if conv is not None and conv.depth is not None:
                conv = replace(conv, depth=self.depth + conv.depth)
            self.tensors.append(replace(tensor, name=prefix + tensor.name, conv=conv))
        self.skipped += [replace(item, name=prefix + item.name) for item in found.skipped]
        self.depth += found.depth


def matches(head: Head) -> bool:
    """A package's folder, or a model's message."""
    if head.is_folder:
        return (head.path / DATA / "com.apple.CoreML").is_dir()
    return is_coreml(head)


def main_file(head: Head) -> Path | None:
    """The model that stands for a package; None for a file, which stands for itself."""
    return model_in(head.path) if head.is_folder else None


def read(head: Head) -> Contents:
    """Find the convolutions of a model, their weights and their depth.

    Raises
    ------
    CorruptFileError
        A message is damaged, or a weight contradicts its shape.
    UnsupportedFormatError
        It is no neural network (a tree, a support vector machine, a word tagger).
    LimitError
        It would take memory or time out of proportion to its size.
    ReadError
        Its weights lie outside its package.
    """
    path = main_file(head) or head.path
    data = map_file(path)
    reading = Reading(path)
    model = Message.whole(data)
    read_model(model, reading, "", 0)
    size = len(data) + sum(len(blob.data) for blob in reading.blobs.values())
    wanted = sum(4 * prod(tensor.shape) for tensor in reading.tensors)
    check_expansion(wanted, size, "The sum of its weights")
    names = unique(tensor.name for tensor in reading.tensors)
    manifest = head.path / MANIFEST
    companions = [blob.path for blob in reading.blobs.values()]
    if head.is_folder:
        companions = [*([manifest] if manifest.is_file() else []), path, *companions]
    kinds = ", ".join(dict.fromkeys(reading.kinds))
    return Contents(
        format=FORMAT.name,
        tensors=tuple(
            replace(tensor, name=name) for tensor, name in zip(reading.tensors, names, strict=True)
        ),
        skipped=tuple(reading.skipped),
        producer=producer_of(model),
        notes=(f"Core ML specification {model.integer(1)}: {kinds}.",),
        companions=tuple(companions),
    )


def read_model(model: Message, reading: Reading, prefix: str, nesting: int) -> None:
    """Follow one model of whatever kind.

    Raises
    ------
    UnsupportedFormatError
        It is of a kind without layers; in a pipeline such a model is skipped instead.
    """
    if nesting > MAX_DEPTH or len(reading.kinds) > MOST_MODELS:
        msg = "It holds models within models without end: not followed."
        raise LimitError(msg)
    number = next((n for n in reversed(model.fields) if n >= 200), 0)
    body = model.message(number)
    if number in NETWORKS:
        reading.kinds.append("a neural network")
        reading.take(read_network(body), prefix)
    elif number == PROGRAM:
        reading.kinds.append("an ML program")
        owners: dict[str, str] = {}
        for name, function in functions_of(body, reading.open_blobs).items():
            inner = "" if name == "main" else f"{name}."
            reading.take(read_function(function, owners, prefix + inner))
    elif number == PIPELINE or number in WRAPPED_PIPELINES:
        reading.kinds.append("a pipeline")
        pipeline = body if number == PIPELINE else body.message(1)
        names = pipeline.texts(2)
        for i, inner_model in enumerate(pipeline.messages(1)):
            label = names[i] if i < len(names) else str(i)
            read_model(inner_model, reading, f"{prefix}{label}.", nesting + 1)
    elif nesting:
        what = f"a model of kind {number}, which has no convolutions"
        reading.skipped.append(Skipped(prefix.rstrip("."), what))
    else:
        msg = f"It is a Core ML model of kind {number}, which is no neural network."
        raise UnsupportedFormatError(msg)


def producer_of(model: Message) -> str:
    """The program that wrote a model, where its description says so."""
    metadata = model.message(2).message(100)
    told = {entry.text(1): entry.text(2) for entry in metadata.messages(100)}
    version = told.get("com.github.apple.coremltools.version", "")
    return f"coremltools {version[:40]}" if version else "coreml"


def model_in(folder: Path) -> Path:
    """The model in a package: the one that its manifest names, or the usual one.

    Raises
    ------
    CorruptFileError
        The manifest is damaged, or the model is not there.
    ReadError
        It is named outside the package.
    """
    manifest = folder / MANIFEST
    name = USUAL
    if manifest.is_file():
        name = named_in(manifest)
    parts = PurePosixPath(name).parts
    path = (folder / DATA).joinpath(*parts)
    try:
        below = path.resolve().is_relative_to(folder.resolve())
        within = below or is_beside(path, manifest)  # in a cache, links into one folder
        there = within and path.is_file()
    except (OSError, RuntimeError, ValueError):
        within = there = False
    if ".." in parts or PurePosixPath(name).is_absolute() or not within:
        msg = f"Its manifest names {name[:200]!r}, outside the package: not opened."
        raise ReadError(msg)
    if not there:
        msg = f"The package has no {name[:200]!r}: it is incomplete. Copy the whole folder again."
        raise CorruptFileError(msg)
    return path


def named_in(manifest: Path) -> str:
    """The path of the root model that a manifest gives."""
    data = map_file(manifest)
    try:
        told = json.loads(data[:MAX_JSON].tobytes())
        name = told["itemInfoEntries"][told["rootModelIdentifier"]]["path"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{MANIFEST} of the package is damaged. Copy the whole folder again."
        raise CorruptFileError(msg) from error
    return name if isinstance(name, str) else USUAL
