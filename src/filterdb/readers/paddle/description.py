"""The operators of a saved network, from either of PaddlePaddle's two descriptions.

``.pdmodel`` is a ProgramDesc in protocol buffers; since version 3 a ``.json`` holds the newer
intermediate representation (PIR), in which the inputs of an operator have places, not names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.layer_graph import MAX_LAYERS
from filterdb.readers.limits import MAX_DEPTH, allowed_bytes
from filterdb.readers.tensorflow.message import Message

DENSE = 7
"""Type of a variable that is an array."""
PLACES = {
    "conv2d": ("Input", "Filter"), "depthwise_conv2d": ("Input", "Filter"),
    "conv3d": ("Input", "Filter"), "conv2d_transpose": ("Input", "Filter"),
    "depthwise_conv2d_transpose": ("Input", "Filter"), "conv3d_transpose": ("Input", "Filter"),
    "batch_norm": ("X", "Mean", "Variance", "Scale", "Bias"),
}  # fmt: skip
RENAMED = {"batch_norm_": "batch_norm", "add": "elementwise_add", "reshape": "reshape2"}
JSON_BYTES = 40
"""Memory that a byte of JSON takes once parsed, at most."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: names of values by the part that they play, and its plain settings."""

    type: str
    inputs: Mapping[str, list[str]]
    outputs: list[str]
    settings: Mapping[str, Any]

    def value(self, part: str) -> str:
        """The first value of a part; empty where there is none."""
        return next(iter(self.inputs.get(part, ())), "")

    def integers(self, setting: str) -> list[int]:
        """A setting that is a list of integers, or one; empty where there is none."""
        given = self.settings.get(setting)
        found = given if isinstance(given, list) else [given]
        return [item for item in found if type(item) is int]


@dataclass(frozen=True, slots=True)
class Network:
    """Operators in the order in which they run, and the parameters with their shapes."""

    operators: list[Operator]
    parameters: dict[str, tuple[int, ...]]


def read_program(data: NDArray[np.uint8]) -> Network:
    """A ProgramDesc; the operators of inner blocks stand behind those of the outer.

    Raises
    ------
    CorruptFileError
        It is damaged.
    LimitError
        It has more operators than any network.
    """
    program = Message.whole(data)
    operators: list[Operator] = []
    parameters: dict[str, tuple[int, ...]] = {}
    for block in program.messages(1):
        for variable in block.messages(3):
            kind = variable.message(2)
            if variable.integer(3) and kind.integer(1) == DENSE:
                shape = tuple(kind.message(3).message(1).integers(2))
                parameters.setdefault(variable.text(1), shape)
        for message in block.messages(4):
            inputs = {item.text(1): item.texts(2) for item in message.messages(1)}
            outputs = {item.text(1): item.texts(2) for item in message.messages(2)}
            written = [name for names in outputs.values() for name in names]
            if "Y" in outputs and "MeanOut" in outputs:  # a norm names its statistics again
                written = outputs["Y"]
            settings = {item.text(1): setting(item) for item in message.messages(4)}
            operators.append(Operator(message.text(3), inputs, written, settings))
            check_count(len(operators))
    return Network(operators, parameters)


def setting(attribute: Message) -> Any:
    """A number or a list of integers; None for anything else."""
    for number in (6, 15):
        if number in attribute.fields:
            return attribute.integers(number)
    for number in (3, 13):
        if number in attribute.fields:
            return attribute.integer(number)
    return attribute.real(4) if 4 in attribute.fields else None


def read_pir(data: NDArray[np.uint8]) -> Network:
    """The newer description, in JSON.

    Raises
    ------
    CorruptFileError
        It is damaged.
    LimitError
        It is longer than that of any network.
    """
    if len(data) * JSON_BYTES > allowed_bytes(len(data)):
        msg = f"Its description has {len(data):,} bytes, as no network's has: not read."
        raise LimitError(msg)
    operators: list[Operator] = []
    parameters: dict[str, tuple[int, ...]] = {}
    try:
        described = json.loads(data.tobytes())
        follow(described["program"]["regions"], operators, parameters, 0)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError) as error:
        if isinstance(error, CorruptFileError | LimitError):
            raise
        msg = "Its description is no sound JSON of PaddlePaddle. Download or copy it again."
        raise CorruptFileError(msg) from error
    return Network(operators, parameters)


def follow(
    regions: list[Any],
    operators: list[Operator],
    parameters: dict[str, tuple[int, ...]],
    nesting: int,
) -> None:
    """Take the operators of regions, those inside others where they stand."""
    if nesting > MAX_DEPTH:
        msg = f"Its regions are more than {MAX_DEPTH} deep: not followed."
        raise LimitError(msg)
    names: dict[object, str] = {}
    for item in (item for region in regions for block in region["blocks"] for item in block["ops"]):
        kind = str(item["#"]).rpartition(".")[2]
        if kind == "p":
            names[item["O"]["%"]] = str(item["A"][3])
            parameters[str(item["A"][3])] = tuple(map(int, item["O"]["TT"]["D"][1]))
            continue
        kind = RENAMED.get(kind, kind)
        read = [names.get(value["%"], f"%{value['%']}") for value in item.get("I", ())]
        places = PLACES.get(kind, ())
        inputs = {places[i] if i < len(places) else f"#{i}": [name] for i, name in enumerate(read)}
        written = [f"%{value['%']}" for value in item.get("O", ())]
        settings = {str(one["N"]): plain(one["AT"]) for one in item.get("A", ())}
        operators.append(Operator(kind, inputs, written, settings))
        check_count(len(operators))
        follow(item.get("regions", []), operators, parameters, nesting + 1)


def plain(attribute: Mapping[str, Any]) -> Any:
    """The number, text or list of numbers that an attribute holds."""
    held = attribute.get("D")
    return [part.get("D") for part in held if isinstance(part, dict)] if (
        isinstance(held, list) and held and isinstance(held[0], dict)
    ) else held  # fmt: skip


def check_count(count: int) -> None:
    """Refuse more operators than any network has.

    Raises
    ------
    LimitError
        There are.
    """
    if count > MAX_LAYERS:
        msg = f"It has more than {MAX_LAYERS:,} operators, as no network does: not read."
        raise LimitError(msg)
