"""What is particular to the stream; values are compared with torch's in test_torch_zip.py."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import (
    WEIGHT,
    legacy_checkpoint,
    number,
    read,
    root,
    storage,
    tensor,
    text,
    values,
)

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.head import Head
from filterdb.readers.pytorch import inert_pickle
from filterdb.readers.pytorch import stream_checkpoint as torch_legacy

torch = pytest.importorskip("torch")


def save(path: Path, state: Any, protocol: int = 2) -> None:
    torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_magic_number_is_known_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    weight = torch.arange(54.0).reshape(2, 3, 3, 3)
    save(tmp_path / "any.name", {"conv.weight": weight}, protocol)
    assert torch_legacy.matches(Head.of(tmp_path / "any.name"))
    contents = read(tmp_path / "any.name")
    assert "before version 1.6" in contents.notes[0]
    np.testing.assert_array_equal(values(contents)["conv.weight"], WEIGHT)


def test_another_pickle_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"conv.weight": WEIGHT}, 2))
    assert not torch_legacy.matches(Head.of(tmp_path / "a.pth"))


def test_cut_anywhere_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save(path, {"conv.weight": torch.ones(2, 3, 3, 3), "bias": torch.ones(5).double()})
    data = path.read_bytes()
    for end in range(20, len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(CorruptFileError):
            read(path)


@pytest.mark.parametrize("count", [-1, -(2**63), 2**62, 55])
def test_storages_of_impossible_length(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.pth"
    legacy_checkpoint(path, root())
    data = path.read_bytes()
    honest = struct.pack("<q", 54) + WEIGHT.tobytes()
    assert data.endswith(honest)
    path.write_bytes(data[: -len(honest)] + struct.pack("<q", count) + WEIGHT.tobytes())
    with pytest.raises(CorruptFileError, match="storage of"):
        read(path)


def test_a_storage_shorter_than_its_tensor(tmp_path: Path) -> None:
    legacy_checkpoint(tmp_path / "a.pth", root(), {"0": WEIGHT.tobytes()[:-4]})
    with pytest.raises(CorruptFileError, match=r"conv\.weight.*216 bytes into a storage of 212"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("keys", [{}, {"1": b"1234"}, {"0": WEIGHT.tobytes(), "1": b"1234"}])
def test_storages_that_nobody_or_somebody_misses(tmp_path: Path, keys: dict[str, bytes]) -> None:
    path = tmp_path / "a.pth"
    legacy_checkpoint(path, root(), keys or {"7": b""})
    with pytest.raises(CorruptFileError, match="list of storages"):
        read(path)


def test_views_of_storages_as_version_0_wrote_them(tmp_path: Path) -> None:
    view = b"(" + text("view") + number(2) + number(54) + b"t"
    weight = tensor(of=storage(length=60, view=view))
    stored = np.concatenate([np.zeros(2, "<f4"), WEIGHT.reshape(-1), np.zeros(4, "<f4")])
    legacy_checkpoint(tmp_path / "a.pth", root(weight=weight), {"0": stored.tobytes()})
    np.testing.assert_array_equal(values(read(tmp_path / "a.pth"))["conv.weight"], WEIGHT)


@pytest.mark.parametrize(("offset", "count"), [(2, 60), (-1, 54), (0, -1), (2**70, 1)])
def test_views_that_reach_outside(tmp_path: Path, offset: int, count: int) -> None:
    view = b"(" + text("view") + number(offset) + number(count) + b"t"
    legacy_checkpoint(tmp_path / "a.pth", root(weight=tensor(of=storage(view=view))))
    with pytest.raises(CorruptFileError, match="reaches outside"):
        read(tmp_path / "a.pth")


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    legacy_checkpoint(tmp_path / "a.pth", root())
    data = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(data.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)))
    with pytest.raises(CorruptFileError, match="1002"):
        read(tmp_path / "a.pth")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "protocol",
    [b")" + b"2\x86" * 60, b")" + b"\x85" * 100_000, b"\x8b\xb8\x0b\0\0" + b"\x7f" * 3000],
)
def test_a_protocol_is_never_turned_into_text(tmp_path: Path, protocol: bytes) -> None:
    path = tmp_path / "a.pth"
    legacy_checkpoint(path, root())
    path.write_bytes(
        path.read_bytes().replace(pickle.dumps(1001, 2), b"\x80\x02" + protocol + b".")
    )
    with pytest.raises(CorruptFileError, match="protocol is not torch's"):
        read(path)


def test_nothing_is_followed_behind_a_wrong_protocol(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(torch_legacy.MAGIC, 2) + pickle.dumps(1, 2) + b"\xff")
    with pytest.raises(CorruptFileError, match="protocol 1 is not"):
        read(path)


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [("MAX_INSTRUCTIONS", 300, "300 instructions"), ("MAX_OBJECTS", 100, "100 objects")],
)
def test_all_pickles_share_one_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, words: str
) -> None:
    monkeypatch.setattr(inert_pickle, limit, value)
    head = [pickle.dumps(part, 2) for part in (torch_legacy.MAGIC, 1001)]
    each = b"(" + b"(i\n\n" * 60 + b"l."
    (tmp_path / "a.pth").write_bytes(b"".join([*head, each * 3]))
    with pytest.raises(LimitError, match=words):
        read(tmp_path / "a.pth")
