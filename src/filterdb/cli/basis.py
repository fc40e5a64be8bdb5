"""``filterdb basis``: principal components of a population, and the basis of a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.options import json_option, plot_option, selection_options, weights_option
from filterdb.population import variants
from filterdb.population.choices import WEIGHTINGS

if TYPE_CHECKING:
    from filterdb.database import Database
    from filterdb.population.population import Population
    from filterdb.population.preset import Scanning
    from filterdb.stats.basis import Basis

SHADES = " ░▒▓█"


@click.command()
@click.argument("db", type=click.Path())
@selection_options
@weights_option
@json_option
@plot_option
@click.option("--weighting", type=click.Choice(WEIGHTINGS), default="filters",
              show_default=True, help="What counts once: each filter, or each layer.")  # fmt: skip
@click.option("--density", type=click.Path(dir_okay=False), metavar="FILE",
              help="Draw the density of two coefficients: reads the weights.")  # fmt: skip
@click.option(
    "--adopt",
    metavar="WHICH",
    help="Take all histograms of the database anew: in bases fitted on it (`fitted`), in those "
    "of the package (`reference`), or in those of another database (its folder).",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes for --adopt.")
@click.option("--scheduler", metavar="tcp://...", help="Dask scheduler for --adopt.")
def basis(
    db: str,
    where: str | None,
    kernel: tuple[int, int] | None,
    drop: str | None,
    as_json: bool,  # noqa: FBT001
    plot: str | None,
    weighting: str,
    weights: str,
    density: str | None,
    adopt: str | None,
    jobs: int | None,
    scheduler: str | None,
) -> None:
    """Principal components of a population of filters, from the catalogue alone."""
    from filterdb.cli.output import print_json
    from filterdb.cli.plots import check_plot, write_plot
    from filterdb.database import open_database
    from filterdb.population.preset import Scanning

    check_plot(plot)
    check_plot(density)
    with open_database(db) as database:
        if adopt is not None:
            change_basis(database, adopt, jobs=jobs, scheduler=scheduler)
            if not (as_json or where or plot or density):
                return
        population = database.select(
            where, kernel=kernel, drop_sparse=drop == "sparse", weights=weights
        )
        found = population.basis(weighting=weighting)
    if as_json:
        print_json(as_dict(found, population))
    else:
        present(found, population)
    if density:
        draw_density(population, density, Scanning(jobs=jobs, scheduler=scheduler))
    if plot:
        from filterdb.figures.bases import eigenimages

        write_plot(eigenimages({found.origin: found}), plot)


def change_basis(
    database: Database, which: str, *, jobs: int | None, scheduler: str | None
) -> None:
    """Take the histograms of a database anew, and say on stderr which changed."""
    from filterdb.cli.output import progress_bar
    from filterdb.database import open_database
    from filterdb.population.preset import Scanning
    from filterdb.words import counted

    with progress_bar("taking histograms") as report:
        scanning = Scanning(jobs=jobs, scheduler=scheduler, progress=report)
        if which == "fitted":
            changed = database.fit_basis(scanning=scanning)
        else:
            source = None if which == "reference" else open_database(which)
            changed = database.adopt_basis(source, scanning=scanning)
    for (height, width), one in changed.items():
        click.echo(f"{height}x{width}: now in basis {one.id} ({one.origin}).", err=True)
    kept = sum(kernel not in changed for kernel in database.bases())
    few = ", or has too few filters for one of its own" if which == "fitted" else ""
    click.echo(
        f"{counted(len(changed), 'kernel size')} changed; {kept} kept: in that basis already{few}.",
        err=True,
    )


def draw_density(population: Population, path: str, scanning: Scanning) -> None:
    """Draw the 2-D density of the first two coefficients."""
    from dataclasses import replace

    from filterdb.cli.output import progress_bar
    from filterdb.cli.plots import write_plot
    from filterdb.figures.density import coefficient_density

    with progress_bar("scanning") as report:
        counts = population.density(scanning=replace(scanning, progress=report))
    ratios = population.reference.explained_variance_ratio
    write_plot(coefficient_density(counts, ratios=ratios), path)


def as_dict(found: Basis, population: Population) -> dict[str, Any]:
    """The basis as in the JSON contract, with what the database's histograms are in."""
    reference = population.reference
    return {
        "kernel": list(found.kernel),
        "n": found.n,
        "mean": found.mean.tolist(),
        "components": found.components.tolist(),
        "explained_variance_ratio": found.explained_variance_ratio.tolist(),
        "origin": found.origin,
        "drop_sparse": population.drop_sparse,
        "weights": population.measured,
        "notes": list(variants.remarks(population.measured)),
        "histograms": {"basis": reference.id, "origin": reference.origin, "n": reference.n},
        "other_kernels": other_kernels(population),
    }


def other_kernels(population: Population) -> list[dict[str, Any]]:
    """The sizes of the selection that a result is not about."""
    return [
        {
            "kernel": list(size.kernel),
            "models": size.models,
            "layers": size.layers,
            "filters": size.filters,
        }
        for size in population.kernels
        if size.kernel != population.kernel
    ]


def present(found: Basis, population: Population) -> None:
    """Print the ratios, and the first components as small pictures."""
    from filterdb.cli.networks import counts_line
    from filterdb.cli.output import new_table, number, plain, show

    height, width = found.kernel
    show(f"[bold]{height}x{width}[/]: {found.n:,} filters of {plain(found.origin)}")
    if height <= 9 and width <= 9:
        table = new_table("component", "share", "together", "", right=("share", "together"))
        together = 0.0
        for index, ratio in enumerate(found.explained_variance_ratio[:9]):
            together += float(ratio)
            image = "\n".join(picture(found.components[index].reshape(height, width)))
            table.add_row(str(index), number(float(ratio)), number(together), image)
            table.add_section()
        show(table)
    show(counts_line(population.measured))
    for note in variants.remarks(population.measured):
        show(f"[dim]{plain(note)}[/]")
    reference = population.reference
    show(f"Histograms of the database are in basis {reference.id}: {plain(reference.origin)}.")
    show_other_kernels(population)


def show_other_kernels(population: Population) -> None:
    """Print which sizes a result is not about, and how to ask for them."""
    from filterdb.cli.output import plain, show

    others = [size for size in population.kernels if size.kernel != population.kernel
              and size.kernel != (1, 1)]  # fmt: skip
    if others:
        listed = ", ".join(
            "{}x{} ({:,} filters)".format(*size.kernel, size.filters) for size in others[:6]
        )
        more = f" and {len(others) - 6} more" if len(others) > 6 else ""
        show(f"[dim]Other kernel sizes, one result each: {plain(listed)}{more}. --kernel HxW[/]")


def picture(component: Any) -> list[str]:
    """A component in shades: the darkest is the least weight, the lightest the largest."""
    peak = float(abs(component).max()) or 1.0
    return [
        "".join(SHADES[round((value / peak + 1) * (len(SHADES) - 1) / 2)] * 2 for value in row)
        for row in component
    ]
