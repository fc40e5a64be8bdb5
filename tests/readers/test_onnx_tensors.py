from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from onnx_models import make, read, save, stored, weights

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.readers.head import Head
from filterdb.readers.onnx import graph_file as reader

SHAPE = (2, 1, 3, 3)
CONV = helper.make_node("Conv", ["x", "w"], ["y"])


def tensor(**fields: object) -> onnx.TensorProto:
    result = onnx.TensorProto(name="w", dims=SHAPE, data_type=TensorProto.FLOAT)
    for name, content in fields.items():
        if isinstance(content, (list, tuple)):
            del getattr(result, name)[:]
            getattr(result, name).extend(content)
        else:
            setattr(result, name, content)
    return result


@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz",
     "float8_e5m2", "float8_e5m2fnuz", "int8", "uint8", "int16", "uint16", "int32", "uint32",
     "int64", "uint64", "bool", "int4", "uint4"],
)  # fmt: skip
@pytest.mark.parametrize("raw", [True, False])
def test_every_type_in_raw_and_typed_fields(tmp_path: Path, dtype: str, raw: bool) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    low = 0 if dtype.startswith(("u", "b")) else -4
    array = np.random.default_rng(0).integers(low, 5, SHAPE).astype(kind)
    code = helper.np_dtype_to_tensor_dtype(kind)
    held = numpy_helper.from_array(array, "w")
    if not raw:
        held = helper.make_tensor("w", code, SHAPE, array.ravel())
        assert not held.HasField("raw_data")
    np.testing.assert_array_equal(numpy_helper.to_array(held), array)  # the writers agree
    (found,) = read(make([CONV], [held]), tmp_path).tensors
    assert (found.dtype, found.shape) == (dtype, SHAPE)
    np.testing.assert_array_equal(found.load().astype(np.float64), array.astype(np.float64))


@pytest.mark.parametrize(
    ("held", "complaint"),
    [
        (tensor(raw_data=b"\0" * 71), "needs 72 bytes, but it holds 71"),
        (tensor(raw_data=b"\0" * 76), "needs 72 bytes, but it holds 76"),
        (tensor(float_data=[0.0] * 17), "needs 18 elements, but it holds 17"),
        (tensor(), "holds 0"),
        (tensor(dims=[10**6, 10**6, 1, 1], raw_data=b"\0" * 72), "4,000,000,000,000 bytes"),
        (tensor(dims=[-2, 1, 3, 3], raw_data=b"\0" * 72), "impossible shape"),
        (tensor(dims=[1] * 100, raw_data=b"\0" * 4), "impossible shape"),
    ],
)
def test_claims_beyond_the_data_are_refused_by_name(
    tmp_path: Path, held: onnx.TensorProto, complaint: str
) -> None:
    with pytest.raises(CorruptFileError, match=complaint) as caught:
        read(make([CONV], [held]), tmp_path)
    assert caught.value.layer == "w"


def sparse(dims: tuple[int, ...], indices: np.ndarray, values: np.ndarray) -> onnx.ModelProto:
    held = helper.make_sparse_tensor(
        numpy_helper.from_array(values, "w"), numpy_helper.from_array(indices), dims
    )
    model = make([CONV])
    model.graph.sparse_initializer.append(held)
    return model


@pytest.mark.parametrize("linear", [True, False])
def test_sparse_tensors_are_written_out(tmp_path: Path, linear: bool) -> None:
    array = np.where(weights(*SHAPE) > 0.5, weights(*SHAPE), 0)
    indices = np.flatnonzero(array) if linear else np.argwhere(array)
    model = sparse(SHAPE, indices, array[array != 0])
    (found,) = read(model, tmp_path).tensors
    np.testing.assert_array_equal(found.load(), array)


@pytest.mark.parametrize("indices", [[18], [-1], [[0, 0, 0, 3]], [[0, 0, 0, -1]]])
def test_sparse_indices_outside_are_refused(tmp_path: Path, indices: list[object]) -> None:
    model = sparse(SHAPE, np.array(indices, np.int64), np.ones(1, np.float32))
    (found,) = read(model, tmp_path).tensors
    with pytest.raises(CorruptFileError, match="outside"):
        found.load()


