"""Damage that leaves the outside whole: inside archives (checksums renewed), JSON, XML, text."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from filterdb.readers.recognise.signatures import SSTABLE_MAGIC
from filterdb.readers.tensorflow.checksum import crc32c
from filterdb.readers.tensorflow.sorted_table import FOOTER, TRAILER, entries

Inner = Callable[[bytes], bytes]
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 0.5, -0.0, 1e308, 2**31, 2**53, 2**63, 2**64, 10**30, "", "x",
    "\x00", "float32", "int8", "../../../../etc/passwd", "/etc/passwd", "..", "é" * 300, [], {},
    [[]], [0], [-1], [2**40, 2**40], [1] * 40, [None], {"a": None}, {"": {}},
)  # fmt: skip
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
QUOTED = re.compile(r'"[^"\n]*"')
TAG = re.compile(r"<[^>]*>")
OCDBT = re.compile(rb"\x0c\xdb(?:\x3a\x2a|\x20\xde|\x22\xed)")
LARGEST = 400_000
MOST_UNPACKED = 20_000_000


def damaged(data: bytes, source: Random, inner: Inner) -> bytes | None:
    """Damage within what the bytes are made of; None where they are of no such structure."""
    try:
        if data[:4] == b"PK\x03\x04":
            return in_zip(data, source, inner)
        if data[:2] == b"\x1f\x8b":
            return gzip.compress(inner(gzip.decompress(data)), 1, mtime=0)
        if data[:3] == b"BZh":
            return bz2.compress(inner(bz2.decompress(data)))
        if data[:6] == b"\xfd7zXZ\x00":
            return lzma.compress(inner(lzma.decompress(data)))
        if data[257:262] == b"ustar":
            return in_tar(data, source, inner)
        if data[-8:] == SSTABLE_MAGIC:
            return in_table(data, source, inner)
        if found := list(OCDBT.finditer(data)):
            return in_ocdbt(data, source.choice(found).start(), source, inner)
        if is_safetensors(data):
            length = struct.unpack_from("<Q", data)[0]
            header = in_text(data[8 : 8 + length].decode(), source).encode()
            return struct.pack("<Q", len(header)) + header + data[8 + length :]
        if len(data) < LARGEST and b"\x00" not in data[:1000]:
            return in_text(data.decode(), source).encode("utf-8", "surrogatepass")
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, RuntimeError,
            NotImplementedError, RecursionError, struct.error, tarfile.TarError,
            zipfile.BadZipFile):  # fmt: skip
        return None
    return None


def is_safetensors(data: bytes) -> bool:
    return data[8:9] == b"{" and struct.unpack_from("<Q", data)[0] < min(len(data), 10**7)


def in_zip(data: bytes, source: Random, inner: Inner) -> bytes | None:
    """Damage a member, and pack again with the checksums of what is there now."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if not infos or sum(info.file_size for info in infos) > MOST_UNPACKED:
            return None
        members = [[info.filename, archive.read(info), info.compress_type] for info in infos]
    # Pickles, configurations and the like are small; the rest is weights.
    members.sort(key=lambda member: len(member[1]))
    chosen = members[min(int(source.expovariate(0.6)), len(members) - 1)]
    kind = source.random()
    if kind < 0.85:
        chosen[1] = inner(chosen[1])
    elif kind < 0.9:
        chosen[0] = source.choice(("../out", "/etc/out", "a/" * 40, "", "é", members[0][0]))
    elif kind < 0.95:
        members.remove(chosen)
    else:
        chosen[2] = source.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2))
    target, names = io.BytesIO(), set()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content, how in members:
            if name not in names:
                names.add(name)
                info = zipfile.ZipInfo(name or "empty")
                archive.writestr(info, content, how)
    return target.getvalue()


def in_tar(data: bytes, source: Random, inner: Inner) -> bytes | None:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        infos = archive.getmembers()
        if not infos or sum(info.size for info in infos) > MOST_UNPACKED:
            return None
        streams = [archive.extractfile(info) if info.isfile() else None for info in infos]
        members = [(info, stream.read() if stream else b"")
                   for info, stream in zip(infos, streams, strict=True)]  # fmt: skip
    chosen = source.randrange(len(members))
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for i, (info, content) in enumerate(members):
            if i == chosen:
                if source.random() < 0.9:
                    content = inner(content)
                else:
                    info.type = source.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE))
                    info.linkname = source.choice(("../../etc/passwd", "/etc/passwd", info.name))
            info.size = len(content) if info.isreg() else 0
            info.pax_headers = {}
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def in_table(data: bytes, source: Random, inner: Inner) -> bytes:
    """Damage an entry of a table of TensorFlow's, or the block of all, with checksums renewed."""
    with NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        pairs = [[key, value.tobytes()] for key, value in entries(Path(file.name))]
    if pairs and source.random() < 0.8:
        pair, which = source.choice(pairs), source.random() < 0.9
        pair[which] = inner(pair[which])
    content = block(pairs)
    if source.random() < 0.3:
        content = inner(content)
    listed = block([[b"\xff", varint(0) + varint(len(content))]])
    begin = len(content) + TRAILER
    places = varint(0) + varint(0) + varint(begin) + varint(len(listed))
    footer = places.ljust(FOOTER - 8, b"\0") + SSTABLE_MAGIC
    return content + trailer(content) + listed + trailer(listed) + footer


