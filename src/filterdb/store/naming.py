"""How a model is named: by its name, its number, or the beginning of its file's hash."""

from __future__ import annotations

import sqlite3

from filterdb.errors import ModelNotFoundError

DIGITS = 18
"""Of the largest number that surely fits into 64 bits."""


def resolve(connection: sqlite3.Connection, reference: str | int) -> int:
    """Number of the model with a name, a number, or the beginning of a file's hash.

    Raises
    ------
    ModelNotFoundError
        There is none, or the beginning fits several.
    """
    text = clean(str(reference))
    attempts: list[tuple[str, str | int]] = [("name = ?", text)]
    if text.isdecimal() and len(text) <= DIGITS:
        attempts.append(("id = ?", int(text)))
    if len(text) >= 6 and set(text) <= set("0123456789abcdef"):
        attempts.append(("substr(sha256, 1, length(?1)) = ?1", text))
    for condition, value in attempts:
        query = f"SELECT id FROM models WHERE {condition}"  # noqa: S608
        found = connection.execute(query, (value,)).fetchall()
        if len(found) == 1:
            return int(found[0][0])
        if found:
            msg = f"{text!r} fits {len(found)} models. Give more digits of the hash, or a name."
            raise ModelNotFoundError(msg)
    msg = f"There is no model {text!r} in the database. `filterdb models` lists their names."
    raise ModelNotFoundError(msg)


def clean(text: str) -> str:
    """Text that the catalogue can hold: bytes that are no UTF-8 (odd file names) escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
