"""The tables of CNN Filter DB, made again from its filters by the formulae of the paper.

PCA of all max-abs-scaled filters pooled; histograms of 70 bins from the least to the greatest
coefficient; D weighted by the explained-variance ratios (METHODS 1.3, preset ``cvpr2022``), by
task, visual category and depth decile. Every filter counts, also of networks that are in the
data set twice, as in the paper.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from filterdb.errors import ExportError, QueryError, ReadError
from filterdb.population.axes import depth_decile
from filterdb.published.hdf5 import PublishedFile
from filterdb.published.importing import import_dataset, read_table
from filterdb.published.naming import FORMAT
from filterdb.published.paper import (
    AXES,
    VERSIONS,
    PrintedMatrix,
    printed_basis,
    printed_matrix,
    source,
)
from filterdb.published.reproduction import ComparedGroup, Comparison, Reproduction
from filterdb.scan import PresetHistograms, ScanLayer, executor_for, preset_histograms, split
from filterdb.stats.shift import shift_matrix
from filterdb.store.query import Row, axis_columns, select_values

PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, str], None]
PRESET = "cvpr2022"
LAYER = ("model_id", "layer_index", "tensor", "out_channels", "in_per_group", "kh", "kw",
         "n_filters", "model_weights_hash", "n_invalid", "conv_depth_norm", "published_version",
         "task", "visual_category")  # fmt: skip
BYTES_A_FILTER = 36
NOTHING_PRINTED = PrintedMatrix((), (), np.empty((0, 0)))
INVALID = "weights that are not finite"


def reproduce(
    data: PathLike,
    *,
    db: PathLike | None = None,
    version: str | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Make the published tables and set them beside the published figures.

    Parameters
    ----------
    data
        The published file, or a database into which it was imported.
    db
        Database to import a file into: a later call on it need not import again. If not given,
        a temporary one, which is removed.
    version
        Of the data set, where a database holds both.
    jobs
        Number of processes; the available cores if not given.
    progress
        Called with the number of steps done, their total and the last one.

    Returns
    -------
    Reproduction
        Our numbers, the paper's, and why they cannot be expected to agree, if so.

    Raises
    ------
    QueryError
        The database holds no imported data set, or several versions of it; or a file is of
        another version than was asked for.
    ReadError
        The file cannot be read.
    ExportError
        There is no room for the temporary database.
    DatabaseNotFoundError, StoreError
        The database cannot be used.
    """
    path = Path(data)
    with ExitStack() as stack:
        folder, notes = path, []
        if not path.is_dir():
            _check_file(path, version)
            folder = Path(db) if db is not None else _temporary(path, stack)
            result = import_dataset(folder, path, jobs=jobs, progress=progress)
            version = version or result.version
            notes += [*result.notes]
            if result.failed:
                notes.append(f"{result.failed:,} models of the file could not be taken in.")
        rows = _choose(_rows(folder), folder, version)
        sound = [row for row in rows if not row["n_invalid"]]
        if not sound:
            msg = f"{folder} holds no 3x3 filters of the published data set that are finite."
            raise QueryError(msg)
        parts = split(folder, [ScanLayer.of(row) for row in sound])
        with executor_for(jobs=jobs) as executor:
            found = preset_histograms(parts, PRESET, executor=executor, progress=progress)
    left_out = {INVALID: len(rows) - len(sound)} if len(sound) < len(rows) else {}
    return _compare(sound, found, tuple(notes), left_out)


def _check_file(path: Path, version: str | None) -> None:
    """Refuse a file of another version before it is imported, which can take hours."""
    if version is None:
        return
    try:
        with PublishedFile.open(path) as file:
            _, _, naming = read_table(file)
    except ReadError as error:
        raise error.at(file=str(path)) from error.__cause__
    if naming.version != version:
        msg = (
            f"{path} is of version {naming.version} of the data set, not {version}. Leave "
            "--version out, or name another file."
        )
        raise QueryError(msg)


def _temporary(path: Path, stack: ExitStack) -> Path:
    """A folder for a database that is removed at the end, if there is room for it."""
    with PublishedFile.open(path) as file:
        needed = file.count * BYTES_A_FILTER
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="filterdb-")))
    free = shutil.disk_usage(folder).free
    if needed > free:
        msg = (
            f"The filters need {needed / 1e9:,.1f} GB and {folder.parent} has {free / 1e9:,.1f} "
            "GB: name a folder for the database (--db)."
        )
        raise ExportError(msg) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return folder / "db"


