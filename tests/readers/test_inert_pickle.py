from __future__ import annotations

import argparse
import collections
import contextlib
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import CONTAINERS, read, text, values
from hostile_pickles import hostile
from hypothesis import given
from hypothesis import strategies as st

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.readers.pytorch import inert_pickle, pickle_text, tensors
from filterdb.readers.pytorch.inert_objects import Global, Opaque, Persistent
from filterdb.readers.pytorch.inert_pickle import unpickle
from filterdb.readers.pytorch.tensors import TorchObjects
from filterdb.readers.state_dict import select

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.text()
    | st.floats(allow_nan=False)
)  # fmt: skip
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner, inner, inner)
    ),
    max_leaves=30,
)


def walk(value: object) -> None:
    """What every reader does with the result."""
    assert select(value, TorchObjects(lambda reference: None)).tensors == ()


@given(PLAIN, st.integers(0, 5))
def test_plain_objects_as_pickle_has_them(value: Any, protocol: int) -> None:
    stream = pickle.dumps(value, protocol)
    found = unpickle(memoryview(stream + b"rest"))
    assert found.value == value
    assert found.end == len(stream)


@pytest.mark.parametrize("protocol", range(6))
def test_shared_objects_stay_shared(protocol: int) -> None:
    shared = [1]
    found = unpickle(memoryview(pickle.dumps([shared, shared, b"\xff\0"], protocol))).value
    assert found[0] is found[1]
    assert found[0] == [1]


@pytest.mark.parametrize("protocol", range(3, 6))
def test_bytes_and_sets(protocol: int) -> None:
    stream = pickle.dumps((b"\xff\0", bytearray(b"ab")), protocol)
    assert unpickle(memoryview(stream)).value[0] == b"\xff\0"
    members = unpickle(memoryview(pickle.dumps({3}, protocol))).value
    assert members == [3] if protocol > 3 else isinstance(members, Opaque)


@pytest.mark.parametrize("protocol", range(6))
def test_classes_are_named_and_never_made(protocol: int) -> None:
    stream = pickle.dumps(argparse.Namespace(lr=0.1), protocol)
    found = unpickle(memoryview(stream)).value
    assert isinstance(found, Opaque)
    assert found.state == {"lr": 0.1}
    assert Global("argparse", "Namespace") in (found.function, found.args[0] if found.args else 0)


def test_items_of_a_dict_subclass() -> None:
    found = unpickle(memoryview(pickle.dumps(collections.OrderedDict(a=1, b=2), 2))).value
    assert found.items == [("a", 1), ("b", 2)]


def test_references_to_the_outside() -> None:
    found = unpickle(memoryview(b"\x80\x02(" + text("storage") + b"K\x07tQ."))
    assert isinstance(found.value, Persistent)
    assert found.value.id == ("storage", 7)
    assert found.persistent == (found.value,)


@pytest.mark.parametrize(
    "code", [b"\x82\1", b"\x83\1\0", b"\x84\1\0\0\0", b"\x97", b"\x98", b"\xff"]
)
def test_registries_and_unknown_instructions_are_refused(code: bytes) -> None:
    with pytest.raises(CorruptFileError, match=f"0x{code[0]:02x}"):
        unpickle(memoryview(b"\x80\x02" + code + b"."))


def test_a_newer_protocol_says_update() -> None:
    with pytest.raises(CorruptFileError, match="update filterdb"):
        unpickle(memoryview(b"\x80\x06N."))


