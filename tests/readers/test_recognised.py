from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import sqlite3
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from filterdb.readers.format import Recognised
from filterdb.readers.head import Head
from filterdb.readers.recognise.plain_text import text_of
from filterdb.readers.recognise.recognised import RECOGNISED
from filterdb.readers.registry import identify


def name_of(path: Path) -> str | None:
    """What a file is recognised as."""
    head = Head.of(path)
    return next((known.name for known in RECOGNISED if known.matches(head)), None)


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


NODE = field(1, field(1, b"conv/weights") + field(2, b"Const"))
TABLE_END = bytes(40) + bytes.fromhex("57fb808b247547db")

CONTENT: dict[str, tuple[str, bytes]] = {
    "ort": ("a.ort", b"\x1c\0\0\0ORTM" + bytes(50)),
    "executorch": ("a.pte", b"\x1c\0\0\0ET12" + bytes(50)),
    "tensorrt": ("a.engine", b"ptrt\0\0\0\0"),
    "rknn": ("a.rknn", b"RKNN\0\0\0\0"),
    "gguf": ("a.gguf", b"GGUF\x03\0\0\0"),
    "ggml": ("a.bin", b"lmgg\x01\0\0\0"),
    "mxnet": ("a.params", (0x112).to_bytes(8, "little") + bytes(8) + b"\x02\0"),
    "torch7": ("a.t7", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\x10\0\0\0nn.Sequential"),
    "matlab": ("a.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(512)),
    "tensorflow-pbtxt": ("a.pbtxt", b'node {\n  name: "a"\n  op: "Const"\n}\n'),
    "tensorflow-meta": ("a.meta", field(1, field(1, b"ops")) + field(2, NODE * 40)),
    "caffe-prototxt": ("a.prototxt", b'name: "PNet"\nlayer {\n  name: "conv1"\n  type: "Data"\n}'),
    "joblib": ("a.joblib", b"\x80\x04\x95\x20\0\0\0\0\0\0\0\x8c\x14joblib.numpy_pickle" + bytes(9)),
    "gzip": ("c.gz", gzip.compress(b"anything")),
    "xz": ("a.xz", lzma.compress(b"anything")),
    "bzip2": ("a.bz2", bz2.compress(b"anything")),
    "zstd": ("a.zst", b"\x28\xb5\x2f\xfd" + bytes(20)),
    "lz4": ("a.lz4", b"\x04\x22\x4d\x18" + bytes(20)),
    "7z": ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20)),
    "rar": ("a.rar", b"Rar!\x1a\x07\x01\0"),
    "empty": ("a.pth", b""),
    "zeros": ("a.pth", bytes(10_000)),
    "git-lfs": ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
    "html": ("a.pth", b"\n<!DOCTYPE html>\n<html lang='en'><body>404</body></html>"),
    "png": ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(20)),
    "jpeg": ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(20)),
    "gif": ("a.gif", b"GIF89a" + bytes(20)),
    "tiff": ("a.tif", b"II*\0" + bytes(20)),
    "riff": ("a.webp", b"RIFF\x10\0\0\0WEBP"),
    "mp4": ("a.mp4", b"\0\0\0\x20ftypisom"),
    "pdf": ("a.pdf", b"%PDF-1.7\n%\xe2\xe3"),
    "program": ("a.so", b"\x7fELF\x02\x01\x01" + bytes(20)),
    "parquet": ("a.parquet", b"PAR1\x15\x04"),
    "json": ("a.json", b'{"a": [1, 2]}'),
    "xml": ("a.xml", b'<?xml version="1.0"?><svg></svg>'),
    "yaml": ("a.yaml", b"# settings\nname: resnet\nepochs: 90\n"),
    "csv": ("a.csv", b"model,task\nresnet18,classification\nvgg,segmentation\n"),
    "text": ("a.txt", "Erwägungen über Filter.\nMehr nicht.\n".encode()),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_decides(tmp_path: Path, name: str) -> None:
    path = tmp_path / CONTENT[name][0]
    path.write_bytes(CONTENT[name][1])
    assert name_of(path) == name


@pytest.mark.parametrize("name", CONTENT)
def test_a_file_cut_short_is_looked_at_without_an_exception(tmp_path: Path, name: str) -> None:
    content = CONTENT[name][1]
    path = tmp_path / CONTENT[name][0]
    for length in range(min(len(content), 60)):
        path.write_bytes(content[:length])
        name_of(path)


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "a.py")


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE a (b)")
    connection.close()


