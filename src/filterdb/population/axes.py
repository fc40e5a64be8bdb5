"""Axes: what layers are grouped by, from what the catalogue says of them and of their models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any

from filterdb.errors import QueryError
from filterdb.store.query import axis_columns, select_layer_values
from filterdb.store.schema import MEASURES

Label = Callable[[Any], Any]
STAGES = ("stem", "early", "middle", "late")
NO_AXES = {"model_id", "reason", "reasons", "model_reasons", "notes", "companions", "tensor",
           "path", "sha256", "file_sha256", "weights_hash", "model_weights_hash",
           "kind_reason", "kh", "kw", "n_filters", "size_bytes", "added_at", "name",
           *MEASURES}  # fmt: skip
"""Columns that tell every model or layer apart, hold sentences, or measure."""
VALUES_SHOWN, MOST_VALUES = 4, 100
JOINER = " · "


@dataclass(frozen=True, slots=True)
class Axis:
    """A way to group layers.

    Attributes
    ----------
    name
        As users call it; of a pair ``"task,format"``.
    columns
        What it needs of the layers and models joined.
    label
        One value a column -> the group's name and what it is sorted by, or None for no group.
    ordered
        Whether the groups have an order of their own (depth, epoch), rather than a name each.
    """

    name: str
    columns: tuple[str, ...]
    label: Callable[[Sequence[Any]], tuple[str, Any] | None]
    ordered: bool


def depth_decile(value: float) -> tuple[str, int]:
    """Decile of the relative depth: ``[0,.1] (.1,.2] .. (.9,1]`` (METHODS 1.3, step 4)."""
    decile = max(0, math.ceil(value * 10 - 1e-9) - 1)
    opening = "[" if decile == 0 else "("
    return f"{opening}{decile / 10:.1f},{(decile + 1) / 10:.1f}]", decile


def stage(depth: int, relative: float) -> tuple[str, int]:
    """Stage of a layer: the first convolution is the stem, the rest fall into thirds."""
    position = 0 if depth == 0 else 1 + min(2, int(relative * 3))
    return STAGES[position], position


def plain(value: Any) -> tuple[str, Any]:
    """A value as it is; numbers come in their order, before words."""
    if isinstance(value, int | float):
        whole = isinstance(value, int) or value.is_integer()
        return str(int(value)) if whole else repr(value), (0, value, "")
    return str(value), (1, 0, str(value))


DERIVED: dict[str, tuple[tuple[str, ...], Callable[..., tuple[str, Any]]]] = {
    "depth_decile": (("conv_depth_norm",), depth_decile),
    "stage": (("conv_depth", "conv_depth_norm"), stage),
}
"""Axes that no column has: what they need, and how their label is made."""
ORDERED = {"depth_decile", "stage", "epoch", "layer_index", "conv_depth", "conv_depth_norm"}
ALIASES = {"depth": "depth_decile", "depth decile": "depth_decile", "layer": "layer_index",
           "layer index": "layer_index", "data": "training_dataset",
           "data_set": "training_dataset"}  # fmt: skip


def axis_of(folder: Path, by: str | Sequence[str]) -> Axis:
    """Find an axis, or a pair of them (``"task,format"``).

    Raises
    ------
    QueryError
        There is none of that name; the message lists the axes and their values.
    """
    known = axis_columns(folder)
    names = list(by) if not isinstance(by, str) else [by] if by in known else by.split(",")
    if not names:
        msg = "Name an axis to group by: task, depth_decile, ..."
        raise QueryError(msg)
    single = [_single(folder, name.strip(), known) for name in names]
    if len(single) == 1:
        return single[0]
    columns = tuple(column for axis in single for column in axis.columns)

    def label(values: Sequence[Any]) -> tuple[str, Any] | None:
        found, start = [], 0
        for axis in single:
            found.append(axis.label(values[start : start + len(axis.columns)]))
            start += len(axis.columns)
        whole = [item for item in found if item is not None]
        if len(whole) < len(found):
            return None
        return JOINER.join(name for name, _ in whole), tuple(key for _, key in whole)

    ordered = all(axis.ordered for axis in single)
    return Axis(",".join(axis.name for axis in single), columns, label, ordered)


def _single(folder: Path, name: str, known: Sequence[str]) -> Axis:
    folded = {column.lower(): column for column in known}
    if name.lower() not in folded:  # a column of that name comes before what is derived
        name = ALIASES.get(name.lower(), name)
    columns: tuple[str, ...]
    if name.lower() in folded:
        columns, make = (folded[name.lower()],), plain
    elif name.lower() in DERIVED:
        columns, make = DERIVED[name.lower()]
    else:
        raise QueryError(unknown_axis(folder, name, known))

    def label(values: Sequence[Any]) -> tuple[str, Any] | None:
        if any(value is None or value == "" for value in values):
            return None
        found: tuple[str, Any] = make(*values)
        return found

    return Axis(name, columns, label, name.lower() in ORDERED)


def unknown_axis(folder: Path, name: str, known: Sequence[str]) -> str:
    """Say that there is no such axis, and which there are, with their values."""
    names = [*DERIVED, *(column for column in known if column not in NO_AXES)]
    close = get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    lines = []
    for column in names:
        if column in DERIVED:
            lines.append(f"  {column}")
            continue
        values = select_layer_values(folder, column)
        if 1 < len(values) <= MOST_VALUES:
            shown = ", ".join(
                shorten(str(value), 24, placeholder="…") for value in values[:VALUES_SHOWN]
            )
            more = len(values) - VALUES_SHOWN
            lines.append(f"  {column}: {shown}" + (f" and {more:,} more" if more > 0 else ""))
    listed = "\n".join(lines)
    return f"There is no axis {name!r}.{hint} These are, with their values:\n{listed}"
