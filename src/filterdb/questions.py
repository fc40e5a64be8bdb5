"""Questions to a database: about populations of filters, and about two of its models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterdb.store.query import axis_columns, reading

if TYPE_CHECKING:
    from filterdb.comparing import Diff
    from filterdb.population.nearest import Nearest
    from filterdb.population.population import Population
    from filterdb.population.preset import Scanning
    from filterdb.population.shift_matrix import ShiftMatrix
    from filterdb.stats.basis import Basis
    from filterdb.variant import Weights


class Questions:
    """What a database can be asked about its filters; see :class:`filterdb.Database`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def select(
        self,
        where: str | None = None,
        *,
        kernel: tuple[int, int] | None = None,
        drop_sparse: bool = False,
        weights: str = "stored",
        **columns: Any,
    ) -> Population:
        """Choose a population: the filters of one size in the layers that meet a condition.

        Parameters
        ----------
        where
            SQL expression as in :meth:`layers`.
        kernel
            Height and width; 3x3 if not given and there, else the size with the most filters.
        drop_sparse
            Leave out the filters that are sparse within their layer.
        weights
            ``"stored"``, ``"raw"`` (no layer that a batch normalisation is folded into) or
            ``"folded"`` (layers times the one that follows).
        **columns
            Further conditions: ``task="segmentation"``; a list is any of its values.

        Returns
        -------
        Population
            Nothing is read before it is asked something.

        Raises
        ------
        QueryError
            There is no such column.
        """
        from filterdb.population.population import Population
        from filterdb.population.selection import condition

        known = axis_columns(self.path) if columns else None
        chosen = condition(where, columns, known=known)
        return Population(
            self.path, chosen, kernel=kernel, drop_sparse=drop_sparse, weights=weights
        )

    def basis(self, where: str | None = None, **choice: Any) -> Basis:
        """Principal components of a population, from the catalogue alone.

        Parameters
        ----------
        where, **choice
            As :meth:`select` takes them.
        """
        return self.select(where, **choice).basis()

    def shift(
        self,
        by: str | Sequence[str],
        where: str | None = None,
        *,
        preset: str = "reference",
        weighting: str = "filters",
        permutations: int | None = None,
        **choice: Any,
    ) -> ShiftMatrix:
        """How far the groups along an axis lie apart, each pair with its null and its interval.

        Parameters
        ----------
        by, preset, weighting, permutations
            As :func:`filterdb.population.shifting.shift` takes them.
        where, **choice
            As :meth:`select` takes them.
        """
        return self.select(where, **choice).shift(
            by, preset=preset, weighting=weighting, permutations=permutations
        )

    def nearest(
        self,
        model: str | int,
        *,
        n: int = 10,
        kernel: tuple[int, int] | None = None,
        where: str | None = None,
    ) -> Nearest:
        """The models closest to one in D, and those that share layers with it.

        Parameters
        ----------
        model
            Name, number, or the beginning of the file's hash.
        n
            How many.
        kernel
            Size of the filters that are compared; the model's usual one if not given.
        where
            Only among models that meet this condition.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        QueryError
            It has no filters with a shape, or no other model has.
        """
        from filterdb.population.nearest import nearest

        return nearest(self.path, self._number(model), n=n, kernel=kernel, where=where)

    def fit_basis(self, *, scanning: Scanning | None = None) -> dict[tuple[int, int], Basis]:
        """Fit a basis on the database for each kernel size, and take all histograms anew in it.

        All or nothing; interrupted, the same call goes on where it stopped. Kernel sizes with
        fewer than 100 filters a tap keep the basis that they have.

        Parameters
        ----------
        scanning
            How to pass over the weights: processes, or a cluster.

        Returns
        -------
        dict
            Kernel size -> its new basis.

        Raises
        ------
        StoreError
            An ingest is running, or the database cannot be read or written.
        """
        from filterdb.population.rebase import adopt, fitted_bases

        return adopt(self.path, fitted_bases(self.path), scanning=scanning)

    def adopt_basis(
        self, source: Questions | None = None, *, scanning: Scanning | None = None
    ) -> dict[tuple[int, int], Basis]:
        """Take all histograms anew in the bases of another database, or of the package.

        Parameters
        ----------
        source
            The other database; None for the reference bases that come with the package.
        scanning
            How to pass over the weights: processes, or a cluster.

        Returns
        -------
        dict
            Kernel size -> its new basis; sizes that had it already are not in it.

        Raises
        ------
        StoreError
            As :meth:`fit_basis`.
        """
        from filterdb.population.rebase import adopt, adopt_reference

        if source is None:
            return adopt_reference(self.path, scanning=scanning)
        return adopt(self.path, source.bases(), scanning=scanning)

    def bases(self) -> dict[tuple[int, int], Basis]:
        """The basis of each kernel size that the histograms of the database are in."""
        from filterdb.store.summaries import read_bases

        return read_bases(self.path)

    def diff(self, a: str | int, b: str | int, *, weights: Weights = "stored") -> Diff:
        """Two models side by side, layer by layer; see :func:`filterdb.diff`.

        Parameters
        ----------
        a, b
            Names, numbers, or beginnings of the files' hashes.
        weights
            As :meth:`select` takes them.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        """
        from filterdb.comparing import diff
        from filterdb.store.stored_model import stored_model

        one, other = (stored_model(self.path, self._number(model)) for model in (a, b))
        return diff(one, other, weights=weights)

    def _number(self, model: str | int) -> int:
        from filterdb.store.naming import resolve

        with reading(self.path) as catalogue:
            return resolve(catalogue, model)
