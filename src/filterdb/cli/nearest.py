"""``filterdb nearest``: the models closest to one, and those that share layers with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from filterdb.cli.options import KernelSize, json_option

if TYPE_CHECKING:
    from filterdb.population.nearest import Nearest


@click.command()
@click.argument("db", type=click.Path())
@click.argument("model")
@click.option("-n", "number", type=click.IntRange(min=1), default=10, show_default=True,
              help="How many neighbours.")  # fmt: skip
@click.option("--kernel", type=KernelSize(), help="Kernel size that is compared.")
@click.option("--where", metavar="SQL", help="Only among the models that meet this condition.")
@json_option
def nearest(
    db: str,
    model: str,
    number: int,
    kernel: tuple[int, int] | None,
    where: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Find the models whose filters are nearest to those of MODEL, and shared layers."""
    from filterdb.cli.output import print_json
    from filterdb.database import open_database

    with open_database(db) as database:
        found = database.nearest(model, n=number, kernel=kernel, where=where)
    if as_json:
        print_json(found.to_dict())
    else:
        present(found)


def present(found: Nearest) -> None:
    """Print the neighbours, and who shares weights."""
    from filterdb.cli.output import is_narrow, new_table, number, percent, plain, show
    from filterdb.words import counted

    size = "x".join(map(str, found.kernel))
    show(
        f"Nearest to [bold]{plain(found.model)}[/] by its {counted(found.filters, 'filter')} of "
        f"{size}, among {counted(found.compared, 'model')}"
    )
    narrow = is_narrow()
    numbers = ("D", "null", "filters", "layers", "shared")
    columns = [name for name in numbers if not narrow or name not in ("filters", "layers")]
    table = new_table("model", *columns, "remark", right=numbers, fold=("model",))
    for row in found.neighbours:
        chance = row.null_p95 is not None and row.shift is not None and row.shift <= row.null_p95
        cells = {
            "D": number(row.shift),
            "null": number(row.null_p95),
            "filters": f"{row.filters:,}",
            "layers": f"{row.layers:,}",
            "shared": percent(row.shared_share) if row.shared_layers else "",
        }
        remark = "same weights" if row.same_weights else "alike" if chance else ""
        table.add_row(plain(row.model), *(cells[name] for name in columns), f"[dim]{remark}[/]")
    show(table)
    show("[dim]null: 95th percentile of D between random splits of the two models' layers; alike: "
         "D is no more than that.  "
         "shared: of its layers, those with the very same weights.[/]")  # fmt: skip
    if found.sharing:
        names = ", ".join(f"{row.model} ({row.shared_layers:,})" for row in found.sharing[:6])
        more = f" and {len(found.sharing) - 6:,} more" if len(found.sharing) > 6 else ""
        show(f"Sharing layers with it: {plain(names)}{more}.")
    else:
        show("No other model has a layer with its weights.")
