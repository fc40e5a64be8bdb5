"""Archives: the network inside, within limits, and nothing left behind."""

from __future__ import annotations

import gc
import gzip
import io
import os
import random
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tiny_files import FILES

import filterdb
from filterdb.errors import CorruptFileError, LimitError, NoConvolutionError, ReadError
from filterdb.readers.archives import archive, members
from filterdb.readers.format import Recognised
from filterdb.readers.head import Head
from filterdb.readers.recognise.recognised import RECOGNISED
from filterdb.readers.registry import identify, read_contents

SAVED = Path(__file__).parent / "files" / "tensorflow"
Pack = Callable[[Path, dict[str, bytes]], None]


@pytest.fixture(autouse=True)
def private(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("private")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def zipped(path: Path, content: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def tarred(path: Path, content: dict[str, bytes], *, mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def tgz(path: Path, content: dict[str, bytes]) -> None:
    tarred(path, content, mode="w:gz")


def gzipped(path: Path, content: dict[str, bytes]) -> None:
    path.write_bytes(gzip.compress(next(iter(content.values()))))


NETWORK = safetensors.numpy.save({"w": np.ones((8, 8, 3, 3), np.float32)})
PACKS: dict[str, Pack] = {"a.zip": zipped, "a.tar": tarred, "a.tar.gz": tgz, "a.gz": gzipped}


def tiny(kind: str, folder: Path) -> bytes:
    path = folder / f"tiny-{FILES[kind][1]}"
    FILES[kind][2](path)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("kind", ["pytorch-zip", "safetensors", "onnx",
                                  "keras-hdf5", "npz-compressed"])  # fmt: skip
def test_every_format_in_every_archive(tmp_path: Path, private: Path, pack: str, kind: str) -> None:
    (tmp_path / "plain").mkdir()
    name = FILES[kind][1]
    content = tiny(kind, tmp_path)
    (tmp_path / "plain" / name).write_bytes(content)
    PACKS[pack](tmp_path / pack, {f"net/{name}": content})
    ours = filterdb.read(tmp_path / pack)
    plain = filterdb.read(tmp_path / "plain" / name)
    assert ours.format == plain.format
    assert len(ours.layers) == len(plain.layers) > 0
    assert "archive" in ours.notes[0]
    assert ours.companions == ()
    for one, other in zip(ours.layers, plain.layers, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
    assert list(private.glob("filterdb-*"))
    del ours, one
    gc.collect()
    assert not list(private.glob("filterdb-*"))  # the folder goes with the last tensor


def test_a_saved_model_in_its_archive() -> None:
    found = filterdb.read(SAVED / "keras_saved.tar.gz")
    assert found.format == "saved-model"
    assert found.notes[0] == "Read from keras_saved in the tar archive."
    assert len(found.layers) == 6
    assert found.layers[0].weights.shape == (4, 3, 3, 3)
    norm = read_contents(Head.of(SAVED / "keras_saved.tar.gz")).tensors[0].conv.norm
    assert norm.scale().shape == (4,)


def test_a_saved_model_at_the_top_of_its_archive(tmp_path: Path) -> None:
    with (
        tarfile.open(SAVED / "v1_saved.tar.gz") as source,
        zipfile.ZipFile(tmp_path / "a.zip", "w") as target,
    ):
        for info in source:
            if info.isfile():
                content = source.extractfile(info)
                assert content is not None
                target.writestr(info.name.partition("/")[2], content.read())
    found = filterdb.read(tmp_path / "a.zip")
    assert found.format == "saved-model"
    assert found.notes[0] == "Read from the top folder in the ZIP archive."


def test_formats_that_are_archives_are_not_unpacked(tmp_path: Path) -> None:
    for kind in ("pytorch-zip", "torchscript", "npz", "keras", "pytorch-tar"):
        path = tmp_path / FILES[kind][1]
        path.write_bytes(tiny(kind, tmp_path))
        assert not archive.matches(Head.of(path)), kind


def test_of_several_networks_the_largest_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    big, small = io.BytesIO(), io.BytesIO()
    np.savez(big, w=np.ones((8, 8, 3, 3), np.float32))
    np.savez(small, w=np.ones((4, 8, 3, 3), np.float32))
    content = {"a.npz": small.getvalue(), "b/b.npz": big.getvalue(), "c.npz": b"PK\x05\x06broken"}
    zipped(tmp_path / "a.zip", {**content, "d.pth": b"\x80\x02}q\0X"})
    found = filterdb.read(tmp_path / "a.zip")
    assert found.layers[0].shape == (8, 8, 3, 3)
    assert found.notes[0] == (
        "Read from b/b.npz in the ZIP archive, which has the most filters of its networks; "
        "not from a.npz."
    )
    reasons = {item.name: item.reason for item in found.skipped}
    assert reasons["a.npz"] == "another network of 32 filters in the archive"


@pytest.mark.parametrize("pack", ["a.zip", "a.tar", "a.tar.gz"])
def test_nothing_is_written_outside(tmp_path: Path, private: Path, pack: str) -> None:
    odd = ["../evil.bin", "/tmp/evil.bin", "a/../../evil.bin", "C:\\evil.bin", "a\\..\\evil.bin"]
    PACKS[pack](tmp_path / pack, {**dict.fromkeys(odd, b"evil"), "good.bin": NETWORK})
    found = filterdb.read(tmp_path / pack)
    assert {item.name for item in found.skipped} >= {"../evil.bin", "a/../../evil.bin"}
    assert all("leads out" in item.reason for item in found.skipped)
    inside = [path for path in private.rglob("filterdb-*/**/*") if path.is_file()]
    assert [path.name for path in inside] == ["good.bin"]
    assert not list(tmp_path.rglob("evil*"))
    assert oct(next(private.glob("filterdb-*")).stat().st_mode)[-3:] == "700"


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for name, kind in (("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("f", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            packed.addfile(info)
        info = tarfile.TarInfo("w.bin")
        info.size = len(NETWORK)
        packed.addfile(info, io.BytesIO(NETWORK))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed_zip:
        link = zipfile.ZipInfo("l")
        link.external_attr = 0o120777 << 16
        packed_zip.writestr(link, "/etc/passwd")
        packed_zip.writestr("w.bin", NETWORK)
    reasons = [item.reason for item in filterdb.read(tmp_path / "a.tar").skipped]
    assert reasons == ["a link, which is not followed"] * 2 + ["no regular file"]
    reasons = [item.reason for item in filterdb.read(tmp_path / "a.zip").skipped]
    assert reasons == ["a link, which is not followed"]


def test_archives_within_archives_are_not_opened(tmp_path: Path) -> None:
    zipped(tmp_path / "inner.zip", {"w.bin": NETWORK})
    zipped(tmp_path / "outer.zip", {"inner.zip": (tmp_path / "inner.zip").read_bytes()})
    found = identify(Head.of(tmp_path / "outer.zip"))
    assert isinstance(found, Recognised)
    assert found.name == "zip"


@pytest.mark.parametrize("pack", PACKS)
def test_archives_without_a_network_are_what_they_were(tmp_path: Path, pack: str) -> None:
    PACKS[pack](
        tmp_path / pack, {"a.txt": b"nothing but text\n" * 9, "b.png": b"\x89PNG\r\n\x1a\n"}
    )
    found = identify(Head.of(tmp_path / pack))
    assert isinstance(found, Recognised)
    assert not found.model


def bomb(path: Path) -> None:
    """Two hundred and sixty million zero bytes behind a network."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        packed.open("w.bin", "w", force_zip64=True) as file,
    ):
        file.write(NETWORK)
        for _ in range(260):
            file.write(bytes(10**6))


def test_a_bomb_is_refused(tmp_path: Path, private: Path) -> None:
    bomb(tmp_path / "a.zip")
    with pytest.raises(LimitError, match="out of proportion"):
        filterdb.read(tmp_path / "a.zip")
    assert not list(private.glob("filterdb-*"))
    big = gzip.compress(NETWORK + bytes(260 * 10**6), 1)
    (tmp_path / "a.bin.gz").write_bytes(big)
    with pytest.raises(LimitError, match="out of proportion"):
        filterdb.read(tmp_path / "a.bin.gz")
    assert not list(private.glob("filterdb-*"))


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_MEMBERS", 20)
    zipped(tmp_path / "a.zip", {f"{i}.bin": NETWORK for i in range(21)})
    with pytest.raises(ReadError, match="more than 20 members"):
        archive.read(Head.of(tmp_path / "a.zip"))


def test_an_encrypted_archive(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"w.bin": NETWORK, "v.bin": NETWORK})
    content = bytearray((tmp_path / "a.zip").read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8 : at + 10] = struct.pack("<H", 1)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(CorruptFileError, match="encrypted"):
        archive.read(Head.of(tmp_path / "a.zip"))


def test_the_only_network_is_damaged(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"w.bin": NETWORK[:-9]})
    with pytest.raises(CorruptFileError, match=r"Its member 'w\.bin': "):
        filterdb.read(tmp_path / "a.zip")
    zipped(tmp_path / "b.zip", {"w.bin": b""})
    with pytest.raises(NoConvolutionError, match="No member"):
        archive.read(Head.of(tmp_path / "b.zip"))


def test_a_copy_of_the_process_does_not_remove_the_folder(tmp_path: Path, private: Path) -> None:
    zipped(tmp_path / "a.zip", {"w.bin": NETWORK})
    found = filterdb.read(tmp_path / "a.zip")
    child = os.fork()
    if child == 0:
        del found
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert found.layers[0].weights.shape == (8, 8, 3, 3)


@pytest.mark.parametrize("pack", PACKS)
def test_damage_is_an_error_or_a_result(tmp_path: Path, private: Path, pack: str) -> None:
    PACKS[pack](tmp_path / pack, {"a/w.bin": NETWORK, "b.txt": b"words"})
    data = (tmp_path / pack).read_bytes()
    source = random.Random(len(data))
    copies = [data[:cut] for cut in source.sample(range(len(data)), min(40, len(data)))]
    for _ in range(120):
        copy = bytearray(data)
        copy[source.randrange(len(data))] ^= source.randrange(1, 256)
        copies.append(bytes(copy))
    refused = 0
    for copy in copies:
        (tmp_path / pack).write_bytes(copy)
        try:
            assert filterdb.read(tmp_path / pack).layers[0].weights.size
        except ReadError:
            refused += 1
    assert refused > 0
    gc.collect()
    assert not list(private.glob("filterdb-*"))


def test_what_is_told_of_archives_is_not_a_network() -> None:
    kept = {known.name: known.model for known in RECOGNISED}
    assert not any(kept[name] for name in ("zip", "tar", "gzip"))
