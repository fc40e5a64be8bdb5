"""How the formats without a reader are told apart: by magics, folders, and what stands beside.

Every function takes a :class:`Head`, reads at most a bounded part of the file, and answers yes
or no. None of them raises: a file that cannot be looked at does not match.
"""

from __future__ import annotations

import json
import mmap
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from filterdb.readers.head import Head
from filterdb.readers.recognise.plain_text import text_of

Predicate = Callable[[Head], bool]

SSTABLE_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
SEARCHED_BYTES = 2**26
"""How much of a file beside the one in question is searched for its name."""
MAX_NEIGHBOURS = 64
SAMPLES, SAMPLE_BYTES = 64, 2**20


def begins(*magics: bytes, at: int = 0) -> Predicate:
    """One of ``magics`` stands ``at`` bytes from the beginning."""
    return lambda head: head.start[at:].startswith(magics)


def any_of(*predicates: Predicate) -> Predicate:
    """At least one holds."""
    return lambda head: any(predicate(head) for predicate in predicates)


# Folders


def folder_with(*names: str) -> Predicate:
    """A folder that holds one of these."""
    return lambda head: head.is_folder and any((head.path / name).exists() for name in names)


def is_folder(head: Head) -> bool:
    """Any folder."""
    return head.is_folder


# TensorFlow checkpoints: tables of sorted strings, their magic at the very end


def is_sstable(head: Head) -> bool:
    """A table of sorted strings."""
    return last_bytes(head.path, 8) == SSTABLE_MAGIC


def is_checkpoint_v1(head: Head) -> bool:
    """A V1 checkpoint: a table whose empty first key holds a list of tensors (field 1)."""
    return is_sstable(head) and re.match(rb"\0\0[\x80-\xff]*[\0-\x7f]\n", head.start) is not None


def is_checkpoint_data(head: Head) -> bool:
    """The data beside the index of a V2 checkpoint."""
    stem = re.fullmatch(r"(.+)\.data-\d{5}-of-\d{5}", head.path.name)
    if stem is None or head.is_folder:
        return False
    return last_bytes(head.path.with_name(f"{stem[1]}.index"), 8) == SSTABLE_MAGIC


def is_unpacked_checkpoint(head: Head) -> bool:
    """A folder with what PyTorch packs into its archives: the pickle, and storages or a version."""
    if not head.is_folder or not (head.path / "data.pkl").is_file():
        return False
    return (head.path / "data").is_dir() or (head.path / "version").is_file()


def is_checkpoint_folder(head: Head) -> bool:
    """A folder that says which of the checkpoints in it is the latest."""
    if not head.is_folder:
        return False
    return glance(head.path / "checkpoint").start.lstrip().startswith(b"model_checkpoint_path:")


# What stands beside a file


def last_bytes(path: Path, count: int) -> bytes:
    """The last bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(-count, 2)
            return file.read(count)
    except OSError:
        return b""


def glance(path: Path) -> Head:
    """A head that is empty where there is no such file."""
    try:
        return Head.of(path)
    except ValueError:
        return Head(path, 0, b"")


def is_tfjs_shard(head: Head) -> bool:
    """Binary weights that a TensorFlow.js manifest beside them names."""
    if head.is_folder or head.start.lstrip()[:1] in (b"{", b"["):
        return False
    quoted = json.dumps(head.path.name).encode()
    return text_of(head) is None and any(
        is_tfjs_json(other, naming=quoted)
        for _, other in zip(range(MAX_NEIGHBOURS), head.path.parent.glob("*.json"), strict=False)
    )


def is_tfjs_json(path: Path, *, naming: bytes = b"") -> bool:
    """A JSON file with the keys of TensorFlow.js, which speaks of ``naming``."""
    return contains(path, b'"paths"', naming) and (
        contains(path, b'"weightsManifest"') or contains(path, b'"weights"', b'"dtype"')
    )


def contains(path: Path, *needles: bytes) -> bool:
    """Whether all of ``needles`` stand in a file's first :data:`SEARCHED_BYTES`."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return all(data.find(needle, 0, SEARCHED_BYTES) >= 0 for needle in needles)
    except (OSError, ValueError):
        return False


# Pickles and other serialised objects

PICKLE_TEXT = re.compile(
    rb"\(?[dl]p\d+\n|\(?c[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n[(q)p}\]Rt]|[}\](]q[\x00-\xff]"
)
"""A list of words may begin like a pickle of protocol 0: what follows its first object decides."""


def is_pickle(head: Head) -> bool:
    """A pickle of any protocol."""
    start = head.start
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return start[2:3] in (b"\x95",) if start[1] > 3 and head.size > 32 else len(start) > 2
    return PICKLE_TEXT.match(start) is not None


PADDLE_NAME = re.compile(rb"_\d{1,6}\.[wb]_\d")


def is_paddle_parameters(head: Head) -> bool:
    """A pickle that names its parameters as PaddlePaddle does, or its raw tensor stream."""
    if is_pickle(head):
        # A state dict says how its names were mapped; one inside another object does not.
        named = PADDLE_NAME.search(head.start) is not None and b"tuple" in head.start
        return named or contains(head.path, b"StructuredToParameterName@@")
    length = int.from_bytes(head.start[16:20], "little")
    return head.start[:16] == bytes(16) and 2 <= length <= 64 and head.start[20:21] == b"\x08"


def is_joblib(head: Head) -> bool:
    """A pickle that joblib wrote."""
    return is_pickle(head) and b"joblib.numpy_pickle" in head.start


def gunzipped(head: Head) -> bytes:
    """The first bytes inside a gzip file; none for anything else."""
    if not head.start.startswith(b"\x1f\x8b"):
        return b""
    try:
        return zlib.decompressobj(31).decompress(head.start, 65536)
    except zlib.error:
        return b""


def is_katago(*, binary: bool) -> Predicate:
    """A gzipped KataGo network: a name, then the version, a line each."""

    def matches(head: Head) -> bool:
        content = gunzipped(head)
        header = re.match(rb"[\x21-\x7e]+\s+\d{1,3}\s+\d+\s+\d+\s", content)
        return header is not None and (b"@BIN@" in content) == binary

    return matches


def is_tar(head: Head) -> bool:
    """A tar archive."""
    return head.start[257:262] == b"ustar"


def is_empty(head: Head) -> bool:
    """A file without a byte."""
    return head.size == 0 and not head.is_folder


def is_zeros(head: Head) -> bool:
    """Zero bytes at the beginning, at the end and evenly between: an interrupted download.

    Up to :data:`SAMPLES` MB that is every byte; of a longer file, a sample.
    """
    if head.start.strip(b"\0") or not head.start:
        return False
    try:
        with head.path.open("rb") as file:
            for i in range(SAMPLES):
                file.seek(i * max(SAMPLE_BYTES, (head.size - SAMPLE_BYTES) // (SAMPLES - 1)))
                if file.read(SAMPLE_BYTES).strip(b"\0"):
                    return False
            return not last_bytes(head.path, SAMPLE_BYTES).strip(b"\0")
    except OSError:
        return False
