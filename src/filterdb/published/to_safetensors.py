"""A folder of safetensors, one a model under its own name, with tables beside them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from filterdb.published.selection import Selection, shape_of, user_columns
from filterdb.store.payload import header, unique_names

SUFFIX = ".safetensors"
UNFIT = re.compile(r"[^\w.+=@() -]+")
"""What stands in a model's name but cannot in a file's, everywhere."""
LONGEST = 180


def write_safetensors(chosen: Selection, folder: Path, *, done: Callable[[str], None]) -> None:
    """Write each model's layers under their original names, ``models.csv`` and ``layers.csv``.

    ``models.csv`` has a row a file with all that users said of the models, ``layers.csv`` one a
    layer with all that the catalogue says. A file itself holds names and shapes only, so that
    `filterdb ingest` cannot make the same database of the folder again: layers whose kind these
    do not tell (grouped, transposed, depthwise ones) come back as another kind, or not at all.
    """
    folder.mkdir()
    names = file_names(model.row["name"] for model in chosen.models)
    for model, name in zip(chosen.models, names, strict=True):
        layers = unique_names(row["name"] for row in model.layers)
        shapes = dict(zip(layers, map(shape_of, model.layers), strict=True))
        with (folder / name).open("xb") as file:
            file.write(header(shapes))
            for _, weights in chosen.weights_of(model):
                plain = np.ascontiguousarray(weights, "<f4").reshape(-1)
                file.write(plain.view(np.uint8).data)
                done(model.row["name"])
    _write_csv(folder / "models.csv", {"file": names} | user_columns(chosen.models))
    rows = [row for model in chosen.models for row in model.layers]
    _write_csv(folder / "layers.csv", {name: [row[name] for row in rows] for name in rows[0]})


def file_names(models: Iterable[str]) -> list[str]:
    """A file name for each model, like its own, that any system can have; none twice."""
    taken: set[str] = set()
    result = []
    for name in models:
        stem = UNFIT.sub("_", name).strip(". ")[:LONGEST].removesuffix(SUFFIX) or "model"
        unique, number = stem, 1
        while unique.lower() in taken:
            number += 1
            unique = f"{stem}~{number}"
        taken.add(unique.lower())
        result.append(unique + SUFFIX)
    return result


def _write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
