"""The Core ML reader, against what coremltools makes of the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged_files import damages, read_damaged

import filterdb
from filterdb.errors import (
    CorruptFileError,
    LimitError,
    NoConvolutionError,
    ReadError,
    UnsupportedFormatError,
)
from filterdb.readers.coreml.model_file import main_file
from filterdb.readers.coreml.values import Constant, computed, decode, spread_of
from filterdb.readers.coreml.weight_params import unpack_codes
from filterdb.readers.head import Head
from filterdb.readers.registry import identify, load_reader, read_contents

FILES = Path(__file__).with_name("files") / "coreml"
NETWORKS = sorted(path.stem for path in FILES.glob("*.mlmodel"))
PACKAGES = sorted(path.stem for path in FILES.glob("*.mlpackage"))
DTYPES = {
    "float32": "float32", "float16": "float16", "linear8": "uint8", "symmetric8": "uint8",
    "linear3": "uint3", "table4": "uint4", "table1": "uint1",
}  # fmt: skip


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field: a number, or bytes of any meaning."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FILES / f"{name}.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_hold_what_coremltools_reads(name: str) -> None:
    model, wanted = filterdb.read(FILES / f"{name}.mlmodel"), arrays(name)
    names = ["first", "grouped", "depthwise", "up", "up_grouped"]
    assert [layer.name for layer in model.layers] == names
    for layer in model.layers:
        assert np.allclose(layer.weights, wanted[layer.name], rtol=0, atol=5e-7), layer.name
        assert layer.dtype == DTYPES[name]
    kinds = [layer.kind for layer in model.layers]
    assert kinds == ["conv", "grouped", "depthwise", "transposed", "transposed"]
    assert [layer.groups for layer in model.layers] == [1, 2, 8, 1, 2]
    assert [layer.dilation for layer in model.layers][2] == (2, 1)
    assert {layer.depth_source for layer in model.layers} == {"graph"}


def test_schemes() -> None:
    found = {
        name: read_contents(Head.of(FILES / f"{name}.mlmodel")).tensors[0].scheme
        for name in ("float32", "linear8", "table4")
    }
    assert found == {
        "float32": "", "linear8": "per-channel, affine", "table4": "per-tensor, lookup table",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "scale"), [("float32", "bn scale"), ("program32", "scale")])
def test_norms_are_found(name: str, scale: str) -> None:
    suffix = "mlmodel" if name == "float32" else "mlpackage"
    tensors = read_contents(Head.of(FILES / f"{name}.{suffix}")).tensors
    convs = [tensor.conv for tensor in tensors if tensor.conv is not None]
    assert [conv.state for conv in convs] == ["raw"] + ["no_norm"] * (len(convs) - 1)
    norm = convs[0].norm
    assert norm is not None
    assert "bn" in norm.name
    assert np.allclose(norm.scale(), arrays(name)[scale])


@pytest.mark.parametrize("name", PACKAGES)
def test_programs_hold_what_coremltools_reads(name: str) -> None:
    model, wanted = filterdb.read(FILES / f"{name}.mlpackage"), arrays(name)
    assert model.producer == "coremltools 9.0"
    assert len(model.layers) == (2 if name.endswith("_16") else 4)
    for layer in model.layers:
        assert np.array_equal(layer.weights, wanted[layer.name.removesuffix("_to_fp16")])
    assert {path.name for path in model.companions} == {
        "Manifest.json", "model.mlmodel", "weight.bin",
    }  # fmt: skip
    if len(model.layers) == 4:
        kinds = [layer.kind for layer in model.layers]
        assert kinds == ["conv", "grouped", "transposed", "conv"]
        assert model.layers[0].stride == (2, 2)


def test_a_program_may_be_given_without_its_package() -> None:
    inside = FILES / "program32.mlpackage/Data/com.apple.CoreML/model.mlmodel"
    assert len(filterdb.read(inside).layers) == 4
    assert main_file(Head.of(FILES / "program32.mlpackage")) == inside
    assert main_file(Head.of(inside)) is None


def test_detection() -> None:
    for path in (*FILES.glob("*.mlmodel"), *FILES.glob("*.mlpackage")):
        assert identify(Head.of(path)) is load_reader("coreml.model_file")


def network(*layers: bytes) -> bytes:
    return field(500, b"".join(field(1, layer) for layer in layers))


def model(path: Path, content: bytes) -> Path:
    path.write_bytes(field(1, 4) + field(2, b"") + content)
    return path


def convolution(name: str, *, into: bytes = b"x", out: bytes = b"y", kernel: int = 2) -> bytes:
    values = np.arange(4 * 2 * 3**kernel, dtype="<f4")
    weights = field(1, values.tobytes())
    settings = field(1, 4) + field(2, 2) + field(20, b"\x03" * kernel) + field(90, weights)
    return field(1, name.encode()) + field(2, into) + field(3, out) + field(100, settings)


def test_pipelines_are_followed_one_model_after_the_other(tmp_path: Path) -> None:
    inner = field(1, 4) + field(2, b"") + network(convolution("a"))
    tree = field(1, 4) + field(2, b"") + field(402, b"")
    pipeline = field(1, inner) + field(1, inner) + field(1, tree)
    names = field(2, b"one") + field(2, b"two")
    read = filterdb.read(model(tmp_path / "a.mlmodel", field(202, pipeline + names)))
    assert [layer.name for layer in read.layers] == ["one.a", "two.a"]
    assert [layer.conv_depth for layer in read.layers] == [0, 1]
    (skipped,) = read.skipped
    assert skipped.name == "2"


def test_bodies_of_branches_are_followed(tmp_path: Path) -> None:
    body = field(1, convolution("inner"))
    branch = field(1, b"if") + field(605, field(1, body))
    path = model(tmp_path / "a.mlmodel", network(branch, convolution("after", into=b"y", out=b"z")))
    assert [layer.name for layer in filterdb.read(path).layers] == ["inner", "after"]


def test_nesting_without_end(tmp_path: Path) -> None:
    body = convolution("inner")
    for _ in range(90):
        body = field(1, b"if") + field(605, field(1, field(1, body)))
    with pytest.raises(LimitError):
        filterdb.read(model(tmp_path / "a.mlmodel", network(body)))


def test_other_kinds_of_models(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormatError, match="no neural network"):
        filterdb.read(model(tmp_path / "a.mlmodel", field(402, b"x")))
    with pytest.raises(NoConvolutionError):
        filterdb.read(model(tmp_path / "a.mlmodel", network(field(1, b"relu") + field(130, b""))))


def test_what_is_not_analysed_is_named(tmp_path: Path) -> None:
    volume = field(1, b"volume") + field(1471, b"")
    line = convolution("line", kernel=1)
    path = model(tmp_path / "a.mlmodel", network(volume, line, convolution("plane")))
    read = filterdb.read(path)
    assert [layer.name for layer in read.layers] == ["plane"]
    assert {item.name for item in read.skipped} == {"volume", "line"}


def test_a_weight_that_contradicts_its_shape(tmp_path: Path) -> None:
    settings = field(1, 4) + field(2, 2) + field(20, b"\x03\x03") + field(90, field(1, bytes(8)))
    with pytest.raises(CorruptFileError, match=r"'a'.*needs 72"):
        filterdb.read(model(tmp_path / "a.mlmodel", network(field(1, b"a") + field(100, settings))))


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_of_any_length(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, 19).astype(np.uint8)
    text = "".join(f"{code:0{bits}b}" for code in codes)
    high = np.packbits([int(bit) for bit in text])
    assert np.array_equal(unpack_codes(high, bits, 19), codes)
    if bits in (1, 2, 3, 4, 6):
        low = "".join(f"{code:0{bits}b}"[::-1] for code in codes)
        packed = np.packbits([int(bit) for bit in low], bitorder="little")
        assert np.array_equal(decode(packed, f"uint{bits}", (19,)), codes)


def constants(**given: np.ndarray) -> dict[str, Constant]:
    return {
        name: Constant(array.shape, array.dtype.name, lambda array=array: array)
        for name, array in given.items()
    }


CODES = np.array([[0, 1], [2, 3]], np.uint8)


@pytest.mark.parametrize(
    ("op", "given"),
    [
        ("constexpr_affine_dequantize", {"quantized_data": CODES}),
        ("constexpr_blockwise_shift_scale", {"data": CODES, "scale": np.ones((3, 1))}),
        ("constexpr_lut_to_dense", {"indices": CODES, "lut": np.ones((1, 1, 4, 2))}),
        ("constexpr_sparse_to_dense", {"nonzero_data": CODES, "mask": CODES}),
    ],
)
def test_operands_that_do_not_fit(op: str, given: dict[str, np.ndarray]) -> None:
    with pytest.raises(CorruptFileError, match="do not fit"):
        computed(op, constants(**given).get, 0)


def test_codes_beyond_their_table() -> None:
    given = constants(indices=CODES, lut=np.ones((1, 1, 2, 1)))
    found = computed("constexpr_lut_to_dense", given.get, 0)
    assert isinstance(found, Constant)
    with pytest.raises(CorruptFileError, match="beyond its table"):
        found.load()
    assert "not followed" in str(computed("constexpr_new", {}.get, 0))


def test_spreads() -> None:
    assert spread_of((8, 4, 3, 3), (1, 1, 1, 1)) == "per-tensor"
    assert spread_of((8, 4, 3, 3), (8, 1, 1, 1)) == "per-channel"
    assert spread_of((8, 4, 3, 3), (2, 1, 1, 1)) == "per-block"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    shutil.copytree(FILES / "linear_16.mlpackage", tmp_path / "a.mlpackage")
    return tmp_path / "a.mlpackage"


def test_weights_outside_the_package_are_not_opened(package: Path, tmp_path: Path) -> None:
    weights = package / "Data/com.apple.CoreML/weights/weight.bin"
    (tmp_path / "weight.bin").write_bytes(weights.read_bytes())
    weights.unlink()
    with pytest.raises(ReadError, match="give the whole package"):
        filterdb.read(package)
    weights.symlink_to(tmp_path / "weight.bin")
    with pytest.raises(ReadError, match="leads out of the package"):
        filterdb.read(package)
    program = weights.parent.parent / "model.mlmodel"
    content = program.read_bytes()
    name = b"@model_path/weights/weight.bin"
    program.write_bytes(content.replace(name, b"@model_path/../../../weight.bn"))
    with pytest.raises(ReadError, match="outside its package"):
        filterdb.read(package)


def test_a_cache_of_links_is_followed(package: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    for path in [path for path in package.rglob("*") if path.is_file()]:
        target = tmp_path / "blobs" / path.name
        path.rename(target)
        path.symlink_to(target)
    assert len(filterdb.read(package).layers) == 2


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ({"path": "../../model.mlmodel"}, "outside the package"),
        ({"path": "/etc/hostname"}, "outside the package"),
        ({"path": "com.apple.CoreML/other.mlmodel"}, "it is incomplete"),
    ],
)
def test_manifests_that_cannot_be(package: Path, manifest: object, words: str) -> None:
    told = {"itemInfoEntries": {"1": manifest}, "rootModelIdentifier": "1"}
    text = manifest if isinstance(manifest, str) else json.dumps(told)
    (package / "Manifest.json").write_text(text)
    with pytest.raises(ReadError, match=words):
        filterdb.read(package)


@pytest.mark.parametrize("name", NETWORKS)
def test_damaged_networks(tmp_path: Path, name: str) -> None:
    assert read_damaged(tmp_path, [FILES / f"{name}.mlmodel"], cuts=20, flips=60) > 20


@pytest.mark.parametrize("name", PACKAGES)
def test_damaged_packages(tmp_path: Path, name: str) -> None:
    package = tmp_path / f"{name}.mlpackage"
    shutil.copytree(FILES / package.name, package)
    refused = 0
    for path in sorted(package.rglob("*.*")):
        if not path.is_file():
            continue
        whole = path.read_bytes()
        for damaged in damages(whole, 10, 30):
            path.write_bytes(damaged)
            try:
                for layer in filterdb.read(package).layers:
                    assert layer.weights.shape == layer.shape
            except ReadError as error:
                if "unforeseen" in str(error):
                    raise
                refused += 1
        path.write_bytes(whole)
    assert refused > 10
