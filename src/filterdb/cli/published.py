"""``filterdb import``, ``export`` and ``reproduce``: the published data set, in and out."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any, Literal

import click

from filterdb.cli import DONE, SOME_FAILED
from filterdb.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from filterdb.published.importing import ImportResult
    from filterdb.published.reproduction import Comparison, Reproduction

LAYOUTS = ("hdf", "parquet", "safetensors")
PAIRS_SHOWN = 8
DIGITS = 4

jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), help="Networks at a time; the cores, unless told."
)


@click.command(name="import")
@click.argument("db", type=click.Path(file_okay=False))
@click.argument("dataset", type=click.Path(exists=True, dir_okay=False))
@jobs_option
@json_option
def import_(db: str, dataset: str, jobs: int | None, as_json: bool) -> None:  # noqa: FBT001
    """Take the published CNN Filter DB (dataset.h5) into the database DB, created if new.

    Both versions, v1.0.0 and v0.1.0. A network that is there already, filter by filter, is left
    as it is; an interrupted import is completed by running it again. The database takes half the
    room of a float64 file.
    """
    from filterdb.cli.output import print_json, progress_bar
    from filterdb.published.importing import import_dataset

    with progress_bar("importing") as report:
        result = import_dataset(db, dataset, jobs=jobs, progress=report)
    if as_json:
        print_json(result.to_dict())
    else:
        present_import(db, result)
    raise click.exceptions.Exit(SOME_FAILED if result.failed else DONE)


def present_import(db: str, result: ImportResult) -> None:
    """Print how the file was read, what did not come in and why, and the sum."""
    from filterdb.cli.ingest import show_totals
    from filterdb.cli.output import by_reason, plain, show

    show(
        f"[bold]{plain(result.path)}[/]: CNN Filter DB {plain(result.version)}, "
        f"{result.filters:,} filters, {result.dtype}."
    )
    for note in result.notes:
        show(plain(note), indent=2)
    if result.left_out_columns:
        show(f"[bold]Columns that are not kept[/] ({len(result.left_out_columns)})")
        by_reason(list(result.left_out_columns.items()))
    if result.failed:
        show(f"[bold]Failed[/] ({result.failed}; --json has all)")
        by_reason([(row.id, row.reason or "") for row in result.models if row.status == "failed"])
    show_totals(db, result)
    if result.added or result.unchanged:
        show(f"Next: filterdb reproduce {plain(db)}")


@click.command()
@click.argument("db", type=click.Path(file_okay=False))
@click.argument("out", type=click.Path())
@click.option(
    "--where",
    metavar="SQL",
    help='Only layers that meet a condition, e.g. "duplicate_of IS NULL".',
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(LAYOUTS),
    help="If not given, by the suffix of OUT: .h5, .parquet, else safetensors.",
)
@click.option("--float32", "single", is_flag=True, help="Half the size in HDF5, nothing lost.")
@click.option("--force", is_flag=True, help="Replace the file, or the folder of an earlier export.")
@json_option
def export(
    db: str,
    out: str,
    where: str | None,
    layout: Literal["hdf", "parquet", "safetensors"] | None,
    single: bool,  # noqa: FBT001
    force: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write the database DB, or some of its layers, to OUT for other programs.

    It is no way to keep a database or to move it: for that, copy its folder. What is exported
    and taken in again has lost kinds of layers.

    OUT.h5 is in the layout of the published CNN Filter DB (3x3 layers only). OUT.parquet is a
    folder: filters_3x3.parquet with a row a filter, and so on for each kernel size,
    models.parquet and layers.parquet. Any other OUT is a folder of safetensors, one a model, with
    models.csv and layers.csv. OUT cannot lie in a database.
    """
    from filterdb.cli.output import plain, print_json, progress_bar, show
    from filterdb.published.exporting import export as write
    from filterdb.words import counted

    with progress_bar("exporting") as report:
        result = write(
            db,
            out,
            where=where,
            layout=layout,
            dtype="float32" if single else "float64",
            force=force,
            progress=report,
        )
    if as_json:
        print_json(result.to_dict())
        return
    show(
        f"[bold]{plain(out)}[/] ({result.layout}): {counted(result.models, 'model')}, "
        f"{counted(result.layers, 'layer')}, {counted(result.filters, 'filter')}."
    )
    for reason, count in result.left_out.items():
        show(f"{counted(count, 'layer')} left out: {reason}.", indent=2)
    show(plain(result.note), indent=2)


