"""What users say of their models: a CSV, matched with files by name or path."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from filterdb.errors import MetadataError
from filterdb.ingest.vocabulary import outside_vocabulary, respelt
from filterdb.store.schema import LAYERS, METADATA, MODELS

KEYS = ("file", "filename", "path", "name", "model")
DELIMITERS = ",;\t"
RESERVED = frozenset(MODELS) - set(METADATA)
RESERVED |= {"model", "rowid", "oid", "_rowid_"} | {f"model_{name}" for name in LAYERS}
INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Metadata:
    """A CSV, matched with files.

    Attributes
    ----------
    columns
        Columns of the catalogue that it fills.
    of_file
        File -> column -> value; an empty cell is None.
    unmatched_rows
        Rows that belong to no file, with the line and the reason.
    files_without_row
        Files of which it says nothing.
    renamed_columns
        Column of the CSV -> column of the catalogue, where its own name was taken.
    """

    columns: tuple[str, ...] = ()
    of_file: Mapping[Path, dict[str, Any]] = field(default_factory=dict)
    unmatched_rows: tuple[str, ...] = ()
    files_without_row: tuple[str, ...] = ()
    renamed_columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def outside_vocabulary(self) -> tuple[str, ...]:
        """Words that the vocabulary lacks, each with its column: kept as they are."""
        return outside_vocabulary(self.of_file.values())

    @property
    def respelt(self) -> tuple[str, ...]:
        """Words that the vocabulary has another for, each with its column and that."""
        return respelt(self.of_file.values())


@dataclass(frozen=True, slots=True)
class Table:
    """The CSV as it stands: its header, and each row with its line number."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


def load_metadata(path: str | os.PathLike[str], files: Sequence[Path]) -> Metadata:
    """Read a CSV and match its rows with files.

    The key is the column of ``file``, ``filename``, ``path``, ``name``, ``model`` that matches
    most files. A row belongs to the file whose path ends in as many of the key's parts as any;
    where two files or two rows tie, it is reported, not guessed.

    Parameters
    ----------
    path
        The CSV: UTF-8, separated by commas, semicolons or tabs, with a header.
    files
        Absolute paths.

    Raises
    ------
    MetadataError
        It cannot be read as a table, or has no key column.
    """
    table = read_table(Path(path))
    lower = [name.strip().lower() for name in table.header]
    keys = [lower.index(name) for name in KEYS if name in lower]
    if not keys:
        msg = (
            f"{path} has no column that names the files. Call one of {', '.join(KEYS)}; its "
            f"columns are: {', '.join(table.header)}."
        )
        raise MetadataError(msg)
    attempts = [_match([(line, row[key]) for line, row in table.rows], files) for key in keys]
    best = max(range(len(keys)), key=lambda i: len(attempts[i][0]))
    matched, unmatched = attempts[best]
    columns, renamed = name_columns(table.header, skip=keys[best])
    values = {
        name: typed([row[position] for _, row in table.rows], text=name in METADATA[:-1])
        for position, name in columns.items()
    }
    of_file = {
        file: {name: column[row] for name, column in values.items()}
        for file, row in matched.items()
    }
    without = tuple(str(file) for file in files if file not in of_file)
    return Metadata(tuple(values), of_file, tuple(unmatched), without, renamed)


