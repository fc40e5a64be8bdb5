"""``filterdb ingest``: files and folders into a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from filterdb.cli import DONE, SOME_FAILED
from filterdb.cli.names import PathOrName

if TYPE_CHECKING:
    from filterdb.ingest import IngestResult
    from filterdb.ingest.tally import Tally

SHOWN = 20


@click.command()
@click.argument("db", type=click.Path(file_okay=False))
@click.argument("paths", nargs=-1, required=True, type=PathOrName(exists=True))
@click.option(
    "--metadata",
    type=click.Path(exists=True, dir_okay=False),
    help="CSV keyed by file name or path; unknown columns are kept.",
)
@click.option(
    "--no-infer",
    is_flag=True,
    help="Take no metadata from the files themselves (licence, epoch, framework).",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; the cores, unless told.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def ingest(
    db: str,
    paths: tuple[str, ...],
    metadata: str | None,
    no_infer: bool,  # noqa: FBT001
    jobs: int | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Read files and folders into the database DB, created if new.

    A file that is in the database already, by its content, is left as it is; an interrupted
    ingest is completed by running it again.
    """
    from filterdb.cli.names import fetch_first
    from filterdb.cli.output import print_json, progress_bar
    from filterdb.database import open_database

    fetch_first(paths)
    with progress_bar("ingesting") as report, open_database(db) as database:
        result = database.ingest(
            paths, metadata=metadata, infer=not no_infer, jobs=jobs, progress=report
        )
    if as_json:
        print_json(result.to_dict())
    else:
        present(db, result)
    raise click.exceptions.Exit(SOME_FAILED if result.failed else DONE)


def present(db: str, result: IngestResult) -> None:
    """Print what did not come in and why, what the CSV did not match, and the sum."""
    from filterdb.cli.output import by_reason, plain, show

    failed = [(Path(row.path).name, row.reason or "") for row in result.models
              if row.status == "failed"]  # fmt: skip
    if failed:
        show(f"[bold]Failed[/] ({len(failed)}; --json has every path)")
        by_reason(failed)
    if result.ignored:
        show(f"[bold]Ignored, not networks[/] ({len(result.ignored)})")
        by_reason([(Path(item.path).name, item.reason) for item in result.ignored])
    listed("CSV rows that were not used", result.unmatched_rows)
    listed("Files without a CSV row", result.files_without_row)
    renamed = [f"{old} -> {new}" for old, new in result.renamed_columns.items()]
    listed("CSV columns renamed, as the catalogue has their name", renamed)
    listed("Words outside the vocabulary, kept as they are", result.outside_vocabulary)
    listed(
        "Words as the vocabulary has them (yours stay as own_words)",
        result.respelt,
    )
    if not result.models:
        show("There are no files to take in.")
        return
    show_totals(db, result)
    if result.added or result.unchanged:
        show(f"Next: filterdb models {plain(db)}")


def show_totals(db: str, result: Tally) -> None:
    """Print how many joined a database, with their layers and filters, and how many did not."""
    from filterdb.cli.output import plain, show

    added = [row for row in result.models if row.status == "added"]
    layers = sum(row.n_layers or 0 for row in added)
    filters = sum(row.n_filters or 0 for row in added)
    show(
        f"[bold]{plain(db)}[/]: {result.added} added ({layers:,} layers, {filters:,} filters), "
        f"{result.unchanged} unchanged, {result.failed} failed."
    )


def listed(title: str, items: list[str]) -> None:
    """Print a list with its count, the first few in full."""
    from filterdb.cli.output import plain, show

    if items:
        show(f"[bold]{title}[/] ({len(items)})")
        for item in items[:SHOWN]:
            show(plain(item), indent=2)
        if len(items) > SHOWN:
            show(f"... and {len(items) - SHOWN} more: --json has all.", indent=2)
