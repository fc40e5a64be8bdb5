"""Checkpoints of TensorFlow, of both versions, against what TensorFlow itself holds."""

from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_recognised import varint

import filterdb
from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.readers.head import Head
from filterdb.readers.registry import identify, read_contents
from filterdb.readers.tensorflow import sorted_table
from filterdb.readers.tensorflow.checksum import crc32c
from filterdb.readers.tensorflow.slices import Part, decode_key, written
from filterdb.readers.tensorflow.snappy import decompress
from filterdb.readers.tensorflow.sorted_table import MAGIC, entries
from filterdb.readers.tensorflow.variables import Variable, network_of

FILES = Path(__file__).parent / "files" / "tensorflow"
NAMES = ("objects.ckpt", "slots.ckpt", "old.ckpt", "graph.ckpt", "trained.ckpt")


def copied(name: str, folder: Path) -> Path:
    """All the files of a checkpoint; the path of the one that is read."""
    for path in FILES.glob(f"{name}*"):
        if path.suffix != ".npz":
            shutil.copy(path, folder)
    index = folder / f"{name}.index"
    return index if index.exists() else folder / name


def expected(name: str) -> list[np.ndarray]:
    held = np.load(FILES / f"{'v1_saved' if name == 'graph.ckpt' else name}.npz")
    return [held[key] for key in held.files if key.isdigit()]


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_holds_what_tensorflow_held(name: str) -> None:
    index = FILES / f"{name}.index"
    layers = filterdb.read(index if index.exists() else FILES / name).layers
    for layer, weights in zip(layers, expected(name), strict=True):
        np.testing.assert_array_equal(layer.weights, weights, err_msg=layer.name)


def test_by_prefix_by_index_and_by_folder(tmp_path: Path) -> None:
    index = copied("slots.ckpt", tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "slots.ckpt"\n')
    readings = [filterdb.read(path) for path in (tmp_path / "slots.ckpt", index, tmp_path)]
    for reading in readings:
        assert [layer.name for layer in reading.layers] == [
            layer.name for layer in readings[0].layers
        ]
    data = "slots.ckpt.data-00000-of-00001"
    assert [path.name for path in readings[1].companions] == [data]
    assert [path.name for path in readings[2].companions] == ["slots.ckpt.index", data]
    found = identify(Head.of(tmp_path / data))
    assert found.name == "tf-checkpoint-data"
    copied("objects.ckpt", tmp_path)
    assert identify(Head.of(tmp_path)).name == "tf-checkpoints"


@pytest.mark.parametrize("name", ["slots.ckpt", "old.ckpt"])
def test_slots_and_averages_are_named(name: str) -> None:
    index = FILES / f"{name}.index"
    found = filterdb.read(index if index.exists() else FILES / name)
    assert [layer.kind for layer in found.layers][:2] == ["conv", "depthwise"]
    reasons = {item.name: item.reason for item in found.skipped}
    momentum = reasons["net/conv1/weights/Momentum"]
    assert momentum == "what the optimiser (Momentum) keeps of 'net/conv1/weights'"
    assert "running average of" in reasons["net/conv10/weights/ExponentialMovingAverage"]
    assert "order of their names" in found.notes[0]


def test_objects_have_their_names_and_order() -> None:
    found = filterdb.read(FILES / "objects.ckpt.index")
    kinds = ["conv", "depthwise", "depthwise", "conv", "conv", "transposed"]
    assert [layer.kind for layer in found.layers] == kinds
    assert found.layers[1].name == "deep/depthwise_kernel"
    assert sum("optimiser" in item.reason for item in found.skipped) == len(found.skipped) - 1
    assert "order of the objects" in found.notes[0]


def test_the_graph_beside_a_checkpoint_is_used(tmp_path: Path) -> None:
    index = copied("graph.ckpt", tmp_path)
    found = filterdb.read(index)
    assert {layer.depth_source for layer in found.layers} == {"graph"}
    assert [layer.name for layer in found.layers][2] == "net/conv1/weights"  # of two parts
    assert "graph.ckpt.meta" in found.notes[0]
    (tmp_path / "graph.ckpt.meta").write_bytes(b"\x0a\xff\xff")
    layers = filterdb.read(index).layers
    assert {layer.depth_source for layer in layers} == {"order"}


def test_a_graph_in_training_has_the_statistics_that_it_collected() -> None:
    found = read_contents(Head.of(FILES / "trained.ckpt.index"))
    (tensor,) = found.tensors
    assert tensor.conv.state == "raw"
    scale = np.load(FILES / "trained.ckpt.npz")["scale0"]
    np.testing.assert_allclose(tensor.conv.norm.scale(), scale, rtol=1e-5)
    assert not found.skipped  # gradients and the optimiser's slots are no layers


def test_damaged_values_are_found_by_their_checksum(tmp_path: Path) -> None:
    index = copied("slots.ckpt", tmp_path)
    data = tmp_path / "slots.ckpt.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content = bytes(byte ^ 1 for byte in content)
    data.write_bytes(content)
    with pytest.raises(CorruptFileError, match="checksum"):
        _ = filterdb.read(index).layers[0].weights
    data.write_bytes(content[:100])
    with pytest.raises(CorruptFileError, match="beyond the end"):
        filterdb.read(index)
    data.unlink()
    with pytest.raises(ReadError, match="which is missing: put it beside"):
        filterdb.read(index)


def test_data_behind_a_link_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    index = copied("slots.ckpt", tmp_path / "a")
    data = tmp_path / "a" / "slots.ckpt.data-00000-of-00001"
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReadError, match="link that leads out"):
        filterdb.read(index)


