"""Which filters belong to which layer of which model, by the table of layers.

A row says ``filter_ids = "start:end"``. The end is inclusive in one published file and exclusive
in another, which the file does not say: the ranges do, because they lie end to end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from filterdb.errors import CorruptFileError
from filterdb.published.frame import Frame, Value

INDEX = ("model_id", "conv_depth", "conv_depth_norm", "layer_id")
IDS = "filter_ids"
RANGE = re.compile(r"\s*([0-9]{1,18})\s*:\s*([0-9]{1,18})\s*")
MOST_FILTERS = 2**26
"""Of one layer: four times those of a convolution of 4096 x 4096 channels."""
ROUNDS = 64

Ends = Literal["inclusive", "exclusive"]


@dataclass(frozen=True, slots=True)
class LayerRange:
    """One row of the table: a layer and its filters.

    Attributes
    ----------
    layer_id
        The layer's name.
    conv_depth, conv_depth_norm
        As in METHODS 1.1; the latter is 0 where the published code divided by zero.
    start, stop
        First filter, and the one after the last.
    fault
        Why the row cannot be used; None if it can.
    """

    layer_id: str
    conv_depth: int
    conv_depth_norm: float
    start: int
    stop: int
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One network of the data set.

    Attributes
    ----------
    id
        The data set's ``model_id``.
    layers
        In the order of the table.
    columns
        What the table says of the network.
    """

    id: str
    layers: tuple[LayerRange, ...]
    columns: Mapping[str, Value]

    @property
    def fault(self) -> str | None:
        """Why the network cannot be used: the first fault of a row, and how many rows have one."""
        faults = [f"layer {row.layer_id!r}: {row.fault}" for row in self.layers if row.fault]
        if not faults:
            return None
        more = f" ({len(faults)} rows in all)" if len(faults) > 1 else ""
        return f"Its row in /meta is damaged: {faults[0]}{more}."


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole table.

    Attributes
    ----------
    models
        In the order of their first row.
    ends
        Whether the ends of the ranges are in them.
    certain
        False where nothing tells, and they are taken as documented.
    uncovered
        Filters that belong to no layer.
    varying
        Columns that differ between the layers of a network: not kept.
    """

    models: tuple[PublishedModel, ...]
    ends: Ends
    certain: bool
    uncovered: int
    varying: tuple[str, ...]


def read_layout(frame: Frame, count: int) -> Layout:
    """Group the rows of the table into networks, and find the rows that cannot be right.

    Parameters
    ----------
    frame
        The table of layers.
    count
        Number of filters in the file.

    Raises
    ------
    CorruptFileError
        It lacks a column that every published file has.
    """
    missing = [name for name in (*INDEX, IDS) if name not in frame.columns]
    if missing:
        msg = (
            f"/meta has no {', '.join(missing)}. Its columns are: {', '.join(frame.columns)}. "
            "The table of layers is damaged, or this is another data set."
        )
        raise CorruptFileError(msg)
    spans = [parse_range(text) for text in frame.columns[IDS]]
    ends, certain = which_ends([span for span in spans if span], count)
    shift = 1 if ends == "inclusive" else 0
    rows = [
        _layer_range(span, shift, count, *values)
        for span, *values in zip(spans, *(frame.columns[name] for name in INDEX), strict=True)
    ]
    rows = without_overlaps(rows)
    of_model: dict[str, list[int]] = {}
    for position, model_id in enumerate(frame.columns["model_id"]):
        of_model.setdefault("" if model_id is None else str(model_id), []).append(position)
    others = {name: v for name, v in frame.columns.items() if name not in (*INDEX, IDS)}
    varying = tuple(name for name, v in others.items() if _varies(v, of_model.values()))
    models = tuple(
        PublishedModel(
            model_id,
            tuple(rows[i] for i in positions),
            {name: v[positions[0]] for name, v in others.items() if name not in varying},
        )
        for model_id, positions in of_model.items()
    )
    covered = sum(row.stop - row.start for row in rows if row.fault is None)
    return Layout(models, ends, certain, count - covered, varying)


def parse_range(text: Value) -> tuple[int, int] | None:
    """Both numbers of ``"start:end"``; None for anything else."""
    match = RANGE.fullmatch(text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None


def which_ends(spans: Sequence[tuple[int, int]], count: int) -> tuple[Ends, bool]:
    """Whether ends are inclusive: the ranges lie end to end and reach to the last filter.

    Every range votes with where the next one begins, so a few damaged rows change nothing.

    Returns
    -------
    ends
        ``"inclusive"`` or ``"exclusive"``.
    certain
        False for a draw: then it is inclusive, as documented.
    """
    starts = {start for start, _ in spans} | {count}
    inclusive = sum(end + 1 in starts for _, end in spans)
    exclusive = sum(end in starts and end > start for start, end in spans)
    return "exclusive" if exclusive > inclusive else "inclusive", inclusive != exclusive


def _layer_range(
    span: tuple[int, int] | None,
    shift: int,
    count: int,
    model: Value,
    depth: Value,
    norm: Value,
    name: Value,
) -> LayerRange:
    """A row, with its fault if it has one."""
    start, stop = (span[0], span[1] + shift) if span else (0, 0)
    fault = None
    if span is None:
        fault = f'its {IDS} is not of the form "start:end"'
    elif not start < stop <= count:
        fault = f"filters {span[0]:,} to {span[1]:,} do not lie among the {count:,} of the file"
    elif stop - start > MOST_FILTERS:
        fault = f"{stop - start:,} filters are more than any layer has"
    if not isinstance(depth, int | float) or depth < 0 or depth != int(depth):
        fault = fault or "its conv_depth is no number"
        depth = 0
    if norm is None and depth == 0:
        norm = 0.0  # a network of one depth, where the published code divides by zero
    if not isinstance(norm, int | float) or not 0 <= norm <= 1:
        fault = fault or "its conv_depth_norm does not lie between 0 and 1"
        norm = 0.0
    layer = "" if name is None else str(name)
    if model is None or name is None:
        fault = fault or "it does not say which layer of which model it is"
    return LayerRange(layer, int(depth), float(norm), start, stop, fault)


def without_overlaps(rows: Sequence[LayerRange]) -> list[LayerRange]:
    """Mark rows that share filters, beginning with those that share them with most others.

    So one damaged row that claims half of the file does not take the others down with it; of two
    that only contradict each other, neither is believed.
    """
    result = list(rows)
    for last in (False,) * ROUNDS + (True,):
        sound = [i for i, row in enumerate(result) if row.fault is None]
        starts = np.array([result[i].start for i in sound], np.int64)
        stops = np.array([result[i].stop for i in sound], np.int64)
        before = np.searchsorted(np.sort(starts), stops)
        ended = np.searchsorted(np.sort(stops), starts, side="right")
        rivals = before - ended - 1
        if not sound or rivals.max() <= 0:
            break
        for i in np.flatnonzero(rivals > 0 if last else rivals == rivals.max()).tolist():
            row = result[sound[i]]
            others = "another layer" if rivals[i] == 1 else f"{rivals[i]:,} other layers"
            result[sound[i]] = replace(
                row, fault=f"filters {row.start:,} to {row.stop - 1:,} overlap those of {others}"
            )
    return result


def _varies(values: Sequence[Value], groups: Iterable[Sequence[int]]) -> bool:
    """True where a column says several things of one network."""
    return any(len({values[i] for i in positions}) > 1 for positions in groups)
