"""``filterdb phenotypes``: the shape of each layer's filters on the first two components."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import click

from filterdb.cli.options import json_option, plot_option, selection_options

if TYPE_CHECKING:
    from filterdb.population.phenotypes import LayerPhenotype
    from filterdb.population.population import Population

NAMES = ("sun", "spikes", "symbols", "point", "undecided")
EXAMPLES = 5


@click.command()
@click.argument("db", type=click.Path())
@selection_options
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.")
@json_option
@plot_option
def phenotypes(
    db: str,
    where: str | None,
    kernel: tuple[int, int] | None,
    drop: str | None,
    jobs: int | None,
    as_json: bool,  # noqa: FBT001
    plot: str | None,
) -> None:
    """Tell which layers are a sun, spikes, symbols or a point. Reads the weights.

    Gaussian-like, with local hot spots, beside an empty centre, or all at zero. The paper judged
    by eye; the rules are this project's own, and were set on 3x3 layers.
    """
    from filterdb.cli.output import print_json, progress_bar
    from filterdb.cli.plots import check_plot
    from filterdb.database import open_database
    from filterdb.population.preset import Scanning

    check_plot(plot)
    population = open_database(db).select(where, kernel=kernel, drop_sparse=drop == "sparse")
    with progress_bar("scanning") as report:
        found = population.phenotypes(scanning=Scanning(jobs=jobs, progress=report))
    if as_json:
        print_json([row.to_dict() for row in found])
    else:
        present(found)
    if plot:
        draw(population, found, plot)


def present(found: list[LayerPhenotype]) -> None:
    """Print how many layers are of each, with the largest of them and the reason."""
    from filterdb.cli.output import new_table, plain, show
    from filterdb.words import counted

    groups = by_name(found)
    numbers = ("layers", "filters")
    table = new_table("phenotype", *numbers, "for instance", "because", right=numbers,
                      fold=("for instance", "because"))  # fmt: skip
    for name in NAMES:
        rows = groups[name]
        first = rows[0] if rows else None
        table.add_row(
            name,
            f"{len(rows):,}",
            f"{sum(row.phenotype.n for row in rows):,}",
            plain(f"{first.model}: {first.layer}") if first else "–",
            plain(first.phenotype.reason) if first else "",
        )
    show(table)
    show(f"{counted(len(found), 'layer')}. --json has every one, --plot draws examples.")


def by_name(found: list[LayerPhenotype]) -> dict[str, list[LayerPhenotype]]:
    """Layers by phenotype, those with the most filters first."""
    groups: dict[str, list[LayerPhenotype]] = defaultdict(list)
    for row in sorted(found, key=lambda row: -row.phenotype.n):
        groups[row.phenotype.name].append(row)
    return groups


def draw(population: Population, found: list[LayerPhenotype], path: str) -> None:
    """Draw the largest layers of each phenotype, at most one a model."""
    from filterdb.cli.plots import write_plot
    from filterdb.database import open_database
    from filterdb.figures.density import phenotypes as panels

    examples = []
    for name in NAMES:
        chosen = {row.model: row for row in reversed(by_name(found)[name])}
        for row in list(reversed(chosen.values()))[:EXAMPLES]:
            layer = f"model_id = {row.model_id} AND layer_index = {row.layer_index}"
            one = open_database(population.folder).select(layer, kernel=population.kernel)
            examples.append((f"{row.model}: {row.layer}", one.density(), row.phenotype))
    write_plot(panels(examples), path)
