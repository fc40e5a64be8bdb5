"""The published tables made again, beside what the papers print: the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.population.shift_matrix import number

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ComparedGroup:
    """A group along an axis.

    Attributes
    ----------
    name
        As in the data set.
    models, layers, filters
        How many it holds.
    printed_models
        How many models the paper gives it; None where it does not say, or has no such group.
    """

    name: str
    models: int
    layers: int
    filters: int
    printed_models: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A shift matrix beside the printed one.

    Attributes
    ----------
    by
        The axis.
    groups
        In the order of the paper, those that it does not have last.
    matrix, printed
        D, float64 of shape ``(G, G)``; NaN where the paper has none.
    missing
        Groups of the paper that are not in the data.
    source
        Where the printed figures come from.
    """

    by: str
    groups: tuple[ComparedGroup, ...]
    matrix: Array
    printed: Array
    missing: tuple[str, ...]
    source: str

    @property
    def difference(self) -> Array:
        """Ours less the printed one; NaN where there is none."""
        return self.matrix - self.printed

    def pairs(self) -> list[dict[str, Any]]:
        """A row for each pair of groups, the largest difference first; those without one last."""
        rows = [
            {
                "a": self.groups[i].name,
                "b": self.groups[j].name,
                "shift": number(self.matrix[i, j]),
                "printed": number(self.printed[i, j]),
                "difference": number(self.difference[i, j]),
            }
            for i, j in zip(*np.triu_indices(len(self.groups), 1), strict=True)
        ]
        return sorted(rows, key=lambda row: -abs(row["difference"] or 0))

    def summary(self) -> dict[str, Any]:
        """Median and largest D of both, and of their difference, over the pairs."""
        upper = np.triu_indices(len(self.groups), 1)
        ours, printed = self.matrix[upper], self.printed[upper]
        both = ~np.isnan(ours) & ~np.isnan(printed)
        far = np.abs(ours - printed)[both]
        return {
            "pairs": len(ours),
            "compared": int(both.sum()),
            "median": middle(ours),
            "maximum": largest(ours),
            "printed_median": middle(printed),
            "printed_maximum": largest(printed),
            "median_difference": middle(far),
            "maximum_difference": largest(far),
        }

    def to_dict(self) -> dict[str, Any]:
        """The comparison as in the JSON of ``filterdb reproduce``."""
        return {
            "by": self.by,
            "groups": [asdict(group) for group in self.groups],
            "matrix": listed(self.matrix),
            "printed": listed(self.printed),
            "difference": listed(self.difference),
            "missing": list(self.missing),
            "summary": self.summary(),
            "source": self.source,
        }


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reproduction:
    """The published tables made again.

    Attributes
    ----------
    version
        Of the data set, and so of the paper.
    models, layers, filters
        What it was made from: the 3x3 layers.
    doubts
        Why the numbers are not the paper's; empty where the data are as many as the paper's.
    ratios, mean
        Explained-variance ratios and mean filter of the PCA of all scaled filters, ``(9,)``.
    printed_ratios, printed_mean
        The same as printed; NaN where there is none.
    basis_source
        Where those come from.
    limits
        Least and greatest coefficient: the range of the histograms.
    comparisons
        Shift by task, visual category and depth decile.
    left_out
        Why layers are left out -> how many.
    notes
        What to know, as sentences.
    """

    version: str
    models: int
    layers: int
    filters: int
    doubts: tuple[str, ...]
    ratios: Array
    mean: Array
    printed_ratios: Array
    printed_mean: Array
    basis_source: str
    limits: tuple[float, float]
    comparisons: tuple[Comparison, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def is_the_papers(self) -> bool:
        """Whether the data are as many as the paper's, so that the numbers should agree."""
        return not self.doubts

    def to_dict(self) -> dict[str, Any]:
        """The result as in the JSON of ``filterdb reproduce``; undefined numbers are None."""
        return {
            "version": self.version,
            "models": self.models,
            "layers": self.layers,
            "filters": self.filters,
            "is_the_papers": self.is_the_papers,
            "doubts": list(self.doubts),
            "preset": "cvpr2022",
            "limits": list(self.limits),
            "explained_variance_ratio": listed(self.ratios),
            "printed_explained_variance_ratio": listed(self.printed_ratios),
            "mean": listed(self.mean),
            "printed_mean": listed(self.printed_mean),
            "basis_source": self.basis_source,
            "shifts": [comparison.to_dict() for comparison in self.comparisons],
            "left_out": self.left_out,
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        whose = "the paper's data" if self.is_the_papers else "not the paper's data"
        return f"<Reproduction of v{self.version} from {self.filters:,} filters ({whose})>"


def listed(array: Array) -> list[Any]:
    """An array as JSON has it."""
    return [listed(part) if part.ndim else number(part) for part in array]


def middle(values: Array) -> float | None:
    """Median of what is defined."""
    given = values[~np.isnan(values)]
    return float(np.median(given)) if given.size else None


def largest(values: Array) -> float | None:
    """Maximum of what is defined."""
    given = values[~np.isnan(values)]
    return float(given.max()) if given.size else None
