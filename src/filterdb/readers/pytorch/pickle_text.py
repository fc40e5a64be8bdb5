"""Text in a pickle: what its strings are, of Python 2 and 3, in bounded memory."""

from __future__ import annotations

import codecs

import numpy as np

from filterdb.errors import LimitError

MAX_TEXT = 2**20
MAX_LENGTH_OF_PYTHON_2 = 2**12
LAST_LEAD_OF_A_BYTE = 0xC3
"""The highest first byte, in UTF-8, of code points below 256."""


def text_of_python_2(raw: bytes) -> str | bytes:
    """A string of Python 2 is text or raw data; nobody knows which. What is long is data."""
    if len(raw) > MAX_LENGTH_OF_PYTHON_2:
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def quoted(raw: bytes) -> bytes:
    """The content of a quoted, escaped string of protocol 0."""
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"'):
        msg = "a string without its quotes"
        raise ValueError(msg)
    return codecs.escape_decode(raw[1:-1])[0]


def text(raw: bytes) -> str:
    """UTF-8 in which pickle lets lone surrogates pass.

    Only the bytes of an array, which old protocols hide in text of code points below 256, are
    long; a single character beyond those would make every one of them take two or four bytes.
    """
    if len(raw) > MAX_TEXT and np.frombuffer(raw, np.uint8).max() > LAST_LEAD_OF_A_BYTE:
        msg = f"Its pickle holds a text of {len(raw):,} bytes: no checkpoint does."
        raise LimitError(msg)
    return raw.decode("utf-8", "surrogatepass")