def test_sparse_tensors_are_bounded(tmp_path: Path) -> None:
    model = sparse((10**6, 10**6, 1, 1), np.array([0]), np.ones(1, np.float32))
    with pytest.raises(LimitError, match="out of proportion"):
        read(model, tmp_path)
    with pytest.raises(CorruptFileError, match="do not fit"):
        read(sparse(SHAPE, np.array([0, 1]), np.ones(1, np.float32)), tmp_path)


# External data


def external(location: str, **more: object) -> onnx.ModelProto:
    held = tensor(data_location=TensorProto.EXTERNAL)
    for key, content in {"location": location, **more}.items():
        held.external_data.add(key=key, value=str(content))
    return make([CONV], [held])


def test_external_data_are_mapped_and_named(tmp_path: Path) -> None:
    w = weights(*SHAPE)
    model = make([CONV], [*stored(unused=weights(5)), *stored(w=w)])
    external_data_helper.convert_model_to_external_data(
        model, location="model.data", size_threshold=0
    )
    onnx.save(model, tmp_path / "model.onnx")
    contents = reader.read(Head.of(tmp_path / "model.onnx"))
    array = contents.tensors[0].load()
    np.testing.assert_array_equal(array, w)
    assert not array.flags.owndata
    assert not array.flags.writeable
    assert contents.companions == (tmp_path.resolve() / "model.data",)


def test_external_data_may_lie_in_a_folder_below_and_without_a_length(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"skip" + weights(*SHAPE).tobytes())
    (found,) = read(external("data/w.bin", offset=4), tmp_path).tensors
    np.testing.assert_array_equal(found.load(), weights(*SHAPE))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside the model's folder, long enough to be taken for the weight."""
    path = tmp_path / "secret"
    path.write_bytes(b"s" * 72)
    (tmp_path / "inside").mkdir()
    return path


@pytest.mark.parametrize(
    "location",
    ["../secret", "x/../../secret", "/etc/passwd", "../../../../../../etc/passwd", "", ".",
     "..", "..\\secret", "C:\\secret", "a\0b"],
)  # fmt: skip
def test_places_outside_the_models_folder_are_refused(
    tmp_path: Path, secret: Path, location: str
) -> None:
    with pytest.raises(ReadError, match=r"outside the model's own folder|not there") as caught:
        read(external(location), tmp_path / "inside")
    assert caught.value.layer == "w"


def test_absolute_places_are_refused_even_inside(tmp_path: Path, secret: Path) -> None:
    with pytest.raises(ReadError, match="outside"):
        read(external(str(secret)), tmp_path)


def test_links_that_lead_out_are_refused(tmp_path: Path, secret: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "link").symlink_to(secret)
    (inside / "folder").symlink_to(tmp_path, target_is_directory=True)
    (inside / "ring").symlink_to(inside / "ring")
    for location in ("link", "folder/secret", "ring"):
        with pytest.raises(ReadError):
            read(external(location), inside)


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(weights(*SHAPE).tobytes())
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (found,) = read(external("link"), tmp_path).tensors
    np.testing.assert_array_equal(found.load(), weights(*SHAPE))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for location in ("folder", "pipe", "missing"):
        with pytest.raises(ReadError, match="not there"):
            read(external(location), tmp_path)


@pytest.mark.parametrize(
    "span",
    [
        {"offset": 8},
        {"offset": 10**15},
        {"length": 80},
        {"length": 8},
        {"offset": -4},
        {"offset": "x"},
        {"offset": "9" * 30},
        {"length": "7\u0662"},
    ],
)
def test_spans_outside_the_data_are_refused(tmp_path: Path, span: dict[str, object]) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 76)
    with pytest.raises(CorruptFileError, match="external data"):
        read(external("w.bin", **span), tmp_path)


def test_an_empty_data_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").touch()
    with pytest.raises(CorruptFileError, match="cut short"):
        read(external("w.bin"), tmp_path)


def test_external_data_of_other_tensors_are_never_touched(tmp_path: Path) -> None:
    model = external("../../etc/passwd")
    model.graph.node[0].op_type = "Gemm"
    path = save(model, tmp_path / "model.onnx")
    assert reader.read(Head.of(path)).companions == ()
