"""The NumPy reader: ``.npy`` arrays, alone or in a ``.npz`` archive, without pickle.

Stored members are mapped; deflated ones are decompressed when asked for, in proportion to the
file's size. Objects in an array stay bytes.
"""

from __future__ import annotations

import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.layer import Contents, Skipped, Tensor
from filterdb.readers import npy
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.limits import check_expansion
from filterdb.readers.mapping import map_file
from filterdb.readers.name_order import natural_key, numbers_ascend
from filterdb.readers.state_dict import tidy

FORMAT = Format(
    "npz",
    "NumPy arrays (npz archive or single npy)",
    (".npz", ".npy"),
    reads="plain numbers; object arrays are skipped, never unpickled",
)

ENCRYPTED = 0x1
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError,
          RuntimeError)  # fmt: skip


def matches(head: Head) -> bool:
    """NumPy's magic, or a ZIP archive of mostly ``.npy`` members."""
    if head.start.startswith(npy.MAGIC):
        return True
    return sum(name.endswith(".npy") for name in head.zip_names) * 2 > len(head.zip_names)


def read(head: Head) -> Contents:
    """Parse the header of every array; leave the values where they are.

    Raises
    ------
    CorruptFileError
        A header or the archive's directory contradicts the file.
    LimitError
        The members expand out of proportion to the file.
    """
    if not head.is_zip:
        return read_single(head)
    data = map_file(head.path)
    tensors: list[Tensor] = []
    skipped: list[Skipped] = []
    with zipfile.ZipFile(head.path) as archive:
        infos = archive.infolist()
        check_expansion(sum(info.file_size for info in infos), head.size, "Its archive directory")
        if len({info.filename for info in infos}) != len(infos):
            msg = "A member stands twice in the archive: which of the two counts is a guess."
            raise CorruptFileError(msg)
        for info in infos:
            name = info.filename.removesuffix(".npy")
            try:
                found = read_member(archive, info, data, name)
            except ReadError as error:
                raise error.at(layer=name) from error.__cause__
            if isinstance(found, Tensor):
                tensors.append(found)
            else:
                skipped.append(found)
    notes: tuple[str, ...] = ()
    chainer = any(tensor.name.endswith("/W") for tensor in tensors)
    if chainer and not numbers_ascend(tensor.name for tensor in tensors):
        # Older versions of Chainer write the links of a chain in the order of a set.
        tensors.sort(key=lambda tensor: natural_key(tensor.name))
        notes = ("Chainer wrote the arrays in no order, so their order is that of their names.",)
    producer = "chainer" if chainer else "numpy"
    tidied, further = tidy(tensors)
    notes = (*notes, *further)
    return Contents("npz", tuple(tidied), tuple(skipped), producer=producer, notes=notes)


def read_single(head: Head) -> Contents:
    """A ``.npy`` file: one array, named after the file."""
    data = map_file(head.path)
    header = npy.parse_header(data[: npy.HEADER_BYTES].tobytes())
    name = head.path.stem
    if header.unreadable:
        return Contents("npy", (), (Skipped(name, header.unreadable),), producer="numpy")
    check_size(header, len(data))
    load = partial(header.view, data[header.offset : header.offset + header.nbytes])
    tensor = Tensor(name, header.shape, header.dtype.name, load)
    return Contents("npy", (tensor,), producer="numpy")


def read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: NDArray[np.uint8], name: str
) -> Tensor | Skipped:
    """One member of an archive, by its header."""
    if not info.filename.endswith(".npy"):
        return Skipped(name, "no NumPy array by its name")
    if info.flag_bits & ENCRYPTED:
        return Skipped(name, "its member of the archive is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Skipped(name, "its member is compressed in a way that NumPy does not write")
    try:
        with archive.open(info) as file:
            start = read_fully(file, npy.HEADER_BYTES)
    except BROKEN as error:
        raise broken(error) from error
    header = npy.parse_header(start)
    if header.unreadable:
        return Skipped(name, header.unreadable)
    check_size(header, info.file_size)
    if info.compress_type == zipfile.ZIP_STORED:
        stored = stored_bytes(info, data)
        load = partial(load_stored, stored, header, info.CRC, name)
    else:
        load = partial(load_compressed, Path(str(archive.filename)), info, header, name)
    return Tensor(name, header.shape, header.dtype.name, load)


def check_size(header: npy.ArrayHeader, size: int) -> None:
    """Require that the values are as many as the shape says."""
    held = size - header.offset
    if held < header.nbytes:
        msg = (
            f"Its shape {header.shape} of {header.dtype.name} needs {header.nbytes:,} bytes, "
            f"but {held:,} follow its header. Download or copy the file again."
        )
        raise CorruptFileError(msg)


def stored_bytes(info: zipfile.ZipInfo, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of an uncompressed member, in place (zipfile has verified the local header)."""
    local = data[info.header_offset : info.header_offset + 30].tobytes()
    lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    begin = info.header_offset + 30 + lengths
    stored = data[begin : begin + info.file_size]
    if len(stored) != info.file_size:
        msg = "Its member of the archive reaches beyond the end of the file: it is cut short."
        raise CorruptFileError(msg)
    return stored


def load_stored(
    stored: NDArray[np.uint8], header: npy.ArrayHeader, checksum: int, name: str
) -> NDArray[Any]:
    """The values of a mapped member, after its checksum."""
    if zlib.crc32(stored.data) != checksum:
        raise broken(zipfile.BadZipFile("bad checksum")).at(layer=name)
    return header.view(stored[header.offset : header.offset + header.nbytes])


def load_compressed(
    path: Path, info: zipfile.ZipInfo, header: npy.ArrayHeader, name: str
) -> NDArray[Any]:
    """Decompress a member; zipfile checks the checksum at its end."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(info) as file:
            content = np.frombuffer(file.read(info.file_size + 1), np.uint8)
    except BROKEN as error:
        raise broken(error).at(layer=name) from error
    if len(content) != info.file_size:
        raise broken(zipfile.BadZipFile("not as long as it claims")).at(layer=name)
    return header.view(content[header.offset : header.offset + header.nbytes])


def read_fully(file: IO[bytes], count: int) -> bytes:
    """Up to ``count`` bytes: a decompressor may hand out fewer at a time."""
    parts = b""
    while len(parts) < count and (part := file.read(count - len(parts))):
        parts += part
    return parts


def broken(error: Exception) -> CorruptFileError:
    """The error for a member that cannot be unpacked."""
    msg = f"Its member of the archive is damaged ({error}). Download or copy the file again."
    return CorruptFileError(msg)
