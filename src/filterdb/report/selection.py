"""What a page on a database is about: the selected networks and layers, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from filterdb.database import Database
from filterdb.errors import QueryError

Row = dict[str, Any]
UNKNOWN = "unknown"
UNTRAINED = "none"
"""As training data: the network was not trained."""


def is_given(value: Any) -> bool:
    """Whether a value of the metadata says anything."""
    return value is not None and str(value).strip().casefold() not in ("", UNKNOWN)


def is_untrained(model: Mapping[str, Any]) -> bool:
    """Whether the metadata say that a network was not trained: no data, or epoch 0.

    One that began with another's weights was.
    """
    if str(model.get("pretraining_dataset") or UNTRAINED).strip().casefold() not in (
        UNTRAINED,
        UNKNOWN,
    ):
        return False
    data = str(model.get("training_dataset") or "").strip().casefold()
    return data == UNTRAINED or model.get("epoch") == 0


@dataclass(frozen=True)
class Selection:
    """The networks and layers of a database that meet a condition.

    Attributes
    ----------
    database, where
        The database and the condition; None for all of it.
    layers
        The layers, network by network.
    models
        The networks that have any of them, by number.
    """

    database: Database
    where: str | None
    layers: list[Row]
    models: dict[int, Row]

    @classmethod
    def read(cls, database: Database, where: str | None) -> Selection:
        """Read what meets a condition.

        Raises
        ------
        QueryError
            The condition is not valid, or nothing meets it.
        DatabaseNotFoundError
            There is no database.
        """
        layers = database.layers(where)
        if where and not layers:
            msg = f"No layer matches the condition {where!r}, so there is nothing to report on."
            msg += " (`name` is the layer's; the model's is `model`.)"
            raise QueryError(msg)
        wanted = {row["model_id"] for row in layers}
        models = {row["id"]: row for row in database.models() if row["id"] in wanted or not where}
        return cls(database, where, layers, models)

    @cached_property
    def kernel(self) -> tuple[int, int]:
        """Size of the filters that are compared.

        Raises
        ------
        QueryError
            No filter has a shape.
        """
        return self.database.select(self.where).kernel

    @cached_property
    def compared(self) -> list[Row]:
        """The layers with filters of that size."""
        return [row for row in self.layers if (row["kh"], row["kw"]) == self.kernel]

    @cached_property
    def layers_of(self) -> dict[int, list[Row]]:
        """The layers of each network, in order."""
        found: dict[int, list[Row]] = {number: [] for number in self.models}
        for row in self.layers:
            found[row["model_id"]].append(row)
        return found

    def value(self, layer: Row, name: str) -> Any:
        """A layer's value of a column of its own or of its network's."""
        return layer[name] if name in layer else self.models[layer["model_id"]].get(name)