def folder(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text("{}")

    return make


def checkpoints(path: Path) -> None:
    path.mkdir()
    (path / "checkpoint").write_text('model_checkpoint_path: "model-2"\n')


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("tar", tar),
        ("zip", zipped),
        ("sqlite", sqlite),
        ("tensorflow-pbtxt", folder("saved_model.pbtxt")),
        ("tf-checkpoints", checkpoints),
        ("pytorch-folder", folder("data.pkl", "version")),
        ("folder", folder("a.pth")),
    ],
)
def test_archives_and_folders(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / "it")
    assert name_of(tmp_path / "it") == name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("caffe-prototxt", b'name: "PNet"\nlayers {\n  type: CONVOLUTION\n}'),
        ("html", b"<!-- saved --><html><head></head></html>"),
    ],
)  # fmt: skip
def test_further_shapes_of_a_format(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert name_of(tmp_path / "a") == name


def test_binaries_are_told_by_what_stands_beside_them(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=99).astype("<f4").tobytes()
    for name in ("shard1of1.bin", "m.data-00000-of-00002", "lonely.bin"):
        (tmp_path / name).write_bytes(noise)
    (tmp_path / "m.index").write_bytes(TABLE_END)
    manifest = [{"paths": ["shard1of1.bin"], "weights": [{"name": "a", "dtype": "float32"}]}]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert name_of(tmp_path / "m.data-00000-of-00002") == "tf-checkpoint-data"
    assert name_of(tmp_path / "shard1of1.bin") == "tfjs-shard"
    assert name_of(tmp_path / "lonely.bin") is None


@pytest.mark.parametrize("seed", range(50))
def test_noise_is_not_recognised(tmp_path: Path, seed: int) -> None:
    (tmp_path / "a").write_bytes(np.random.default_rng(seed).bytes(5000))
    assert name_of(tmp_path / "a") is None


def test_this_very_python_is_a_program() -> None:
    assert name_of(Path(sys.executable)) == "program"


@pytest.mark.parametrize("cut", range(4))
def test_text_may_be_cut_within_a_character(tmp_path: Path, cut: int) -> None:
    text = "x" * cut + "é漢" * 2000
    (tmp_path / "a").write_text(text, encoding="utf-8")
    assert text_of(Head.of(tmp_path / "a")) is not None


def test_the_table_is_sound() -> None:
    names = [known.name for known in RECOGNISED]
    assert len(set(names)) == len(names)
    for known in RECOGNISED:
        assert known.mend.endswith("."), known.name
        assert known.title[0] not in ".,", known.name
    assert names[-1] == "folder"
    assert {known.name for known in RECOGNISED if not known.model} >= {"html", "empty", "zip"}
    covered = {
        *CONTENT,
        "tf-checkpoint-data",
        "tf-checkpoints",
        "tar",
        "zip",
        "sqlite",
        "tfjs-shard",
        "pytorch-folder",
        "folder",
    }
    assert covered == set(names)


def test_the_zoo(zoo: Path) -> None:
    with (zoo / "manifest.csv").open(newline="") as file:
        formats = {row["file"]: row["format"] for row in csv.DictReader(file)}
    readable = {"pytorch", "onnx", "keras-hdf5", "npz", "safetensors", "torchscript", "tflite",
                "tfjs", "caffe", "ncnn", "pickle", "katago-txt-gz", "tensorflow-pb",
                "tf-checkpoint", "tf-checkpoint-v1"}  # fmt: skip
    expected = {name: kind for name, kind in formats.items() if kind not in readable}
    assert expected == {}
    parts = {
        ".tfjs": "tfjs-shard",
        ".prototxt": "caffe-prototxt",
        "-of-00001": "tf-checkpoint-data",
    }
    for path in (zoo / "weights").rglob("*"):
        name = str(path.relative_to(zoo / "weights"))
        # The weights of an ncnn network are read together with their .param.
        if name not in formats and path.is_file() and not name.endswith("ncnn.bin"):
            suffix = ".tfjs" if ".tfjs" in name else next(s for s in parts if name.endswith(s))
            expected[name] = parts[suffix]
    for name, kind in expected.items():
        assert name_of(zoo / "weights" / name) == kind, name


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "content",
    [b"<!---->" * 400, b"<!--" * 800, b"<!-- -- " * 400, b"<?xml " + b" " * 4000, b"a=" * 2000],
)
def test_text_made_to_be_slow_is_not(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert identify(Head.of(tmp_path / "a.pth")) is not None


def test_folders_are_told_apart_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".", "/", ".."):
        found = identify(Head.of(Path(name)))
        assert isinstance(found, Recognised)
        assert found.name == "folder"


HOSTILE = {
    "white space": b" \n" * 2048,
    "lines": b"\n" * 4096,
    "layer": b"layer " * 700,
    "layer and space": b"layer" + b"\n" * 4091,
    "comments": b"# a\n" * 1024,
    "colons": b"a:" * 2048,
    "xml": b"<?xml ?>" * 512,
    "net": b"[net" * 1024,
    "word": b"a" * 4096,
    "quotes": b"\x0a\x00" + field(2, b'"\x01' + b"(" * 4000),
    "pickle": b"(" * 4096,
    "pickled name": b"c" + b"a" * 4095,
    "table": b"\0\0" + b"\xff" * 4094,
    "gzip": gzip.compress(b"a" + b" 1" * 30_000),
    "gzipped spaces": gzip.compress(b"a" + b" " * 60_000),
    "gzipped digits": gzip.compress(b"a 1 " + b"1" * 60_000),
    "opening": b"[" * 4096,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_no_predicate_backtracks_for_long(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    head = Head.of(tmp_path / "a")
    for known in RECOGNISED:
        start = time.perf_counter()
        known.matches(head)
        assert time.perf_counter() - start < 0.5, known.name


def test_a_long_file_of_zeros_is_sampled(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(40 * 2**30)  # sparse: it takes no room
    start = time.perf_counter()
    assert name_of(tmp_path / "a") == "zeros"
    assert time.perf_counter() - start < 5
    with (tmp_path / "a").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert name_of(tmp_path / "a") is None


@pytest.mark.parametrize("at", [5000, 3 * 2**20 - 1])
def test_one_byte_in_a_short_file_of_zeros_is_found(tmp_path: Path, at: int) -> None:
    content = bytearray(3 * 2**20)
    content[at] = 1
    (tmp_path / "a").write_bytes(content)
    assert name_of(tmp_path / "a") is None
