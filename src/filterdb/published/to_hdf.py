"""The layout of the published data set, written: ``/filters`` and ``/meta``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from filterdb.extras import require
from filterdb.published.layout import IDS, INDEX
from filterdb.published.selection import ChosenModel, Selection, user_columns

PUBLISHED = {
    "paper": "Paper",
    "pretraining_dataset": "Pretraining-Dataset",
    "training_dataset": "Training-Dataset",
    "visual_category": "Visual Category",
    "task": "Task",
    "source_url": "Accessible",
    "precision": "precision",
}
"""Column of the catalogue -> of the published table, which has them all, in this order."""


def write_hdf(chosen: Selection, path: Path, *, dtype: str, done: Callable[[str], None]) -> None:
    """Write 3x3 layers in the layout of v1.0.0.

    The table is in pandas' format "table", which needs no pickle but for names of columns. The
    layout has no kinds of layers: read again, every layer is of kind "unknown".

    Raises
    ------
    MissingExtraError
        pandas or PyTables is not installed.
    OSError
        The file cannot be written.
    """
    pandas, tables = require("pandas", extra="hdf"), require("tables", extra="hdf")
    h5py = require("h5py", extra="hdf")
    frame = pandas.DataFrame(meta_columns(chosen)).set_index(list(INDEX))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTables dislikes names such as "Visual Category"
        try:
            frame.to_hdf(
                path, key="meta", mode="w", format="table", index=False, nan_rep=missing(frame)
            )
        except tables.HDF5ExtError as error:  # a full disk, as a rule; no OSError by birth
            raise OSError(str(error)) from error
    try:
        file = h5py.File(path, "a")
    except OSError as error:  # PyTables does not say that it could not write all
        msg = "the table is not there as a whole, the disk is probably full"
        raise OSError(msg) from error
    with as_os_error(), file:
        filters = file.create_dataset("filters", (chosen.filters, 3, 3), np.dtype(dtype))
        start = 0
        for model, row, weights in chosen.weights():
            filters[start : start + row["n_filters"]] = weights.reshape(-1, 3, 3)
            start += row["n_filters"]
            done(model.row["name"])


@contextmanager
def as_os_error() -> Iterator[None]:
    """On a full disk closing fails as well, and h5py calls that a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error


def missing(frame: Any) -> str:
    """What stands in the table for a text that is missing: no text of its own, as "nan" can be."""
    texts = set(frame.index.get_level_values("layer_id")).union(*map(frame.get, frame.columns))
    word = "nan"
    while word in texts:
        word += "~"
    return word


def meta_columns(chosen: Selection) -> dict[str, list[Any]]:
    """The table of layers, column by column: a value a layer, ends of ranges inclusive."""
    table: dict[str, list[Any]] = {name: [] for name in (*INDEX, IDS)}
    start = 0
    for number, model in zip(model_ids(chosen.models), chosen.models, strict=True):
        for row in model.layers:
            stop = start + row["n_filters"]
            index = (number, row["conv_depth"], row["conv_depth_norm"], row["name"])
            for name, value in zip(table, (*index, f"{start}:{stop - 1}"), strict=True):
                table[name].append(value)
            start = stop
    repeats = [len(model.layers) for model in chosen.models]
    for name, values in model_columns(chosen.models).items():
        table[name] = [v for v, n in zip(values, repeats, strict=True) for _ in range(n)]
    return table


def model_ids(models: tuple[ChosenModel, ...]) -> list[str]:
    """The data set's own ids where every model came from it, else numbers of the catalogue."""
    own = [model.row.get("published_id") for model in models]
    if None not in own and len(set(own)) == len(own):
        return [str(value) for value in own]
    return [str(model.row["id"]) for model in models]


def model_columns(models: tuple[ChosenModel, ...]) -> dict[str, list[Any]]:
    """What is said of each model, in the words of the published table."""
    said = user_columns(models)
    original = said.pop("published_task", None)
    for own in ("published_id", "published_version"):
        said.pop(own, None)
    if original is not None:  # before the segmentation labels were made one
        tasks = said.get("task", original)
        said["task"] = [a if a is not None else b for a, b in zip(original, tasks, strict=True)]
    nothing = [None] * len(models)
    columns = {"Name": [model.row["name"] for model in models]}
    columns |= {new: said.pop(old, nothing) for old, new in PUBLISHED.items()}
    return {name: of_one_type(values) for name, values in (columns | said).items()}


def of_one_type(values: list[Any]) -> list[Any]:
    """Numbers as they are, NaN where there is none; anything else as text, empty where none."""
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, int | float) for value in given):
        return values if len(given) == len(values) else [_or_nan(value) for value in values]
    return ["" if value is None else str(value) for value in values]


def _or_nan(value: Any) -> float:
    return float("nan") if value is None else float(value)
