"""``filterdb keys find``: the keys of a population, and what is above chance."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.options import (
    KernelSize,
    equivalence_options,
    json_option,
    kind_option,
    plot_option,
)
from filterdb.keys.key_set import THRESHOLD
from filterdb.keys.search.found import THRESHOLDS
from filterdb.keys.search.methods import METHODS

if TYPE_CHECKING:
    from filterdb.cli.output import Progress
    from filterdb.keys.search.found import FoundKeys
    from filterdb.keys.search.settings import Settings

USUAL_K = 8


@click.command()
@click.argument("db", type=click.Path())
@click.option("--where", metavar="SQL", help="An SQL condition on the columns.")
@click.option("--kernel", type=KernelSize(),
              help="Kernel size; 3x3 if not given and there, else the most frequent.")  # fmt: skip
@click.option("--k", type=click.IntRange(1, 64), help="Number of keys.  [default: 8]")
@click.option("--coverage", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
              help="Instead of --k: the fewest keys of which so many held-out filters are "
              "copies, e.g. 0.95.")  # fmt: skip
@click.option("--threshold", type=click.Choice([f"{value:g}" for value in THRESHOLDS]),
              default=f"{THRESHOLD:g}", show_default=True,
              help="R² from which a filter is a copy of a key.")  # fmt: skip
@click.option("--method", type=click.Choice(METHODS), default="lines", show_default=True,
              help="k-means on lines; a 1-D autoencoder (torch); greedy removal.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True,
              help="Number of starts, which are compared with one another.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the first start.")
@click.option("--compare", type=click.Choice(METHODS), multiple=True,
              help="Another method to compare with. Repeatable.  [default: greedy]")  # fmt: skip
@click.option("--by", metavar="AXIS", multiple=True,
              help="Show what is explained of each group along an axis, as of `shift`. "
              "Repeatable.")  # fmt: skip
@kind_option
@click.option("--hold-out", metavar="COLUMN", help="Column whose values are held out together; "
              "`layer` for layers.  [default: model]")  # fmt: skip
@equivalence_options
@click.option("--zero", type=click.FloatRange(min=0), default=1e-4, show_default=True,
              help="Filters with all weights at most this are nearly zero.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.")
@click.option("--scheduler", metavar="tcp://...", help="Dask scheduler.")
@click.option("-o", "--out", type=click.Path(dir_okay=False), metavar="FILE",
              help="Write the keys as a key set, .safetensors.")  # fmt: skip
@plot_option
@click.option("--plot-coverage", type=click.Path(dir_okay=False), metavar="FILE",
              help="Draw the coverage against the number of keys, with chance.")  # fmt: skip
@click.option("--plot-examples", type=click.Path(dir_okay=False), metavar="FILE",
              help="Draw the filters that are explained best and worst.")  # fmt: skip
@click.option("--plot-code", type=click.Path(dir_okay=False), metavar="FILE",
              help="Draw what the autoencoder decodes along its code.")  # fmt: skip
@click.option("--all", "show_all", is_flag=True, help="Show every network and number of keys.")
@json_option
def find(
    db: str,
    where: str | None,
    kernel: tuple[int, int] | None,
    out: str | None,
    plot: str | None,
    plot_coverage: str | None,
    plot_examples: str | None,
    plot_code: str | None,
    jobs: int | None,
    scheduler: str | None,
    show_all: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    **choices: Any,
) -> None:
    """Find the few filters that all others are affine copies of. Reads the weights.

    What keys explain is measured on networks that they were not found on, and stands beside what
    as many keys explain where there is nothing to find.
    """
    from filterdb.cli.keys.found_keys import present
    from filterdb.cli.output import print_json
    from filterdb.cli.plots import check_plot
    from filterdb.database import open_database
    from filterdb.keys.search.finding import find as find_keys
    from filterdb.population.preset import Scanning

    pictures = {
        "mosaic": plot, "coverage": plot_coverage, "examples": plot_examples, "code": plot_code
    }  # fmt: skip
    for path in pictures.values():
        check_plot(path)
    check_out(out)
    check_database(db)
    settings = settings_of(**choices)
    if plot_code is not None and settings.method != "autoencoder":
        msg = "Only --method autoencoder has a code to draw."
        raise click.BadParameter(msg, param_hint="--plot-code")
    if "autoencoder" in (settings.method, *settings.compared):
        click.echo("The autoencoder is trained first, which takes about a minute.", err=True)
    population = open_database(db).select(where, kernel=kernel)
    with working() as (say, report):
        scanning = Scanning(jobs=jobs, scheduler=scheduler, progress=report)
        found = find_keys(population, settings, scanning=scanning, progress=say)
    if as_json:
        print_json(as_dict(found, settings, where=where))
    else:
        axes = len(choices["by"])
        present(found, threshold=settings.threshold, show_all=show_all, axes=axes)
    if out is not None:
        write(found, out)
    draw(found, {name: path for name, path in pictures.items() if path is not None})


def as_dict(found: FoundKeys, settings: Settings, *, where: str | None) -> dict[str, Any]:
    """A result as JSON has it, with how it was asked for, the code's axis and the examples' R²."""
    from dataclasses import asdict

    axis = found.axis
    return {
        **found.to_dict(),
        "settings": {"where": where, **asdict(settings)},
        "axis": None if axis is None else {
            "counts": axis.counts.tolist(),
            "kept": list(axis.kept),
            "decoded": axis.decoded.tolist(),
        },
        "examples": {
            "best_r2": found.examples.best_r2.tolist(),
            "worst_r2": found.examples.worst_r2.tolist(),
        },
    }  # fmt: skip


def check_database(db: str) -> None:
    """Make sure that what is searched is no single file.

    Raises
    ------
    click.BadParameter
        It is one.
    """
    from pathlib import Path

    if Path(db).is_file():
        msg = (
            f"{db} is a file, and keys are found in a database. Put it into one first: `filterdb "
            f"ingest mydb {db}`, then `filterdb keys find mydb`."
        )
        raise click.BadParameter(msg, param_hint="DB")


def settings_of(**choices: Any) -> Settings:
    """How to search, from the options."""
    from filterdb.keys.equivalence import Equivalence
    from filterdb.keys.search.settings import Settings

    if choices["k"] is not None and choices["coverage"] is not None:
        msg = "--k and --coverage exclude one another: ask for so many keys, or for so much."
        raise click.UsageError(msg)
    choices["k"] = choices["k"] or USUAL_K
    choices["threshold"] = float(choices["threshold"])
    choices["compare"] = choices["compare"] or ("greedy",)
    choices["by"] = tuple(dict.fromkeys((*choices["by"], *Settings().by)))
    same = {name: choices.pop(name) for name in ("signed", "rotations", "shifts")}
    return Settings(equivalence=Equivalence(**same), **choices)


def check_out(out: str | None) -> None:
    """Make sure that a key set can be written there, before anything is computed.

    Raises
    ------
    click.BadParameter
        Its suffix is another, its folder is not there, or it lies in a database.
    """
    if out is None:
        return
    from filterdb.errors import ExportError
    from filterdb.keys.sets.set_file import SUFFIX
    from filterdb.store.output import output_outside

    try:
        path = output_outside(out)
    except ExportError as error:
        raise click.BadParameter(str(error), param_hint="--out") from error
    if path.suffix.lower() != SUFFIX:
        msg = f"{out!r} is no name for a key set: let it end in {SUFFIX}."
        raise click.BadParameter(msg, param_hint="--out")
    if not path.parent.is_dir():
        msg = f"There is no folder {path.parent}."
        raise click.BadParameter(msg, param_hint="--out")


@contextmanager
def working() -> Iterator[tuple[Callable[[str], None] | None, Progress | None]]:
    """Say on stderr, where it is a terminal, what is being done and how far it has come."""
    if not sys.stderr.isatty():
        yield None, None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        stage = ""

        def say(text: str) -> None:
            nonlocal stage
            stage = text
            status.update(f"{text} ...")

        def report(done: int, total: int, item: str) -> None:  # noqa: ARG001
            status.update(f"{stage} ... {done:,} of {total:,} payloads")

        yield say, report


def write(found: FoundKeys, out: str) -> None:
    """Write the keys under the name of their file, and say on stderr where."""
    from dataclasses import replace
    from pathlib import Path

    from filterdb.keys.sets.set_file import save_keys

    path = save_keys(replace(found.keys, name=Path(out).stem), out)
    click.echo(f"Key set: {path}", err=True)


def draw(found: FoundKeys, pictures: dict[str, str]) -> None:
    """Draw what was asked for."""
    if not pictures:
        return
    from filterdb import figures
    from filterdb.cli.plots import write_plot

    went = found.searched
    about = f"held-out {'layers' if went.held_out_by == 'layer' else 'networks'}"
    for name, path in pictures.items():
        if name == "mosaic":
            figure = figures.key_mosaic(found.keys, found.shares, filters=went.shaped)
        elif name == "coverage":
            figure = figures.coverage_curve(found.curve, about=about)
        elif name == "examples":
            figure = figures.best_and_worst(found.examples, filters=went.sampled)
        elif found.axis is not None:
            figure = figures.code_axis(found.axis)
        write_plot(figure, path)
