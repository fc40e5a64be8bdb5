"""``filterdb diff``: two networks side by side, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from filterdb.comparing import Diff, LayerDiff

SHOWN = 12
NUMBERS = ("filters", "L2", "cosine", "flips", "new 0", "D", "sparse", "H/T_H", "orth.")
COLUMNS: tuple[tuple[str, ...], ...] = (
    ("layer", "in the second", "kernel", *NUMBERS, "verdict", "relation"),
    ("layer", "in the second", "filters", "L2", "cosine", "flips", "D", "verdict", "relation"),
    ("layer", "L2", "cosine", "flips", "D", "relation"),
)
"""Columns for a wide terminal, and for narrower ones."""


@click.command()
@click.argument("a", metavar="A", type=click.Path())
@click.argument("b", metavar="B", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, with every measure.")
@click.option(
    "--plot", "picture", type=click.Path(dir_okay=False), metavar="FILE",
    help="Draw the most changed filters before and after; the suffix decides (.png, .svg, .pdf).",
)  # fmt: skip
@click.option("--all", "show_all", is_flag=True, help="Show identical layers and every note, too.")
@click.option(
    "--db", type=click.Path(), metavar="DB", help="A and B are models of this database, not files."
)
def diff(
    a: str,
    b: str,
    as_json: bool,  # noqa: FBT001
    picture: str | None,
    show_all: bool,  # noqa: FBT001
    db: str | None,
) -> None:
    """Show what changed from network A to network B, layer by layer.

    Fine-tuned, pruned, quantised, exported or converted: layers find one another by name, by
    their weights whatever they are called, else by order and shape.
    """
    from filterdb.cli.output import print_json
    from filterdb.cli.plots import check_plot

    check_plot(picture)
    result = compare(a, b, db)
    if as_json:
        print_json(result.to_dict())
    else:
        present(result, show_all=show_all)
    if picture is not None:
        draw(result, picture)


def compare(a: str, b: str, db: str | None) -> Diff:
    """Compare two files, or two models of a database."""
    if db is not None:
        from filterdb.database import open_database

        with open_database(db) as database:
            return database.diff(a, b)
    from filterdb.comparing import diff as compare_files

    return compare_files(a, b)


def draw(result: Diff, picture: str) -> None:
    """Write the picture of the most changed filters; say so where there are none."""
    from filterdb.cli.plots import write_plot

    if result.most_changed(1):
        write_plot(result.plot(), picture)
    else:
        click.echo(f"No filter above 1x1 changed: {picture} was not written.", err=True)


def present(result: Diff, *, show_all: bool) -> None:
    """Print the two networks: what the numbers say first, then the layers, then what is left."""
    from filterdb.cli.output import plain, show

    click.echo()
    show(" → ".join(titles(result)))
    for sentence in result.summary:
        show(plain(sentence), indent=2)
    rows = [row for row in result.layers if show_all or row.relation != "identical"]
    if rows:
        show(layer_table(rows))
        show_footnotes(rows)
        show_notes(rows, None if show_all else SHOWN)
    for only, which in ((result.only_a, "first"), (result.only_b, "second")):
        layers = [(layer.name, "x".join(map(str, layer.shape))) for layer in only]
        show_only(layers, which, None if show_all else SHOWN)
    show_covered(result, hidden=len(result.layers) - len(rows))


def titles(result: Diff) -> list[str]:
    """The names of the two networks, as short as tells them apart, with their formats."""
    from filterdb.cli.output import plain

    files = (result.file_a, result.file_b)
    names = [Path(file.source).name for file in files]
    if names[0] == names[1]:
        names = [file.source for file in files]
    return [
        f"[bold]{plain(name)}[/]  ({plain(file.format)})"
        for name, file in zip(names, files, strict=True)
    ]


def layer_table(rows: Sequence[LayerDiff]) -> Table:
    """One row a layer, with as many columns as the terminal has room for."""
    from rich.console import Console

    from filterdb.cli.output import console_for, new_table

    cells = [layer_cells(row) for row in rows]
    for columns in COLUMNS:
        if all(row.name == row.after.layer.name for row in rows):
            columns = tuple(name for name in columns if name != "in the second")
        table = new_table(*columns, right=NUMBERS, fold=("layer", "in the second"))
        for row in cells:
            table.add_row(*(row[name] for name in columns))
        if Console(width=10_000).measure(table).maximum <= console_for(table).width:
            break
    return table


def layer_cells(row: LayerDiff) -> dict[str, str]:
    """What the table says of a pair of layers."""
    from filterdb.cli.output import number, percent, plain, verdict_text
    from filterdb.comparing.change import NO_CHANGE

    before, after = row.before, row.after
    change = asdict(row.change) if row.change else dict.fromkeys(asdict(NO_CHANGE))
    return {
        "layer": plain(row.name),
        "in the second": plain(after.layer.name),
        "kernel": became(*("x".join(map(str, side.layer.kernel)) for side in (before, after))),
        "filters": became(*(f"{side.layer.n_filters:,}" for side in (before, after))),
        "L2": "–" if change["relative_l2"] is None else f"{change['relative_l2']:.3g}",
        "cosine": number(change["cosine"]),
        "flips": percent(change["sign_flips"]),
        "new 0": percent(change["newly_zero"]),
        "D": number(row.shift) + ("*" if row.few_filters else ""),
        "sparse": became(*(percent(side.quality.sparsity) for side in (before, after))),
        "H/T_H": became(*(number(side.quality.entropy_ratio) for side in (before, after))),
        "orth.": became(*(number(side.quality.orthogonality) for side in (before, after))),
        "verdict": became(*(verdict_text(side.verdict) for side in (before, after))),
        "relation": row.relation,
    }


def became(before: str, after: str) -> str:
    """``"healthy → sparse"``, or the one value that both have."""
    return before if before == after else f"{before} → {after}"


def show_footnotes(rows: Sequence[LayerDiff]) -> None:
    """Print what the heads of the columns mean, and what a mark does."""
    from filterdb.cli.output import show

    lines = [
        "L2: ||B - A|| / ||A||. Flips: weights of opposite sign. D: shift between the shapes of "
        "the filters (0: the same)."
    ]
    if any(row.few_filters for row in rows):
        lines.append(
            "* Fewer than 1,000 filters, where D runs high: two samples of one distribution have "
            "0.14 at 1,000 filters and 2.6 at 100."
        )
    for line in lines:
        show(f"[dim]{line}[/]", indent=2)


def show_notes(rows: Sequence[LayerDiff], limit: int | None) -> None:
    """Print the relations that there is more to say of, and the verdicts that changed."""
    from filterdb.cli.output import counted, plain, show

    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    for row in rows:
        if row.before.verdict != row.after.verdict:
            notes.append(f"{row.name}: now {row.after.verdict}. {row.after.reason}")
    if notes:
        show("[bold]Notes[/]")
    for note in notes[:limit]:
        show(plain(note), indent=2)
    if limit is not None and len(notes) > limit:
        show(f"... and {counted(len(notes) - limit, 'more note')}: --all shows them.", indent=2)


def show_only(layers: Sequence[tuple[str, str]], which: str, limit: int | None) -> None:
    """Print the layers without a counterpart, by name and shape."""
    from filterdb.cli.output import counted, plain, show

    if not layers:
        return
    show(f"[bold]Only in the {which}[/]")
    for name, shape in layers[:limit]:
        show(f"{plain(name)}  {shape}", indent=2)
    if limit is not None and len(layers) > limit:
        show(f"... and {counted(len(layers) - limit, 'more layer')}: --all shows them.", indent=2)


def show_covered(result: Diff, *, hidden: int) -> None:
    """Print what the comparison rests on, and what it leaves out."""
    from filterdb.cli.output import counted, show

    covered = result.coverage
    show("[bold]Covered[/]")
    show(
        f"{counted(covered['layers_matched'], 'layer')} matched, of {covered['layers_a']} and "
        f"{covered['layers_b']}; {counted(covered['layers_compared'], 'layer')} with "
        f"{counted(covered['filters_compared'], 'filter')} compared weight by weight.",
        indent=2,
    )
    if hidden:
        show(f"{counted(hidden, 'identical layer')} not listed: --all lists them.", indent=2)
    skipped = covered["skipped_a"], covered["skipped_b"]
    if any(skipped):
        show(
            f"Not analysed: {counted(skipped[0], 'tensor')} of the first, {skipped[1]:,} of the "
            "second; `filterdb check` and --json say why.",
            indent=2,
        )
