"""The layers that an export takes, and their weights one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import DamagedStoreError, QueryError
from filterdb.ingest.metadata import RESERVED
from filterdb.store.payload import payload_path, read_payload
from filterdb.store.query import Row, select_layers, select_models

Kernel = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model with those of its layers that are taken, in order.

    Attributes
    ----------
    row, layers
        Rows of the catalogue.
    """

    row: Row
    layers: tuple[Row, ...]

    def of_kernel(self, kernel: Kernel) -> ChosenModel:
        """The model with its layers of one kernel size."""
        return ChosenModel(self.row, tuple(row for row in self.layers if kernel_of(row) == kernel))


@dataclass(frozen=True, slots=True)
class Selection:
    """What an export takes.

    Attributes
    ----------
    folder
        The database.
    models
        Those with at least one layer, in the order in which they joined.
    left_out
        Why layers were left out -> how many.
    """

    folder: Path
    models: tuple[ChosenModel, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return sum(len(model.layers) for model in self.models)

    @property
    def filters(self) -> int:
        """Number of filters."""
        return sum(row["n_filters"] for model in self.models for row in model.layers)

    @property
    def kernels(self) -> list[Kernel]:
        """Kernel sizes, the smallest first."""
        return sorted({kernel_of(row) for model in self.models for row in model.layers})

    def of_kernel(self, kernel: Kernel) -> Selection:
        """The layers of one kernel size; the others are counted as left out."""
        of_size = [model.of_kernel(kernel) for model in self.models]
        chosen = Selection(self.folder, tuple(model for model in of_size if model.layers))
        dropped = self.layers - chosen.layers
        reason = f"not {kernel[0]}x{kernel[1]}"
        return Selection(self.folder, chosen.models, {reason: dropped} if dropped else {})

    def weights(self) -> Iterator[tuple[ChosenModel, Row, NDArray[np.float32]]]:
        """Every layer with its weights, as :meth:`weights_of`."""
        for model in self.models:
            for row, values in self.weights_of(model):
                yield model, row, values

    def weights_of(self, model: ChosenModel) -> Iterator[tuple[Row, NDArray[np.float32]]]:
        """A model's layers with their weights, mapped from the payload.

        Raises
        ------
        DamagedStoreError
            The payload is missing, or not what the catalogue says.
        """
        path = payload_path(self.folder, model.row["weights_hash"])
        tensors = read_payload(path)
        for row in model.layers:
            values = tensors.get(row["tensor"])
            if values is None or values.shape != shape_of(row):
                msg = f"The payload {path} lacks layer {row['name']!r}. Run `filterdb verify`."
                raise DamagedStoreError(msg)
            yield row, values


def kernel_of(row: Row) -> Kernel:
    """Kernel size of a layer."""
    return row["kh"], row["kw"]


def shape_of(row: Row) -> tuple[int, int, int, int]:
    """Shape of a layer's weights."""
    return row["out_channels"], row["in_per_group"], row["kh"], row["kw"]


def select(folder: Path, where: str | None) -> Selection:
    """Layers of a database.

    Parameters
    ----------
    folder
        The database.
    where
        SQL expression over the columns of layers and models.

    Raises
    ------
    QueryError
        The expression is not valid, or holds for no layer.
    """
    of_model: dict[int, list[Row]] = {}
    for row in select_layers(folder, where):
        of_model.setdefault(row["model_id"], []).append(row)
    if not of_model:
        msg = (
            f"No layer fulfils the condition: {where}." if where else "The database has no layers."
        )
        raise QueryError(msg)
    models = [row for row in select_models(folder) if row["id"] in of_model]
    return Selection(folder, tuple(ChosenModel(row, tuple(of_model[row["id"]])) for row in models))


def user_columns(models: Sequence[ChosenModel]) -> dict[str, list[Any]]:
    """What users say of models: column -> a value a model; columns that say nothing left out."""
    names = [name for name in models[0].row if name.lower() not in RESERVED]
    columns = {name: [model.row[name] for model in models] for name in names}
    return {name: values for name, values in columns.items() if any(v is not None for v in values)}
