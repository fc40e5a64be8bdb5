"""How a model is named: by its name, its number, or the beginning of its file's hash."""

from __future__ import annotations

import sqlite3
from difflib import get_close_matches

from filterdb.errors import ModelNotFoundError

SHOWN = 3
DIGITS = 18
"""Of the largest number that surely fits into 64 bits."""


def resolve(connection: sqlite3.Connection, reference: str | int) -> int:
    """Number of the model with a name, a number, or the beginning of a file's hash.

    A name need not have its suffix where that leaves no doubt.

    Raises
    ------
    ModelNotFoundError
        There is none, or several fit; the message names them, or those that are spelt alike.
    """
    text = clean(str(reference))
    attempts: list[tuple[str, str | int]] = [("name = ?", text)]
    if text.isdecimal() and len(text) <= DIGITS:
        attempts.append(("id = ?", int(text)))
    if len(text) >= 6 and set(text) <= set("0123456789abcdef"):
        attempts.append(("substr(sha256, 1, length(?1)) = ?1", text))
    attempts.append(("substr(name, 1, length(?1) + 1) = ?1 || '.'", text))
    for condition, value in attempts:
        query = f"SELECT id, name FROM models WHERE {condition} ORDER BY id"  # noqa: S608
        found = connection.execute(query, (value,)).fetchall()
        if len(found) == 1:
            return int(found[0][0])
        if found:
            listed = ", ".join(str(name) for _, name in found[:SHOWN])
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            msg = (
                f"{text!r} fits {len(found)} models: {listed}{more}. Give the whole name, or more "
                "digits of the hash."
            )
            raise ModelNotFoundError(msg)
    names = [str(name) for (name,) in connection.execute("SELECT name FROM models")]
    stems = {name.partition(".")[0]: name for name in names} | {name: name for name in names}
    close = [stems[stem] for stem in get_close_matches(text, stems, n=SHOWN)]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    msg = f"There is no model {text!r} in the database.{hint} `filterdb models` lists their names."
    raise ModelNotFoundError(msg)


def clean(text: str) -> str:
    """Text that the catalogue can hold: bytes that are no UTF-8 (odd file names) escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
