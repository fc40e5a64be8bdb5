"""What a key set's file tells beside the keys: written as JSON, and checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import MOST_KEYS, KeyName, KeySet

NORMALISATION = "mean 0, norm 1"
MOST_TEXT = 200
"""Characters of a name."""
MOST_JSON = 2_000_000
"""Characters of an item of the metadata."""

MOST_SIGMA = 100
"""Scale of a name, in sides of the kernel; far below it, a member is what it is in the limit."""

T = TypeVar("T")


def told_of(keys: KeySet) -> dict[str, str]:
    """The metadata of a key set's file, strings only as the format has them.

    Raises
    ------
    KeySetError
        They are not of JSON's kinds, or too long, or a reader would refuse them.
    """
    try:
        told = {
            "format": "np",
            "name": keys.name,
            "kernel": "{}x{}".format(*keys.kernel),
            "normalisation": NORMALISATION,
            "names": _json([asdict(name) for name in keys.names]),
            "equivalence": _json(keys.equivalence.to_dict()),
            "metadata": _json(dict(keys.metadata)),
        }
    except (TypeError, ValueError, RecursionError) as error:
        msg = (
            f"The metadata of the key set {keys.name!r} cannot be written as JSON ({error}). Keep "
            "to text, finite numbers, lists and dicts of them."
        )
        raise KeySetError(msg) from error
    key_set(keys.filters, told, keys.name)
    return told


def strings(told: Any) -> dict[str, str]:
    """The format's metadata, which are strings only.

    Raises
    ------
    KeySetError
        They are not.
    """
    if isinstance(told, dict) and all(isinstance(value, str) for value in told.values()):
        return told
    msg = "Its `__metadata__` are not all strings, as the format demands. Write it anew."
    raise KeySetError(msg)


def key_set(filters: NDArray[np.float64], told: Mapping[str, str], stem: str) -> KeySet:
    """Keys with what the file tells of them; what it does not tell is left at its default.

    Parameters
    ----------
    filters
        Shape ``(K, kh, kw)``.
    told
        Metadata of the file (:func:`told_of`).
    stem
        The name where the file tells none.

    Raises
    ------
    KeySetError
        An item is malformed, or the keys are none.
    """
    return KeySet(
        _part(told, "name", _text) or stem,
        filters,
        names=_part(told, "names", lambda text: _names(text, max(filters.shape[1:]))) or (),
        equivalence=_part(told, "equivalence", _equivalence) or Equivalence(),
        metadata=_part(told, "metadata", _metadata) or {},
    )


def _json(value: Any) -> str:
    """JSON, in the given order; NumPy's numbers are numbers."""
    text = json.dumps(value, allow_nan=False, default=_plain, ensure_ascii=False)
    if len(text) > MOST_JSON:
        msg = f"they take more than {MOST_JSON:,} characters"
        raise ValueError(msg)
    return text


def _plain(value: Any) -> Any:
    """What JSON has for an object of NumPy."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    msg = f"{type(value).__name__} has no place there"
    raise TypeError(msg)


def _part(told: Mapping[str, str], item: str, check: Callable[[str], T]) -> T | None:
    """One item of the metadata, checked; None where the file does not have it."""
    try:
        return check(told[item]) if item in told else None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        msg = f"Its metadata {item!r} are not those of a key set ({error!s:.200}). Write it anew."
        raise KeySetError(msg) from error


def _parsed(text: str) -> Any:
    """JSON of a size that any key set's is."""
    if len(text) > MOST_JSON:
        msg = f"it has more than {MOST_JSON:,} characters"
        raise ValueError(msg)
    return json.loads(text, parse_constant=_refused, parse_float=_float, parse_int=_int)


def _refused(constant: str) -> float:
    msg = f"{constant} is no JSON"
    raise ValueError(msg)


def _float(text: str) -> float:
    """A number that float64 holds: everything that is computed of it stays finite, too."""
    value = float(text)
    if not isfinite(value):
        msg = f"{text:.20}... is beyond float64"
        raise ValueError(msg)
    return value


def _int(text: str) -> int:
    _float(text)
    return int(text)


def _equivalence(text: str) -> Equivalence:
    value = _parsed(text)
    if not isinstance(value, dict) or not all(type(flag) is bool for flag in value.values()):
        msg = "true or false is expected"
        raise TypeError(msg)
    return Equivalence(**value)


def _names(text: str, side: int) -> tuple[KeyName, ...]:
    """Names of keys, the larger side of which is given."""
    value = _parsed(text)
    if not isinstance(value, list) or len(value) > MOST_KEYS:
        msg = "a list of names is expected"
        raise TypeError(msg)
    return tuple(_name(item, MOST_SIGMA * side) for item in value)


def _name(item: Any, most_sigma: float) -> KeyName:
    if not isinstance(item, dict):
        msg = "a name is no object"
        raise TypeError(msg)
    member = item.get("member")
    most = {"sigma_x": most_sigma, "sigma_y": most_sigma, "r2": 1.0}
    numbers = {name: _number(item.get(name), name, top) for name, top in most.items()}
    return KeyName(_text(item["text"]), None if member is None else _text(member), **numbers)


def _number(value: Any, name: str, most: float) -> float | None:
    """A number from 0 to what is most, or none."""
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= most:
        msg = f"{name} is no number from 0 to {most:g}"
        raise TypeError(msg)
    return float(value)


def _text(value: Any) -> str:
    """Text that a terminal can be given."""
    if isinstance(value, str) and len(value) <= MOST_TEXT and value.isprintable():
        return value
    msg = f"a name is no printable text of at most {MOST_TEXT} characters"
    raise TypeError(msg)


def _metadata(text: str) -> dict[str, Any]:
    value = _parsed(text)
    if not isinstance(value, dict):
        msg = "an object is expected"
        raise TypeError(msg)
    if not _printable(value):
        msg = "a text in it has control characters"
        raise ValueError(msg)
    return value


def _printable(value: Any) -> bool:
    """Whether every text in parsed JSON can be given to a terminal; lines may end."""
    if isinstance(value, dict):
        return all(_printable(key) and _printable(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_printable, value))
    return not isinstance(value, str) or value.replace("\n", "").isprintable()
