"""The readers of Flax and Orbax, against the arrays that JAX wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged_files import read_damaged

import filterdb
from filterdb.errors import CorruptFileError, LimitError, NoConvolutionError, ReadError
from filterdb.layer import Contents
from filterdb.readers.flax.message_pack import Extension, Unpacker
from filterdb.readers.flax.orbax import main_file, matches
from filterdb.readers.flax.stores import FolderStore, OcdbtStore
from filterdb.readers.head import Head
from filterdb.readers.registry import identify, load_reader, read_contents

FILES = Path(__file__).with_name("files") / "flax"
CHECKPOINTS = ("zarr2", "zarr3", "ocdbt", "ocdbt3", "items")
CHUNKED = ("chunks_gzip", "chunks_plain", "sharded", "tree", "tree_zstd")


def arrays(name: str = "arrays") -> dict[str, np.ndarray]:
    with np.load(FILES / f"{name}.npz") as archive:
        return {key.replace("/kernel", ""): array for key, array in archive.items()}


def contents(name: str) -> Contents:
    return read_contents(Head.of(FILES / name))


@pytest.mark.parametrize("name", ["variables", "params", "chunked"])
def test_kernels_are_those_of_jax(name: str) -> None:
    model, wanted = filterdb.read(FILES / f"{name}.msgpack"), arrays()
    assert model.format == "flax"
    assert {layer.name for layer in model.layers} == {
        key for key in wanted if key.startswith("Conv") and " " not in key
    }
    for layer in model.layers:
        assert np.array_equal(layer.weights, wanted[layer.name]), layer.name
        assert layer.dtype == "float32"


def test_kinds() -> None:
    layers = {layer.name: layer for layer in filterdb.read(FILES / "variables.msgpack").layers}
    assert layers["Conv_1"].kind == "depthwise"
    assert layers["ConvTranspose_0"].kind == "transposed"
    # Made with transpose_kernel=True: its bias tells which axis is the output.
    assert layers["ConvTranspose_1"].shape == (5, 4, 2, 3)


def test_parameters_are_taken_as_trained_and_without_the_optimiser() -> None:
    model, wanted = filterdb.read(FILES / "state.msgpack"), arrays()
    assert len(model.layers) == 5
    for layer in model.layers:
        assert layer.dtype == "bfloat16"
        assert np.array_equal(layer.weights, wanted[f"{layer.name} bfloat16"])
    reasons = {item.name: item.reason for item in model.skipped}
    assert "of this file, params was taken" in reasons["ema_params"]
    assert not any("opt_state" in name for name in reasons)


@pytest.mark.parametrize("name", ["variables.msgpack", "zarr2", "ocdbt"])
def test_norms_are_found_beside_the_parameters(name: str) -> None:
    layer = filterdb.read(FILES / name).layers
    (conv,) = [item for item in layer if item.name == "Conv_0"]
    assert conv.state == "raw"
    assert conv.norm is not None
    assert conv.norm.name == "BatchNorm_0"
    assert np.allclose(conv.norm.scale(), arrays()["scale"])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_hold_the_same(name: str) -> None:
    model = filterdb.read(FILES / name)
    (layer,) = model.layers
    assert model.format == "orbax"
    assert np.array_equal(layer.weights, arrays()["Conv_0"])
    assert model.companions
    assert all(path.is_file() for path in model.companions)


@pytest.mark.parametrize("name", CHUNKED)
def test_chunks_are_put_together(name: str) -> None:
    model, wanted = filterdb.read(FILES / name), arrays("chunks")
    assert len(model.layers) == 3
    for layer in model.layers:
        assert np.array_equal(layer.weights, wanted[layer.name])


def test_trees_have_several_levels_and_values_elsewhere() -> None:
    store = OcdbtStore(FILES / "tree")
    assert len(store.arrays()) == 3
    assert len(store.values) == 3 * (1 + 9)
    assert any(not isinstance(value, np.ndarray) for value in store.values.values())


def test_without_a_library_for_zstandard_the_way_out_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("filterdb.readers.flax.compression.import_module", absent)
    with pytest.raises(ReadError, match="pip install zstandard"):
        OcdbtStore(FILES / "ocdbt")
    assert len(OcdbtStore(FILES / "tree").values) == 30  # is not compressed


def packed(value: object) -> bytes:
    """MessagePack of short things."""
    if isinstance(value, dict):
        parts = b"".join(packed(k) + packed(v) for k, v in value.items())
        return bytes([0x80 | len(value)]) + parts
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(packed, value))
    if isinstance(value, str):
        return b"\xd9" + bytes([len(value)]) + value.encode()
    if isinstance(value, bytes):
        return b"\xc5" + len(value).to_bytes(2, "big") + value
    if isinstance(value, np.ndarray):
        held = packed([list(value.shape), value.dtype.name, value.tobytes()])
        return b"\xc8" + len(held).to_bytes(2, "big") + b"\x01" + held
    assert isinstance(value, int)
    return b"\xcf" + value.to_bytes(8, "big")


def saved(path: Path, tree: dict[str, object]) -> Path:
    path.write_bytes(packed(tree))
    return path


KERNEL = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)


def test_what_is_no_kernel_is_named(tmp_path: Path) -> None:
    tree = {"params": {"conv": {"kernel": KERNEL}, "grid": {"table": KERNEL}}}
    model = filterdb.read(saved(tmp_path / "a.msgpack", tree))
    assert [layer.name for layer in model.layers] == ["conv"]
    (skipped,) = model.skipped
    assert "no kernel" in skipped.reason


def test_newer_modules_keep_their_values_one_deeper(tmp_path: Path) -> None:
    tree = {"conv": {"kernel": {"value": KERNEL}, "bias": {"value": KERNEL[0, 0, 0]}}}
    (layer,) = filterdb.read(saved(tmp_path / "a.msgpack", tree)).layers
    assert layer.name == "conv"
    assert np.array_equal(layer.weights, KERNEL.transpose(3, 2, 0, 1))


def test_alphabetical_names_are_put_in_natural_order(tmp_path: Path) -> None:
    tree = {"params": {f"Conv_{i}": {"kernel": KERNEL} for i in (0, 1, 10, 2)}}
    model = filterdb.read(saved(tmp_path / "a.msgpack", tree))
    assert [layer.name for layer in model.layers] == [f"Conv_{i}" for i in (0, 1, 2, 10)]
    assert any("alphabet" in note for note in model.notes)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\x7f", 127), (b"\xe0", -32), (b"\xc0", None), (b"\xc3", True), (b"\xcd\x01\0", 256),
        (b"\xd1\xff\xfe", -2), (b"\xcb" + np.array(0.5, ">f8").tobytes(), 0.5),
        (b"\xda\0\x01a", "a"), (b"\xdc\0\x02\x01\x02", [1, 2]), (b"\xde\0\x01\x01\x02", {1: 2}),
    ],
)  # fmt: skip
def test_values_of_every_kind(content: bytes, value: object) -> None:
    unpacker = Unpacker(np.frombuffer(content, np.uint8))
    assert unpacker.value() == value
    assert unpacker.position == len(content)


def test_extensions_and_bytes_are_views() -> None:
    data = np.frombuffer(b"\xd6\x05abcd", np.uint8)
    found = Unpacker(data).value()
    assert isinstance(found, Extension)
    assert (found.code, found.data.tobytes()) == (5, b"abcd")
    assert np.shares_memory(found.data, data)


@pytest.mark.parametrize(
    "content",
    [b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xa5ab", b"\x81\x90\x01", b"\xa1\xff", b"\xc9\x7f\0\0\0"],
)
def test_what_is_no_message_pack(content: bytes) -> None:
    with pytest.raises(CorruptFileError):
        Unpacker(np.frombuffer(content, np.uint8)).value()


def test_more_arrays_than_in_any_network(tmp_path: Path) -> None:
    held = packed(np.zeros(1, np.float32))
    (tmp_path / "a.msgpack").write_bytes(b"\x81\xa1a\xdd\x00\x01\x86\xa1" + held * 100_001)
    with pytest.raises(LimitError, match="arrays"):
        filterdb.read(tmp_path / "a.msgpack")


def test_nesting_without_end() -> None:
    with pytest.raises(LimitError):
        Unpacker(np.frombuffer(b"\x91" * 10_000, np.uint8)).value()


@pytest.mark.parametrize(
    "array",
    [[[3, 3], "float32", b"abc"], [[2**60], "float32", b""], [[1], "object", b"abcd"], [1], 3],
)
def test_arrays_that_contradict_themselves(tmp_path: Path, array: object) -> None:
    held = packed(array)
    content = b"\x81\xa4conv\x81\xa6kernel\xc7" + bytes([len(held)]) + b"\x01" + held
    (tmp_path / "a.msgpack").write_bytes(content)
    with pytest.raises(CorruptFileError, match="conv/kernel"):
        filterdb.read(tmp_path / "a.msgpack")


def test_a_tree_without_kernels(tmp_path: Path) -> None:
    with pytest.raises(NoConvolutionError):
        filterdb.read(saved(tmp_path / "a.msgpack", {"params": {"dense": {"bias": KERNEL[0]}}}))


@pytest.mark.parametrize("name", ["variables", "state", "chunked"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    assert read_damaged(tmp_path, [FILES / f"{name}.msgpack"]) > 40


DAMAGED = {
    "ocdbt": ("manifest.ocdbt", "_METADATA"),
    "zarr2": ("params.Conv_0.kernel/.zarray", "params.Conv_0.kernel/0.0.0.0"),
    "zarr3": ("params.Conv_0.kernel/zarr.json",),
    "sharded": ("params.Conv_0.kernel/c/0/0/0/0",),
    "tree": ("manifest.ocdbt", "d/*"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_folders(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(3)
    shutil.copytree(FILES / name, tmp_path / name)
    for pattern in DAMAGED[name]:
        for path in sorted((tmp_path / name).glob(pattern)):
            whole = path.read_bytes()
            for i in range(40):
                damaged = bytearray(whole)
                damaged[random.integers(len(whole))] ^= random.integers(1, 256)
                path.write_bytes(damaged if i % 2 else whole[: random.integers(len(whole))])
                try:
                    for layer in filterdb.read(tmp_path / name).layers:
                        assert layer.weights.shape == layer.shape
                except ReadError:
                    pass
            path.write_bytes(whole)
    assert filterdb.read(tmp_path / name).layers


@pytest.mark.parametrize("key", ["../secret", "/etc/hostname", "link", "a/../../secret", "a\0b"])
def test_no_file_outside_the_folder_is_opened(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "secret")
    assert FolderStore(tmp_path / "store").get(key) is None


def test_a_database_whose_data_is_missing(tmp_path: Path) -> None:
    shutil.copytree(FILES / "tree", tmp_path / "tree")
    shutil.rmtree(tmp_path / "tree" / "d")
    with pytest.raises(ReadError, match="is missing: copy the whole folder"):
        filterdb.read(tmp_path / "tree")


def test_a_chunk_that_unfolds_without_end(tmp_path: Path) -> None:
    import pyarrow as pa

    shutil.copytree(FILES / "zarr2", tmp_path / "zarr2")
    bomb = pa.compress(bytes(50_000_000), codec="zstd", asbytes=True)
    (tmp_path / "zarr2/params.Conv_0.kernel/0.0.0.0").write_bytes(bomb)
    (layer,) = filterdb.read(tmp_path / "zarr2").layers
    with pytest.raises(LimitError, match="unfolds to more"):
        _ = layer.weights


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        (b'"shape":[3,3,3,6]', b'"shape":[9,9,9]'),
        (b'"shape":[3,3,3,6]', b'"shape":[99999,99999,99999,99999]'),
        (b'"zstd"', b'"blosc"'),
        (b'"<f4"', b'"|O"'),
        (b'"chunks":[3,3,3,6]', b'"chunks":[9000,9000,9000,9000]'),
        (b'"chunks":[3,3,3,6]', b'"chunks":[0,3,3,6]'),
    ],
)
def test_descriptions_that_cannot_be(tmp_path: Path, said: bytes, instead: bytes) -> None:
    shutil.copytree(FILES / "zarr2", tmp_path / "zarr2")
    path = tmp_path / "zarr2/params.Conv_0.kernel/.zarray"
    changed = path.read_bytes().replace(said, instead)
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(ReadError):
        filterdb.read(tmp_path / "zarr2")


def test_detection(tmp_path: Path) -> None:
    assert identify(Head.of(FILES / "variables.msgpack")) is load_reader("flax.serialised")
    for name in (*CHECKPOINTS, *CHUNKED):
        assert identify(Head.of(FILES / name)) is load_reader("flax.orbax"), name
    (tmp_path / "a.pth").write_bytes(b"x")
    assert not matches(Head.of(tmp_path))


@pytest.mark.parametrize("name", [*CHECKPOINTS, *CHUNKED])
def test_a_file_stands_for_a_checkpoint(name: str) -> None:
    first = main_file(Head.of(FILES / name))
    assert first is not None
    assert main_file(Head.of(first)) is None
    whole, single = read_contents(Head.of(FILES / name)), read_contents(Head.of(first))
    assert whole.tensors == single.tensors
    assert first not in single.companions


def test_an_empty_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(CorruptFileError, match="holds no arrays"):
        filterdb.read(tmp_path)


def test_the_order_is_that_of_the_calls() -> None:
    names = [tensor.name for tensor in contents("variables.msgpack").tensors]
    assert names.index("Conv_0/kernel") < names.index("BatchNorm_0/running_var")
    assert "BatchNorm_0/weight" in names
