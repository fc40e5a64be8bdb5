"""What a pickle leaves when nothing in it runs: names not imported, calls not made."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeGuard

from filterdb.errors import CorruptFileError


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the stream asks to import: never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Opaque:
    """A call that the stream asks for: never made.

    Attributes
    ----------
    function
        What would be called, usually a :class:`Global`.
    args
        Its arguments.
    state
        What ``BUILD`` would hand to the result, last one first; None without.
    items, elements
        What would be put into the result as a dict (pairs) or as a list.
    """

    __slots__ = ("args", "elements", "function", "items", "state")

    def __init__(self, function: object, args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args
        self.state: Any = None
        self.items: list[tuple[Any, Any]] = []
        self.elements: list[Any] = []

    def __repr__(self) -> str:
        # Of the name only: arguments may be nested without end.
        named = self.function if isinstance(self.function, Global) else "a computed function"
        return f"<Opaque {named}>"


class Persistent:
    """A reference to something outside the stream, such as a tensor's storage."""

    __slots__ = ("id",)

    def __init__(self, identity: object) -> None:
        self.id = identity


class Unhashable:
    """A dict key that is not a plain scalar, wrapped so that it is never hashed or compared."""

    __slots__ = ("key",)

    def __init__(self, key: object) -> None:
        self.key = key


def attributes(value: Opaque) -> Mapping[Any, Any]:
    """The attributes that an object would be given, slots included; never copied."""
    state = value.state
    if isinstance(state, tuple) and len(state) == 2:
        return ChainMap(attributes_in(state[1]), attributes_in(state[0]))
    return attributes_in(state)


def attributes_in(state: Any) -> dict[Any, Any]:
    """A dict of attributes, or nothing."""
    return state if isinstance(state, dict) else {}


def parts_of(value: Opaque) -> Iterable[Any]:
    """Named parts of a pickled object: its items if it is a dict, its tensors if a module.

    Nothing is copied: many objects may share one list. Not all that comes need be a pair.
    """
    if value.items:
        return value.items
    named = attributes(value)
    if "_modules" in named:
        groups = (named.get(key) for key in ("_parameters", "_buffers", "_modules"))
        return chain.from_iterable(map(pairs_in, groups))
    if named:
        return named.items()
    if value.elements or isinstance(value.state, tuple | list):
        return enumerate(value.elements or value.state)
    return pairs_in(value.args[0]) if value.args else []


def pairs_in(group: object) -> Iterable[Any]:
    """Pairs of a dict, or of an ordered dict, which Python 2 pickles as a list of pairs."""
    if isinstance(group, Opaque):
        if group.items:
            return group.items
        group = group.args[0] if group.args else None
    if isinstance(group, dict):
        return group.items()
    return group if isinstance(group, list) else []


MAX_TEXT = 200


def as_key(key: object) -> str:
    """The key of a storage: a string; bytes or a number in old files.

    Nothing else is ever turned into text: an object of a few bytes can have one of gigabytes.

    Raises
    ------
    CorruptFileError
        It is none of these, or far too long.
    """
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    if type(key) is int and abs(key) < 2**63:
        key = str(key)
    if isinstance(key, str) and len(key) <= MAX_TEXT:
        return key
    msg = "A storage has no sound key: the file is damaged. Download or copy it again."
    raise CorruptFileError(msg)


def is_number(value: object) -> TypeGuard[float]:
    """A float, or an integer that is one without overflow."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)
