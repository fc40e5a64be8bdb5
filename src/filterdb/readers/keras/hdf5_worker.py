"""The helper process: the only place that touches libhdf5, which a damaged file can crash.

Run as a script, it answers one JSON line on its standard input with one on its standard
output, and needs nothing of filterdb. It reports where the values of each dataset lie, so that
the caller can map them, and reads only those that are compressed or in chunks. After a file
that proved damaged it ends: its heap is not to be trusted any more.
"""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from functools import lru_cache
from math import prod
from typing import IO, Any

ATTRIBUTES = ("keras_version", "backend", "model_config", "training_config", "name",
              "layer_names", "weight_names", "nb_layers", "nb_params", "dtype")  # fmt: skip
MAX_OBJECTS = 200_000
MAX_PARTS = 10_000
MAX_NAME = 500
"""Characters in a path; without end, the paths of groups in groups would be too many bytes."""
MAX_TEXT = 2**25
"""Characters in all the attributes of a file."""


class Window(io.RawIOBase):
    """Part of a file as if it were a file of its own; h5py reads it through this."""

    def __init__(self, file: IO[bytes], begin: int, length: int) -> None:
        self.file, self.begin, self.length, self.position = file, begin, length, 0

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Position from the beginning of the window."""
        return self.position

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; beyond the end is allowed, as in any file."""
        self.position = offset + (0, self.position, self.length)[whence]
        return self.position

    def readinto(self, buffer: Any, /) -> int:
        """Read as much as there is."""
        self.file.seek(self.begin + self.position)
        room = memoryview(buffer)[: max(0, self.length - self.position)]
        count = self.file.readinto(room)  # type: ignore[attr-defined]
        self.position += count
        return int(count)


def inventory(file: Any) -> dict[str, Any]:
    """Every dataset and the attributes that Keras writes, without following a link elsewhere."""
    import h5py

    found: dict[str, Any] = {"datasets": [], "attributes": {}, "refused": [], "long": []}
    text = 0

    def describe_group(path: str, group: Any) -> None:
        nonlocal text
        found["attributes"][path] = attributes(group)
        text += sum(map(length_of, found["attributes"][path].values()))
        if text > MAX_TEXT:
            msg = f"more than {MAX_TEXT:,} characters of attributes"
            raise ValueError(msg)

    describe_group("", file)
    seen = {h5py.h5o.get_info(file.id).addr}
    stack = [("", file, iter(list(file)))]
    while stack:
        prefix, group, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            continue
        path = f"{prefix}/{name}".lstrip("/")
        if len(path) > MAX_NAME:
            found["long"].append(path)
            continue
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            found["refused"].append(path)
            continue
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > MAX_OBJECTS:
            msg = f"more than {MAX_OBJECTS:,} objects"
            raise ValueError(msg)
        if isinstance(item, h5py.Group):
            describe_group(path, item)
            stack.append((path, item, iter(list(item))))
        elif isinstance(item, h5py.Dataset):
            found["datasets"].append({"path": path, **describe(item)})
    return found


def attributes(item: Any) -> dict[str, Any]:
    """The attributes of interest, as text or lists of text; long lists lie in parts."""
    found = {}
    for name in ATTRIBUTES:
        parts = [name] if is_short(item, name) else []
        if not parts and name.endswith("_names"):
            for i in range(MAX_PARTS):
                if not is_short(item, f"{name}{i}"):
                    break
                parts.append(f"{name}{i}")
        values = [plain(item.attrs[part]) for part in parts]
        if len(values) == 1:
            found[name] = values[0]
        elif values:
            found[name] = [text for value in values for text in value]
    return found


def is_short(item: Any, name: str) -> bool:
    """Whether there is such an attribute, and few enough texts in it to be read."""
    return name in item.attrs and prod(item.attrs.get_id(name).shape or ()) <= MAX_PARTS


def length_of(value: Any) -> int:
    """Characters in an attribute, roughly."""
    return len(value) + sum(map(length_of, value)) if isinstance(value, list) else len(str(value))


def plain(value: Any) -> Any:
    """An attribute as text, a number or a list of them."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return [plain(part) for part in value.ravel().tolist()]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return int(value) if isinstance(value, np.integer | int) else readable(str(value))


def readable(text: str) -> str:
    """Text without the half characters that stand for undecodable bytes."""
    return text.encode("utf-8", "replace").decode()


def describe(dataset: Any) -> dict[str, Any]:
    """Shape, type and place of a dataset; ``reason`` where its values are not taken."""
    import h5py

    about: dict[str, Any] = {"shape": None, "dtype": "", "offset": None, "reason": None}
    if dataset.shape is None:
        return {**about, "reason": "an empty dataset"}
    about["shape"] = list(dataset.shape)
    layout = dataset.id.get_create_plist()
    kind = layout.get_layout()
    if (
        dataset.dtype.itemsize == 2
        and is_short(dataset, "dtype")
        and plain(dataset.attrs["dtype"]) == "bfloat16"
    ):
        about["dtype"] = "bfloat16"
    elif dataset.dtype.kind in "fiub":
        about["dtype"] = dataset.dtype.str
    else:
        return {**about, "reason": "no plain numbers"}
    if layout.get_external_count() or kind == h5py.h5d.VIRTUAL:
        return {**about, "reason": "its values lie in other files, which are never opened"}
    if dataset.size and kind != h5py.h5d.COMPACT and not dataset.id.get_storage_size():
        return {**about, "reason": "its values were never written"}
    if kind == h5py.h5d.CONTIGUOUS:
        about["offset"] = dataset.id.get_offset()
    return about


def values(file: Any, path: str) -> bytes:
    """The values of one dataset, in the byte order of its type."""
    import numpy as np

    dataset = file[path]
    result = np.empty(dataset.shape, dataset.dtype)
    if dataset.size:
        dataset.read_direct(result)
    return result.tobytes()


def limit_memory(most: int) -> None:
    """Let the library allocate at most this many bytes, where the system can see to that."""
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def open_bytes(request: dict[str, Any]) -> IO[bytes]:
    """The file, or a compressed member of it."""
    if request["member"] is None:
        return open(request["file"], "rb")  # noqa: PTH123
    stamp = os.stat(request["file"]).st_mtime_ns  # noqa: PTH116
    return io.BytesIO(unpack(request["file"], request["member"], request["length"], stamp))


@lru_cache(maxsize=1)
def unpack(path: str, member: str, length: int, stamp: int) -> bytes:  # noqa: ARG001
    """A compressed member of an archive, of at most ``length`` bytes; the last one is kept."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        content = file.read(length)
        file.read(1)  # reaches the end, where the checksum is verified
        return content


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The reply to one request, and the values that follow it."""
    import h5py

    limit_memory(request["memory"])
    opened = False
    try:
        with open_bytes(request) as raw:
            window = Window(raw, request["begin"], request["length"])
            with h5py.File(window, "r") as file:
                opened = True
                if request["dataset"] is None:
                    return inventory(file), b""
                content = values(file, request["dataset"])
                return {"bytes": len(content)}, content
    except Exception as error:  # h5py raises nearly every kind of error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return {"error": first, "spent": opened}, b""


def main() -> None:
    """Answer until the caller goes away."""
    for line in sys.stdin.buffer:
        reply, content = answer(json.loads(line))
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n" + content)
        sys.stdout.buffer.flush()
        if reply.get("spent"):
            return


if __name__ == "__main__":
    main()
