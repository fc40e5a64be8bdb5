"""Which key set that comes with the package is for which kernel size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filterdb.keys.sets.set_file import load_keys, shipped

if TYPE_CHECKING:
    from filterdb.keys.equivalence import Kernel
    from filterdb.keys.key_set import KeySet

USUAL = {(3, 3): "found3x3", (5, 5): "found5x5", (7, 7): "published8"}
"""Kernel size -> the name of its set."""


def usual_set(kernel: Kernel) -> KeySet | None:
    """The set for filters of a size; None where none comes with the package."""
    name = USUAL.get(kernel)
    return load_keys(name) if name in shipped() else None
