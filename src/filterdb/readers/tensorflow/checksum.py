"""CRC-32C, the checksum of TensorFlow's checkpoints, many bytes at a time."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
LANE = 1024
"""Bytes that are taken one after the other; so many lanes as there are run side by side."""

Words = NDArray[np.uint32]


@cache
def byte_table() -> Words:
    """What a byte does to the checksum: uint32, shape (256,)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


def advance(table: Words, words: Words) -> Words:
    """Apply a linear map, given by its four tables of bytes, to many checksums."""
    result: Words = table[0][words & 0xFF]
    for i in range(1, 4):
        result = result ^ table[i][(words >> np.uint32(8 * i)) & 0xFF]
    return result


@cache
def skip_table(doublings: int) -> Words:
    """The map of a checksum over ``LANE * 2**doublings`` zero bytes: uint32, shape (4, 256)."""
    words = (
        np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32)[:, None])
    ).astype(np.uint32)
    if doublings == 0:
        for _ in range(LANE):
            words = byte_table()[words & 0xFF] ^ (words >> np.uint32(8))
        return words
    half = skip_table(doublings - 1)
    return advance(half, half.reshape(-1)).reshape(4, 256)


def crc32c(data: NDArray[np.uint8]) -> int:
    """The CRC-32C of some bytes."""
    table = byte_table()
    lanes = len(data) // LANE
    state = np.uint32(0xFFFFFFFF)
    if lanes:
        block = data[: lanes * LANE].reshape(lanes, LANE)
        words = np.zeros(lanes, np.uint32)
        words[0] = state
        for column in range(LANE):
            words = table[(words ^ block[:, column]) & 0xFF] ^ (words >> np.uint32(8))
        state = joined(words)
    crc = int(state)
    small: Any = table.tolist()
    for byte in data[lanes * LANE :].tobytes():
        crc = small[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def joined(words: Words) -> np.uint32:
    """The checksum over all lanes, from those over each: neighbours are joined, pair by pair."""
    doublings = 0
    while len(words) > 1:
        if len(words) % 2:  # a lane of nothing in front changes nothing
            words = np.concatenate([np.zeros(1, np.uint32), words])
        words = advance(skip_table(doublings), words[0::2]) ^ words[1::2]
        doublings += 1
    return np.uint32(words[0])


def unmasked(stored: int) -> int:
    """A checksum as it is computed, from how it is stored: turned, and moved by a constant."""
    turned = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return ((turned >> 17) | (turned << 15)) & 0xFFFFFFFF
