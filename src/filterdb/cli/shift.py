"""``filterdb shift``: how far groups of filters lie apart, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.options import json_option, plot_option, selection_options, weights_option
from filterdb.population.choices import PRESETS, WEIGHTINGS

if TYPE_CHECKING:
    from filterdb.population.shift_matrix import ShiftMatrix

PAIRS_SHOWN = 10
CELL = 8  # columns of a terminal that a value needs
NAME = 26
PIPE = 160  # columns that a matrix may take where there is no terminal
LEGEND = (
    "null: 95th percentile of D between random splits of the models (else of the layers), or "
    "between samples of so few filters, whichever is larger. Interval: of D less the bias of "
    "samples, over models drawn anew; D itself may lie above it. chance: not told apart, which is "
    "not to say the same."
)
NARROW_LEGEND = "null: 95 % of D by chance. chance: not told apart. A wider terminal shows more."


@click.command()
@click.argument("db", type=click.Path())
@click.option("--by", metavar="AXIS", help="task, architecture, format, depth_decile, stage, ..., "
              "any column; a pair: task,format. A wrong AXIS lists them all.")  # fmt: skip
@click.option("--against", multiple=True, type=click.Path(), metavar="DB",
              help="Other databases to compare with, instead of an axis. Repeatable.")  # fmt: skip
@selection_options
@weights_option
@click.option("--preset", type=click.Choice(PRESETS), default="reference", show_default=True,
              help="A paper's settings need a pass over the weights.")  # fmt: skip
@click.option("--weighting", type=click.Choice(WEIGHTINGS), default="filters",
              show_default=True, help="What counts once: each filter, or each layer.")  # fmt: skip
@click.option("--permutations", type=click.IntRange(0, 10_000), metavar="N",
              help="Random splits of each null; 0 for none.  [default: 200]")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Processes for a paper's preset.")
@click.option("--scheduler", metavar="tcp://...", help="Dask scheduler for a paper's preset.")
@click.option("--all", "show_all", is_flag=True, help="Show every pair.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="CSV: a row for each pair.")
@plot_option
def shift(
    db: str,
    by: str | None,
    against: tuple[str, ...],
    where: str | None,
    kernel: tuple[int, int] | None,
    drop: str | None,
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    plot: str | None,
    show_all: bool,  # noqa: FBT001
    jobs: int | None,
    scheduler: str | None,
    weights: str,
    **settings: Any,
) -> None:
    """Compare groups of filters along an AXIS: D of every pair, its null, its interval."""
    from filterdb.cli.basis import other_kernels
    from filterdb.cli.output import print_csv, print_json, progress_bar
    from filterdb.cli.plots import check_plot, write_plot
    from filterdb.database import open_database
    from filterdb.population.preset import Scanning
    from filterdb.population.shifting import shift_between

    if (by is None) == (not against):
        msg = "Name an axis (--by task), or other databases to compare with (--against DB)."
        raise click.UsageError(msg)
    check_plot(plot)
    choice: dict[str, Any] = {
        "kernel": kernel, "drop_sparse": drop == "sparse", "weights": weights,
    }  # fmt: skip
    population = open_database(db).select(where, **choice)
    with progress_bar("scanning") as passes, progress_bar("comparing") as pairs:
        scanning = Scanning(jobs=jobs, scheduler=scheduler, progress=passes)
        if by is not None:
            found = population.shift(by, progress=pairs, scanning=scanning, **settings)
        else:
            check_others(db, against)
            others = {name: open_database(name).select(where, **choice) for name in against}
            found = shift_between({db: population, **others}, progress=pairs, **settings)
    if as_json:
        print_json(found.to_dict() | {"other_kernels": other_kernels(population)})
    elif as_csv:
        print_csv(found.pairs())
    else:
        present(found, limit=None if show_all else PAIRS_SHOWN)
        from filterdb.cli.basis import show_other_kernels

        show_other_kernels(population)
    if plot:
        write_plot(found.plot(), plot)


def check_others(db: str, against: tuple[str, ...]) -> None:
    """Make sure that no database is compared with itself."""
    places = [Path(name).resolve() for name in (db, *against)]
    if len(set(places)) < len(places):
        msg = "A database is named twice: it has no shift to itself."
        raise click.BadParameter(msg, param_hint="--against")


def present(found: ShiftMatrix, *, limit: int | None) -> None:
    """Print the groups, the matrix where it fits, the pairs farthest apart, and the coverage."""
    from filterdb.cli.networks import counts_line
    from filterdb.cli.output import new_table, plain, show
    from filterdb.cli.output import terminal_width as width
    from filterdb.words import counted

    size = "x".join(map(str, found.kernel))
    show(
        f"[bold]Shift by {plain(found.by)}[/]: {counted(len(found.groups), 'group')}, preset "
        f"{found.preset}, every {found.weighting.removesuffix('s')} counts the same"
    )
    fits = NAME + 30 + CELL * len(found.groups) <= min(width(), PIPE)
    names = [str(number) for number in range(1, len(found.groups) + 1)]
    columns = names if fits else []
    numbers = ("#", "models", "layers", "filters", *columns)
    table = new_table("#", "group", *numbers[1:], right=numbers, fold=("group",))
    for number, group, cells in zip(names, found.groups, found.cells(), strict=True):
        few = "[yellow]*[/]" if found.few[int(number) - 1] else ""
        table.add_row(
            number,
            plain(group.name) + few,
            f"{group.models:,}",
            f"{group.layers:,}",
            f"{group.filters:,}",
            *(styled(cell) for cell in (cells if fits else ())),
        )
    show(table)
    if fits and found.permutations:
        show("[dim]≈ no more than its null.  ? no null.  * a group below 1,000 filters.[/]")
    elif not fits:
        show("[dim]The matrix does not fit here: --plot FILE draws it, --json has it.[/]")
    show_pairs(found, limit)
    show_verdict(found)
    covered = found.coverage
    left = ", ".join(
        f"{count:,} layers: {plain(why)}" for why, count in covered["left_out"].items()
    )
    show("[bold]Covered[/]")
    show(
        f"{counted(covered['models'], 'model')}, {counted(covered['layers'], 'layer')}, "
        f"{counted(covered['filters'], size + ' filter')}."
        + (f" Left out: {left}." if left else ""),
        indent=2,
    )
    show(counts_line(covered["weights"]), indent=2)
    for note in found.notes:
        show(f"[dim]{plain(note)}[/]", indent=2)


def styled(cell: str) -> str:
    """A cell of the matrix: dim where it is no more than chance, or unknown."""
    return f"[dim]{cell}[/]" if cell[:1] in ("≈", "?", "*") else cell


def show_pairs(found: ShiftMatrix, limit: int | None) -> None:
    """Print the pairs, the farthest apart first."""
    from filterdb.cli.output import is_narrow, new_table, number, plain, show

    pairs = found.pairs()
    if not pairs:
        show("There is one group only: nothing to compare it with.")
        return
    wide = not is_narrow()
    nulls = ("of models", "of layers", "of filters")
    columns = ("D", "95 % interval", *nulls, "null", "p") if wide else ("D", "null", "p")
    table = new_table("pair", *columns, "verdict", right=columns, fold=("pair",))
    for row in pairs[:limit]:
        interval = (
            f"{number(row['low'])} .. {number(row['high'])}" if row["low"] is not None else "–"
        )
        cells = {
            "D": number(row["shift"]),
            "95 % interval": interval,
            "of models": number(row["null_models_p95"]),
            "of layers": number(row["null_layers_p95"]),
            "of filters": number(row["null_filters_p95"]),
            "null": number(row["null_p95"]),
            "p": number(row["p_value"]),
        }
        table.add_row(
            f"{plain(row['a'])} – {plain(row['b'])}",
            *(cells[name] for name in columns),
            verdict_of(row, tested=found.permutations > 0),
        )
    show(table)
    if limit is not None and len(pairs) > limit:
        show(f"... and {len(pairs) - limit:,} more pairs: --all shows them.", indent=2)
    if found.permutations:
        show(f"[dim]{LEGEND if wide else NARROW_LEGEND}[/]")


def verdict_of(row: Mapping[str, Any], *, tested: bool) -> str:
    """What can be said of a pair, in a word or two."""
    if not tested:
        return "–"
    if row["too_few"]:
        return "[dim]* too few[/]"
    if row["null_p95"] is None:
        return "[dim]? no null[/]"
    if not row["distinguishable"]:
        return "[dim]≈ chance[/]"
    return "apart" if row["null_models_p95"] is not None else "apart, by layers only"


def show_verdict(found: ShiftMatrix) -> None:
    """Print how many pairs are more than chance, and how many would be by chance."""
    from filterdb.cli.output import show

    if found.permutations and len(found.groups) > 1:
        show(found.verdict)
