"""A safetensors file's header, read over the network before anything else of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from filterdb.errors import CorruptFileError
from filterdb.readers.safetensors import MAX_HEADER, checked_entry, parse_header
from filterdb.remote.transport import read_part

FIRST_BYTES = 2**16
"""Asked for at once: the headers of most networks are shorter."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself.

    Attributes
    ----------
    n_tensors, n_candidates
        Number of tensors, and of those with four dimensions, as the weights of a 2-D convolution
        have.
    n_bytes
        What was read to know it.
    """

    n_tensors: int
    n_candidates: int
    n_bytes: int


def read_header(url: str, headers: Mapping[str, str] | None = None) -> Header:
    """Read the header of a safetensors file, and no more.

    Raises
    ------
    ReadError
        It cannot be reached, or is no safetensors file.
    """
    data, _ = read_part(url, 0, FIRST_BYTES, headers)
    length = int.from_bytes(data[:8], "little")
    if not (2 <= length <= MAX_HEADER and data[8:9] == b"{"):
        msg = "It is called safetensors, but does not begin like it: it may be a web page."
        raise CorruptFileError(msg)
    if len(data) < 8 + length and len(data) == FIRST_BYTES:
        data += read_part(url, FIRST_BYTES, 8 + length, headers)[0]
    entries = parse_header(np.frombuffer(data[: 8 + length], np.uint8))
    entries.pop("__metadata__", None)
    shapes = [checked_entry(name, value)[2] for name, value in entries.items()]
    candidates = sum(len(shape) == 4 and 0 not in shape for shape in shapes)
    return Header(len(shapes), candidates, len(data))
