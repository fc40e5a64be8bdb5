"""A database out: in the published layout, as Parquet, or as a folder of safetensors."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, get_args

from filterdb.errors import ExportError, FilterDBError
from filterdb.published.selection import Selection, select
from filterdb.store.output import output_outside

PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, str], None]
Layout = Literal["hdf", "parquet", "safetensors"]
Precision = Literal["float64", "float32"]

SUFFIXES: dict[str, Layout] = {".h5": "hdf", ".hdf5": "hdf", ".parquet": "parquet"}
OWN_FILES = ("models.csv", "layers.csv", "*.safetensors", "*.parquet")
"""All that a folder of an earlier export can hold; any other is never replaced."""
COPY = "To keep a database, or to move it, copy its folder."
PURPOSE: dict[Layout, str] = {
    "hdf": "The layout has no kinds of layers: imported again, every layer is of kind unknown. ",
    "parquet": "It is for other programs, and cannot be ingested again. ",
    "safetensors": (
        "It is for other programs: names and shapes do not tell the kind of every layer, so that "
        "`filterdb ingest` does not make the same database of it again. "
    ),
}
ERRNO = re.compile(r"errno = (\d+)")
"""How libhdf5 words the reason of the system, among much else."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written.

    Attributes
    ----------
    path, layout
        Where and how.
    models, layers, filters
        How many of each.
    left_out
        Why layers are not in it -> how many.
    note
        What it is good for, and what it is not.
    """

    path: str
    layout: Layout
    models: int
    layers: int
    filters: int
    left_out: dict[str, int]
    note: str

    def to_dict(self) -> dict[str, Any]:
        """The result as in the JSON of ``filterdb export``."""
        return asdict(self)


def export(
    folder: PathLike,
    out: PathLike,
    *,
    where: str | None = None,
    layout: Layout | None = None,
    dtype: Precision = "float64",
    force: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Write a database, or some of its layers, for other programs; one layer in memory at a time.

    It is no way to keep a database, nor to move it: for that, copy its folder.

    ``hdf`` is the layout of the published data set v1.0.0: ``/filters`` of shape ``(N, 3, 3)``
    and ``/meta``, 3x3 layers only (needs the extra ``hdf``); `filterdb import` takes it in again,
    every layer as of kind "unknown", as the layout has no kinds. ``parquet`` is a folder with one
    row a filter in ``filters_3x3.parquet`` and so on for each kernel size, and the catalogue in
    ``models.parquet`` and ``layers.parquet`` (extra ``parquet``). ``safetensors`` is a folder with
    one file a model, ``models.csv`` and ``layers.csv``; it holds all weights, but a file's names
    and shapes do not tell the kind of every layer: `filterdb ingest` does not make the same
    database of it again.

    What is written has its name only when it is complete.

    Parameters
    ----------
    folder
        The database.
    out
        File or folder to write.
    where
        SQL expression over the columns of layers and models, e.g. ``"duplicate_of IS NULL"``.
    layout
        If not given, by the suffix: ``.h5``, ``.parquet``, else safetensors.
    dtype
        Type of the filters in ``hdf``: float64 as in the published file, or float32.
    force
        Replace what is there: a file, or the folder of an earlier export.
    progress
        Called with the number of layers written, their total and the model's name.

    Raises
    ------
    ExportError
        There is something at ``out`` already, it lies in a database, or nothing can be written
        there: then it was raised from an OSError.
    QueryError
        ``where`` is not valid, or holds for no layer.
    MissingExtraError
        The layout needs a package that is not installed.
    DatabaseNotFoundError, DamagedStoreError
        The database cannot be read.
    """
    place, target = Path(folder), output_outside(out)
    layout = layout or SUFFIXES.get(target.suffix.lower(), "safetensors")
    if layout not in get_args(Layout) or dtype not in get_args(Precision):
        msg = f"layout is one of {', '.join(get_args(Layout))}; dtype float64 or float32."
        raise ValueError(msg)
    check_target(target, place, is_folder=layout != "hdf", force=force)
    chosen = select(place, where)
    if layout == "hdf":
        every, chosen = chosen, chosen.of_kernel((3, 3))
        if not chosen.models:
            msg = (
                f"None of the {every.layers:,} layers is 3x3, and the published layout holds no "
                "others. Export Parquet or safetensors: they hold any kernel."
            )
            raise ExportError(msg)
    with complete_or_nothing(target) as draft:
        _write(chosen, draft, layout, dtype, _counting(chosen, progress))
    return ExportResult(
        str(out),
        layout,
        len(chosen.models),
        chosen.layers,
        chosen.filters,
        chosen.left_out,
        PURPOSE[layout] + COPY,
    )


