"""What users say of models that are in a database: word by word, or in a table that they filled in.

The table comes from :func:`template`; whatever program filled it in, what was not changed in it
changes nothing.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path
from typing import Any

from filterdb.errors import ExportError, MetadataError, ModelNotFoundError
from filterdb.ingest.inferring import settle
from filterdb.ingest.metadata import KEYS, RESERVED, name_columns, read_table, typed
from filterdb.ingest.vocabulary import outside_vocabulary, respelt
from filterdb.store.catalogue import Catalogue
from filterdb.store.columns import lacking
from filterdb.store.connection import open_to_read
from filterdb.store.naming import clean, resolve
from filterdb.store.output import output_file
from filterdb.store.query import select_models
from filterdb.store.schema import METADATA, MODELS

PathLike = str | os.PathLike[str]
Row = dict[str, Any]
KEY = "model"
"""Column of a template that names the models."""


@dataclass(frozen=True, slots=True)
class SetResult:
    """What was said of models.

    Attributes
    ----------
    models
        Names of those that it was said of.
    changed
        Names of those of which it was new.
    new_columns
        Columns that the catalogue did not have.
    unmatched_rows
        Rows of a table that belong to no model, with the line and the reason.
    outside_vocabulary
        Words of ``task`` and ``visual_category`` that the vocabulary lacks: kept as they are.
    renamed_columns
        Column of a table -> column of the catalogue, where its own name was taken.
    respelt
        Words that the vocabulary has another for, with that.
    """

    models: tuple[str, ...]
    changed: tuple[str, ...]
    new_columns: tuple[str, ...] = ()
    unmatched_rows: tuple[str, ...] = ()
    outside_vocabulary: tuple[str, ...] = ()
    renamed_columns: Mapping[str, str] | None = None
    respelt: tuple[str, ...] = ()

    def to_dict(self) -> Row:
        """The result as in the JSON of ``filterdb set``."""
        return {
            "models": list(self.models),
            "changed": list(self.changed),
            "new_columns": list(self.new_columns),
            "unmatched_rows": list(self.unmatched_rows),
            "outside_vocabulary": list(self.outside_vocabulary),
            "renamed_columns": dict(self.renamed_columns or {}),
            "respelt": list(self.respelt),
        }


def set_values(folder: Path, names: Iterable[str], said: Mapping[str, Any]) -> SetResult:
    """Say something of models.

    Parameters
    ----------
    folder
        The database.
    names
        Of the models.
    said
        Column -> value. Text that is a number becomes one in columns of the user's own; an empty
        text or None empties the column, whoever filled it.

    Raises
    ------
    MetadataError
        A column is what filterdb itself keeps, or there are too many.
    ModelNotFoundError
        One of the models is not there; then nothing is changed.
    StoreError
        The database cannot be written.
    """
    row = {column_for(name): value for name, value in said.items()}
    row = {name: as_value(name, value) for name, value in row.items()}
    chosen = list(dict.fromkeys(names))
    with Catalogue(folder) as catalogue:
        there = numbers_of(folder, chosen)
        fresh = missing_columns(folder, row)
        catalogue.ensure_columns(row)
        words, sources = settle({name: value for name, value in row.items() if value is not None})
        empty = [name for name, value in row.items() if value is None]
        changed = []
        for name, number in there.items():
            cleared = bool(empty) and catalogue.clear_metadata(number, empty)
            if catalogue.set_metadata(number, words, sources=sources) or cleared:
                changed.append(name)
    return SetResult(tuple(there), tuple(changed), fresh, (), outside_vocabulary([row]), None,
                     respelt([row]))  # fmt: skip


def set_from_table(folder: Path, path: PathLike) -> SetResult:
    """Say of models what a CSV has, keyed by the model's name, number or hash, or its path.

    An empty cell takes back the user's own word, but nothing that the file itself says; a cell
    that is what the catalogue has, in its words, changes nothing.

    Parameters
    ----------
    folder
        The database.
    path
        The CSV: UTF-8, separated by commas, semicolons or tabs, with a header.

    Raises
    ------
    MetadataError
        It cannot be read as a table, has no key column, or too many columns.
    StoreError
        The database cannot be written.
    """
    table = read_table(Path(path))
    lower = [name.strip().lower() for name in table.header]
    keys = [lower.index(name) for name in (KEY, *KEYS) if name in lower]
    if not keys:
        msg = (
            f"{path} has no column that names the models. `filterdb models DB --template` writes "
            f"one that has; its columns are: {', '.join(table.header)}."
        )
        raise MetadataError(msg)
    key = keys[0]
    columns, renamed = name_columns(table.header, skip=key)
    values = {
        name: typed([row[position] for _, row in table.rows], text=name in METADATA[:-1])
        for position, name in columns.items()
    }
    there = {row["id"]: row for row in select_models(folder)}
    claims, unmatched = claimed(folder, [(line, row[key]) for line, row in table.rows], there)
    changed, said = [], []
    with Catalogue(folder) as catalogue:
        fresh = missing_columns(folder, values)
        catalogue.ensure_columns(values)
        for number, index in claims.items():
            known = {name.lower(): value for name, value in there[number].items()}
            row = {name: column[index] for name, column in values.items()}
            row = {
                name: value
                for name, value in row.items()
                if in_a_cell(value) != in_a_cell(known.get(name.lower()))
            }
            words, sources = settle(row)
            said.append(row)
            if catalogue.set_metadata(number, words, sources=sources):
                changed.append(there[number]["name"])
    return SetResult(
        tuple(there[number]["name"] for number in claims),
        tuple(changed), fresh, tuple(unmatched), outside_vocabulary(said), renamed,
        respelt(said),
    )  # fmt: skip


def claimed(
    folder: Path, rows: Sequence[tuple[int, str]], there: Mapping[int, Row]
) -> tuple[dict[int, int], list[str]]:
    """Number of a model -> the row about it; and what is to be said of the other rows."""
    by_path = {row["path"]: number for number, row in there.items()}
    numbers: list[int | None] = []
    unmatched: dict[int, str] = {}
    with closing(open_to_read(folder)) as connection:
        for index, (_, cell) in enumerate(rows):
            reference = clean(cell.strip())
            try:
                number = by_path.get(reference) or resolve(connection, reference)
            except ModelNotFoundError as error:
                number = None
                unmatched[index] = str(error) if reference else "names no model"
            numbers.append(number)
    count = Counter(number for number in numbers if number is not None)
    found: dict[int, int] = {}
    for index, number in enumerate(numbers):
        if number is not None and count[number] == 1:
            found[number] = index
        elif number is not None:
            unmatched[index] = (
                f"{count[number]} rows are about {there[number]['name']}: none is used"
            )
    said = [
        f"line {rows[index][0]}: {rows[index][1] or '(empty)'} ({reason})"
        for index, reason in sorted(unmatched.items())
    ]
    return found, said


def template(folder: Path, out: PathLike, *, where: str | None = None, force: bool = False) -> int:
    """Write the CSV that users fill in, a row a model, with all that is known; returns the rows.

    Parameters
    ----------
    folder
        The database.
    out
        The CSV.
    where
        Only models that meet this condition.
    force
        Replace a file that is there.

    Raises
    ------
    ExportError
        The file is there, or cannot be written.
    QueryError
        The condition is not valid.
    """
    path = output_file(out)
    if path.exists() and not force:
        msg = f"{out} is there already. Name another file, or replace it with --force."
        raise ExportError(msg)
    rows = select_models(folder, where)
    own = [name for name in (rows[0] if rows else {}) if name not in MODELS]
    columns = [*METADATA, *own]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([KEY, *columns])
    writer.writerows([row["name"], *(in_a_cell(row[name]) for name in columns)] for row in rows)
    try:
        path.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        msg = f"{out} cannot be written: {error.strerror or error}."
        raise ExportError(msg) from error
    return len(rows)


def in_a_cell(value: Any) -> str:
    """A value as a template has it."""
    return "" if value is None else str(value).strip()


def chosen_models(
    folder: Path, model: str | int | None = None, *, where: str | None = None
) -> list[str]:
    """Names of the models that a name, a number, a hash or a wildcard means, or a condition.

    Parameters
    ----------
    folder
        The database.
    model
        ``"resnet*"``: ``*`` stands for any characters, ``?`` for one, ``[ab]`` for one of them.
        What is the name of a model means that one alone. None: all that meet the condition.
    where
        SQL expression over the columns of ``models``.

    Raises
    ------
    ModelNotFoundError
        There is none; the message names those that are spelt alike.
    QueryError
        The condition is not valid.
    """
    names = [str(row["name"]) for row in select_models(folder, where)]
    if model is not None:
        pattern = str(model)
        wild = pattern not in names and any(sign in pattern for sign in "*?[")
        names = [n for n in names if fnmatchcase(n, pattern)] if wild else [pattern]
    if not names:
        what = "meets the condition" if model is None else f"is named like {str(model)!r}"
        msg = f"No model of the database {what}. `filterdb models` lists their names."
        raise ModelNotFoundError(msg)
    return names


def numbers_of(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Name of a model -> its number; names may be numbers and beginnings of hashes, too."""
    with closing(open_to_read(folder)) as connection:
        numbers = [resolve(connection, name) for name in names]
        query = "SELECT name FROM models WHERE id = ?"
        return {connection.execute(query, (n,)).fetchone()[0]: n for n in numbers}


def column_for(name: str) -> str:
    """The column of the catalogue that a user means.

    Raises
    ------
    MetadataError
        It is one that filterdb itself fills, or no name at all.
    """
    if not name.strip().replace("\0", ""):
        msg = "A value needs a column: `filterdb set DB MODEL task=segmentation`."
        raise MetadataError(msg)
    (column,) = name_columns([name], skip=-1)[0].values()
    if name.strip().lower() in RESERVED:
        msg = (
            f"{name!r} is what filterdb itself says of a model, not what users say. Call the "
            f"column otherwise, for example {column}; those for users are: {', '.join(METADATA)}."
        )
        raise MetadataError(msg)
    return column


def as_value(column: str, value: Any) -> Any:
    """A value as the catalogue has it: text without blanks around it, numbers as numbers."""
    if not isinstance(value, str):
        return value
    return typed([value], text=column in METADATA[:-1])[0]


def missing_columns(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The columns that the catalogue does not have."""
    with closing(open_to_read(folder)) as connection:
        return tuple(lacking(connection, names))


def alike(column: str) -> str | None:
    """The column of the catalogue that a new one may be a slip for."""
    return next(iter(get_close_matches(column.lower(), METADATA, n=1, cutoff=0.75)), None)
