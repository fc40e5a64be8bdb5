"""``filterdb verify`` and ``remove``: keep a database sound."""

from __future__ import annotations

import click

from filterdb.cli import DONE, GATE_SAID_NO


@click.command()
@click.argument("db", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def verify(db: str, as_json: bool) -> None:  # noqa: FBT001
    """Check every hash; name and remove what an interrupted ingest or scan left.

    Exit status 1 means damage: a byte has changed, or a file is missing.
    """
    from filterdb.cli.output import plain, print_json, progress_bar, show
    from filterdb.database import open_database

    with progress_bar("verifying") as report, open_database(db) as database:
        result = database.verify(progress=report)
    if as_json:
        print_json(result.to_dict())
    else:
        for finding in result.findings:
            show(f"[bold]{plain(finding.kind)}[/]  {plain(finding.where)}")
            show(f"{plain(finding.message)} {plain(finding.mend)}", indent=2)
        state = "[bold red]damaged[/]" if result.damaged else "[green]sound[/]"
        show(
            f"[bold]{plain(db)}[/] is {state}: {result.models:,} models, "
            f"{result.payloads:,} payloads, {result.bytes:,} bytes checked."
        )
    raise click.exceptions.Exit(GATE_SAID_NO if result.damaged else DONE)


@click.command()
@click.argument("db", type=click.Path())
@click.argument("models", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def remove(db: str, models: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001
    """Take MODELS, by name or number, out of a database.

    Their weights go too, unless another model shares them.
    """
    from filterdb.cli.output import plain, print_json, show
    from filterdb.database import open_database

    with open_database(db) as database:
        removed = database.remove(models)
    if as_json:
        print_json({"removed": list(removed)})
        return
    for name in removed:
        show(f"Removed {plain(name)}.")
