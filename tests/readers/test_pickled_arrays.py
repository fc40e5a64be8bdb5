"""Plain pickles of arrays: of every protocol, nested, of Python 2, and those that are refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from damaged_files import read_damaged

import filterdb
from filterdb.errors import NoConvolutionError, ReadError, UnsupportedFormatError
from filterdb.readers.head import Head
from filterdb.readers.pickled_arrays import matches, read

RANDOM = np.random.default_rng(2)


def array(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def pickled(folder: Path, value: object, protocol: int = 4) -> Path:
    path = folder / "a.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i1"])
def test_every_protocol(tmp_path: Path, protocol: int, kind: str) -> None:
    weight = (array(8, 4, 3, 3) * 50).astype(kind)
    path = pickled(tmp_path, {"w1": weight, "b1": array(8), "w2": array(5, 8, 3, 3)}, protocol)
    model = filterdb.read(path)
    assert (model.format, [layer.name for layer in model.layers]) == ("pickle", ["w1", "w2"])
    np.testing.assert_array_equal(model.layers[0].weights, weight.astype(np.float32))
    assert model.layers[0].dtype == np.dtype(kind).newbyteorder("=").name


def test_order_of_memory_and_views(tmp_path: Path) -> None:
    weight = np.asfortranarray(array(8, 4, 3, 3))
    model = filterdb.read(pickled(tmp_path, [weight, weight[::2]]))
    np.testing.assert_array_equal(model.layers[0].weights, weight)
    np.testing.assert_array_equal(model.layers[1].weights, weight[::2])


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ([[array(8, 3, 3, 3), array(8)], [array(4, 8, 3, 3), array(4)]], ["0.0", "1.0"]),
        ({"net": {"a": array(8, 3, 3, 3), "b": array(4, 8, 3, 3)}, "epoch": 3}, ["a", "b"]),
        ((array(8, 3, 3, 3), array(8), array(4, 8, 3, 3)), ["0", "2"]),
    ],
)
def test_nested(tmp_path: Path, value: object, names: list[str]) -> None:
    assert [x.name for x in filterdb.read(pickled(tmp_path, value)).layers] == names


def test_dicts_without_order_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    value = {"W10": array(4, 8, 3, 3), "b2": array(8), "W2": array(8, 8, 3, 3),
             "b10": array(4), "b1": array(8), "W1": array(8, 3, 3, 3)}  # fmt: skip
    assert [x.name for x in filterdb.read(pickled(tmp_path, value)).layers] == ["W1", "W2", "W10"]


def test_kernel_first_is_turned_and_said(tmp_path: Path) -> None:
    weights = [array(3, 3, 3, 32), array(32), array(3, 3, 32, 64), array(64)]
    contents = read(Head.of(pickled(tmp_path, weights)))
    assert [t.shape for t in contents.tensors if len(t.shape) == 4] == [
        (32, 3, 3, 3), (64, 32, 3, 3),
    ]  # fmt: skip
    np.testing.assert_array_equal(contents.tensors[2].load(), weights[2].transpose(3, 2, 0, 1))
    assert any("were turned" in note for note in contents.notes)


def test_nothing_runs(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    model = filterdb.read(pickled(tmp_path, {"w": array(8, 4, 3, 3), "x": Bomb()}))
    assert len(model.layers) == 1
    assert not (tmp_path / "ran").exists()


def test_objects_in_an_array_are_named(tmp_path: Path) -> None:
    odd = np.empty((2, 2), object)
    model = filterdb.read(pickled(tmp_path, {"w": array(8, 4, 3, 3), "odd": odd}))
    assert "objects" in {item.name: item.reason for item in model.skipped}["odd"]


def test_tensors_that_pickle_wrote_itself_have_a_mend(tmp_path: Path) -> None:
    import torch

    path = pickled(tmp_path, {"w": torch.ones(8, 4, 3, 3)}, 2)
    with pytest.raises(ReadError, match=r"torch\.save or safetensors"):
        filterdb.read(path)


def test_joblib_torch_and_paddle_are_not_taken(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "a"
    torch.save({"w": torch.ones(8, 4, 3, 3)}, path, _use_new_zipfile_serialization=False)
    assert not matches(Head.of(path))
    path.write_bytes(pickle.dumps({"w": 1, "StructuredToParameterName@@": {}}, 2))
    assert not matches(Head.of(path))
    path.write_bytes(b"\x80\x04\x95\x20\0\0\0\0\0\0\0\x8c\x14joblib.numpy_pickle" + bytes(9))
    with pytest.raises(UnsupportedFormatError, match=r"numpy\.savez"):
        filterdb.read(path)


def test_no_convolution(tmp_path: Path) -> None:
    with pytest.raises(NoConvolutionError):
        filterdb.read(pickled(tmp_path, {"w": array(3, 4)}))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_damage(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "copies").mkdir()
    path = pickled(tmp_path, {"w1": array(4, 3, 3, 3), "b1": array(4)}, protocol)
    assert read_damaged(tmp_path / "copies", [path], flips=150) > 20


def test_the_zoo(zoo: Path) -> None:
    exact = np.load(zoo / "exact" / "dlfromscratch--deep-convnet-mnist.pkl.npz")
    model = filterdb.read(zoo / "weights" / "dlfromscratch--deep-convnet-mnist.pkl")
    assert len(model.layers) == len(exact.files) == 6
    for ours, key in zip(model.layers, exact.files, strict=True):
        np.testing.assert_array_equal(ours.weights, exact[key])
    for board in ("6-6-4", "8-8-5"):  # three layers and a 1x1 one in each of its two heads
        model = filterdb.read(zoo / "weights" / f"gomoku-jxs--best-policy-{board}.model")
        assert [(layer.kind, layer.shape) for layer in model.layers] == [
            ("conv", (32, 4, 3, 3)), ("conv", (64, 32, 3, 3)), ("conv", (128, 64, 3, 3)),
            ("conv", (4, 128, 1, 1)), ("conv", (2, 128, 1, 1)),
        ]  # fmt: skip
