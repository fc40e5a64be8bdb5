"""Images as runs see them, with a digest by which they are known again. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from filterdb.errors import FilterDBError, TransferError
from filterdb.transfer.book import Row
from filterdb.transfer.data import Images
from filterdb.transfer.run import Data

SETS = 4
"""Data sets that a process keeps in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """What a run is trained and tested on.

    Attributes
    ----------
    train, test
        The images.
    digest
        See :func:`digest_of`.
    """

    train: Images
    test: Images
    digest: str


@lru_cache(maxsize=SETS)
def loaded(data: Data) -> Loaded:
    """Load a data set; a few stay in memory.

    Raises
    ------
    TransferError
        As of :meth:`~filterdb.transfer.run.Data.load`.
    """
    train, test = data.load()
    return Loaded(train, test, digest_of(train, test))


def digest_of(*sets: Images) -> str:
    """SHA-256 of the pixels, labels and names of classes of some sets, in their order."""
    total = hashlib.sha256()
    for images in sets:
        head = [images.classes, images.images.shape]
        total.update(json.dumps(head).encode())
        for array in (images.images, images.labels.astype("<i8")):
            total.update(array.tobytes())
    return total.hexdigest()


def refuse_changed(rows: Iterable[Row]) -> None:
    """Refuse to go on where runs were done with other images than are there now.

    The id of a run has the path of its data, not their content. Data that cannot be loaded any
    more are passed over: they have not been changed for others, and a run that needs them fails.

    Parameters
    ----------
    rows
        Of the book, those that are relied on. Rows of earlier versions have no digest, and are
        believed.

    Raises
    ------
    TransferError
        The images or labels differ.
    """
    known: dict[Data, Row] = {}
    for row in rows:
        if row.digest is not None:
            known.setdefault(row.run.data, row)
    for data, row in known.items():
        try:
            now = loaded(data).digest
        except (FilterDBError, OSError):
            continue
        if now != row.digest:
            group = "" if data.group is None else f" ({data.group})"
            msg = (
                f"{data.spec}{group}: these are not the images and labels that {row.run.name} was "
                "trained and tested on. Put the former data back, or name another folder for the "
                "experiment, so that all of its runs see the same images."
            )
            raise TransferError(msg)