@pytest.mark.parametrize("name", ["objects.ckpt.index", "slots.ckpt.index", "old.ckpt",
                                  "graph.ckpt.meta", "slots.ckpt.data-00000-of-00001"])  # fmt: skip
def test_damage_is_an_error_or_a_result(tmp_path: Path, name: str) -> None:
    path = copied(name.split(".ckpt")[0] + ".ckpt", tmp_path)
    data = (FILES / name).read_bytes()
    source = random.Random(len(data))
    copies = [data[:cut] for cut in source.sample(range(len(data)), 40)]
    for _ in range(160):
        copy = bytearray(data)
        copy[source.randrange(len(data))] ^= source.randrange(1, 256)
        copies.append(bytes(copy))
    refused = 0
    for copy in copies:
        (tmp_path / name).write_bytes(copy)
        try:
            for layer in filterdb.read(path).layers:
                assert layer.weights.shape == layer.shape
        except ReadError:
            refused += 1
    assert refused > 0 or name.endswith(".meta")  # without its graph a checkpoint is read


def test_the_checksum() -> None:
    assert crc32c(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283
    for size in (0, 1, 1023, 1024, 1025, 5000, 9 * 1024 + 3):
        data = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
        assert crc32c(data) == bit_by_bit(data.tobytes())


def bit_by_bit(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_snappy() -> None:
    held = np.load(FILES / "snappy.npz")
    for i in range(len(held.files) // 2):
        packed = held[f"packed{i}"]
        assert decompress(packed.data) == held[f"plain{i}"].tobytes()
        for cut in range(0, len(packed), 1 + len(packed) // 50):
            with pytest.raises(CorruptFileError):
                decompress(packed[:cut].data)
    source = random.Random(3)
    for _ in range(300):
        copy = held["packed3"].copy()
        copy[source.randrange(len(copy))] ^= source.randrange(1, 256)
        with contextlib.suppress(ReadError):
            assert len(decompress(copy.data)) <= 32 * len(copy)
    with pytest.raises(CorruptFileError):
        decompress(memoryview(b"\xff\xff\xff\xff\x0f\x00a"))


def literal(content: bytes) -> bytes:
    """A block of Snappy that copies nothing."""
    return (
        varint(len(content)) + bytes([62 << 2]) + (len(content) - 1).to_bytes(3, "little") + content
    )


def stored_block(content: bytes, kind: int) -> bytes:
    packed = (literal(content) if kind == 1 else content) + bytes([kind])
    crc = crc32c(np.frombuffer(packed, np.uint8))
    turned = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
    return packed + ((turned + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def table(listed: list[tuple[bytes, bytes]], kind: int) -> bytes:
    """A sorted table of one block, by LevelDB's description of the format."""

    def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
        entries = (
            b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs
        )
        return b"".join(entries) + bytes(4) + (1).to_bytes(4, "little")

    data = stored_block(block(listed), kind)
    handle = varint(0) + varint(len(data) - 5)
    index = stored_block(block([(listed[-1][0], handle)]), kind)
    footer = handle + varint(len(data)) + varint(len(index) - 5)
    return data + index + footer.ljust(40, b"\0") + MAGIC


@pytest.mark.parametrize("kind", [0, 1])
def test_tables_compressed_and_not(tmp_path: Path, kind: int) -> None:
    (tmp_path / "a").write_bytes(
        table([(key, value.tobytes()) for key, value in entries(FILES / "old.ckpt")], kind)
    )
    assert read_contents(Head.of(tmp_path / "a")).format == "tf-checkpoint-v1"
    held = [(key, value.tobytes()) for key, value in entries(tmp_path / "a")]
    assert held == [(key, value.tobytes()) for key, value in entries(FILES / "old.ckpt")]


def test_an_unknown_compression_and_a_flood_of_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(table([(b"", b"\x08\x01")], 7))
    with pytest.raises(CorruptFileError, match="unknown way 7"):
        filterdb.read(tmp_path / "a")
    monkeypatch.setattr(sorted_table, "MAX_ENTRIES", 3)
    with pytest.raises(LimitError, match="more than 3 entries"):
        filterdb.read(FILES / "slots.ckpt.index")


@pytest.mark.parametrize(
    ("key", "part"),
    [
        # As TensorFlow writes them: EncodeTensorNameSlice.
        (b"\x00a/b\x00\x01\x01\x02\x80\x7f\x80\x83", Part("a/b", ((0, -1), (0, 3)))),
        (b"\x00\x00\xff\xff\x00\x00\x01\x01\x01\xc0\x40\xc1\x00", Part("\0\xff", ((64, 256),))),
    ],
)
def test_keys_of_parts(key: bytes, part: Part) -> None:
    if b"\xff\xff" in key:  # a name that is no UTF-8 once it is decoded
        with pytest.raises(CorruptFileError, match="not text"):
            decode_key(key)
        return
    assert decode_key(key) == part
    for cut in range(1, len(key)):
        with pytest.raises(CorruptFileError):
            decode_key(key[:cut])


def test_parts_written_as_text() -> None:
    assert written("3 3 4 6 -:-:0,2:3,3") == ((0, -1), (0, -1), (0, 2), (3, 3))
    with pytest.raises(CorruptFileError):
        written("3 3 a:b")
    assert Part("w", ((0, -1), (2, 2))).within((3, 4)) == (slice(0, 3), slice(2, 4))
    assert Part("w", ((0, -1), (2, 3))).within((3, 4)) is None
    assert Part("w", ((0, -1),)).within((3, 4)) is None


def variable(name: str, *shape: int) -> Variable:
    return Variable(name, shape, "float32", lambda: np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("variables", "shape"),
    [
        ([variable("a/w", 3, 3, 8, 1), variable("a/bias", 8)], (8, 1, 3, 3)),
        ([variable("a/w", 3, 3, 8, 1), variable("a/bias", 1)], (1, 8, 3, 3)),
        ([variable("a/depthwise_weights", 3, 3, 8, 2)], (16, 1, 3, 3)),
        ([variable("a/pointwise_weights", 1, 1, 8, 2)], (2, 8, 1, 1)),
        ([variable("vfc/weight0", 1, 1, 96, 1)], (1, 96, 1, 1)),
    ],
)
def test_layouts_of_bare_variables(variables: list[Variable], shape: tuple[int, ...]) -> None:
    tensors, _ = network_of(variables)
    assert tensors[0].shape == tensors[0].load().shape == shape


def test_the_zoo(zoo: Path) -> None:
    found = filterdb.read(zoo / "weights" / "mlperf-tiny--kws.ckpt.index")
    assert [layer.kind for layer in found.layers] == ["conv", *["depthwise", "conv"] * 4]
    assert sum(layer.n_filters for layer in found.layers if layer.kernel == (3, 3)) == 256
    assert sum("optimiser" in item.reason for item in found.skipped) == 20
    found = filterdb.read(zoo / "weights" / "pyaq--go9x9.ckpt")
    threes = sum(layer.n_filters for layer in found.layers if layer.kernel == (3, 3))
    assert (len(found.layers), threes) == (14, 102048)
    assert {layer.kind for layer in found.layers} == {"conv"}
    contents = read_contents(Head.of(zoo / "weights" / "pyaq--go9x9.ckpt"))
    assert contents.format == "tf-checkpoint-v1"
