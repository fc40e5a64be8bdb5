"""Another basis for a database: all histograms of a kernel size change, or none does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from filterdb.errors import StoreError
from filterdb.stats.basis import Basis
from filterdb.stats.summary import LayerSummary
from filterdb.store.connection import open_to_write, writing
from filterdb.store.digest import refresh_digest
from filterdb.store.lock import cleaning
from filterdb.store.summaries import put_basis, put_summary

Key = tuple[int, int]
IS_FOLDED = "(part LIKE 'folded%')"


def rebase(
    folder: Path,
    bases: Sequence[Basis],
    summaries: Iterable[tuple[Sequence[Key], bool, LayerSummary]],
) -> int:
    """Replace the summaries of some kernel sizes by those in other bases, in one transaction.

    Parameters
    ----------
    folder
        The database.
    bases
        At most one a kernel size.
    summaries
        For each layer of those sizes: all rows that have its weights, whether it is of the
        folded ones, and its new summary. They may be computed while this runs; an error there
        leaves everything as it was.

    Returns
    -------
    int
        Number of layers whose summaries were replaced.

    Raises
    ------
    StoreError
        An ingest or a scan is running, a layer is missing among ``summaries``, or the database
        cannot be written.
    """
    sizes = {basis.kernel for basis in bases}
    with cleaning(folder) as alone, closing(open_to_write(folder)) as connection:
        if not alone:
            msg = (
                "The basis of the database can only change while nobody ingests into it or scans "
                "it. Wait for that to end and run the same command again."
            )
            raise StoreError(msg)
        with writing(connection):
            query = (
                f"SELECT model_id, layer_index, {IS_FOLDED}, kh, kw FROM summaries "  # noqa: S608
                "JOIN layers USING (model_id, layer_index)"
            )
            missing = {
                (model, index, bool(folded))
                for model, index, folded, *size in connection.execute(query)
                if tuple(size) in sizes
            }
            replaced = len({(model, index) for model, index, _ in missing})
            for basis in bases:
                put_basis(connection, basis)
            models = set()
            for keys, folded, summary in summaries:
                for model, index in keys:
                    where = f"WHERE model_id = ? AND layer_index = ? AND {IS_FOLDED} = ?"
                    connection.execute(f"DELETE FROM summaries {where}", (model, index, folded))  # noqa: S608
                    put_summary(connection, (model, index), summary, folded=folded)
                    missing.discard((model, index, folded))
                    models.add(model)
            if missing:
                msg = (
                    f"{len(missing):,} layers came without a summary in the new basis: the "
                    "database changed meanwhile. It is as it was; run the same command again."
                )
                raise StoreError(msg)
            for basis in bases:
                connection.execute(
                    "DELETE FROM bases WHERE kh = ? AND kw = ? AND id <> ?",
                    (*basis.kernel, basis.id),
                )
            for model in models:
                refresh_digest(connection, model)
    return replaced
