"""NumPy archives: members are copied byte for byte, pickled objects too, and none is unpickled."""

from __future__ import annotations

import copy
import shutil
import zipfile
import zlib
from pathlib import Path

from filterdb.errors import UnsupportedFormatError
from filterdb.keys.replacing.writers.slot import Changes, Slot, Slots, as_read
from filterdb.readers import npy
from filterdb.readers import npz as reader

FORMAT = reader.FORMAT
MISSING = "its weight is computed from parts (weight norm, a pruning mask, key offsets, ...)"


def slots(path: Path) -> Slots:
    """Where each array lies in its member, under its name without the prefixes of wrappers.

    Raises
    ------
    UnsupportedFormatError
        A member is encrypted, so that it cannot be copied.
    """
    found: dict[str, Slot] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.flag_bits & reader.ENCRYPTED:
                msg = f"Its member {info.filename!r} is encrypted: decrypt the archive first."
                raise UnsupportedFormatError(msg)
            if not info.filename.endswith(".npy"):
                continue
            with archive.open(info) as file:
                header = npy.parse_header(reader.read_fully(file, npy.HEADER_BYTES))
            if header.unreadable:
                continue
            found[info.filename.removesuffix(".npy")] = Slot(
                header.offset, header.dtype.name, header.dtype, header.fortran, info.filename
            )
    return dict(zip(as_read(found), found.values(), strict=True))


def stored(path: Path, slot: Slot, count: int) -> bytes:
    """The values in a member."""
    with zipfile.ZipFile(path) as archive, archive.open(slot.member) as file:
        return reader.read_fully(file, slot.begin + count)[slot.begin :]


def write(path: Path, out: Path, changes: Changes) -> None:
    """Copy the members in their order, compressed or not as they are.

    Raises
    ------
    CorruptFileError
        A member is damaged.
    """
    changed = {slot.member: (slot.begin, content) for slot, content in changes.items()}
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as target:
        target.comment = archive.comment
        for info in archive.infolist():
            begin, content = changed.get(info.filename, (0, b""))
            try:
                # The copy of the entry gets its own size and checksum.
                with archive.open(info) as file, target.open(copy.copy(info), "w") as member:
                    member.write(reader.read_fully(file, begin))
                    member.write(content)
                    reader.read_fully(file, len(content))
                    shutil.copyfileobj(file, member)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise reader.broken(error).at(layer=info.filename) from error
