"""What is fuzzed: the files of one network, and which of them (or whether their folder) is read."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Case:
    """Files by their paths below a folder, and the path that is read (a file's or a folder's)."""

    entry: str
    files: dict[str, bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))

    def packed(self) -> bytes:
        """One piece of bytes, as a corpus holds it."""
        sizes = {name: len(content) for name, content in self.files.items()}
        index = json.dumps({"entry": self.entry, "files": sizes}).encode()
        return b"".join([LENGTH.pack(len(index)), index, *self.files.values()])

    @classmethod
    def unpacked(cls, data: bytes) -> Case:
        """The opposite of :meth:`packed`; ValueError where the bytes are no such piece."""
        if len(data) < LENGTH.size:
            raise ValueError("too short")
        begin = LENGTH.size + LENGTH.unpack_from(data)[0]
        try:
            index = json.loads(data[LENGTH.size : begin])
            entry, sizes = str(index["entry"]), dict(index["files"])
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("no index") from error
        files = {}
        for name, size in sizes.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not isinstance(size, int):
                raise ValueError("a name that leads out")
            files[name] = data[begin : begin + size]
            begin += size
        return cls(entry, files)

    @classmethod
    def of(cls, path: Path, companions: tuple[Path, ...] = ()) -> Case:
        """A file with its companions beside it, or a whole folder."""
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            home = path.parent
            return cls(path.name, {one.relative_to(home).as_posix(): one.read_bytes()
                                   for one in inside})  # fmt: skip
        home = path.parent.resolve()
        beside = [one.resolve() for one in companions]
        files = {path.name: path.read_bytes()}
        files |= {one.relative_to(home).as_posix(): one.read_bytes()
                  for one in beside if one.is_relative_to(home)}  # fmt: skip
        return cls(path.name, files)

    def write(self, folder: Path) -> Path:
        """Write the files below a folder; the path that is read."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # A new file each time: an array may still be a view of the old one.
            path.unlink(missing_ok=True)
            path.write_bytes(content)
        return folder / self.entry
