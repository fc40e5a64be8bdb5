"""What the data set says of a network, in the words of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from filterdb.ingest.metadata import RESERVED, name_columns
from filterdb.published.frame import Value
from filterdb.store.schema import METADATA

FORMAT = "cnn-filter-db"
NAME = "name"
IN_THE_CATALOGUE = {"datatype": "visual_category", "accessible": "source_url"}
"""Columns that are called otherwise here; those of the same name need no entry."""
OWN = ("published_id", "published_version", "published_task")
"""Columns of the import itself: the data set's model_id, its version, and its word for the task."""
SEGMENTATION = "Segmentation"


@dataclass(frozen=True, slots=True)
class Naming:
    """Columns of the data set and of the catalogue.

    Attributes
    ----------
    version
        Of the data set, as its columns tell: ``"1.0.0"``, ``"0.1.0"`` or ``"unknown"``.
    name
        The column with the networks' names; None without.
    columns
        Every other column -> column of the catalogue.
    """

    version: str
    name: str | None
    columns: Mapping[str, str]

    @property
    def renamed(self) -> dict[str, str]:
        """The columns whose names had to change."""
        return {old: new for old, new in self.columns.items() if old != new}

    def row(self, model_id: str, said: Mapping[str, Value]) -> dict[str, Any]:
        """Columns of ``models`` for one network.

        The segmentation labels of v1.0.0 cannot be relied on: as in the authors' analysis, every
        task that contains the word is that task. What was said stays in ``published_task``.
        """
        row: dict[str, Any]
        row = {new: as_said(said[old], new) for old, new in self.columns.items() if old in said}
        task = row.get("task")
        row |= dict(zip(OWN, (model_id, self.version, task), strict=True))
        if isinstance(task, str) and SEGMENTATION.lower() in task.lower():
            row["task"] = SEGMENTATION
        return row

    def candidates(self, model_id: str, said: Mapping[str, Value]) -> tuple[str, ...]:
        """Names for a network in the catalogue, best first."""
        name = said.get(self.name) if self.name is not None else None
        if name is None or not str(name).strip():
            return (model_id,)
        return (str(name), f"{name} ({model_id})")


def name_published(columns: Iterable[str]) -> Naming:
    """Decide which column of the data set becomes which of the catalogue."""
    listed = list(columns)
    plain = {name: re.sub(r"[\s-]+", "_", name.strip().lower()) for name in listed}
    known = set(plain.values())
    version = (
        "1.0.0" if "visual_category" in known else "0.1.0" if "datatype" in known else "unknown"
    )
    name = next((old for old in listed if plain[old] == NAME), None)
    kept = [old for old in listed if old != name]
    wanted = [_wanted(old, plain[old]) for old in kept]
    positions, _ = name_columns([*OWN, *wanted], skip=-1)  # the import's own names are taken
    return Naming(
        version,
        name,
        {kept[i - len(OWN)]: new for i, new in positions.items() if i >= len(OWN)},
    )


def _wanted(own: str, plain: str) -> str:
    if plain in IN_THE_CATALOGUE:
        return IN_THE_CATALOGUE[plain]
    return f"published_{plain}" if plain in RESERVED or plain in OWN else own


def as_said(value: Value, column: str) -> Value:
    """A value as the column holds it; an empty text is None."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return str(value) if column in METADATA and column != "epoch" else value
