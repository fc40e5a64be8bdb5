"""``filterdb report``: one offline HTML page on a network or on a database."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("source", type=click.Path())
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT.html",
    help="The page; a file of that name is replaced.",
)
@click.option(
    "--where", metavar="SQL", help="Of a database only what meets this, e.g. \"task = 'ocr'\"."
)
@click.option("--title", help="Heading of the page; the name of SOURCE if not given.")
def report(source: str, target: Path, where: str | None, title: str | None) -> None:
    """Write one page on SOURCE, a network's file or a database, that everybody can read.

    It is complete in itself and works offline: it can be mailed, printed, and opened years later.
    """
    from filterdb.cli.names import fetch_first
    from filterdb.cli.output import plain, progress_bar, show
    from filterdb.database import open_database
    from filterdb.errors import ExportError
    from filterdb.report import database_report, network_report, write_report
    from filterdb.report.words import size
    from filterdb.store.connection import exists

    is_database = exists(Path(source))
    check_wishes(Path(source), target, where=where, is_database=is_database)
    fetch_first([source])
    with progress_bar("reporting") as progress:
        if is_database:
            html = database_report(open_database(source), where, title=title, progress=progress)
        else:
            html = network_report(source, title=title, progress=progress)
    try:
        path = write_report(html, target)
    except OSError as error:
        msg = f"The page {str(target)!r} cannot be written ({error.strerror or error})."
        raise ExportError(msg) from error
    show(f"{plain(path)}: {size(path.stat().st_size)}")


def check_wishes(source: Path, target: Path, *, where: str | None, is_database: bool) -> None:
    """Refuse what cannot work before anything is read.

    Raises
    ------
    click.UsageError
        The folder of OUT is missing, OUT cannot be such a file or is a part of a database,
        SOURCE is a folder and no database, or ``--where`` stands beside a file.
    """
    from filterdb.errors import ExportError
    from filterdb.store.output import output_file

    if not target.parent.is_dir():
        msg = f"The folder {str(target.parent)!r} does not exist. Create it, or choose another."
        raise click.BadParameter(msg, param_hint="--output")
    try:
        output_file(target)
    except ExportError as error:
        raise click.BadParameter(str(error), param_hint="--output") from error
    if is_database:
        return
    if source.is_dir():
        msg = (
            f"{str(source)!r} is a folder, but no database (it has no catalogue.sqlite). Name a "
            "network's file, or make a database of the folder: filterdb ingest DB FOLDER"
        )
        raise click.BadParameter(msg, param_hint="SOURCE")
    if where is not None:
        msg = f"It chooses within a database; {str(source)!r} is none."
        raise click.BadParameter(msg, param_hint="--where")
    if target.exists() and source.exists() and target.samefile(source):
        msg = "It is SOURCE itself, which would be overwritten."
        raise click.BadParameter(msg, param_hint="--output")
