"""What became of many files or networks, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["added", "unchanged", "failed"]


class Tally:
    """Counts of the rows in ``models``, each a dataclass with a ``status``."""

    __slots__ = ()
    models: Sequence[Any]

    @property
    def added(self) -> int:
        """Number that became models."""
        return self._count("added")

    @property
    def unchanged(self) -> int:
        """Number that were there already."""
        return self._count("unchanged")

    @property
    def failed(self) -> int:
        """Number that could not be taken in."""
        return self._count("failed")

    def _count(self, status: Status) -> int:
        return sum(row.status == status for row in self.models)

    def to_pandas(self) -> pd.DataFrame:
        """One row each (needs the extra ``pandas``)."""
        from filterdb.extras import data_frame

        return data_frame([asdict(row) for row in self.models])
