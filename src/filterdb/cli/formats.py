"""``filterdb formats``: what can be read, and what is recognised but cannot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from filterdb.readers.format import Format


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--markdown", is_flag=True, help="What can be read, as a table in Markdown.")
def formats(as_json: bool, markdown: bool) -> None:  # noqa: FBT001
    """List the formats. The content of a file decides, never its suffix."""
    from filterdb.cli.output import new_table, plain, print_json, show
    from filterdb.readers.recognise.recognised import RECOGNISED
    from filterdb.readers.registry import readable

    if as_json:
        print_json(
            [
                {
                    "name": f.name,
                    "title": f.title,
                    "suffixes": list(f.suffixes),
                    "reads": f.reads,
                    "readable": True,
                }
                for f in readable()
            ]
            + [
                {"name": r.name, "title": r.title, "readable": False, "mend": r.mend}
                for r in RECOGNISED
            ]
        )
        return
    if markdown:
        click.echo(markdown_table(readable()))
        return
    table = new_table(
        "format",
        "what it is",
        "usual names",
        "what is read",
        title="Can be read",
        fold=("what it is", "usual names", "what is read"),
    )
    for known in readable():
        names = " ".join(known.suffixes)
        table.add_row(known.name, plain(known.title), names, plain(known.reads))
    show(table)
    table = new_table(
        "format",
        "what it is",
        "what to do",
        title="Recognised, cannot be read",
        fold=("what it is", "what to do"),
    )
    for other in RECOGNISED:
        table.add_row(other.name, plain(other.title), plain(other.mend))
    show(table)


def markdown_table(formats: Iterable[Format]) -> str:
    """A row for each format that can be read; the README holds it."""
    rows = [
        (f"`{known.name}`", known.title, " ".join(f"`{name}`" for name in known.suffixes),
         known.reads)
        for known in formats
    ]  # fmt: skip
    head = ("format", "what it is", "usual names", "what is read")
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
