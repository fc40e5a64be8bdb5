"""A population: what a selection of filters can be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.population.choices import WEIGHTINGS, check_choice
from filterdb.population.phenotypes import LayerPhenotype, phenotypes
from filterdb.population.preset import Scanning, density
from filterdb.population.selection import Selection
from filterdb.population.shifting import shift
from filterdb.stats.basis import Basis, fit_basis
from filterdb.stats.summary import Summary
from filterdb.store.summaries import moments_of

if TYPE_CHECKING:
    from filterdb.population.shift_matrix import ShiftMatrix


class Population(Selection):
    """The filters of one kernel size in the layers that a condition selects; nothing is read yet.

    Weights that several models share are counted once (the first model that has them counts).

    Parameters
    ----------
    folder, where, kernel, drop_sparse, weights
        As :class:`~filterdb.population.selection.Selection` takes them;
        :meth:`filterdb.Database.select` makes one.
    """

    def basis(self, *, weighting: str = "filters") -> Basis:
        """Principal components of the population's scaled filters, from moments alone.

        Parameters
        ----------
        weighting
            ``"filters"``: each counts once, so that large layers dominate. ``"layers"``: each
            layer counts once.

        Raises
        ------
        QueryError
            There are no filters, or no such weighting.
        """
        check_choice("weighting", weighting, WEIGHTINGS)
        table = self.table(arrays=("scaled",))
        sums, n = table.arrays["scaled"], int(table.n.sum())
        if weighting == "layers":
            sums = sums / table.n[:, None] * (n / len(table.n))
        moments = moments_of(n, sums.sum(axis=0), self.kernel)
        models = len({weights for weights, _ in table.weights})
        origin = f"{models:,} models, {len(table.keys):,} layers"
        if weighting == "layers":
            origin += ", each layer counted once"
        return fit_basis(moments, self.kernel, origin=origin)

    def density(self, *, scanning: Scanning | None = None) -> NDArray[np.int64]:
        """How often the first two coefficients occur together: a pass over the weights.

        Parameters
        ----------
        scanning
            How to pass over the weights.

        Returns
        -------
        ndarray of int64, shape (512, 512)
            Counts over ``[-3.3, 3.3]`` of the first component (rows) and the second one of
            :attr:`reference` (METHODS 1.3, step 4); :func:`filterdb.figures.density.
            coefficient_density` draws it.

        Raises
        ------
        QueryError, StoreError
            Nothing is left; a payload is missing or damaged.
        """
        return density(self, scanning or Scanning())

    def phenotypes(self, *, scanning: Scanning | None = None) -> list[LayerPhenotype]:
        """The phenotype of every layer, by this project's rules: a pass over the weights.

        Parameters
        ----------
        scanning
            How to pass over the weights.
        """
        return phenotypes(self, scanning or Scanning())

    def summary(self) -> Summary:
        """The sum of its layers' summaries: moments, and fine histograms in :attr:`reference`."""
        table = self.table(arrays=("scaled", "raw", "fine"), columns=("peak",))
        n = int(table.n.sum())
        return Summary(
            kernel=self.kernel,
            basis_id=table.basis.id,
            scaled=moments_of(n, table.arrays["scaled"].sum(axis=0), self.kernel),
            raw=moments_of(n, table.arrays["raw"].sum(axis=0), self.kernel),
            peak=max((row[0] or 0.0 for row in table.values), default=0.0),
            counts=table.arrays["fine"],
        )

    def shift(
        self,
        by: str | Sequence[str],
        *,
        preset: str = "reference",
        weighting: str = "filters",
        permutations: int | None = None,
        seed: int = 0,
        progress: Callable[[int, int, str], None] | None = None,
        scanning: Scanning | None = None,
    ) -> ShiftMatrix:
        """How far its groups along an axis lie apart; see :mod:`filterdb.population.shifting`."""
        return shift(
            self,
            by,
            preset=preset,
            weighting=weighting,
            permutations=permutations,
            seed=seed,
            progress=progress,
            scanning=scanning,
        )
