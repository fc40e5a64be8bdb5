from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.layer import Contents
from filterdb.readers import npz as reader
from filterdb.readers.head import Head

WRITTEN: list[str] = []


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (WRITTEN[0],)


def read(path: Path) -> Contents:
    head = Head.of(path)
    assert reader.matches(head)
    return reader.read(head)


def array_file(array: np.ndarray, **header: Any) -> bytes:
    """A ``.npy`` file, with its header overridden."""
    file = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(array) | header
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue() + array.tobytes()


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_every_array_has_the_values_that_were_saved(tmp_path: Path, compress: bool) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "conv1/W": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "conv1/b": np.arange(4, dtype=">f8"),
        "fortran": np.asfortranarray(rng.normal(size=(2, 3, 4, 5))),
        "half": rng.normal(size=(3, 3)).astype(np.float16),
        "int": np.arange(-3, 3, dtype=np.int8),
        "scalar": np.array(3),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3)),
    }
    path = tmp_path / "a.bin"
    with path.open("wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)
    contents = read(path)
    assert contents.format == "npz"
    assert [tensor.name for tensor in contents.tensors] == list(arrays)
    for tensor in contents.tensors:
        expected = arrays[tensor.name]
        assert (tensor.shape, tensor.dtype) == (expected.shape, expected.dtype.name)
        np.testing.assert_array_equal(tensor.load(), expected)


def test_stored_members_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, w=np.ones((2, 2, 3, 3), np.float32))
    array = read(path).tensors[0].load()
    assert not array.flags.writeable
    assert not array.flags.owndata


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_single_array_is_named_after_its_file(tmp_path: Path, order: Any) -> None:
    array = np.asarray(np.arange(36).reshape(2, 2, 3, 3), order=order)
    np.save(tmp_path / "conv.npy", array)
    contents = read(tmp_path / "conv.npy")
    assert (contents.format, contents.tensors[0].name) == ("npy", "conv")
    np.testing.assert_array_equal(contents.tensors[0].load(), array)


def test_version_2_headers_are_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        np.lib.format.write_array(file, np.arange(5), version=(2, 0))
    assert read(tmp_path / "a").tensors[0].load().tolist() == [0, 1, 2, 3, 4]


def test_chainers_order_of_a_set_is_undone(tmp_path: Path) -> None:
    one = np.ones(1)
    np.savez(tmp_path / "a.npz", **{f"conv{i}/W": one for i in (2, 10, 1)})
    contents = read(tmp_path / "a.npz")
    assert [tensor.name for tensor in contents.tensors] == ["conv1/W", "conv2/W", "conv10/W"]
    assert contents.producer == "chainer"
    assert contents.notes