@pytest.mark.parametrize("protocol", range(6))
def test_cut_anywhere_is_an_error(protocol: int) -> None:
    value = {"a": [1.5, 2**70, "é" * 40], "b": (b"xyz", argparse.Namespace(x=1)), "c": -1}
    stream = pickle.dumps(value, protocol)
    for end in range(len(stream)):
        with pytest.raises(CorruptFileError):
            unpickle(memoryview(stream[:end]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_result_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ReadError):
        walk(unpickle(memoryview(b"\x80\x02" + data)).value)


@pytest.mark.parametrize(
    "stream",
    [
        b"X\xff\xff\xff\x7fabc.",
        b"\x8d" + b"\xff" * 8 + b".",
        b"\x8e" + b"\0" * 7 + b"\x10.",
        b"\x8b\xff\xff\xff\xffabc.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"c" + b"a" * 3_000_000,
        b"N" * 10 + b"p" + b"9" * 30 + b"\n.",
        b"t.", b"R.", b"(K\x01u.", b"}(K\x01u.", b"Na.", b"h\x05.", b".", b"0.", b"N(0" + b"1.",
        b"\x86.", b"NN\x93.", b"S'a\n.", b"Fx\n.", b"(((0001.",
    ],
)  # fmt: skip
def test_nonsense_is_corrupt_and_costs_nothing(stream: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFileError):
            unpickle(memoryview(stream))
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()


def test_a_far_memo_index_costs_nothing() -> None:
    tracemalloc.start()
    try:
        assert unpickle(memoryview(b"K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.")).value == 5
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


DEEP = 100_000
BOMBS = {
    "lists": b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "tuples": b")" + b"\x85" * DEEP + b".",
    "dicts": b"}" + b"q\0}q\1" + b"h\0K\1h\1s0" + (b"}K\1" * DEEP) + b"N" + b"s" * DEEP + b".",
    "objects": b"N" + b"\x85q\x000cx\ny\nh\0R" * DEEP + b".",
    "states": b"cx\ny\n)R" * DEEP + b"N" + b"b" * DEEP + b".",
    "persistent": b"N" + b"Q" * DEEP + b".",
    "tuple as key": b"})" + b"\x85" * DEEP + b"Ns.",
    "doubled lists": b"]" + b"q\x00]h\x00ah\x00a" * 60 + b".",
    "doubled tuples": b")" + b"q\x00h\x00\x86" * 60 + b".",
    "list in itself": b"]q\0h\0a.",
    "dict in itself": b"}q\0K\1h\0s.",
    "object in itself": b"cx\ny\n)Rq\0h\0b.",
}


@pytest.mark.parametrize("what", BOMBS)
def test_bombs_are_walked_once(what: str) -> None:
    begin = time.process_time()  # others may be at work
    found = unpickle(memoryview(BOMBS[what]))
    walk(found.value)
    assert repr(found.value if isinstance(found.value, Opaque) else 0)
    del found
    assert time.process_time() - begin < 5


def test_too_many_instructions_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inert_pickle, "MAX_INSTRUCTIONS", 1000)
    with pytest.raises(LimitError, match="1,000 instructions"):
        unpickle(memoryview(b"N0" * 600 + b"N."))


@pytest.mark.parametrize("code", [b"c\n\n)R", b"c\n\n)\x81", b"c\n\n)}\x92", b"(i\n\n", b"(No"])
def test_too_many_objects_are_a_limit(monkeypatch: pytest.MonkeyPatch, code: bytes) -> None:
    monkeypatch.setattr(inert_pickle, "MAX_OBJECTS", 10)
    assert unpickle(memoryview(code * 10 + b"."))
    with pytest.raises(LimitError, match="more than 10 objects"):
        unpickle(memoryview(code * 11 + b"."))


def test_one_character_does_not_widen_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_text, "MAX_TEXT", 100)
    for value in ("\N{GRINNING FACE}" * 25, "\xff\0" * 1000):
        for protocol in range(1, 6):
            assert unpickle(memoryview(pickle.dumps(value, protocol))).value == value
    with pytest.raises(LimitError, match="a text of 1,004 bytes"):
        unpickle(memoryview(pickle.dumps("\N{GRINNING FACE}" + "a" * 1000, 2)))
    face = "\N{GRINNING FACE}".encode()
    for times, kind in ((1000, str), (2000, bytes)):
        raw = face * times
        found = unpickle(memoryview(b"T" + struct.pack("<I", len(raw)) + raw + b".")).value
        assert isinstance(found, kind)