def read_table(path: Path) -> Table:
    """Read a CSV whose separator is the one that its header has most of.

    Raises
    ------
    MetadataError
        It is no text, has no header, or a row has more cells than the header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.split("\n", 1)[0]
        delimiter = max(DELIMITERS, key=first.count)
        lines = list(_rows(text, delimiter))
    except OSError as error:
        msg = f"The metadata {path} cannot be read: {error.strerror or error}."
        raise MetadataError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"The metadata {path} is not UTF-8 text. Save it as 'CSV UTF-8'."
        raise MetadataError(msg) from error
    except csv.Error as error:
        msg = f"The metadata {path} is not a valid CSV ({error}). Check its quotation marks."
        raise MetadataError(msg) from error
    if not lines:
        msg = f"The metadata {path} is empty. It needs a header and one row a file."
        raise MetadataError(msg)
    header = tuple(lines[0][1])
    for line, row in lines[1:]:
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            msg = (
                f"Line {line} of {path} has {len(row)} cells, but the header has {len(header)}. "
                "Put values that contain the separator in quotation marks."
            )
            raise MetadataError(msg)
    padded = ((line, tuple((row + [""] * len(header))[: len(header)])) for line, row in lines[1:])
    return Table(header, tuple(padded))


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the number of the line on which it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    for row in reader:
        if any(cell.strip() for cell in row):
            yield start, row
        start = reader.line_num + 1


def name_columns(header: Sequence[str], *, skip: int) -> tuple[dict[int, str], dict[str, str]]:
    """Position -> column of the catalogue, and the names that had to change."""
    columns: dict[int, str] = {}
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    for position, raw in enumerate(header):
        own = raw.strip().replace("\0", "")
        if position == skip or not own:
            continue
        standard = re.sub(r"[\s-]+", "_", own.lower())
        name = standard if standard in METADATA else own
        if name.lower() in RESERVED:
            name = f"csv_{name}"
        stem, number = name, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        columns[position] = name
        if name not in (own, standard):
            renamed[own] = name
    return columns, renamed


def typed(cells: Sequence[str], *, text: bool) -> list[Any]:
    """A column's values: empty is None, numbers if all are numbers, else text."""
    values = [cell.strip() or None for cell in cells]
    if text:
        return list(values)
    given = [value for value in values if value is not None]
    if all(INTEGER.fullmatch(value) for value in given):
        return [None if value is None else int(value) for value in values]
    if all(is_number(value) for value in given):
        return [None if value is None else float(value) for value in values]
    return list(values)


def is_number(text: str) -> bool:
    """True for a finite decimal number; no leading zeros, which an identifier may have."""
    return bool(NUMBER.fullmatch(text)) and isfinite(float(text))


def _match(
    rows: Sequence[tuple[int, str]], files: Sequence[Path]
) -> tuple[dict[Path, int], list[str]]:
    """File -> row number, and what is to be said of the other rows."""
    parts = {file: file.parts for file in files}
    by_name: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_name[file.name].append(file)
        if file.stem != file.name:
            by_name[file.stem].append(file)
    claims: dict[Path, list[tuple[tuple[int, int], int]]] = defaultdict(list)
    unmatched: dict[int, str] = {}
    for number, (_, cell) in enumerate(rows):
        key = _known_end(PurePosixPath(cell.strip().replace("\\", "/")).parts, by_name)
        scores = (
            {file: _common(key, parts[file]) for file in by_name.get(key[-1], ())} if key else {}
        )
        best = [file for file, score in scores.items() if score == max(scores.values())]
        if len(best) == 1:
            claims[best[0]].append((scores[best[0]], number))
        elif best:
            unmatched[number] = f"fits {len(best)} files: {', '.join(map(str, best))}"
        else:
            unmatched[number] = "no such file" if key else "names no file"
    matched = {}
    for file, rivals in claims.items():
        top = max(score for score, _ in rivals)
        winners = [number for score, number in rivals if score == top]
        if len(winners) == 1:
            matched[file] = winners[0]
        lines = ", ".join(str(rows[number][0]) for number in winners)
        why = (
            f"line {lines} names {file} more closely"
            if len(winners) == 1
            else f"ambiguous: lines {lines} all name {file}, so none of them is used"
        )
        unmatched |= {number: why for _, number in rivals if [number] != winners}
    said = [
        f"line {rows[number][0]}: {rows[number][1] or '(empty)'} ({reason})"
        for number, reason in sorted(unmatched.items())
    ]
    return matched, said


def _known_end(key: tuple[str, ...], by_name: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
    """A key, cut after the folder that is a model as a whole if it names a file in one."""
    for end in range(len(key), 0, -1):
        if any(end == len(key) or path.is_dir() for path in by_name.get(key[end - 1], ())):
            return key[:end]
    return key


def _common(key: Sequence[str], path: Sequence[str]) -> tuple[int, int]:
    """How well a key fits a path: whole file name before stem, then parts in common."""
    exact = int(key[-1] == path[-1])
    parts = 0
    for one, other in zip(reversed(key[:-1]), reversed(path[:-1]), strict=False):
        if one != other:
            break
        parts += 1
    return exact, parts
