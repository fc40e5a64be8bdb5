"""From a plan to its result: folder, runs, progress, and what all these commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.options import json_option, plot_option

if TYPE_CHECKING:
    from filterdb.transfer.book import Row
    from filterdb.transfer.engine import Progress, Step
    from filterdb.transfer.plan import Plan
    from filterdb.transfer.results import Result


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where and how the runs of a plan are done."""
    options = (
        click.option("-o", "--out", type=click.Path(file_okay=False), metavar="FOLDER",
                     help="Keep the runs here, or go on with those that are here.  "
                     "[default: transfer-NAME]"),
        click.option("--jobs", type=click.IntRange(min=1),
                     help="Runs at a time; the cores, unless told, and 1 on a GPU."),
        click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Threads of torch for each run. The same number comes to the same."),
        click.option("--device", type=click.Choice(["cpu", "cuda", "auto"]), default="auto",
                     show_default=True, help="auto: a GPU where there is one."),
        click.option("--scheduler", metavar="ADDRESS",
                     help="Have the workers of a Dask cluster do the runs; they see the same "
                     "folders."),
        click.option("--keep", type=click.Choice(["needed", "last", "epochs"]), default="needed",
                     show_default=True,
                     help="Weights of sources only, of every trained network, or also before and "
                     "after every pass."),
        click.option("--plan-only", is_flag=True,
                     help="Print the plan with every default, and the number of runs; run none."),
        plot_option,
        json_option,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def carry_out(
    plan: Plan, out: str, *, plan_only: bool, as_json: bool, plot: str | None, **how: Any
) -> None:
    """Do the runs of a plan that are not done yet, and print what all of them come to.

    Parameters
    ----------
    plan
        The experiment.
    out
        Its folder.
    plan_only, as_json
        What to print.
    plot
        The picture to write.
    **how
        As of :func:`executed`.

    Raises
    ------
    TransferError
        The plan cannot be done.
    MissingExtraError
        torch is not installed; nothing was begun.
    click.exceptions.Exit
        With status 3: some runs failed.
    """
    from filterdb.cli import SOME_FAILED
    from filterdb.cli.output import print_json
    from filterdb.cli.plots import check_plot
    from filterdb.cli.transfer.showing import draw, present

    check_plot(plot)
    if plan_only:
        print_plan(plan, as_json=as_json)
        return
    result = executed(plan, Path(out), **how)
    if as_json:
        print_json({**result.to_dict(), "folder": out})
    else:
        present(result, folder=out)
    draw(result, plot)
    if result.coverage.count("failed"):
        raise click.exceptions.Exit(SOME_FAILED)


def executed(plan: Plan, folder: Path, **how: Any) -> Result:
    """The result of a plan, which is kept in the folder too.

    Parameters
    ----------
    plan
        The experiment.
    folder
        Of its runs.
    **how
        ``jobs``, ``threads``, ``device``, ``scheduler``, ``keep``: as
        :func:`~filterdb.transfer.engine.execute` takes them.
    """
    import json

    from filterdb.extras import require
    from filterdb.figures.saving import write_whole
    from filterdb.transfer.book import FILE, PLAN, RESULT, Book
    from filterdb.transfer.engine import execute
    from filterdb.transfer.experiments import check_data, more_of, runs_of, unfolds
    from filterdb.words import counted

    runs = runs_of(plan)
    require("torch", extra="transfer")
    refuse_foreign(folder)
    there = Book(folder).rows() if (folder / FILE).exists() else []
    finished = {row.id for row in there if row.finished}
    check_data(run for run in runs if run.id not in finished)
    strangers = len({row.id for row in there} - {run.id for run in runs})
    if strangers and not unfolds(plan):  # whose later runs follow from what these come to
        click.echo(
            f"{folder} has {counted(strangers, 'run')} of another plan: they stay in its book, "
            "and in no result of this one.", err=True,
        )  # fmt: skip
    Book(folder)
    write_whole(plan.to_toml().encode(), folder / PLAN)
    with working() as report:
        rows = execute(runs, folder, progress=report, **how)
        while more := more_of(plan, rows):
            rows += execute(more, folder, progress=report, **how)
    result = result_from(plan, rows)
    write_whole(json.dumps(result.to_dict(), indent=2).encode() + b"\n", folder / RESULT)
    return result


def result_from(plan: Plan, rows: Sequence[Row]) -> Result:
    """What the rows of a book come to, and whether they were done alike."""
    from dataclasses import replace

    from filterdb.transfer.conditions import conditions
    from filterdb.transfer.experiments import result_of

    result = result_of(plan, rows)
    return replace(result, sentences=(*result.sentences, *conditions(rows)))


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """Print a plan so that it can be given to ``transfer run``, with its number of runs."""
    from filterdb.cli.output import print_json
    from filterdb.transfer.experiments import runs_of, unfolds
    from filterdb.words import counted

    runs = runs_of(plan)
    count, arms = len({run.id for run in runs}), len({run.arm for run in runs})
    if as_json:
        print_json({"plan": plan.to_dict(), "runs": count, "arms": arms})
        return
    seeds = counted(len(plan.seeds), "seed")
    more = " More runs follow from what these come to." if unfolds(plan) else ""
    click.echo(f"# {counted(count, 'run')}: {counted(arms, 'arm')}, {seeds} each.{more}")
    click.echo(plan.to_toml(), nl=False)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something else; a plan may lie in it already.

    Raises
    ------
    click.BadParameter
        It has files, and no runs.
    """
    from filterdb.transfer.book import FILE

    if not folder.is_dir() or (folder / FILE).exists():
        return
    if any(path.suffix.lower() != ".toml" for path in folder.iterdir()):
        msg = f"{folder} holds other files. Name a new or empty folder."
        raise click.BadParameter(msg, param_hint="--out")


@contextmanager
def working() -> Iterator[Progress | None]:
    """Say on stderr, where it is a terminal, how far the runs have come; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    from filterdb.cli.output import plain

    with Console(stderr=True).status("training ...") as status:

        def report(step: Step) -> None:
            row = step.row
            came_to = row.status if row.accuracy is None else f"{row.accuracy:.1%}"
            status.update(
                f"training: {step.done} of {step.total} runs, {time_left(step.seconds_left)} left "
                f"[dim]({plain(row.run.arm)}: {came_to})[/]"
            )

        yield report


def time_left(seconds: float) -> str:
    """A duration as an estimate has it: to the minute, once it is more than one and a half."""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {seconds / 3600:.1f} h"
