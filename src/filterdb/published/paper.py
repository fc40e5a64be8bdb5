"""What the papers print, with its source: small tables in ``figures/``, part of the package."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESOLUTION = 0.005
"""Of the shifts, which were read off figures."""


@dataclass(frozen=True, slots=True)
class Facts:
    """How large a version of the data set is; None where no paper says so.

    Attributes
    ----------
    filters, models, layers
        How many of each.
    rounding
        By how much the printed number of filters may be rounded.
    """

    filters: int
    rounding: int = 0
    models: int | None = None
    layers: int | None = None

    def doubts(self, filters: int, models: int, layers: int) -> list[str]:
        """Why numbers of so much data are not the paper's, as sentences; none if they are."""
        found = []
        if abs(filters - self.filters) > self.rounding:
            found.append(f"It has {filters:,} filters of 3x3; the paper's has {self.filters:,}.")
        if self.models is not None and models != self.models:
            found.append(f"It has {models:,} models; the paper's has {self.models:,}.")
        if self.layers is not None and layers != self.layers:
            found.append(f"It has {layers:,} layers; the paper's has {self.layers:,}.")
        return found


VERSIONS = {
    "1.0.0": Facts(1_464_797_156, models=647, layers=21_436),
    "0.1.0": Facts(524_570_000, rounding=5_000),
}
AXES = ("task", "visual_category", "depth_decile")


@dataclass(frozen=True, slots=True, eq=False)
class PrintedMatrix:
    """A shift matrix of a paper.

    Attributes
    ----------
    groups
        Names as printed, some abbreviated.
    models
        Number of models of each, where printed.
    matrix
        D, shape ``(G, G)``.
    """

    groups: tuple[str, ...]
    models: tuple[int | None, ...]
    matrix: Array

    def position(self, name: str) -> int | None:
        """Where a group stands, also under an abbreviated name."""
        found = [i for i, printed in enumerate(self.groups) if is_short_for(printed, name)]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class PrintedBasis:
    """A basis of a paper.

    Attributes
    ----------
    ratios
        Explained-variance ratios, shape ``(9,)``.
    mean
        Mean filter, shape ``(9,)``; NaN where none is printed.
    """

    ratios: Array
    mean: Array


def is_short_for(printed: str, name: str) -> bool:
    """Whether a printed name means this one: each of its words begins the other's word.

    >>> is_short_for("GAN-Discr.", "GAN-Discriminator")
    True
    """
    one, other = (re.split(r"[\s_-]+", text.strip().lower()) for text in (printed, name))
    return len(one) == len(other) and all(
        theirs == ours or (theirs.endswith(".") and ours.startswith(theirs[:-1]))
        for theirs, ours in zip(one, other, strict=True)
    )


@lru_cache
def printed_matrix(axis: str, version: str) -> PrintedMatrix | None:
    """The shift matrix along an axis that the paper on a version prints; None if it has none."""
    rows = _rows(f"{axis}_v{version}.csv")
    if not rows:
        return None
    return PrintedMatrix(
        groups=tuple(row[0] for row in rows[1:]),
        models=tuple(int(row[1]) if row[1] else None for row in rows[1:]),
        matrix=np.array([[float(cell) for cell in row[2:]] for row in rows[1:]]),
    )


@lru_cache
def printed_basis(version: str) -> PrintedBasis | None:
    """The basis that the paper on a version prints; None if it has none."""
    rows = _rows(f"pca_v{version}.csv")
    if not rows:
        return None
    table = np.array([[float(cell or "nan") for cell in row] for row in rows[1:]])
    return PrintedBasis(ratios=table[:, 1], mean=table[:, 2])


def source(name: str) -> str:
    """Where the figures of a file come from, in words."""
    lines = _text(name).splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


def _rows(name: str) -> Sequence[Sequence[str]]:
    lines = [line for line in _text(name).splitlines() if not line.startswith("#")]
    return list(csv.reader(lines))


def _text(name: str) -> str:
    file = files("filterdb.published") / "figures" / name
    return file.read_text(encoding="utf-8") if file.is_file() else ""
