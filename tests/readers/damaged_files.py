"""Damaged copies of a file or of a pair of files: each ends in a result or in a ReadError."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import filterdb
from filterdb.errors import ReadError


def damages(content: bytes, cuts: int, flips: int) -> Iterator[bytes]:
    """Cut short and flipped copies; the same on every run."""
    source = random.Random(len(content))
    for _ in range(cuts):
        yield content[: source.randrange(len(content))]
    for _ in range(flips):
        flipped = bytearray(content)
        for _ in range(source.choice((1, 1, 2, 5))):
            flipped[source.randrange(len(content))] ^= source.randrange(1, 256)
        yield bytes(flipped)


def read_damaged(folder: Path, files: list[Path], *, cuts: int = 40, flips: int = 120) -> int:
    """Damage each of ``files`` in turn, read the first and all its weights; count refusals."""
    for file in files:
        (folder / file.name).write_bytes(file.read_bytes())
    refused = 0
    for file in files:
        content = file.read_bytes()
        for damaged in damages(content, cuts, flips):
            (folder / file.name).write_bytes(damaged)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    warnings.filterwarnings("ignore", "overflow encountered in cast")
                    for layer in filterdb.read(folder / files[0].name).layers:
                        assert layer.weights.shape == layer.shape
            except ReadError as error:
                if "unforeseen" in str(error):
                    raise
                refused += 1
        (folder / file.name).write_bytes(content)
    return refused
