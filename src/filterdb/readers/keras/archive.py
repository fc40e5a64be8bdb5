"""The reader of ``.keras`` archives: a configuration in JSON beside weights in HDF5."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import replace

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Contents
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.keras.hdf5_file import Place, take_inventory
from filterdb.readers.keras.training import statements_of
from filterdb.readers.keras.weights import contents_of
from filterdb.readers.limits import MAX_JSON, check_expansion
from filterdb.readers.mapping import map_file

FORMAT = Format(
    "keras",
    "Keras archive",
    (".keras",),
    reads="Keras 3; layer types, strides and depth from the configuration",
)

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError,
          RuntimeError)  # fmt: skip


def matches(head: Head) -> bool:
    """A ZIP archive with Keras' configuration and weights."""
    return {CONFIG, WEIGHTS} <= set(head.zip_names)


def read(head: Head) -> Contents:
    """Read the configuration as JSON, and the weights where they lie in the archive.

    Raises
    ------
    CorruptFileError
        A member of the archive is damaged.
    LimitError
        The members expand out of proportion to the file, or the configuration is too long.
    """
    try:
        with zipfile.ZipFile(head.path) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            wanted = sum(info.file_size for info in infos.values())
            check_expansion(wanted, head.size, "Its archive directory")
            texts = [infos[name] for name in (CONFIG, METADATA) if name in infos]
            if max(info.file_size for info in texts) > MAX_JSON:
                msg = f"Its configuration is longer than {MAX_JSON:,} bytes: no network needs that."
                raise LimitError(msg)
            config = archive.read(CONFIG).decode("utf-8", "replace")
            metadata = archive.read(METADATA) if METADATA in infos else b"{}"
            place = place_of(archive, infos[WEIGHTS], head)
    except BROKEN as error:
        if isinstance(error, ValueError) and hasattr(error, "at"):
            raise
        msg = f"A member of the archive is damaged ({error}). Download or copy the file again."
        raise CorruptFileError(msg) from error
    contents = contents_of(FORMAT.name, take_inventory(place), config, version_in(metadata))
    return replace(contents, statements=statements_of(config, None))


def version_in(metadata: bytes) -> str | None:
    """The version of Keras that wrote the archive."""
    try:
        version = json.loads(metadata).get("keras_version")
    except (ValueError, AttributeError, RecursionError):
        return None
    return str(version) if version else None


def place_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, head: Head) -> Place:
    """Where the weights lie: in the archive itself unless they are compressed."""
    if info.compress_type != zipfile.ZIP_STORED:
        return Place(head.path, 0, info.file_size, member=info.filename)
    with archive.open(info):  # verifies the local header
        pass
    data = map_file(head.path)
    lengths = data[info.header_offset + 26 : info.header_offset + 30].view("<u2")
    begin = info.header_offset + 30 + int(lengths.sum())
    place = Place(head.path, begin, info.file_size)
    if len(place.bytes) != info.file_size or zlib.crc32(place.bytes.data) != info.CRC:
        msg = "bad checksum of the weights"
        raise zipfile.BadZipFile(msg)
    return place
