"""PyTorch containers made by hand: around any pickle, however hostile."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from filterdb.layer import Contents
from filterdb.readers.head import Head
from filterdb.readers.registry import read_contents

WEIGHT = np.arange(54, dtype="<f4").reshape(2, 3, 3, 3)
"""The tensor in every hand-made checkpoint, under the name ``conv.weight``."""


def read(path: Path) -> Contents:
    return read_contents(Head.of(path))


def values(contents: Contents) -> dict[str, np.ndarray]:
    return {tensor.name: np.asarray(tensor.load()) for tensor in contents.tensors}


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + raw


def numbers(given: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, given)) + b"t"


def storage(
    kind: str = "FloatStorage", key: str = "0", length: int = 54, view: bytes = b""
) -> bytes:
    parts = text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu")
    return b"(" + parts + number(length) + view + b"tQ"


def tensor(
    shape: tuple[int, ...] = (2, 3, 3, 3),
    strides: tuple[int, ...] = (27, 9, 3, 1),
    offset: int = 0,
    of: bytes | None = None,
) -> bytes:
    """Instructions that leave a tensor on the stack."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + (of or storage()) + number(offset)
        + numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def root(evil: bytes = b"N", weight: bytes | None = None) -> bytes:
    """The pickle of ``{"evil": ..., "conv.weight": ...}``."""
    entries = text("evil") + evil + text("conv.weight") + (weight or tensor())
    return b"\x80\x02}(" + entries + b"u."


def zip_checkpoint(
    path: Path,
    pickled: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    others: Mapping[str, bytes] | None = None,
    method: int = zipfile.ZIP_STORED,
) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("model_best/data.pkl", pickled)
        for name, content in (others or {"version": b"3\n"}).items():
            archive.writestr(f"model_best/{name}", content)
        for key, content in (storages or {"0": WEIGHT.tobytes()}).items():
            archive.writestr(f"model_best/data/{key}", content)


def legacy_checkpoint(
    path: Path, pickled: bytes, storages: Mapping[str, bytes] | None = None, *, item: int = 4
) -> None:
    storages = storages or {"0": WEIGHT.tobytes()}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {})]
    tail = pickle.dumps(list(storages), 2)
    bodies = [struct.pack("<q", len(raw) // item) + raw for raw in storages.values()]
    path.write_bytes(b"".join([*head, pickled, tail, *bodies]))


def tar_tensor() -> bytes:
    """Instructions that leave a reference to the tar container's tensor on the stack."""
    return text("7") + b"Q"


def tar_checkpoint(path: Path, pickled: bytes, **parts: Any) -> None:
    """A tar container with one storage of 60 elements, a view of it, and a tensor of the view."""
    stored = parts.get("stored", np.concatenate([np.zeros(6, "<f4"), WEIGHT.reshape(-1)]))
    shape, strides = parts.get("shape", WEIGHT.shape), parts.get("strides", (27, 9, 3, 1))
    view = parts.get("view", (3, 2, 4, 56))
    kind = b"\x80\x02(K\x02" + text("cpu") + b"ctorch\nFloatStorage\nt."
    members = {
        "sys_info": pickle.dumps({"protocol_version": 1000}, 2),
        "pickle": pickled,
        "tensors": pickle.dumps(1, 2) + pickle.dumps((7, 3, None), 2)
        + struct.pack("<ii", len(shape), -1) + struct.pack(f"<{2 * len(shape)}q", *shape, *strides)
        + struct.pack("<q", parts.get("offset", 2)),
        "storages": pickle.dumps(1, 2) + kind + struct.pack("<q", len(stored)) + stored.tobytes()
        + pickle.dumps([view], 2),
    }  # fmt: skip
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5  # a fraction asks for an extended header
            archive.addfile(info, io.BytesIO(content))


def write_zip(path: Path, evil: bytes) -> None:
    zip_checkpoint(path, root(evil))


def write_legacy(path: Path, evil: bytes) -> None:
    legacy_checkpoint(path, root(evil))


def write_tar(path: Path, evil: bytes) -> None:
    tar_checkpoint(path, root(evil, tar_tensor()))


CONTAINERS: dict[str, Callable[[Path, bytes], None]] = {
    "zip": write_zip,
    "legacy": write_legacy,
    "tar": write_tar,
}
