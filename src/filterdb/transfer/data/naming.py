"""Names of classes: their order, where they come from, and the nearest to a misspelt one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import TransferError
from filterdb.transfer.data.images import Labels

SHOWN = 60
"""Names of classes that a message lists."""


def natural(name: str) -> tuple[Any, ...]:
    """A key that sorts ``a2`` before ``a10``; names that differ in case alone stay apart."""
    runs = re.split(r"([0-9]+)", name.casefold())
    return (*((int(run), "") if run.isdecimal() else (-1, run) for run in runs if run), (-2, name))


def listed(names: Iterable[str]) -> str:
    """Names as a message lists them."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" ... ({len(names):,})" if len(names) > SHOWN else "")


def position(name: str, classes: Sequence[str], source: str) -> int:
    """Index of a class by its name.

    Raises
    ------
    TransferError
        There is none; the message has the nearest name and the list.
    """
    if name in classes:
        return classes.index(name)
    close = get_close_matches(name, classes, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    msg = f"{source}: there is no class {name!r}.{meant} The classes are: {listed(classes)}."
    raise TransferError(msg)


def _from_folders(labels: NDArray[Any], folders: NDArray[Any]) -> dict[Any, str] | None:
    """Label -> folder, where each label has one folder of its own."""
    pairs = set(zip(labels.tolist(), folders.tolist(), strict=True))
    names = dict(sorted(pairs))
    return names if len(pairs) == len(names) == len(set(names.values())) else None


def name_classes(
    labels: NDArray[Any],
    *,
    names: Sequence[str] | None,
    folders: NDArray[Any] | None,
    source: str,
) -> tuple[Labels, tuple[str, ...]]:
    """Labels as a file has them -> indices into class names.

    Strings name their class. Integers are looked up in ``names``; without those, in the folders
    of the images where label and folder go together one to one; else they are their own names.

    Parameters
    ----------
    labels
        N integers or N strings.
    names
        Names of the labels 0, 1, 2 ...; of strings, all that there are, in their order.
    folders
        The folder of each image.
    source
        The file, for messages.

    Raises
    ------
    TransferError
        A label has no name, or two classes have the same.
    """
    values = set(labels.tolist())
    told: dict[Any, str]
    if labels.dtype == object:
        order = [*names] if names is not None else sorted(map(str, values), key=natural)
        for value in values:
            position(str(value), order, source)
        told = {name: name for name in order}
    elif names is not None:
        if values and not (min(values) >= 0 and max(values) < len(names)):
            msg = (
                f"{source}: labels run from {min(values)} to {max(values)}, but there are names "
                f"for 0 to {len(names) - 1} ({listed(names)}). Give a name for each label."
            )
            raise TransferError(msg)
        told = dict(enumerate(names))
    else:
        own = None if folders is None else _from_folders(labels, folders)
        told = own or {value: str(value) for value in sorted(values)}
    if len(set(told.values())) < len(told):
        msg = f"{source}: two classes have the same name among {listed(told.values())}."
        raise TransferError(msg)
    index = {value: at for at, value in enumerate(told)}
    indices = np.array([index[label] for label in labels.tolist()], dtype=np.int64)
    return indices, tuple(told.values())
