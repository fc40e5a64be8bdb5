"""Telling protobuf formats apart, by the outline of the message that a file is.

None of the predicates raises: a file that is no such message does not match.
"""

from __future__ import annotations

import re
from itertools import islice

from filterdb.readers.head import Head
from filterdb.readers.mapping import map_file
from filterdb.readers.protobuf_wire import VARINT, fields, varint
from filterdb.readers.recognise.plain_text import text_of

Field = tuple[int, bytes | int]

KEPT_BYTES = 512


def outline(head: Head, *, most: int = 12) -> list[Field] | None:
    """The first fields of a file read as a protobuf message, without their bulk.

    Returns
    -------
    list of (field number, value)
        Numbers as they are; of anything longer at most :data:`KEPT_BYTES` bytes. None where
        the file is no protobuf message that far.
    """
    try:
        data = map_file(head.path).data
        found: list[Field] = []
        for number, kind, begin, end in islice(fields(data, 0, len(data)), most):
            if end > len(data) or number == 0:
                return None
            if kind == VARINT:
                found.append((number, varint(data, begin, end)[0]))
            else:
                found.append((number, data[begin : min(end, begin + KEPT_BYTES)].tobytes()))
    except ValueError:  # ReadError and WireError are both
        return None
    return found


def leading_strings(message: bytes) -> list[str]:
    """The strings in fields 1 and 2 at the beginning of a nested message."""
    found = []
    for tag in (0x0A, 0x12):
        if len(message) < 2 or message[0] != tag or message[1] >= 0x80:
            break
        text, message = message[2 : 2 + message[1]], message[2 + message[1] :]
        if not (text.isascii() and text.decode("ascii").isprintable()):
            break
        found.append(text.decode("ascii"))
    return found


def is_node(message: bytes | int) -> bool:
    """A TensorFlow NodeDef: a name, then an operator in camel case."""
    strings = leading_strings(message) if isinstance(message, bytes) else []
    return len(strings) == 2 and bool(re.fullmatch(r"_?[A-Z]\w*", strings[1]))


def is_graph_text(head: Head) -> bool:
    """A TensorFlow GraphDef in its text form."""
    text = text_of(head) or ""
    return bool(re.match(r"\s*node\s*\{", text)) and " op:" in text


def is_meta_graph(head: Head) -> bool:
    """A TensorFlow MetaGraphDef (``.meta``): a description, then a graph."""
    fields = dict(outline(head, most=4) or [])
    graph = fields.get(2)
    if not (isinstance(fields.get(1), bytes) and isinstance(graph, bytes) and graph[:1] == b"\n"):
        return False
    length_bytes = 1 + next((i for i, byte in enumerate(graph[1:10]) if byte < 0x80), 0)
    return is_node(graph[1 + length_bytes :])


def is_saved_model(head: Head) -> bool:
    """A TensorFlow SavedModel: its schema version, and graphs to the end of the file."""
    fields = outline(head, most=4) or []
    return (
        fields[:1] == [(1, 1)]
        and len(fields) > 1
        and all(
            number == 2 and isinstance(value, bytes) and value[:1] == b"\n"
            for number, value in fields[1:]
        )
    )


def is_coreml(head: Head) -> bool:
    """A Core ML model: version, description, then one of its numbered kinds."""
    fields = outline(head, most=6) or []
    numbers = [number for number, _ in fields]
    return (
        numbers[:2] == [1, 2]
        and isinstance(fields[0][1], int)
        and any(200 <= number <= 3000 for number in numbers[2:])
    )


def is_caffe(head: Head) -> bool:
    """A Caffe NetParameter: an optional name, inputs, then layers; or its text form."""
    fields = outline(head, most=12)
    if fields:
        layers = [value for number, value in fields if number == 100 and isinstance(value, bytes)]
        if any(len(leading_strings(layer)) == 2 for layer in layers):
            return True
        # The older layers have the name in field 4 and the type, a number, in field 5.
        older = [value for number, value in fields if number == 2 and isinstance(value, bytes)]
        named = fields[0][0] == 1 and isinstance(fields[0][1], bytes)
        return (
            named
            and bool(older)
            and not is_node(fields[0][1])
            and all(number in {1, 2, 3, 4, 5, 7, 8} for number, _ in fields)
            and any(re.search(rb'"[\x01-\x40][\x20-\x7e]+\(?', layer) for layer in older)
        )
    text = text_of(head) or ""
    return bool(re.search(r"^\s*+layers?\s*+\{", text, re.MULTILINE)) and bool(
        re.search(r"^\s*+(type|top|bottom)\s*+:", text, re.MULTILINE)
    )


def is_paddle_program(head: Head) -> bool:
    """A PaddlePaddle ProgramDesc: block 0, whose parent is -1."""
    number, block = next(iter(outline(head, most=1) or [(0, b"")]))
    root = b"\x08\x00\x10\xff\xff\xff\xff"
    return number == 1 and isinstance(block, bytes) and block.startswith(root)