SHARED = {
    "arguments": b"h\1h\0\x85R",
    "states": b"h\1)Rh\2}\x86b",
    "modules": b"h\1)R}" + text("_modules") + b"h\2sb",
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", SHARED)
def test_objects_that_share_their_parts(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(tensors, "MAX_PARTS", 50_000)
    parts = b"(" + b"N" * 5000 + b"lq\0cx\ny\nq\1}(" + b"".join(
        b"M" + struct.pack("<H", i) + b"N" for i in range(5000)
    ) + b"uq\2"  # fmt: skip
    stream = b"(" + parts + SHARED[what] * 1000 + b"l."
    with pytest.raises(LimitError, match="share more than 50,000 parts"):
        walk(unpickle(memoryview(stream)).value)


def test_a_megabyte_in_a_second() -> None:
    stream = pickle.dumps({f"layer.{i}": (i, float(i), [i] * 4) for i in range(20_000)}, 2)
    assert len(stream) > 10**6
    begin = time.perf_counter()
    unpickle(memoryview(stream))
    assert time.perf_counter() - begin < 1


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("canary") / "ran"


@pytest.mark.parametrize("container", CONTAINERS)
def test_nothing_in_a_file_runs(tmp_path: Path, canary: Path, container: str) -> None:
    paths = []
    for i, body in enumerate(hostile(canary).values()):
        paths.append(tmp_path / f"{i}.pth")
        CONTAINERS[container](paths[-1], body)
    script = Path(__file__).with_name("hostile_pickles.py")
    done = subprocess.run(
        [sys.executable, str(script), *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == f"{len(paths)} read;", done.stderr[-2000:]
    assert not canary.exists()


def test_the_canary_sings_for_pickle(tmp_path: Path) -> None:
    """The hostile set would be no test if its pickles were duds."""
    canary, sung = tmp_path / "ran", 0
    for body in hostile(canary).values():
        with contextlib.suppress(Exception):
            # Not the one in C, whose memo grows to 64 GB for a far index.
            pickle._loads(b"\x80\x04" + body + b".")  # type: ignore[attr-defined]
        sung += canary.exists()
        canary.unlink(missing_ok=True)
    assert sung > 25


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("code", [b"\x82\1", b"\x83\1\0", b"\x84\1\0\0\0"])
def test_a_registry_is_refused_in_every_container(
    tmp_path: Path, container: str, code: bytes
) -> None:
    CONTAINERS[container](tmp_path / "a.pth", code)
    with pytest.raises(CorruptFileError, match="no instruction of a checkpoint"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("what", ["lists", "objects", "tuple as key", "doubled tuples"])
def test_bombs_in_every_container(tmp_path: Path, container: str, what: str) -> None:
    CONTAINERS[container](tmp_path / "a.pth", BOMBS[what][:-1])
    found = values(read(tmp_path / "a.pth"))
    assert float(found["conv.weight"].sum()) == 1431.0


def test_protocol_2_hides_array_bytes_in_text() -> None:
    array = np.arange(18, dtype=np.float64).reshape(1, 2, 3, 3)
    for protocol in range(6):
        for layout in (array, np.asfortranarray(array), array.astype(">f4"), array > 3):
            found = TorchObjects(lambda reference: None).array(
                unpickle(memoryview(pickle.dumps(layout, protocol))).value
            )
            assert found.shape == (1, 2, 3, 3)
            np.testing.assert_array_equal(found.load(), layout)


def test_array_bytes_that_do_not_fit_its_shape(tmp_path: Path) -> None:
    stream = pickle.dumps(np.zeros((2, 3, 3, 3), np.float32), 4)
    body = stream[11:-1]
    cut = body.replace(b"K\x02K\x03K\x03K\x03t", b"K\x02K\x03K\x03K\x04t")
    assert cut != body
    CONTAINERS["zip"](tmp_path / "a.pth", cut)
    with pytest.raises(CorruptFileError, match="needs 288 bytes, but the pickle holds 216"):
        read(tmp_path / "a.pth")


def test_struct_is_little_endian() -> None:
    assert unpickle(memoryview(b"J" + struct.pack("<i", -2) + b".")).value == -2