def _rows(folder: Path) -> list[Row]:
    """The 3x3 layers that came from a published file."""
    known = axis_columns(folder)
    if "published_version" not in known:
        return []
    where = f"format = '{FORMAT}' AND kh = 3 AND kw = 3"
    return [dict(zip(LAYER, row, strict=True)) for row in select_values(folder, LAYER, where)]


def _choose(rows: Sequence[Row], folder: Path, version: str | None) -> list[Row]:
    """The layers of one version of the data set."""
    there = sorted({row["published_version"] for row in rows})
    if not there:
        msg = (
            f"{folder} holds nothing of the published data set. Take it in first: "
            f"filterdb import {folder} dataset.h5"
        )
        raise QueryError(msg)
    if version is None and len(there) == 1:
        version = there[0]
    if version not in there:
        msg = f"{folder} holds the versions {', '.join(there)}: choose one of them (--version)."
        raise QueryError(msg)
    return [row for row in rows if row["published_version"] == version]


def _compare(
    rows: Sequence[Row], found: PresetHistograms, notes: tuple[str, ...], left_out: dict[str, int]
) -> Reproduction:
    """Sum the layers' histograms into groups along each axis."""
    version = rows[0]["published_version"]
    filters = sum(row["n_filters"] for row in rows)
    models = len({row["model_id"] for row in rows})
    facts = VERSIONS.get(version)
    doubts = ["No paper is known on this version of the data set."]
    if facts is not None:
        doubts = facts.doubts(filters, models, len(rows))
    printed, nothing = printed_basis(version), np.full(found.weights.shape, np.nan)
    return Reproduction(
        version=version,
        models=models,
        layers=len(rows),
        filters=filters,
        doubts=tuple(doubts),
        ratios=found.weights,
        mean=found.basis.mean,
        printed_ratios=printed.ratios if printed else nothing,
        printed_mean=printed.mean if printed else nothing,
        basis_source=source(f"pca_v{version}.csv"),
        limits=(found.low, found.high),
        comparisons=tuple(_by(axis, rows, found, version) for axis in AXES),
        left_out=left_out,
        notes=(*notes, *found.notes),
    )


def label(axis: str, row: Row) -> str | None:
    """The group that a layer is in: a decile by its upper end, as the paper prints it."""
    if axis == "depth_decile":
        return f"{(depth_decile(row['conv_depth_norm'])[1] + 1) / 10:.1f}"
    value: Any = row[axis]
    return None if value is None else str(value)


def _by(axis: str, rows: Sequence[Row], found: PresetHistograms, version: str) -> Comparison:
    """The shift along an axis; groups in the order of the paper, its own names aside."""
    printed = printed_matrix(axis, version) or NOTHING_PRINTED
    members: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        if (name := label(axis, row)) is not None:
            members.setdefault(name, []).append(position)
    places = {name: printed.position(name) for name in members}
    known = sorted((place, name) for name, place in places.items() if place is not None)
    names = [name for _, name in known]
    names += sorted(name for name, place in places.items() if place is None)
    beside = np.full((len(names), len(names)), np.nan)
    of_paper = [place for place, _ in known]
    beside[: len(known), : len(known)] = printed.matrix[np.ix_(of_paper, of_paper)]
    counts = np.array([found.counts[members[name]].sum(axis=0) for name in names])
    width = (found.high - found.low) / found.counts.shape[-1]
    models = [*(printed.models[place] for place in of_paper), *[None] * len(names)]
    return Comparison(
        by=axis,
        groups=tuple(
            _group(name, [rows[position] for position in members[name]], printed_models)
            for name, printed_models in zip(names, models, strict=False)
        ),
        matrix=shift_matrix(counts, found.weights, width=width) if names else beside,
        printed=beside,
        missing=tuple(n for i, n in enumerate(printed.groups) if i not in of_paper),
        source=source(f"{axis}_v{version}.csv"),
    )


def _group(name: str, rows: Sequence[Row], printed_models: int | None) -> ComparedGroup:
    models = len({row["model_id"] for row in rows})
    filters = sum(row["n_filters"] for row in rows)
    return ComparedGroup(name, models, len(rows), filters, printed_models)
