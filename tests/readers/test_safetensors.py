from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.layer import Contents
from filterdb.readers import safetensors as reader
from filterdb.readers.head import Head

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def read(path: Path) -> Contents:
    head = Head.of(path)
    assert reader.matches(head)
    return reader.read(head)


def raw_file(path: Path, header: Any, body: bytes = b"\0" * 8) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
     "float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"],
)  # fmt: skip
def test_every_type_has_the_values_its_writer_gave(tmp_path: Path, dtype: str) -> None:
    kind = getattr(ml_dtypes, dtype, None) or np.dtype(dtype)
    array = np.random.default_rng(0).integers(0, 2, (3, 2, 3, 3)).astype(kind)
    path = tmp_path / "a"
    safetensors.numpy.save_file({"conv.weight": array, "s": np.asarray(array[0, 0, 0, 0])}, path)
    by_name = {tensor.name: tensor for tensor in read(path).tensors}
    tensor = by_name["conv.weight"]
    assert (tensor.shape, tensor.dtype, tensor.conv) == (array.shape, dtype, None)
    np.testing.assert_array_equal(tensor.load().astype(np.float64), array.astype(np.float64))
    assert by_name["s"].load().shape == ()


def test_values_are_read_only_views_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    safetensors.numpy.save_file({"w": np.ones((2, 2, 3, 3), np.float32)}, path)
    first = read(path).tensors[0]
    assert not first.load().flags.writeable
    assert not first.load().flags.owndata


def test_the_alphabet_of_the_writer_is_undone(tmp_path: Path) -> None:
    names = [f"layer.{i}.weight" for i in range(12)]
    path = tmp_path / "a"
    safetensors.numpy.save_file({name: np.ones(1, np.float32) for name in names}, path)
    contents = read(path)
    assert [tensor.name for tensor in contents.tensors] == names
    assert any("order" in note for note in contents.notes)


def test_another_order_is_that_of_the_data(tmp_path: Path) -> None:
    header = {
        "a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
        "b": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
    }
    contents = read(raw_file(tmp_path / "a", header, b"bbbbaaaa"))
    assert [tensor.name for tensor in contents.tensors] == ["b", "a"]
    assert bytes(contents.tensors[1].load()) == b"aaaa"


def test_metadata_names_the_producer(tmp_path: Path) -> None:
    path = tmp_path / "a"
    safetensors.numpy.save_file({"w": np.ones(1)}, path, metadata={"format": "pt"})
    assert read(path).producer == "pytorch"
    assert read(raw_file(path, {"__metadata__": {"format": ["x"]}, "w": F32})).producer is None


def test_unknown_types_are_skipped_with_the_reason(tmp_path: Path) -> None:
    header = {"w": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}
    contents = read(raw_file(tmp_path / "a", header))
    assert contents.tensors == ()
    assert "F4" in contents.skipped[0].reason


HUGE = {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ({"w": F32 | {"shape": [3]}}, "needs 12 bytes"),
        ({"w": HUGE}, "needs 4,000,000,000,000 bytes"),
        ({"w": F32 | {"data_offsets": [0, 4]}}, "8 follow the header"),
        ({"w": F32 | {"data_offsets": [4, 12]}}, "leave a hole"),
        ({"w": F32, "v": F32}, "overlap"),
        ({"w": F32 | {"shape": [4], "data_offsets": [0, 16]}}, "cut short"),
        ({"w": F32 | {"data_offsets": [8, 0]}}, "overlap|hole"),
        ({"w": F32 | {"shape": [-2]}}, "malformed"),
        ({"w": F32 | {"shape": [True, 2]}}, "malformed"),
        ({"w": F32 | {"shape": [2**70]}}, "malformed"),
        ({"w": F32 | {"shape": [1] * 65}}, "malformed"),
        ({"w": {"dtype": "F32"}}, "malformed"),
        ({"w": 3}, "malformed"),
        ({}, "8 follow the header"),
        (b'{"w": {}, "w": {}}', "stands twice"),
        (b'{"w": ', "not valid JSON"),
        (b'{"w":' + b"[" * 100_000, "not valid JSON"),
        (b'{"\xff": 1}', "not valid JSON"),
    ],
)
def test_headers_that_contradict_the_file_are_refused(
    tmp_path: Path, header: Any, complaint: str
) -> None:
    with pytest.raises(CorruptFileError, match=complaint):
        read(raw_file(tmp_path / "a", header))


def test_header_lengths_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes((10**6).to_bytes(8, "little") + b'{"w":1}')
    with pytest.raises(CorruptFileError, match="cut short"):
        read(path)
    path.write_bytes((10**9).to_bytes(8, "little") + b'{"w":1}')
    assert not reader.matches(Head.of(path))
    with pytest.raises(LimitError):
        reader.read(Head.of(path))


@pytest.mark.parametrize("entry", [b"{}", b'{"":0}', b"[]", b"[[]]"])
def test_headers_that_unfold_beyond_reason_are_refused(tmp_path: Path, entry: bytes) -> None:
    header = b'{"a":[' + (entry + b",") * (15_000_000 // (len(entry) + 1)) + b"{}]}"
    with pytest.raises(LimitError, match="header"):
        read(raw_file(tmp_path / "a", header))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("safetensors") / "small"
    arrays = {"a.weight": np.ones((2, 1, 3, 3), np.float32), "a.bias": np.zeros(2, np.float16)}
    safetensors.numpy.save_file(arrays, path)
    return path.with_name("changed"), path.read_bytes()


def outcome(path: Path) -> bool:
    """True where our reader reads the file; every other end is one of our errors."""
    head = Head.of(path)
    if not reader.matches(head):
        return False
    try:
        for tensor in reader.read(head).tensors:
            assert tensor.load().shape == tensor.shape
    except ReadError:
        return False
    return True


def test_every_truncation_is_an_error(small: tuple[Path, bytes]) -> None:
    path, content = small
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert not outcome(path)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(data=st.data())
def test_flipped_bytes_are_read_only_if_the_library_reads_them(
    small: tuple[Path, bytes], data: st.DataObject
) -> None:
    path, content = small
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    if outcome(path):
        # The library refuses types it does not know; ours leaves them out with a reason.
        try:
            with safetensors.safe_open(path, "np") as file:
                names = set(file.keys())
        except safetensors.SafetensorError:
            assert reader.read(Head.of(path)).skipped
        else:
            assert names == {tensor.name for tensor in reader.read(Head.of(path)).tensors}


def test_names_and_weight_norm_are_tidied_as_in_a_checkpoint(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    v, g = rng.normal(size=(4, 2, 3, 3)), rng.normal(size=(4, 1, 1, 1))
    arrays = {"module.conv.weight_g": g, "module.conv.weight_v": v, "module.conv.bias": np.ones(4)}
    path = tmp_path / "a"
    safetensors.numpy.save_file(arrays, path)
    by_name = {tensor.name: tensor for tensor in read(path).tensors}
    assert by_name.keys() == {"conv.weight", "conv.bias"}
    norms = np.sqrt((v**2).sum(axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(by_name["conv.weight"].load(), v * g / norms, rtol=1e-5)
