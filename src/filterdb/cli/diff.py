"""``filterdb diff``: two networks side by side, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from filterdb.cli.options import weights_option

if TYPE_CHECKING:
    from rich.table import Table

    from filterdb.comparing import Diff, LayerDiff
    from filterdb.variant import Weights

SHOWN = 12
NUMBERS = ("filters", "L2", "cosine", "flips", "new 0", "D", "sparse", "H/T_H", "orth.")
NAMES = ("layer", "in the second", "kernel")
COLUMNS: tuple[tuple[str, ...], ...] = (
    (*NAMES, *NUMBERS, "verdict", "relation"),
    (*NAMES, "filters", "L2", "cosine", "flips", "D", "verdict", "relation"),
    (*NAMES, "L2", "cosine", "flips", "D", "relation"),
    (*NAMES, "L2", "cosine", "D", "relation"),
)
"""Columns for a wide terminal, and for narrower ones."""
CHANCE, UNTESTED = "≈", "?"
"""Marks of a D, as in ``filterdb shift``."""


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
@weights_option
def diff(
    a: str,
    b: str,
    as_json: bool,  # noqa: FBT001
    picture: str | None,
    show_all: bool,  # noqa: FBT001
    db: str | None,
    weights: Weights,
) -> None:
    """Show what changed from network A to network B, layer by layer.

    Fine-tuned, pruned, quantised, exported or converted: layers find one another by name, by
    their weights whatever they are called, else by order and shape.
    """
    from filterdb.cli.output import print_json
    from filterdb.cli.plots import check_plot

    check_plot(picture)
    result = compare(a, b, db, weights=weights)
    if as_json:
        print_json(result.to_dict())
    else:
        present(result, show_all=show_all)
    if picture is not None:
        draw(result, picture)


def compare(a: str, b: str, db: str | None, *, weights: Weights) -> Diff:
    """Compare two files, or two models of a database."""
    if db is not None:
        from filterdb.database import open_database

        with open_database(db) as database:
            return database.diff(a, b, weights=weights)
    from filterdb.comparing import diff as compare_files

    return compare_files(a, b, weights=weights)


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
        table, left_out = layer_table(rows)
        show_legend(rows, left_out)
        show(table)
        if left_out:
            show(f"[dim]Left out: {', '.join(left_out)} (wider: more columns).[/]", indent=2)
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


def show_legend(rows: Sequence[LayerDiff], left_out: Sequence[str]) -> None:
    """Print what the heads of the columns mean, and what a mark does; the table may be long."""
    from filterdb.cli.output import show

    flips = "" if "flips" in left_out else "Flips: weights of opposite sign. "
    lines = [
        f"L2: ||B - A|| / ||A||. {flips}D: how far the distributions of the filters' shapes lie "
        "apart (0: the same)."
    ]
    marks = {mark(row) for row in rows}
    if CHANCE in marks:
        lines.append(
            f"{CHANCE} no more than chance: to exchange before and after at random, filter by "
            "filter, gives as large a D in more than 1 of 20 cases."
        )
    if UNTESTED in marks:
        lines.append(f"{UNTESTED} too few filters to tell D from chance.")
    click.echo()
    for line in lines:
        show(f"[dim]{line}[/]", indent=2)


def layer_table(rows: Sequence[LayerDiff]) -> tuple[Table, list[str]]:
    """One row a layer, with as many columns as the terminal has room for, and the other ones."""
    from rich.console import Console

    from filterdb.cli.output import console_for, new_table

    cells = [layer_cells(row) for row in rows]
    needless = set()
    if all(row.name == row.after.layer.name for row in rows):
        needless.add("in the second")
    if all(row.relation == "changed" for row in rows):
        needless.add("relation")
    every = [name for name in COLUMNS[0] if name not in needless]
    for choice in COLUMNS:
        columns = [name for name in choice if name not in needless]
        table = new_table(*columns, right=NUMBERS, fold=("layer", "in the second"))
        for row in cells:
            table.add_row(*(row[name] for name in columns))
        if Console(width=10_000).measure(table).maximum <= console_for(table).width:
            break
    return table, [name for name in every if name not in columns]


def layer_cells(row: LayerDiff) -> dict[str, str]:
    """What the table says of a pair of layers."""
    from filterdb.cli.output import number, percent, plain, verdict_text
    from filterdb.comparing.change import NO_CHANGE

    before, after = row.before, row.after
    change = asdict(row.change) if row.change else dict.fromkeys(asdict(NO_CHANGE))
    return {
        "layer": plain(row.name),
        "in the second": "" if after.layer.name == row.name else plain(after.layer.name),
        "kernel": became(*("x".join(map(str, side.layer.kernel)) for side in (before, after))),
        "filters": became(*(f"{side.layer.n_filters:,}" for side in (before, after))),
        "L2": "–" if change["relative_l2"] is None else f"{change['relative_l2']:.3g}",
        "cosine": number(change["cosine"]),
        "flips": percent(change["sign_flips"]),
        "new 0": percent(change["newly_zero"]),
        "D": f"[dim]{mark(row)} {number(row.shift)}[/]" if mark(row) else number(row.shift),
        "sparse": became(*(percent(side.quality.sparsity) for side in (before, after))),
        "H/T_H": became(*(number(side.quality.entropy_ratio) for side in (before, after))),
        "orth.": became(*(number(side.quality.orthogonality) for side in (before, after))),
        "verdict": became(*(verdict_text(side.verdict) for side in (before, after))),
        "relation": row.relation,
    }


def became(before: str, after: str) -> str:
    """``"healthy → sparse"``, or the one value that both have."""
    return before if before == after else f"{before} → {after}"


def mark(row: LayerDiff) -> str:
    """What stands before a D other than 0 that is no more than chance, or that has no null."""
    if not row.shift or row.distinguishable:
        return ""
    return CHANCE if row.shift_null_p95 is not None else UNTESTED


def show_notes(rows: Sequence[LayerDiff], limit: int | None) -> None:
    """Print the relations that there is more to say of, and the verdicts that changed."""
    from filterdb.cli.output import plain, show
    from filterdb.words import counted

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
    from filterdb.cli.output import plain, show
    from filterdb.words import counted

    if not layers:
        return
    show(f"[bold]Only in the {which}[/]")
    for name, shape in layers[:limit]:
        show(f"{plain(name)}  {shape}", indent=2)
    if limit is not None and len(layers) > limit:
        show(f"... and {counted(len(layers) - limit, 'more layer')}: --all shows them.", indent=2)


def show_covered(result: Diff, *, hidden: int) -> None:
    """Print what the comparison rests on, and what it leaves out."""
    from filterdb.cli.output import show
    from filterdb.words import counted

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
