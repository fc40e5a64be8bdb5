"""Damage: a case and a source of randomness in, another case out; the same on every run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from fuzzing import structure
from fuzzing.case import Case

NUMBERS = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**24, 2**31 - 1, 2**31,
           2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
TEXT = re.compile(rb"[\x20-\x7e]{4,}")
LARGEST_OF_TEXT = 200_000
NEAR = 48


def damaged(case: Case, source: Random, others: Sequence[Case]) -> Case:
    """One to four kinds of damage to one file of a case (sometimes to two)."""
    files = dict(case.files)
    for _ in range(1 if source.random() < 0.9 else 2):
        # Small files say how large ones are read, and are likelier to be looked at.
        names = sorted(files, key=lambda name: len(files[name]))
        name = names[min(int(source.expovariate(0.8)), len(names) - 1)]
        donor = source.choice(list(source.choice(others).files.values()))
        files[name] = damaged_bytes(files[name], source, donor)
    if len(files) > 1 and source.random() < 0.02:
        files.pop(source.choice(sorted(files)))
    return Case(case.entry, files)


def damaged_bytes(data: bytes, source: Random, donor: bytes) -> bytes:
    """Damage one file: in its structure where it has one that is known, else in its bytes."""
    if source.random() < 0.6:
        changed = structure.damaged(data, source, lambda part: damaged_bytes(part, source, donor))
        if changed is not None:
            return changed
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        data = source.choice(KINDS)(data, source, donor)
    return data


def place(data: bytes, source: Random) -> int:
    """Where to damage: near names, at the ends, or anywhere; weights are most of a file."""
    kind, end = source.random(), max(len(data) - 1, 0)
    if kind < 0.5:
        around = source.randrange(max(len(data), 1))
        window = data[around : around + LARGEST_OF_TEXT]
        found = [match.start() for match in TEXT.finditer(window)][:200]
        if found:
            near = around + source.choice(found) + source.randint(-NEAR, NEAR)
            return min(max(near, 0), end)
    if kind < 0.8:
        edge = min(int(source.expovariate(1 / 200)), end)
        return edge if source.random() < 0.7 else end - edge
    return source.randint(0, end)


# Each kind of damage: the bytes, the source of randomness, and another file to take parts from.


def flip(data: bytes, source: Random, _donor: bytes) -> bytes:
    at, changed = place(data, source), bytearray(data)
    if changed:
        changed[at] ^= 1 << source.randrange(8)
    return bytes(changed)


def replace_byte(data: bytes, source: Random, _donor: bytes) -> bytes:
    at, changed = place(data, source), bytearray(data)
    if changed:
        changed[at] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
    return bytes(changed)


def cut(data: bytes, source: Random, _donor: bytes) -> bytes:
    return data[: place(data, source)]


def remove(data: bytes, source: Random, _donor: bytes) -> bytes:
    at = place(data, source)
    return data[:at] + data[at + 1 + int(source.expovariate(1 / 12)) :]


def insert(data: bytes, source: Random, _donor: bytes) -> bytes:
    at = place(data, source)
    return data[:at] + source.randbytes(1 + int(source.expovariate(1 / 6))) + data[at:]


def repeat(data: bytes, source: Random, _donor: bytes) -> bytes:
    at = place(data, source)
    part = data[at : at + 1 + int(source.expovariate(1 / 60))]
    return data[:at] + part * source.choice((2, 2, 3, 100)) + data[at + len(part) :]


def move(data: bytes, source: Random, _donor: bytes) -> bytes:
    """Write one part of a file over another: valid content in the wrong place."""
    part, at = place(data, source), place(data, source)
    length = 1 + int(source.expovariate(1 / 16))
    return data[:at] + data[part : part + length] + data[at + length :]


def splice(data: bytes, source: Random, donor: bytes) -> bytes:
    part, at = place(donor, source), place(data, source)
    length = 1 + int(source.expovariate(1 / 100))
    keep = length if source.random() < 0.5 else 0
    return data[:at] + donor[part : part + length] + data[at + keep :]


def number(data: bytes, source: Random, _donor: bytes) -> bytes:
    """Change what may be a length: an integer of 2, 4 or 8 bytes, either way round."""
    width, order = source.choice((2, 4, 4, 8, 8)), source.choice(("little", "little", "big"))
    at = place(data, source)
    if source.random() < 0.6:
        at -= at % width
    old = int.from_bytes(data[at : at + width], order)  # type: ignore[arg-type]
    new = source.choice((*NUMBERS, len(data), old + 1, old - 1, old * 2, old // 2, ~old))
    changed = (new % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
    return data[:at] + changed + data[at + width :]


def varint(data: bytes, source: Random, _donor: bytes) -> bytes:
    """Write a number as protocol buffers do, over a byte or in between."""
    at, coded = place(data, source), structure.varint(source.choice(NUMBERS))
    return data[:at] + coded + data[at + source.randrange(2) :]


Damage = Callable[[bytes, Random, bytes], bytes]
KINDS: tuple[Damage, ...] = (
    flip, flip, replace_byte, replace_byte, cut, remove, insert, repeat, move, splice, number,
    number, number, varint,
)  # fmt: skip
