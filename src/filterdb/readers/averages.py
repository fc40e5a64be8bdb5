"""Running averages (EMA) that lie beside the weights they follow, in one flat dict.

``generator_ema.conv.weight`` beside ``generator.conv.weight``, ``model_ema.convweight`` beside
``model.conv.weight``: by names (dots apart, which some drop) and shapes a copy of the network.
As between whole state dicts, the weights as trained are taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from filterdb.layer import Skipped, Tensor

AVERAGED = re.compile(r"(^|_)(ema|swa|avg|averaged?|shadow)(_|$)", re.I)
"""Key of a dict that is a running average as a whole."""
PREFIX = re.compile(r"(?:[^.]+\.)?(?:[^.]*_)?(?:ema|swa|shadow)(?:_[^.]*)?\.", re.I)
"""Beginning of the names of one in a flat dict: layers that take averages have such names, too,
so nothing deeper, no other words, and only a copy of all of something."""
LONGEST_NAME = 1000
MOST_PREFIXES = 8
MOST_CANDIDATES = 64

Key = tuple[str, tuple[int, ...]]


def without_averages(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Skipped], list[str]]:
    """Leave running averages out whose originals are there.

    Parameters
    ----------
    tensors
        A state dict, in its order.

    Returns
    -------
    tensors, skipped, notes
        What is left; a row for each average, by its prefix; and a sentence for each.
    """
    averages: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        if prefix := averaged_prefix(tensor.name):
            averages.setdefault(prefix, []).append(tensor)
    gone: set[str] = set()
    skipped: list[Skipped] = []
    notes: list[str] = []
    others = [tensor for tensor in tensors if not averaged_prefix(tensor.name)]
    for prefix, members in list(averages.items())[:MOST_PREFIXES]:
        names = {tensor.name for tensor in members}
        original = original_of(prefix, members, others)
        if original is None:
            continue
        gone |= names
        label = original.rstrip(".") or "the top level"
        what = f"a running average of {label} by names and shapes, which was taken"
        skipped.append(Skipped(prefix.rstrip("."), what))
        notes.append(
            f"The {len(members)} tensors below {prefix.rstrip('.')!r} are a running average of "
            f"those below {label!r}: the weights as trained were taken."
        )
    return [tensor for tensor in tensors if tensor.name not in gone], skipped, notes


def averaged_prefix(name: str) -> str:
    """The beginning of a name, up to the part that says that it is an average; else nothing."""
    if len(name) > LONGEST_NAME:
        return ""
    match = PREFIX.match(name)
    return match[0] if match else ""


def original_of(prefix: str, members: Sequence[Tensor], others: Sequence[Tensor]) -> str | None:
    """The prefix below which an average has a counterpart of every array, None if none is so."""
    wanted = [key(tensor, prefix) for tensor in members if len(tensor.shape) > 2]
    if not wanted:
        return None
    there = {key(tensor, ""): tensor.name for tensor in others if len(tensor.shape) > 2}
    rest, shape = wanted[0]
    alike = ((name, at) for name, at in there if at == shape and name.endswith(rest))
    for name, _ in islice(alike, MOST_CANDIDATES):
        begin = name.removesuffix(rest)
        if sum(other.startswith(begin) for other, _ in there) != len(wanted):
            continue
        if all((begin + ending, extents) in there for ending, extents in wanted):
            # The same number of letters, and the dots between them.
            return undotted_end(there[name, shape], len(begin))
    return None


def key(tensor: Tensor, prefix: str) -> Key:
    """A name behind its prefix, without dots, and the shape."""
    return tensor.name.removeprefix(prefix).replace(".", ""), tensor.shape


def undotted_end(name: str, length: int) -> str:
    """The beginning of a name that has so many characters other than dots."""
    count = 0
    for position, character in enumerate(name):
        if count == length:
            return name[:position]
        count += character != "."
    return name