@click.command()
@click.argument("data", type=click.Path(exists=True))
@click.option(
    "--db",
    type=click.Path(file_okay=False),
    help="Keep the database that a file is imported into; a temporary one otherwise.",
)
@click.option("--version", help="Of the data set, where a database holds both: 1.0.0 or 0.1.0.")
@click.option("--all", "show_all", is_flag=True, help="Show every pair of groups.")
@jobs_option
@json_option
def reproduce(
    data: str,
    db: str | None,
    version: str | None,
    show_all: bool,  # noqa: FBT001
    jobs: int | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Make the published tables of CNN Filter DB and print them beside the published figures.

    DATA is the file dataset.h5, or a database into which it was imported.
    """
    from filterdb.cli.output import print_json, progress_bar
    from filterdb.published.reproducing import reproduce as make

    with progress_bar("reproducing") as report:
        result = make(data, db=db, version=version, jobs=jobs, progress=report)
    if as_json:
        print_json(result.to_dict())
    else:
        present_reproduction(result, limit=None if show_all else PAIRS_SHOWN)


def present_reproduction(result: Reproduction, *, limit: int | None) -> None:
    """Print whose numbers these are, the basis, and the shift along each axis."""
    from filterdb.cli.output import plain, show
    from filterdb.words import counted

    show(
        f"[bold]CNN Filter DB {plain(result.version)}[/]: {counted(result.models, 'model')}, "
        f"{counted(result.layers, 'layer')}, {counted(result.filters, 'filter')} of 3x3."
    )
    if result.is_the_papers:
        show("As many as the paper's: the numbers should agree.", indent=2)
    else:
        show("[bold yellow]These are not the paper's data, so its numbers differ:[/]", indent=2)
        for doubt in result.doubts:
            show(plain(doubt), indent=4)
    for reason, count in result.left_out.items():
        show(f"{counted(count, 'layer')} left out: {plain(reason)}.", indent=2)
    for note in result.notes:
        show(plain(note), indent=2)
    show("\n[bold]PCA of all scaled filters[/]")
    show(basis_table(result))
    sources = [result.basis_source]
    for comparison in result.comparisons:
        present_comparison(comparison, limit=limit)
        sources.append(comparison.source)
    show("\n[bold]Printed figures[/]")
    for text in dict.fromkeys(filter(None, sources)):
        show(f"[dim]{plain(text)}[/]", indent=2)


def basis_table(result: Reproduction) -> Table:
    """Ratios and mean, ours and printed."""
    columns = ("ratio", "printed", "difference", "mean", "printed mean", "difference of mean")
    rows = zip(
        result.ratios,
        result.printed_ratios,
        result.ratios - result.printed_ratios,
        result.mean,
        result.printed_mean,
        result.mean - result.printed_mean,
        strict=True,
    )
    return table_of(["", *columns], [[str(i), *row] for i, row in enumerate(rows)], columns)


def present_comparison(comparison: Comparison, *, limit: int | None) -> None:
    """Print the groups along an axis, and the pairs that differ most from the paper."""
    from filterdb.cli.output import number, plain, show

    show(f"\n[bold]Shift by {comparison.by.replace('_', ' ')}[/]")
    heads = ("models", "models in the paper", "layers", "filters")
    show(
        table_of(
            ["group", *heads],
            [
                [group.name, group.models, group.printed_models, group.layers, group.filters]
                for group in comparison.groups
            ],
            heads,
        )
    )
    if comparison.missing:
        show(f"Only in the paper: {plain(', '.join(comparison.missing))}", indent=2)
    facts = comparison.summary()
    show(
        f"D of {facts['pairs']} pairs: median {number(facts['median'])}, largest "
        f"{number(facts['maximum'])}; of the {facts['compared']} that the paper has, the median "
        f"difference is {number(facts['median_difference'])}, the largest "
        f"{number(facts['maximum_difference'])}.",
        indent=2,
    )
    numbers = ("shift", "printed", "difference")
    pairs = comparison.pairs()
    rows = [[pair["a"], pair["b"], *(pair[name] for name in numbers)] for pair in pairs[:limit]]
    if rows:
        show(table_of(["", " ", *numbers], rows, numbers))
    if limit is not None and len(pairs) > limit:
        show(f"and {len(pairs) - limit} more pairs: --all has them, --json the matrices.", indent=2)


def table_of(heads: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[str]) -> Table:
    """A table of texts and numbers; a dash where a number is undefined."""
    from filterdb.cli.output import new_table

    table = new_table(*heads, right=numbers, fold=[head for head in heads if head not in numbers])
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def cell(value: object) -> str:
    """A value as people read it."""
    from filterdb.cli.output import number, plain

    if isinstance(value, float):
        return number(None if isnan(value) else value, DIGITS)
    return f"{value:,}" if isinstance(value, int) else plain(value)
