"""Damaged and malicious ONNX files: an error or a correct result, in bounded memory."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import make, read, stored, value, weights

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.readers import limits
from filterdb.readers.head import Head
from filterdb.readers.onnx import graph_file as reader

node = helper.make_node


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, result = len(content), bytes([number << 3 | 2])
    while length > 127:
        result += bytes([length & 127 | 128])
        length >>= 7
    return result + bytes([length]) + content


def small_model() -> onnx.ModelProto:
    """A quantised convolution, a transposed one, a conditional and a function in 1 kB."""
    body = helper.make_graph(
        [node("Conv", ["b", "w"], ["t"])], "body", [], [value("t")], stored(w=weights(1, 1, 2, 2))
    )
    block = helper.make_function(
        "local", "F", ["a"], ["b"], [node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 21)]
    )
    return make(
        [
            node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=0),
            node("Conv", ["x", "d"], ["a"], group=2),
            node("ConvTranspose", ["a", "u"], ["b"]),
            node("If", ["c"], ["e"], then_branch=body, else_branch=body),
            node("F", ["e"], ["y"], domain="local"),
        ],
        stored(
            q=np.ones((2, 1, 2, 2), np.int8),
            s=np.ones(2, np.float32),
            z=np.zeros(2, np.int8),
            u=weights(2, 1, 2, 2),
        ),
        inputs=("x", "c"),
        opsets=[helper.make_opsetid("local", 1)],
        functions=[block],
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    return tmp_path_factory.mktemp("onnx") / "model.onnx", small_model().SerializeToString()


def attempt(path: Path, content: bytes) -> int | None:
    """Number of layers read and loaded, or None where it is refused."""
    path.write_bytes(content)
    head = Head.of(path)
    if not reader.matches(head):
        return None
    try:
        contents = reader.read(head)
        for tensor in contents.tensors:
            array = tensor.load()
            assert array.shape == tensor.shape
            assert array.nbytes < 2**20
    except ReadError:
        return None
    return len(contents.tensors)


def test_the_small_model_is_read(small: tuple[Path, bytes]) -> None:
    assert attempt(*small) == 4


def test_truncations_are_errors_or_lack_whole_fields(small: tuple[Path, bytes]) -> None:
    path, content = small
    lengths = np.linspace(1, len(content) - 1, 50).astype(int)
    found = [attempt(path, content[:length]) for length in lengths]
    # A cut between the last fields (operator sets, functions) leaves the graph whole.
    assert found[:25] == [None] * 25
    assert set(found) <= {None, 4}


@settings(max_examples=200, derandomize=True, deadline=None)
@given(data=st.data())
def test_flipped_bytes_never_crash(small: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = small
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    found = attempt(path, bytes(changed))
    assert found is None or 0 <= found <= 4


@pytest.mark.parametrize("place", ["op_type", "name", "domain", "input", "output"])
def test_names_that_are_not_text_are_refused(tmp_path: Path, place: str) -> None:
    conv = node("Conv", ["x", "w"], ["y"], name="conv")
    if place in ("input", "output"):
        getattr(conv, place)[0] = "MARK"
    else:
        setattr(conv, place, "MARK")
    content = make([conv], stored(w=weights(1, 1, 3, 3))).SerializeToString()
    with pytest.raises(CorruptFileError, match="is not text"):
        read(content.replace(b"MARK", b"\xff\xfe\xff\xfe"), tmp_path)


def test_many_empty_messages_are_refused_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ALLOWANCE", 10 * 2**20)
    content = b"\x08\x07" + field(7, field(1, b"") * 2**17)
    tracemalloc.start()
    with pytest.raises(LimitError, match="protobuf messages"):
        read(content, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_many_fields_are_refused_before_they_are_parsed(tmp_path: Path) -> None:
    content = b"\x08\x07" + field(7, field(2, b"net") + b"\x18\x07" * 2_100_000)
    start = time.perf_counter()
    with pytest.raises(LimitError, match="protobuf fields"):
        read(content, tmp_path)
    assert time.perf_counter() - start < 5


def functions(*bodies: list[onnx.NodeProto]) -> onnx.ModelProto:
    """A model that calls the last of some functions ``F0``, ``F1``..."""
    made = [
        helper.make_function("local", f"F{i}", [], [], body, [helper.make_opsetid("", 21)])
        for i, body in enumerate(bodies)
    ]
    call = node(f"F{len(bodies) - 1}", [], [], domain="local")
    return make([call], opsets=[helper.make_opsetid("local", 1)], functions=made)


@pytest.mark.parametrize("outputs", [0, 3000])
def test_functions_that_multiply_are_refused(
    tmp_path: Path, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ALLOWANCE", 20 * 2**20)
    first = [node("Split", ["x"], [f"o{i}" for i in range(outputs)])] if outputs else []
    calls = [[node(f"F{i}", [], [], domain="local")] * 10 for i in range(12)]
    tracemalloc.start()
    with pytest.raises(LimitError, match="functions written out"):
        read(functions(first, *calls), tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < limits.ALLOWANCE


def test_a_node_of_very_many_outputs_is_refused(tmp_path: Path) -> None:
    split = node("Split", ["x"], [f"{i:x}" for i in range(600_000)])
    with pytest.raises(LimitError, match="values"):
        read(make([split]), tmp_path)


def test_scales_of_scales_are_no_exponential_work(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", [f"s{i}", f"s{i}", f"s{i}"], [f"s{i + 1}"]) for i in range(40)
    ]
    last = node("DequantizeLinear", ["q", "s40"], ["w"])
    model = make(
        [*nodes, last, node("Conv", ["x", "w"], ["y"])],
        stored(q=np.ones((1, 1, 3, 3), np.int8), s0=np.float32(1)),
    )
    start = time.perf_counter()
    contents = read(model, tmp_path)
    assert not contents.tensors
    assert "operators" in contents.skipped[0].reason
    assert time.perf_counter() - start < 2


def test_messages_nested_beyond_reason_are_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(2000):  # a graph in an attribute of a node of a graph ...
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(CorruptFileError, match="protobuf"):
        read(b"\x08\x07" + field(7, graph), tmp_path)


def test_a_field_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    content = b"\x08\x07\x3a\xff\xff\xff\xff\x07" + field(1, b"")
    with pytest.raises(CorruptFileError, match="cut short"):
        read(content, tmp_path)


@pytest.mark.parametrize("op", ["Identity", "Cast"])
def test_long_chains_end_quickly(tmp_path: Path, op: str) -> None:
    names = ["w", *(f"v{i}" for i in range(10_000))]
    more = {"to": TensorProto.FLOAT} if op == "Cast" else {}
    pairs = pairwise(names)
    nodes = [node(op, [a], [b], **more) for a, b in pairs]
    model = make([*nodes, node("Conv", ["x", names[-1]], ["y"])], stored(w=weights(1, 1, 3, 3)))
    start = time.perf_counter()
    contents = read(model, tmp_path)
    assert time.perf_counter() - start < 10
    assert len(contents.tensors) + len(contents.skipped) == 1


def test_a_cycle_through_a_body_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph([node("Relu", ["y"], ["t"])], "body", [], [value("t")])
    model = make([node("If", ["x"], ["y"], then_branch=body, else_branch=body)])
    with pytest.raises(CorruptFileError, match="cycle"):
        read(model, tmp_path)


def test_a_body_as_input_of_itself_is_refused(tmp_path: Path) -> None:
    model = make([node("Conv", ["x", "v"], ["y"]), node("Identity", ["v"], ["v"])])
    with pytest.raises(CorruptFileError, match="cycle"):
        read(model, tmp_path)