def block(pairs: list[list[bytes]]) -> bytes:
    """Entries whose keys share nothing."""
    parts = [varint(0) + varint(len(key)) + varint(len(value)) + key + value
             for key, value in pairs]  # fmt: skip
    return b"".join([*parts, struct.pack("<II", 0, 1)])


def trailer(content: bytes) -> bytes:
    """Not compressed, and the checksum as it is stored: turned, and moved by a constant."""
    crc = checksum(content + b"\0")
    return b"\0" + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def in_ocdbt(data: bytes, begin: int, source: Random, inner: Inner) -> bytes:
    """Damage a node of a database of TensorStore's, with its length and its checksum renewed."""
    end = begin + struct.unpack_from("<Q", data, begin + 4)[0]
    body = data[begin + 12 : end - 4]
    changed = inner(body)
    if source.random() < 0.8:  # another node says how long this one is
        changed = changed[: len(body)].ljust(len(body), b"\0")
    whole = data[begin : begin + 4] + struct.pack("<Q", len(changed) + 16) + changed
    return data[:begin] + whole + struct.pack("<I", checksum(whole)) + data[end:]


def checksum(content: bytes) -> int:
    return crc32c(np.frombuffer(content, np.uint8))


def varint(value: int) -> bytes:
    """A number as protocol buffers write it."""
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*coded, value])


def in_text(text: str, source: Random) -> str:
    if source.random() < 0.6:
        try:
            value = json.loads(text)
        except ValueError:
            pass
        else:
            return json.dumps(in_value(value, source))
    kinds: list[Callable[[str, Random], str]] = [number, quoted, lines, lines, nested]
    if text.lstrip()[:1] == "<":
        kinds += [tags, tags, entities]
    return source.choice(kinds)(text, source)


def in_value(value: Any, source: Random) -> Any:
    """Walk to a random place of a JSON document, and damage what is there."""
    if isinstance(value, dict | list) and value and source.random() < 0.93:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key, kind = source.choice(keys), source.random()
        if kind < 0.06:
            del value[key]
        elif kind < 0.1:
            value[key] = value[source.choice(keys)]
        elif kind < 0.14 and isinstance(value, list):
            value.insert(key, value[source.choice(keys)])
        else:
            value[key] = in_value(value[key], source)
        return value
    if isinstance(value, int | float) and source.random() < 0.6:
        return source.choice((value + 1, value - 1, -value, value * 2, value * 1000, 2**31, 2**62))
    if isinstance(value, str) and value and source.random() < 0.4:
        at = source.randrange(len(value))
        return source.choice((value[:at], value + value, value[:at] + "9" + value[at + 1 :],
                              number(value, source)))  # fmt: skip
    return source.choice(VALUES)


def swapped(text: str, pattern: re.Pattern[str], source: Random, new: str | None) -> str:
    """Put ``new``, or another match, where a pattern matches."""
    begin = source.randrange(max(len(text), 1)) if source.random() < 0.7 else 0
    found = [match.span() for match, _ in zip(pattern.finditer(text, begin), range(400))]  # noqa: B905
    if not found:
        return text
    start, end = source.choice(found)
    other = source.choice(found)
    return text[:start] + (text[slice(*other)] if new is None else new) + text[end:]


def number(text: str, source: Random) -> str:
    new = source.choice((None, "0", "-1", "1", "65537", "4294967296", "9" * 25, "9" * 5000, "1e999",
                         "nan", "1.5", "x", "-233", "-23330", ""))  # fmt: skip
    return swapped(text, NUMBER, source, new)


def quoted(text: str, source: Random) -> str:
    new = source.choice((None, '""', '"../../../../etc/passwd"', '"/etc/passwd"', '"\\ud800"',
                         '"' + "a" * 3000 + '"', "null", '"0,0,-1"'))  # fmt: skip
    return swapped(text, QUOTED, source, new)


def tags(text: str, source: Random) -> str:
    return swapped(text, TAG, source, source.choice((None, "", "<a/>", "<a>", "</layer>")))


def entities(text: str, source: Random) -> str:
    inside = source.choice(('<!ENTITY a SYSTEM "file:///etc/passwd">', '<!ENTITY a "ha">'))
    return f"<!DOCTYPE x [{inside}]>" + swapped(text, QUOTED, source, '"&a;"')


def lines(text: str, source: Random) -> str:
    """Leave out, repeat or exchange lines, or words of one."""
    ends = text.split("\n") if "\n" in text else text.split(" ")
    i, j = source.randrange(len(ends)), source.randrange(len(ends))
    kind = source.random()
    if kind < 0.25:
        del ends[i]
    elif kind < 0.5:
        ends.insert(i, ends[j])
    elif kind < 0.6:
        ends[i], ends[j] = ends[j], ends[i]
    else:
        words = ends[i].split(" ")
        words[source.randrange(len(words))] = source.choice(("", "-1", "9999999", "x", "1 1 1 1"))
        ends[i] = " ".join(words)
    return ("\n" if "\n" in text else " ").join(ends)


def nested(text: str, source: Random) -> str:
    at = source.randrange(len(text) + 1)
    return text[:at] + source.choice("[{(<") * source.choice((1, 100, 20_000)) + text[at:]
