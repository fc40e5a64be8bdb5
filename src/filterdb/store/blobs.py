"""Deflated columns: what comes out of them is never more than was put in."""

from __future__ import annotations

import zlib

LARGEST = 2**40  # bytes; more than any column of a layer holds


def inflated(blob: bytes, most: int) -> bytes:
    """A column as it was before it was deflated.

    A few kilobytes can be the deflated form of gigabytes: no more than asked for is inflated.

    Parameters
    ----------
    blob
        The column.
    most
        Bytes that may come out.

    Raises
    ------
    ValueError
        The column is damaged or cut short, more comes out, or something follows it.
    """
    if not isinstance(blob, bytes) or not 0 <= most <= LARGEST:
        msg = "neither bytes nor a number of them"
        raise ValueError(msg)
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(blob, most + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(data) > most or not stream.eof or stream.unconsumed_tail or stream.unused_data:
        msg = "it ends too late or too early"
        raise ValueError(msg)
    return data
