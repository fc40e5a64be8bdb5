"""Questions to the catalogue, a user's SQL expression included: read-only and bounded."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from filterdb.errors import DamagedStoreError, QueryError
from filterdb.store.connection import open_to_read
from filterdb.store.schema import MEASURES, columns_of, quoted

SECONDS = 30.0
LARGEST_VALUE = 16 * 2**20
OPCODES_BETWEEN_LOOKS = 100_000
ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
DAMAGE = ("malformed", "decode", "I/O error", "unable to open", "locked", "not a database")
"""Words of SQLite's errors that are not the expression's fault."""

OF_CHOSEN = "{0}.model_id = chosen.model_id AND {0}.layer_index = chosen.layer_index"
STORED_SUMMARIES = (
    f"LEFT JOIN summaries ON {OF_CHOSEN.format('summaries')} "
    "AND summaries.part IN ('clean', 'sparse')"
)
FOLDED_SUMMARIES = (
    f"LEFT JOIN folded ON {OF_CHOSEN.format('folded')} "
    f"LEFT JOIN summaries ON {OF_CHOSEN.format('summaries')} "
    "AND (folded.scale IS NULL) = (summaries.part IN ('clean', 'sparse'))"
)
"""The summaries of the chosen layers: of folded weights where there are any."""

MARK = '"meets the condition"'

Row = dict[str, Any]


def select_models(folder: Path, where: str | None = None) -> list[Row]:
    """Rows of ``models``, in the order in which they joined.

    Parameters
    ----------
    folder
        The database.
    where
        SQL expression over the columns of ``models``.

    Raises
    ------
    QueryError
        The expression is not valid, or takes too long.
    DatabaseNotFoundError, SchemaVersionError, StoreError
        The database cannot be read.
    """
    with reading(folder) as connection:
        columns = columns_of(connection, "models")
        names = ", ".join(map(quoted, columns))
        query = f"SELECT {names} FROM {_marked('models', where)} WHERE {MARK} ORDER BY id"  # noqa: S608
        return _run(connection, query, columns, columns)


def select_layers(
    folder: Path,
    where: str | None = None,
    *,
    model: int | None = None,
    also: Sequence[str] = (),
) -> list[Row]:
    """Rows of ``layers``, each with its ``model``'s name, model by model and in order.

    Parameters
    ----------
    folder
        The database.
    where
        SQL expression over the columns of ``layers``, the model's name ``model``, and the
        columns of ``models``: one that both have is the layer's, the model's is then called
        ``model_...`` (``model_verdict``).
    model
        Only the layers of the model with this number.
    also
        Columns of the models that the rows are to have, by the names that ``where`` knows.

    Raises
    ------
    QueryError, DatabaseNotFoundError, SchemaVersionError, StoreError
        As :func:`select_models`.
    """
    with reading(folder) as connection:
        own = columns_of(connection, "layers")
        query, known = _joined(own, columns_of(connection, "models"))
        unknown = [name for name in also if name not in known]
        if unknown:
            msg = f"There is no column {unknown[0]!r}. The columns are: {', '.join(known)}."
            raise QueryError(msg)
        result = tuple(dict.fromkeys(("model", *own, *also)))
        names = ", ".join(map(quoted, result))
        chosen = "TRUE" if model is None else f"model_id = {int(model)}"
        query = (
            f"SELECT {names} FROM {_marked(f'({query})', where)} WHERE {MARK} AND {chosen} "  # noqa: S608
            "ORDER BY model_id, layer_index"
        )
        return _run(connection, query, result, known)


@contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection to read, closed at the end; damage becomes an error with its mend."""
    with closing(open_to_read(folder)) as connection:
        try:
            yield connection
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            msg = (
                f"The catalogue in {folder} cannot be read ({error}). `filterdb verify {folder}` "
                "names what is damaged."
            )
            raise DamagedStoreError(msg) from error


