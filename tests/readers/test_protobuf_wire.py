from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import make, stored, weights

from filterdb.readers.protobuf_wire import WireError, count_messages, fields, varint


def test_fields_of_each_wire_type() -> None:
    content = memoryview(b"\x08\x96\x01\x11abcdefgh\x1a\x02hi\x25wxyz")
    assert list(fields(content, 0, len(content))) == [
        (1, 0, 1, 3), (2, 1, 4, 12), (3, 2, 14, 16), (4, 5, 17, 21),
    ]  # fmt: skip
    assert varint(content, 1, 3) == (150, 3)


@pytest.mark.parametrize("content", [b"\x08", b"\x08\x80", b"\x0a\xff", b"\x0b", b"\x02\x00",
                                     b"\x80" * 12])  # fmt: skip
def test_impossible_content_is_an_error(content: bytes) -> None:
    with pytest.raises(WireError):
        list(fields(memoryview(content), 0, len(content)))


@given(st.binary(max_size=60))
def test_any_bytes_end_in_fields_or_an_error(content: bytes) -> None:
    try:
        found = list(fields(memoryview(content), 0, len(content)))
    except WireError:
        return
    assert all(begin <= after for _, _, begin, after in found)


def count(model: onnx.ModelProto, at_most: int = 10**6) -> int:
    data = memoryview(model.SerializeToString())
    return count_messages(data, onnx.ModelProto.DESCRIPTOR, at_most=at_most)


def nested_messages(message: object) -> int:
    total = 0
    for descriptor, held in message.ListFields():  # type: ignore[attr-defined]
        if descriptor.message_type:
            repeated = descriptor.is_repeated
            total += sum(1 + nested_messages(one) for one in (held if repeated else [held]))
    return total


def test_messages_are_counted_as_the_parser_makes_them() -> None:
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=1, strides=[1, 1])
    model = make([conv] * 3, stored(w=weights(1, 1, 3, 3)))
    assert count(model) == nested_messages(model)
    assert count(model, at_most=5) == 6


def test_a_message_beyond_its_parent_is_an_error() -> None:
    with pytest.raises(WireError, match="beyond"):
        count_messages(memoryview(b"\x3a\x10\x0a\x00"), onnx.ModelProto.DESCRIPTOR, at_most=9)
