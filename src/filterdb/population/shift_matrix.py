"""The result of a shift: D of every pair, with its nulls, its interval, and what it covers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.population.grouping import Group
from filterdb.stats.basis import Basis, Kernel
from filterdb.stats.shift import FEW_FILTERS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Matrix = NDArray[np.float64]
SHOWN = 3
EXPECTED = 0.05


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ShiftMatrix:
    """How far the groups along an axis lie apart.

    Attributes
    ----------
    by, preset, weighting, kernel
        What was compared, and how.
    basis
        What the coefficients are taken in.
    groups
        The groups, in the order of the matrices.
    ordered
        Whether that order means something (depth, epoch).
    matrix
        D of METHODS 1.3, float64 of shape ``(G, G)``: symmetric, 0 on the diagonal, NaN where
        a group holds no filters.
    weights
        Of the components in D, shape ``(k,)``.
    null_layers_p95, null_models_p95
        95th percentile of D between random splits of the two groups' pooled layers, and of
        their pooled models; NaN where there is none, or where they are too few for any D to
        lie above it. Layers of one network are alike, so that the models' is the one that a
        claim about networks has to beat.
    null_filters_p95
        95th percentile of D between two samples of one distribution with as few filters.
    p_layers, p_models, p_filters
        Share of the splits, or samples, that lie as far apart as the groups do.
    low, high
        Bootstrap interval of D over models, 95 %.
    permutations
        Random splits of each null; 0 for none.
    counts
        The groups' histograms, float64 of shape ``(G, k, 70)``, over ``[-reach, reach]`` of
        the basis or the range of the preset.
    coverage
        Models, layers and filters compared, and why layers are left out.
    notes
        What to know of the result, as sentences.
    """

    by: str
    preset: str
    weighting: str
    kernel: Kernel
    basis: Basis
    groups: tuple[Group, ...]
    ordered: bool
    matrix: Matrix
    weights: NDArray[np.float64]
    null_layers_p95: Matrix
    null_models_p95: Matrix
    null_filters_p95: Matrix
    p_layers: Matrix
    p_models: Matrix
    p_filters: Matrix
    low: Matrix
    high: Matrix
    permutations: int
    counts: NDArray[np.float64]
    coverage: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def null_p95(self) -> Matrix:
        """What D has to beat.

        The models' null where there is one, else the layers'; in any case that of so few
        filters.
        """
        by_units = np.where(
            np.isnan(self.null_models_p95), self.null_layers_p95, self.null_models_p95
        )
        return np.where(np.isnan(by_units), np.nan, np.fmax(by_units, self.null_filters_p95))

    @property
    def p_values(self) -> Matrix:
        """The p value that belongs to :attr:`null_p95`: the larger of the two."""
        by_units = np.where(np.isnan(self.null_models_p95), self.p_layers, self.p_models)
        return np.where(np.isnan(by_units), np.nan, np.fmax(by_units, self.p_filters))

    @property
    def too_few(self) -> NDArray[np.bool_]:
        """Pairs with a group of so few filters that no claim is made of them, ``(G, G)``."""
        return self.few[:, None] | self.few

    @property
    def distinguishable(self) -> NDArray[np.bool_]:
        """Whether D is above its null, shape ``(G, G)``.

        False where there is no null, and where a group has too few filters for a claim.
        """
        with np.errstate(invalid="ignore"):
            above: NDArray[np.bool_] = (self.matrix > self.null_p95) & ~self.too_few
        return above

    @property
    def few(self) -> NDArray[np.bool_]:
        """Groups of so few filters that D is mostly the bias of a small sample, shape ``(G,)``."""
        return np.array([group.filters < FEW_FILTERS for group in self.groups])

    @property
    def verdict(self) -> str:
        """How many pairs are more than chance, and how many would be by chance: a sentence."""
        upper = np.triu_indices(len(self.groups), 1)
        above, few = self.distinguishable[upper], self.too_few[upper]
        has_null = ~np.isnan(self.null_p95[upper]) & ~few
        by_models = has_null & ~np.isnan(self.null_models_p95[upper])
        by_layers = has_null & ~by_models
        parts = []
        if by_models.any():
            parts.append(
                f"{counted(above[by_models])} above the 95th percentile of their null of models; "
                f"{by_chance(by_models)} would by chance alone."
            )
        if by_layers.any():
            parts.append(
                f"{counted(above[by_layers])} above the null of layers, where there is none of "
                f"models; {by_chance(by_layers)} would by chance alone, and it proves less."
            )
        if few.any():
            parts.append(f"{few.sum():,} pairs have a group below {FEW_FILTERS:,} filters.")
        none = int(np.count_nonzero(~has_null & ~few))
        if none:
            parts.append(f"{none:,} of {above.size:,} pairs have no null: too little to permute.")
        return " ".join(parts)

    def pairs(self) -> list[dict[str, Any]]:
        """A row for each pair of groups; undefined numbers are None.

        Those above their null of models come first, then those above the null of layers alone;
        of each kind the farthest apart. Those of too few filters come last.
        """
        names = [group.name for group in self.groups]
        rows: list[dict[str, Any]] = [
            {
                "a": names[i],
                "b": names[j],
                "shift": number(self.matrix[i, j]),
                "low": number(self.low[i, j]),
                "high": number(self.high[i, j]),
                "null_models_p95": number(self.null_models_p95[i, j]),
                "p_models": number(self.p_models[i, j]),
                "null_layers_p95": number(self.null_layers_p95[i, j]),
                "p_layers": number(self.p_layers[i, j]),
                "null_filters_p95": number(self.null_filters_p95[i, j]),
                "p_filters": number(self.p_filters[i, j]),
                "null_p95": number(self.null_p95[i, j]),
                "p_value": number(self.p_values[i, j]),
                "too_few": bool(self.too_few[i, j]),
                "distinguishable": bool(self.distinguishable[i, j]),
            }
            for i, j in zip(*np.triu_indices(len(names), 1), strict=True)
        ]

        def claims_first(row: dict[str, Any]) -> tuple[bool, bool, bool, float]:
            shift, apart = row["shift"], row["distinguishable"]
            by_models = apart and row["null_models_p95"] is not None
            far = math.inf if shift is None else -shift
            return not by_models, not apart, row["too_few"], far

        return sorted(rows, key=claims_first)

    def to_dict(self) -> dict[str, Any]:
        """The result as in the JSON of ``filterdb shift``."""
        return {
            "by": self.by,
            "preset": self.preset,
            "weighting": self.weighting,
            "kernel": list(self.kernel),
            "basis": {"id": self.basis.id, "origin": self.basis.origin, "n": self.basis.n},
            "groups": [asdict(group) for group in self.groups],
            "matrix": rows(self.matrix),
            "weights": self.weights.tolist(),
            "null_p95": rows(self.null_p95),
            "null_layers_p95": rows(self.null_layers_p95),
            "null_models_p95": rows(self.null_models_p95),
            "null_filters_p95": rows(self.null_filters_p95),
            "p_layers": rows(self.p_layers),
            "p_models": rows(self.p_models),
            "p_filters": rows(self.p_filters),
            "interval_low": rows(self.low),
            "interval_high": rows(self.high),
            "distinguishable": self.distinguishable.tolist(),
            "permutations": self.permutations,
            "coverage": self.coverage,
            "notes": list(self.notes),
        }

    def to_pandas(self) -> pd.DataFrame:
        """The matrix with the groups' names on both sides (needs the extra ``pandas``)."""
        from filterdb.extras import data_frame

        names = [group.name for group in self.groups]
        return data_frame(self.matrix, index=names, columns=names)

    def plot(self) -> Figure:
        """The matrix as a heat map (needs the extra ``plot``)."""
        from filterdb.figures.shift import shift_matrix

        return shift_matrix(self)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.kernel))
        return (
            f"<ShiftMatrix by {self.by}: {len(self.groups)} groups, {self.coverage['models']:,} "
            f"models, {self.coverage['filters']:,} {size} filters, preset {self.preset}>"
        )

    def _repr_html_(self) -> str:
        from html import escape

        names = [escape(group.name) for group in self.groups]
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            f"<tr><th>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
            for name, cells in zip(names, self.cells(), strict=True)
        )
        return f"<p>{escape(repr(self))}</p><table><tr><th></th>{head}</tr>{body}</table>"

    def cells(self) -> list[list[str]]:
        """The matrix as people read it.

        ``≈`` stands before a D that is no more than its null, ``?`` before one that has none, and
        ``*`` before one of too few filters.
        """
        shown = [["" for _ in self.groups] for _ in self.groups]
        for i, j in np.ndindex(self.matrix.shape):
            if i != j:
                value = self.matrix[i, j]
                mark = "?" if np.isnan(self.null_p95[i, j]) and self.permutations else ""
                mark = mark or ("" if self.distinguishable[i, j] or not self.permutations else "≈")
                mark = "*" if self.too_few[i, j] else mark
                shown[i][j] = "–" if np.isnan(value) else f"{mark}{value:.{SHOWN}f}"
        return shown


def counted(above: NDArray[np.bool_]) -> str:
    """``"3 of 12 pairs lie"``."""
    pairs = "pair lies" if above.size == 1 else "pairs lie"
    return f"{above.sum():,} of {above.size:,} {pairs}"


def by_chance(tested: NDArray[np.bool_]) -> str:
    """How many pairs would lie above their null by chance, in words."""
    expected = EXPECTED * int(tested.sum())
    return "less than one" if expected < 1 else f"about {round(expected):,}"


def number(value: float) -> float | None:
    """A number as JSON has it; None where it is undefined."""
    return None if np.isnan(value) else float(value)


def rows(matrix: Matrix) -> list[list[float | None]]:
    """A matrix as JSON has it."""
    return [[number(value) for value in row] for row in matrix]
