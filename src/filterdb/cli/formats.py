"""``filterdb formats``: what can be read, and what is recognised but cannot."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def formats(as_json: bool) -> None:  # noqa: FBT001
    """List the formats. The content of a file decides, never its suffix."""
    from filterdb.cli.output import new_table, plain, print_json, show
    from filterdb.readers.recognise.recognised import RECOGNISED
    from filterdb.readers.registry import readable

    if as_json:
        print_json(
            [
                {"name": f.name, "title": f.title, "suffixes": list(f.suffixes), "readable": True}
                for f in readable()
            ]
            + [
                {"name": r.name, "title": r.title, "readable": False, "mend": r.mend}
                for r in RECOGNISED
            ]
        )
        return
    table = new_table(
        "format",
        "what it is",
        "usual names",
        title="Can be read",
        fold=("what it is", "usual names"),
    )
    for known in readable():
        table.add_row(known.name, plain(known.title), " ".join(known.suffixes))
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
