"""What a file says of its network without being asked: in its header, its format, its name.

Guesses are not made: a name with two numbers that could be epochs has none, and the format of a
converted network says nothing of the framework that trained it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filterdb.ingest.vocabulary import VOCABULARIES, in_vocabulary
from filterdb.layer import ModelFile, Statement
from filterdb.store.inferred import WORD, values_of

EPOCH = re.compile(
    r"(?:^|[^a-z0-9])ep(?:och)?[-_ =]?(\d{1,6})(?![a-z\d])"  # epoch_12, ep012, epoch=12
    r"|[-_.]e(\d{2,6})(?![a-z\d])"  # -e12; one digit is part of a name, as in yolov7-e6
    r"|(?:^|[-_.])(?:checkpoint|ckpt)[-_](\d{1,6})(?=$|\.)"  # checkpoint-00012
    r"|[-.](\d{2,6})-\d+\.\d+\.(?:h5|hdf5|keras)$",  # weights.04-0.55.h5, as in Keras' manual
    re.IGNORECASE,
)
FRAMEWORKS = {
    "caffe": "caffe", "chainer": "chainer", "cntk": "cntk", "darknet": "darknet", "flax": "flax",
    "keras": "keras", "keras2onnx": "keras", "mlx": "mlx", "mxnet": "mxnet",
    "onnx-chainer": "chainer", "paddle": "paddle", "paddle2onnx": "paddle",
    "paddlepaddle": "paddle", "pytorch": "pytorch", "saved": "tensorflow", "tf": "tensorflow",
    "tensorflow": "tensorflow", "tf2onnx": "tensorflow", "torch": "pytorch",
    "torchscript": "pytorch",
}  # fmt: skip
"""First word of a format or of a producer -> the framework in which the network was made."""
CONVERTED = ("coreml", "ncnn", "onnx", "openvino", "tfjs", "tflite")
"""Formats that networks of many frameworks are converted to."""


def infer(file: ModelFile, path: Path) -> tuple[Statement, ...]:
    """What a file says of its network, the surest statement on each column.

    Parameters
    ----------
    file
        The network as read; what its reader found goes first.
    path
        Of the file: its name may tell an epoch.
    """
    derived = (epoch_in(path.name), framework_of(file), precision_of(file))
    found: dict[str, Statement] = {}
    for statement in (*file.statements, *derived):
        if statement is not None:
            found.setdefault(statement.column, in_our_words(statement))
    return tuple(found.values())


def in_our_words(statement: Statement) -> Statement:
    """A statement by the words of the vocabulary; its source keeps the file's own."""
    word = in_vocabulary(statement.column, statement.value)
    if word == statement.value:
        return statement
    return replace(statement, value=word, source=f"{statement.source} ({statement.value})")


def epoch_in(name: str) -> Statement | None:
    """The epoch in the name of a checkpoint, if one stands there and no other.

    Examples
    --------
    >>> epoch_in("net_epoch_12.pth").value, epoch_in("resnet18.pth")
    ('12', None)
    """
    found = {int("".join(filter(None, groups))) for groups in EPOCH.findall(name)}
    if len(found) != 1:
        return None
    return Statement("epoch", str(found.pop()), "the name of the file")


def framework_of(file: ModelFile) -> Statement | None:
    """The framework that a format belongs to, or that the writer of the file names."""
    producer = (file.producer or "").lower().partition(" ")[0]
    if producer in FRAMEWORKS and "(tflite)" not in (file.producer or "").lower():
        converted = file.format.startswith(("tflite", "tfjs"))
        return None if converted else Statement("framework", FRAMEWORKS[producer], "its producer")
    stem = file.format.partition("-")[0]
    if stem in FRAMEWORKS and not file.format.startswith(CONVERTED) and stem != "keras":
        return Statement("framework", FRAMEWORKS[stem], "its format")
    return None


def precision_of(file: ModelFile) -> Statement | None:
    """The element type of the layers, where all have the same."""
    types = {layer.dtype for layer in file.layers}
    if len(types) != 1:
        return None
    return Statement("precision", types.pop(), "the element type of its layers")


def settle(
    said: Mapping[str, Any], stated: Iterable[Statement] = ()
) -> tuple[dict[str, Any], tuple[Statement, ...]]:
    """Users' words and what the file says, as columns of the catalogue and their sources.

    Parameters
    ----------
    said
        Column -> the user's word; None where there is none. It goes before any statement.
    stated
        By the file.

    Returns
    -------
    values, sources
        Columns with their values, and a statement on each that is not the user's word as it was
        written.
    """
    values = {column: in_vocabulary(column, value) for column, value in said.items()}
    words = [
        Statement(column, str(value), WORD + str(said[column]))
        for column, value in values.items()
        if column in VOCABULARIES and value is not None and value != said[column]
    ]
    kept = [item for item in stated if said.get(item.column) is None]
    return values | values_of(kept), (*words, *kept)
