"""The order of tensors by their names, for files whose own order says nothing of the network."""

from __future__ import annotations

import re
from collections.abc import Iterable

DIGITS = re.compile(r"([0-9]{1,18})")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sort key in which runs of digits compare as numbers: ``layer.2`` before ``layer.10``."""
    return [
        (0, int(part), "") if index % 2 else (1, 0, part)
        for index, part in enumerate(DIGITS.split(name))
    ]


def numbers_ascend(names: Iterable[str]) -> bool:
    """True where names that differ in their numbers only stand in the order of these."""
    last: dict[str, list[int]] = {}
    for name in names:
        parts = DIGITS.split(name)
        pattern, numbers = "\0".join(parts[::2]), [int(digits) for digits in parts[1::2]]
        if last.get(pattern, numbers) > numbers:
            return False
        last[pattern] = numbers
    return True
