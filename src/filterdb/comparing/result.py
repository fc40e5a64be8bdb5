"""Two networks side by side: what ``diff`` returns."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.comparing.layer_diff import LayerDiff
from filterdb.comparing.sentences import sum_up
from filterdb.errors import FilterDBError
from filterdb.layer import ConvLayer, ModelFile

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PICTURED = 24


@dataclass(frozen=True, slots=True, eq=False)
class ChangedFilter:
    """A filter before and after.

    Attributes
    ----------
    layer, layer_after
        Name of its layer in each network.
    index
        Output channel, and input channel within its group.
    change
        ``||b - a||`` over the root mean square length of the layer's filters before.
    before, after
        float32 of shape ``(kh, kw)``.
    """

    layer: str
    layer_after: str
    index: tuple[int, int]
    change: float
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Diff:
    """Two networks side by side.

    Attributes
    ----------
    file_a, file_b
        The networks as read.
    layers
        One row a matched layer, in the order of the first network.
    only_a, only_b
        Layers without a counterpart.
    """

    file_a: ModelFile
    file_b: ModelFile
    layers: tuple[LayerDiff, ...]
    only_a: tuple[ConvLayer, ...]
    only_b: tuple[ConvLayer, ...]

    @property
    def identical(self) -> bool:
        """Whether both have the same layers with the same weights, whatever their names."""
        every = all(row.relation == "identical" for row in self.layers)
        return every and not self.only_a and not self.only_b

    @property
    def summary(self) -> tuple[str, ...]:
        """What the numbers say, as sentences, the weightiest first."""
        return sum_up(self.file_a, self.file_b, self.layers, self.only_a, self.only_b)

    @property
    def relations(self) -> dict[str, int]:
        """How many layers are identical, changed, ..., the most frequent first."""
        return dict(Counter(row.relation for row in self.layers).most_common())

    @property
    def coverage(self) -> dict[str, int]:
        """Layers and filters of both, those matched and compared, and what was left out."""
        compared = [row for row in self.layers if row.change is not None]
        return {
            "layers_a": len(self.file_a.layers),
            "layers_b": len(self.file_b.layers),
            "filters_a": self.file_a.n_filters,
            "filters_b": self.file_b.n_filters,
            "layers_matched": len(self.layers),
            "layers_compared": len(compared),
            "filters_compared": sum(row.before.layer.n_filters for row in compared),
            "only_a": len(self.only_a),
            "only_b": len(self.only_b),
            "skipped_a": len(self.file_a.skipped),
            "skipped_b": len(self.file_b.skipped),
        }

    def most_changed(
        self, n: int = PICTURED, *, kernel: tuple[int, int] | None = None
    ) -> list[ChangedFilter]:
        """The filters larger than 1x1 that changed most, against their layer's filters.

        Parameters
        ----------
        n
            How many; of each layer there are at most 32.
        kernel
            Only those of one size.
        """
        found = [
            ChangedFilter(row.name, row.after.layer.name, position_of(flat, row), *rest)
            for row in self.layers
            if kernel in (None, row.before.layer.kernel)
            for flat, *rest in zip(
                row.filters.index.tolist(),
                row.filters.change.tolist(),
                row.filters.before,
                row.filters.after,
                strict=True,
            )
        ]
        return sorted(found, key=lambda each: -each.change)[:n]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as in the JSON of ``filterdb diff``."""
        return {
            "a": one_file(self.file_a),
            "b": one_file(self.file_b),
            "identical": self.identical,
            "summary": list(self.summary),
            "relations": self.relations,
            "coverage": self.coverage,
            "layers": [row.to_dict() for row in self.layers],
            "only_a": [one_layer(layer) for layer in self.only_a],
            "only_b": [one_layer(layer) for layer in self.only_b],
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row a matched layer, with every measure of both (needs the extra ``pandas``)."""
        from filterdb.extras import data_frame

        return data_frame([row.to_row() for row in self.layers])

    def plot(self, n: int = PICTURED) -> Figure:
        """Draw the most changed filters before and after (needs the extra ``plot``).

        They are of one kernel size: that of the most changed filter.

        Raises
        ------
        FilterDBError
            No filter above 1x1 changed, so there is nothing to draw.
        """
        from filterdb.figures import changed_filters

        first = self.most_changed(1)
        if not first:
            msg = "No filter larger than 1x1 changed: there is nothing to draw."
            raise FilterDBError(msg)
        chosen = self.most_changed(n, kernel=first[0].before.shape)
        figure: Figure = changed_filters(
            np.stack([each.before for each in chosen]),
            np.stack([each.after for each in chosen]),
            labels=[f"{each.layer} {list(each.index)}" for each in chosen],
            limit=n,
        )
        return figure

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.relations.items())
        return (
            f"<Diff {self.file_a.source!r} -> {self.file_b.source!r}: "
            f"{counts or 'no layer in common'}; "
            f"{len(self.only_a)} only in the first, {len(self.only_b)} only in the second>"
        )


def position_of(index: int, row: LayerDiff) -> tuple[int, int]:
    """Output and input channel of a filter of a layer."""
    return divmod(index, row.before.layer.in_per_group)


def one_file(file: ModelFile) -> dict[str, Any]:
    """What the JSON says of a network."""
    return {
        "file": file.source,
        "format": file.format,
        "producer": file.producer,
        "notes": list(file.notes),
        "skipped": [asdict(item) for item in file.skipped],
    }


def one_layer(layer: ConvLayer) -> dict[str, Any]:
    """What the JSON says of a layer without a counterpart."""
    return {
        "name": layer.name,
        "index": layer.index,
        "shape": list(layer.shape),
        "kind": layer.kind,
        "dtype": layer.dtype,
    }
