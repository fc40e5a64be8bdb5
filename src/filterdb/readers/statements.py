"""What keys that a writer puts beside the weights say of the network, as statements.

Only keys whose meaning is the same in all programs are taken; a value that is no plain text or
number, or longer than a sentence or two, is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from filterdb.layer import Statement

COLUMN_OF = {
    "arch": "architecture",
    "architecture": "architecture",
    "dataset": "training_dataset",
    "datasets": "training_dataset",
    "training_dataset": "training_dataset",
    "description": "description",
    "epoch": "epoch",
    "ss_epoch": "epoch",
    "homepage": "source_url",
    "license": "license",
    "licence": "license",
    "loss": "loss",
    "optimizer": "optimizer",
    "paper": "paper",
    "pipeline_tag": "task",
    "repository": "source_url",
    "source_url": "source_url",
    "task": "task",
    "url": "source_url",
    "visual_category": "visual_category",
}
"""Key, in lower case and without ``modelspec.`` -> column."""
LONGEST_KEY = 100
LONGEST = 300
"""Characters of a value; longer ones are shortened where they are prose, else passed over."""
MOST_KEYS = 1000
LAST_EPOCH = 10**7


def statements_in(pairs: Iterable[tuple[Any, Any]], where: str) -> tuple[Statement, ...]:
    """The statements among key and value pairs, the first one on each column.

    Parameters
    ----------
    pairs
        Any keys and values; no more than :data:`MOST_KEYS` are looked at.
    where
        What the pairs are: ``"metadata_props of the file"``.

    Examples
    --------
    >>> statements_in([("license", "MIT")], "the header")
    (Statement(column='license', value='MIT', source='the header: license'),)
    """
    found: dict[str, Statement] = {}
    for _, (key, value) in zip(range(MOST_KEYS), pairs, strict=False):
        if not isinstance(key, str) or len(key) > LONGEST_KEY:
            continue
        column = COLUMN_OF.get(key.lower().removeprefix("modelspec."))
        text = None if column is None else as_text(column, value)
        if column is not None and text is not None:
            found.setdefault(column, Statement(column, text, f"{where}: {key}"))
    return tuple(found.values())


def statements_in_any(value: object, where: str) -> tuple[Statement, ...]:
    """As :func:`statements_in`, of what is a mapping; nothing of anything else."""
    return statements_in(value.items(), where) if isinstance(value, Mapping) else ()


def as_text(column: str, value: object) -> str | None:
    """A value as the catalogue can hold it in a column, or None for what says nothing there."""
    if column == "epoch":
        return as_epoch(value)
    if not isinstance(value, str) or len(value) > 100 * LONGEST:
        return None
    text = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    if column == "description":
        return text[:LONGEST] or None
    if column == "source_url" and not text.startswith(("https://", "http://")):
        return None
    return text if 0 < len(text) <= LONGEST and text.lower() not in ("none", "null") else None


def as_epoch(value: object) -> str | None:
    """A number of epochs: an integer from 0, also written as text or as a float."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if type(value) is int and 0 <= value <= LAST_EPOCH else None
