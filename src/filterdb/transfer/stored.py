"""Dataclasses from what JSON has of them, checked key by key: the way back of ``asdict``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from filterdb.errors import TransferError

NAMES = {int: "whole number", float: "number", str: "string", bool: "truth value"}


def made(kind: Any, told: object, *, where: str) -> Any:
    """A value of a type from JSON.

    Parameters
    ----------
    kind
        A dataclass, a ``tuple[X, ...]``, a mapping, an optional of one of these, a literal of
        strings, or a plain type.
    told
        As :func:`json.loads` gives it. Keys that a dataclass does not have are passed over.
    where
        What messages call it, such as ``table[3].accuracy``.

    Raises
    ------
    TransferError
        A key is missing, or a value is of another kind.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (real,) = (one for one in inner if one is not type(None))
        return None if told is None else made(real, told, where=where)
    if is_dataclass(kind):
        return _dataclass(kind, told, where=where)
    if origin is tuple and isinstance(told, list | tuple):
        return tuple(made(inner[0], one, where=f"{where}[{i}]") for i, one in enumerate(told))
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(told, Mapping):
        return {_key(inner[0], key, where): made(inner[1], v, where=f"{where}.{key}")
                for key, v in told.items()}  # fmt: skip
    if kind is Any or (origin is Literal and told in inner) or _is_plain(kind, told):
        return float(told) if kind is float and isinstance(told, int) else told
    asked = f"one of {', '.join(inner)}" if origin is Literal else NAMES.get(kind, "list or table")
    msg = f"{where} = {told!r:.60} is no {asked}.".replace("no one of", "none of")
    raise TransferError(msg)


def _dataclass(kind: Any, told: object, *, where: str) -> Any:
    if not isinstance(told, Mapping):
        msg = f"{where or 'The whole'} is no table of keys and values."
        raise TransferError(msg)
    hints = get_type_hints(kind)
    given = {}
    for each in fields(kind):
        path = f"{where}.{each.name}" if where else each.name
        if each.name in told:
            given[each.name] = made(hints[each.name], told[each.name], where=path)
        elif each.default is MISSING and each.default_factory is MISSING:
            msg = f"The key {path} is missing."
            raise TransferError(msg)
    return kind(**given)


def _is_plain(kind: Any, told: object) -> bool:
    """Whether a value is of a plain type; whole numbers do for others, truth values do not."""
    if kind not in NAMES or isinstance(told, bool) != (kind is bool):
        return False
    return isinstance(told, (int, float) if kind is float else kind) and (
        not isinstance(told, float) or math.isfinite(told)
    )


def _key(kind: Any, key: str, where: str) -> Any:
    """A key of a mapping, which JSON has as a string."""
    if kind is not int:
        return key
    if not key.removeprefix("-").isdecimal():
        msg = f"{where} has the key {key!r}, which is no whole number."
        raise TransferError(msg)
    return int(key)