def test_pickled_objects_stay_inert(tmp_path: Path) -> None:
    WRITTEN[:] = [str(tmp_path / "written")]
    np.savez(tmp_path / "a.npz", allow_pickle=True, o=np.array(Bomb(), object), w=np.ones(2))
    with pytest.raises(FileNotFoundError):  # the bomb is live: pickle would have run it
        pickle.loads(pickle.dumps(Bomb()).replace(b"written", b"no/path"))
    contents = read(tmp_path / "a.npz")
    assert [tensor.name for tensor in contents.tensors] == ["w"]
    assert "pickled" in contents.skipped[0].reason
    np.save(tmp_path / "o.npy", np.array(Bomb(), object), allow_pickle=True)
    assert read(tmp_path / "o.npy").skipped
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "array",
    [np.zeros(2, [("a", "f4"), ("b", "i4")]), np.zeros(2, [("\u0436", "f4")]), np.ones(2, complex),
     np.array(["text"]), np.zeros(1, "M8[s]"), np.zeros(1, "V7")],
    ids=["structured", "structured v3", "complex", "text", "date", "void"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
def test_what_is_not_numbers_is_skipped(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", a=array)
    contents = read(tmp_path / "a.npz")
    assert contents.tensors == ()
    assert contents.skipped[0].name == "a"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_shapes_beyond_the_data_are_refused(tmp_path: Path, method: int) -> None:
    content = array_file(np.ones(3), shape=(10**6, 10**6))
    with pytest.raises(CorruptFileError, match=r"'big'.*needs 8,000,000,000,000 bytes"):
        read(archive(tmp_path / "a", {"big.npy": content}, method))
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(CorruptFileError, match="needs 8,000,000,000,000 bytes"):
        read(tmp_path / "b")


@pytest.mark.parametrize("shape", [(-1, 3), (1,) * 65])
def test_impossible_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(CorruptFileError, match="impossible shape"):
        read(archive(tmp_path / "a", {"w.npy": array_file(np.ones(3), shape=shape)}))


def test_bombs_are_refused_unopened(tmp_path: Path) -> None:
    zeros = array_file(np.zeros(2**20, np.uint8))
    members = {f"{i}.npy": zeros for i in range(210)}
    path = archive(tmp_path / "a", members, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    with pytest.raises(LimitError, match="out of proportion"):
        read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_names_that_stand_twice_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as file:
        file.writestr("w.npy", array_file(np.ones(1)))
        file.writestr("w.npy", array_file(np.zeros(1)))
    with pytest.raises(CorruptFileError, match="twice"):
        read(tmp_path / "a")


def test_other_compressions_are_skipped(tmp_path: Path) -> None:
    path = archive(tmp_path / "a", {"w.npy": array_file(np.ones(9))}, zipfile.ZIP_LZMA)
    assert "compressed" in read(path).skipped[0].reason


def test_what_is_no_array_is_skipped(tmp_path: Path) -> None:
    members = {"w.npy": array_file(np.ones(2)), "README": b"hello", "v.npy": array_file(np.ones(1))}
    contents = read(archive(tmp_path / "a", members))
    assert [tensor.name for tensor in contents.tensors] == ["w", "v"]
    assert [(item.name, item.reason) for item in contents.skipped] == [
        ("README", "no NumPy array by its name"),
    ]


def test_other_archives_are_none_of_ours(tmp_path: Path) -> None:
    mixed = archive(tmp_path / "a", {"w.npy": array_file(np.ones(1)), "readme.txt": b"x"})
    assert not reader.matches(Head.of(mixed))
    assert not reader.matches(Head.of(archive(tmp_path / "b", {})))
    assert not reader.matches(Head.of(tmp_path))


ORIGINAL = {"a": np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3), "b": np.arange(3.0)}


def check_outcome(path: Path, *, checksums: bool) -> None:
    """Our error, or the values that were saved (a lone array has no checksum to hold them)."""
    head = Head.of(path)
    try:
        if not reader.matches(head):
            return
        for tensor in reader.read(head).tensors:
            array = tensor.load()
            assert array.shape == tensor.shape
            # A flipped name is another name.
            if checksums and tensor.name in ORIGINAL:
                np.testing.assert_array_equal(array, ORIGINAL[tensor.name])
    except ReadError:
        pass


@pytest.fixture(scope="module", params=["stored", "deflated", "npy"])
def small(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[Path, bytes, bool]:
    file = io.BytesIO()
    if request.param == "npy":
        np.save(file, ORIGINAL["a"])
    else:
        (np.savez if request.param == "stored" else np.savez_compressed)(file, **ORIGINAL)
    path = tmp_path_factory.mktemp("npz") / "small"
    return path, file.getvalue(), request.param != "npy"


def test_truncations_are_errors(small: tuple[Path, bytes, bool]) -> None:
    path, content, _ = small
    for length in np.linspace(1, len(content) - 1, 50).astype(int):
        path.write_bytes(content[:length])
        head = Head.of(path)
        with contextlib.suppress(ReadError):
            assert not reader.matches(head) or reader.read(head) is None


@settings(max_examples=200, derandomize=True, deadline=None)
@given(data=st.data())
def test_flipped_bytes_give_an_error_or_the_saved_values(
    small: tuple[Path, bytes, bool], data: st.DataObject
) -> None:
    path, content, checksums = small
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    check_outcome(path, checksums=checksums)


def test_names_and_weight_norm_are_tidied_as_in_a_checkpoint(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    v, g = rng.normal(size=(4, 2, 3, 3)), rng.normal(size=(4, 1, 1, 1))
    arrays = {"module.conv.weight_g": g, "module.conv.weight_v": v, "module.conv.bias": np.ones(4)}
    path = tmp_path / "a"
    with path.open("wb") as file:
        np.savez(file, **arrays)
    by_name = {tensor.name: tensor for tensor in read(path).tensors}
    assert by_name.keys() == {"conv.weight", "conv.bias"}
    norms = np.sqrt((v**2).sum(axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(by_name["conv.weight"].load(), v * g / norms, rtol=1e-5)
