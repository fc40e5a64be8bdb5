"""The members of a ZIP archive, mapped where they lie and verified by their checksums."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError
from filterdb.readers.head import Head
from filterdb.readers.limits import check_expansion
from filterdb.readers.mapping import map_file

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
ENCRYPTED = 0x1
UTF8_NAME = 0x800


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member lies in the file: ``stored`` bytes from ``begin``, ``size`` unpacked."""

    name: str
    begin: int
    stored: int
    size: int
    deflated: bool
    checksum: int


class MappedZip:
    """A ZIP archive whose uncompressed members are views of the mapped file.

    Parameters
    ----------
    data
        The whole file.
    members
        Its members, checked against it.
    """

    def __init__(self, data: NDArray[np.uint8], members: list[Member]) -> None:
        self.data = data
        self.members = {member.name: member for member in members}
        self.verified: dict[str, NDArray[np.uint8]] = {}

    @classmethod
    def of(cls, head: Head) -> MappedZip:
        """Read the directory of an archive.

        Raises
        ------
        CorruptFileError
            Members stand twice, overlap, reach outside the file, or are encrypted.
        LimitError
            Compressed members expand out of proportion to the file.
        """
        data = map_file(head.path)
        try:
            with zipfile.ZipFile(head.path) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise damaged(what=f"its directory cannot be read ({error})") from error
        members = [locate(info, data) for info in infos]
        if len({member.name for member in members}) != len(members):
            raise damaged(what="a member stands twice")
        end = 0
        for info, member in sorted(
            zip(infos, members, strict=True), key=lambda pair: pair[0].header_offset
        ):
            if info.header_offset < end:
                raise damaged(what=f"{member.name!r} overlaps the member before it")
            end = member.begin + member.stored
        unpacked = sum(member.size for member in members if member.deflated)
        check_expansion(unpacked, len(data), "Its compressed part")
        return cls(data, members)

    def bytes_of(self, name: str) -> NDArray[np.uint8]:
        """The content of a member: uint8, read-only, a view of the file unless compressed.

        Raises
        ------
        CorruptFileError
            There is no such member, or its checksum is wrong.
        """
        if name not in self.verified:
            if name not in self.members:
                raise damaged(what=f"its member {name!r} is missing")
            self.verified[name] = unpack(self.members[name], self.data)
        return self.verified[name]


def locate(info: zipfile.ZipInfo, data: NDArray[np.uint8]) -> Member:
    """Find a member's bytes behind its local header, which must agree with the directory."""
    name = info.filename
    if info.flag_bits & ENCRYPTED:
        msg = "Its archive is encrypted: decrypt it first."
        raise CorruptFileError(msg)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        msg = f"Its member {name!r} is compressed in an unusual way: unpack and zip it again."
        raise CorruptFileError(msg)
    header = data[info.header_offset : info.header_offset + LOCAL_HEADER.size].tobytes()
    if info.header_offset < 0 or len(header) < LOCAL_HEADER.size:
        raise damaged(what=f"{name!r} lies outside the file")
    signature, *_, name_length, extra_length = LOCAL_HEADER.unpack(header)
    begin = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
    local_name = data[begin - extra_length - name_length : begin - extra_length].tobytes()
    encoding = "utf-8" if info.flag_bits & UTF8_NAME else "cp437"
    if signature != b"PK\x03\x04" or local_name != info.orig_filename.encode(encoding):
        raise damaged(what=f"{name!r} is not where the directory says")
    if begin + info.compress_size > len(data):
        raise damaged(what=f"{name!r} reaches beyond the end of the file")
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if not deflated and info.compress_size != info.file_size:
        raise damaged(what=f"{name!r} has two different sizes")
    return Member(name, begin, info.compress_size, info.file_size, deflated, info.CRC)


def unpack(member: Member, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A member's content after its checksum (0 where the writer left checksums out)."""
    content = data[member.begin : member.begin + member.stored]
    if member.deflated:
        try:
            unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content.data, member.size + 1)
        except zlib.error as error:
            raise damaged(what=f"{member.name!r} cannot be decompressed ({error})") from error
        content = np.frombuffer(unpacked, np.uint8)
    if len(content) != member.size:
        raise damaged(what=f"{member.name!r} is not as long as it claims")
    if member.checksum and zlib.crc32(content.data) != member.checksum:
        raise damaged(what=f"{member.name!r} has a wrong checksum")
    return content


def damaged(*, what: str) -> CorruptFileError:
    """The error for an archive that contradicts itself."""
    return CorruptFileError(f"Its ZIP archive is damaged: {what}. Download or copy it again.")