def _marked(table: str, where: str | None) -> str:
    """A table with a column that says which rows meet a user's condition.

    The condition stands alone between its parentheses: one that closes them (``1) OR (1``) can
    widen nothing but itself.
    """
    condition = (where or "").strip() or "TRUE"
    return f"(SELECT *, (\n{condition}\n) AS {MARK} FROM {table})"  # noqa: S608


def _joined(layers: Sequence[str], models: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """A query that joins layers with their models, and the columns that it has."""
    folded = {name.lower() for name in layers}
    of_model: dict[str, str] = {}
    for name in models:  # the user's own come last: an alias that is taken stays the catalogue's
        alias = "model" if name == "name" else f"model_{name}" if name.lower() in folded else name
        if name not in ("id", "digest"):
            of_model.setdefault(alias, name)
    parts = [f"layers.{quoted(name)} AS {quoted(name)}" for name in layers]
    parts += [f"models.{quoted(name)} AS {quoted(alias)}" for alias, name in of_model.items()]
    query = f"SELECT {', '.join(parts)} FROM layers JOIN models ON models.id = layers.model_id"  # noqa: S608
    return query, (*layers, *of_model)


def select_summaries(
    folder: Path,
    where: str | None,
    columns: Sequence[str],
    *,
    kernel: tuple[int, int],
    arrays: Sequence[str] = (),
    folded: bool = False,
) -> tuple[list[tuple[Any, ...]], Row | None]:
    """Summaries of the selected layers of one kernel size, a row for each part of a layer.

    They are read together with the basis that they are in: as one moment has them.

    Parameters
    ----------
    folder
        The database.
    where
        As in :func:`select_layers`.
    columns
        Of the layers and models joined, as ``where`` knows them.
    kernel
        Height and width.
    arrays
        Columns of ``summaries`` that are wanted behind ``part`` and ``n``: ``"coarse"``,
        ``"scaled"``, ...
    folded
        Layers that a batch normalisation follows are those times its scale: their summaries, and
        their measures among ``columns``.

    Returns
    -------
    rows
        ``columns``, ``scale`` (None where the weights are as stored), ``part``, ``n``, ``arrays``;
        by model, layer and part. A layer without a summary has one row with ``part`` None.
    basis
        The row of ``bases`` of that kernel size; None where there is none.

    Raises
    ------
    QueryError, DatabaseNotFoundError, SchemaVersionError, StoreError
        As :func:`select_models`.
    """
    height, width = map(int, kernel)
    with reading(folder) as connection:
        connection.execute("BEGIN")
        found = connection.execute("SELECT * FROM bases WHERE kh = ? AND kw = ?", (height, width))
        bases = [dict(zip(columns_of(connection, "bases"), row, strict=True)) for row in found]
        own = columns_of(connection, "layers")
        joined, known = _joined(own, columns_of(connection, "models"))
        names = [_of_layer(name, folded=folded) for name in columns]
        names += ["folded.scale" if folded else "NULL"]
        names += ["replace(summaries.part, 'folded_', '')"]
        names += [f"summaries.{name}" for name in ("n", *arrays)]
        query = (
            f"SELECT {', '.join(names)} FROM {_marked(f'({joined})', where)} AS chosen "  # noqa: S608
            f"{FOLDED_SUMMARIES if folded else STORED_SUMMARIES} "
            f"WHERE {MARK} AND chosen.kh = {height} AND chosen.kw = {width} "
            "ORDER BY chosen.model_id, chosen.layer_index, summaries.part"
        )
        return _fetch(connection, query, known), bases[0] if bases else None


def _of_layer(name: str, *, folded: bool) -> str:
    """A column of the chosen layers; their measures may be those of the folded weights."""
    if folded and name.lower() in (*MEASURES, "verdict", "reason"):
        return f"CASE WHEN folded.scale IS NULL THEN chosen.{name} ELSE folded.{name} END"
    return f"chosen.{quoted(name)}"


def select_values(
    folder: Path, columns: Sequence[str], where: str | None = None
) -> list[tuple[Any, ...]]:
    """A few columns of the selected layers, model by model and in order.

    Parameters
    ----------
    folder
        The database.
    columns
        Of the layers and models joined, as ``where`` in :func:`select_layers` knows them.
    where
        As there.

    Raises
    ------
    QueryError, DatabaseNotFoundError, SchemaVersionError, StoreError
        As :func:`select_models`.
    """
    with reading(folder) as connection:
        joined, known = _joined(columns_of(connection, "layers"), columns_of(connection, "models"))
        query = (
            f"SELECT {', '.join(map(quoted, columns))} "  # noqa: S608
            f"FROM {_marked(f'({joined})', where)} WHERE {MARK} ORDER BY model_id, layer_index"
        )
        return _fetch(connection, query, known)


def select_kernels(folder: Path, where: str | None) -> list[tuple[int, int, int, int, int]]:
    """Kernel sizes of the selected layers, the one with the most filters first.

    Returns
    -------
    list of tuple
        Height, width, and the numbers of models, layers and filters of that size.
    """
    with reading(folder) as connection:
        joined, known = _joined(columns_of(connection, "layers"), columns_of(connection, "models"))
        query = (
            "SELECT kh, kw, count(DISTINCT model_id), count(*), sum(n_filters) "  # noqa: S608
            f"FROM {_marked(f'({joined})', where)} WHERE {MARK} GROUP BY kh, kw "
            "ORDER BY 5 DESC, kh, kw"
        )
        return _fetch(connection, query, known)


def axis_columns(folder: Path) -> tuple[str, ...]:
    """Columns of the layers and models joined, as ``where`` knows them."""
    with reading(folder) as connection:
        return _joined(columns_of(connection, "layers"), columns_of(connection, "models"))[1]


def select_layer_values(folder: Path, column: str) -> list[Any]:
    """The values that a column of the layers and models joined has, the most frequent first."""
    with reading(folder) as connection:
        joined, known = _joined(columns_of(connection, "layers"), columns_of(connection, "models"))
        name = quoted(column)
        query = (
            f"SELECT {name} FROM ({joined}) WHERE {name} IS NOT NULL AND {name} <> '' "  # noqa: S608
            "GROUP BY 1 ORDER BY count(*) DESC, 1"
        )
        return [value for (value,) in _fetch(connection, query, known)]


def _run(
    connection: sqlite3.Connection, query: str, result: Sequence[str], known: Sequence[str]
) -> list[Row]:
    """Rows of a query as mappings from the names in ``result``."""
    return [dict(zip(result, row, strict=True)) for row in _fetch(connection, query, known)]


def _fetch(
    connection: sqlite3.Connection, query: str, known: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Run a query that holds a user's expression: nothing but reading, and not for ever."""
    end = time.monotonic() + SECONDS
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.set_progress_handler(lambda: time.monotonic() > end, OPCODES_BETWEEN_LOOKS)
    connection.set_authorizer(_authorize)
    try:
        return connection.execute(query).fetchall()
    except UnicodeEncodeError as error:
        msg = "The expression holds bytes that are no UTF-8 text."
        raise QueryError(msg) from error
    except sqlite3.DatabaseError as error:
        if any(sign in str(error) for sign in DAMAGE):
            raise
        raise QueryError(_explain(str(error), known)) from error


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    harmless = action in ALLOWED and second != "load_extension" and first != "load_extension"
    return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY


def _explain(error: str, known: Sequence[str]) -> str:
    if "interrupted" in error:
        return f"The expression took more than {SECONDS:.0f} seconds and was stopped."
    if "prohibited" in error or "not authorized" in error:
        return f"The expression is not allowed ({error}): it may only compare columns, not write."
    hint = ""
    missing = re.search(r"no such column: (\S+)", error)
    if missing:
        close = get_close_matches(missing[1].split(".")[-1], known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        hint += " Text stands in single quotes: task = 'segmentation'."
    return (
        f"The expression is not valid SQL here: {error}.{hint} The columns are: {', '.join(known)}."
    )