def _write(
    chosen: Selection, draft: Path, layout: Layout, dtype: Precision, done: Callable[[str], None]
) -> None:
    if layout == "hdf":
        from filterdb.published.to_hdf import write_hdf

        write_hdf(chosen, draft, dtype=dtype, done=done)
    elif layout == "parquet":
        from filterdb.published.to_parquet import write_parquet

        write_parquet(chosen, draft, done=done)
    else:
        from filterdb.published.to_safetensors import write_safetensors

        write_safetensors(chosen, draft, done=done)


def _counting(chosen: Selection, progress: Progress | None) -> Callable[[str], None]:
    """What to call after each layer, with the model's name."""
    total, count = chosen.layers, 0

    def done(name: str) -> None:
        nonlocal count
        count += 1
        if progress is not None:
            progress(count, total, name)

    return done


def check_target(target: Path, database: Path, *, is_folder: bool, force: bool) -> None:
    """Make sure that nothing is lost by writing there.

    Raises
    ------
    ExportError
        Something is there: always where it is not what an export writes.
    """
    if not target.exists():
        return
    replaceable = target.is_file() if not is_folder else _is_export(target)
    if target.resolve() in (database.resolve(), *database.resolve().parents) or not replaceable:
        msg = (
            f"{target} is there already and is not of an earlier export, so it is not replaced. "
            "Name another place."
        )
        raise ExportError(msg)
    if not force:
        msg = f"{target} is there already. Name another place, or add --force to replace it."
        raise ExportError(msg)


def _is_export(folder: Path) -> bool:
    return folder.is_dir() and all(
        path.is_file() and any(fnmatch(path.name, own) for own in OWN_FILES)
        for path in folder.iterdir()
    )


@contextmanager
def complete_or_nothing(target: Path) -> Iterator[Path]:
    """A place beside the target to write to; it gets the target's name at the end.

    Raises
    ------
    ExportError
        The disk is full, or cannot be written.
    """
    draft = target.with_name(f".filterdb-{token_hex(8)}.tmp")  # short, however long the name is
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _sync(draft)
        _put_in_place(draft, target)
    except FilterDBError:  # some are an OSError, too
        raise
    except OSError as error:
        msg = f"{target} cannot be written: {refusal(error)}. Nothing was left there."
        raise ExportError(msg) from error
    finally:
        _remove(draft)


def refusal(error: OSError) -> str:
    """Why the system refused, in its words; libraries wrap them in many lines of their own."""
    told = ERRNO.search(str(error))
    number = error.errno or (int(told[1]) if told else None)
    return os.strerror(number) if number else str(error).strip().splitlines()[-1]


def _sync(draft: Path) -> None:
    """Make what was written durable before it gets its name."""
    for path in [draft] if draft.is_file() else draft.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _put_in_place(draft: Path, target: Path) -> None:
    """Rename; a folder that is replaced is moved aside first, and removed last."""
    if not target.is_dir():
        draft.replace(target)
        return
    aside = target.with_name(f".filterdb-{token_hex(8)}.old")
    target.rename(aside)
    try:
        draft.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):  # as a rule there is none
        path.unlink()
