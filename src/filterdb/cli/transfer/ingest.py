"""``filterdb transfer ingest``: the networks of an experiment into a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from filterdb.cli.options import json_option

if TYPE_CHECKING:
    from filterdb.transfer.book import Row


@click.command()
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False))
@click.argument("db", type=click.Path(file_okay=False))
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; the cores, unless told.")
@json_option
def ingest(folder: str, db: str, jobs: int | None, *, as_json: bool) -> None:
    """Take the networks that an experiment has kept in FOLDER into the database DB.

    With data set, arm, epoch, seed and accuracy as metadata, so that `shift DB --by data`,
    `shift DB --by epoch`, `keys find DB` and all else apply to them. Those that are there already
    are left alone.
    """
    from filterdb.cli import DONE, SOME_FAILED
    from filterdb.cli.ingest import present
    from filterdb.cli.output import print_json, progress_bar
    from filterdb.transfer.ingesting import ingest_runs

    with progress_bar("ingesting") as report:
        result = ingest_runs(folder, db, jobs=jobs, progress=report)
    if as_json:
        print_json(result.to_dict())
    else:
        show_without(result.without)
        present(db, result.files)
    raise click.exceptions.Exit(SOME_FAILED if result.files.failed else DONE)


def show_without(rows: Sequence[Row]) -> None:
    """Name the arms whose networks were not kept, and what would keep them."""
    from filterdb.cli.output import plain, show
    from filterdb.words import counted

    if not rows:
        return
    arms = Counter(row.run.arm or row.run.network for row in rows)
    show(f"[bold]No weights were kept[/] of {counted(len(rows), 'run')}:")
    for arm, count in arms.items():
        show(f"{plain(arm)} ({count})", indent=2)
    show("They are not in the database. The same experiment with `--keep last` keeps them.")
