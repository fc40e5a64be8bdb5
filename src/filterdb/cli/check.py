"""``filterdb check``: quality and verdict per layer of files, no database."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli import DONE, GATE_SAID_NO, SOME_FAILED
from filterdb.cli.options import weights_option

if TYPE_CHECKING:
    from filterdb.checking import Check
    from filterdb.errors import ReadError
    from filterdb.stats.verdict import Thresholds
    from filterdb.variant import Weights

GATES = ("degenerate", "invalid", "undecided", "sparse", "low diversity", "random")
REASONS_SHOWN = 12


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option(
    "--fail-on",
    "gates",
    multiple=True,
    type=click.Choice(GATES),
    help="Exit with 1 if a network, or one of its layers, has this verdict. Repeatable.",
)
@click.option(
    "--threshold",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Move a threshold of the verdicts, e.g. high_sparsity=0.3. A wrong NAME lists them all.",
)
@weights_option
@click.option("--all", "show_all", is_flag=True, help="Show every reason and skipped tensor.")
def check(
    files: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
    gates: tuple[str, ...],
    settings: tuple[str, ...],
    weights: Weights,
    show_all: bool,  # noqa: FBT001
) -> None:
    """Say which networks are healthy, and why, layer by layer.

    A file may be elsewhere: hf://org/name[@revision][/file], timm:NAME, https://...#sha256=...
    """
    from filterdb.checking import check as check_file
    from filterdb.cli.names import fetch_first
    from filterdb.cli.output import print_json, progress_bar
    from filterdb.errors import ReadError

    thresholds = parse_thresholds(settings)
    results: list[Check | ReadError] = []
    fetch_first(files)
    with progress_bar("checking") as report:
        for done, file in enumerate(files):
            if report:
                report(done, len(files), file)
            try:
                results.append(check_file(file, thresholds=thresholds, weights=weights))
            except ReadError as error:
                results.append(error.at(file=file))
    if as_json:
        print_json([as_dict(result) for result in results])
    else:
        present(results, show_all=show_all)
    failures = [result for result in results if isinstance(result, ReadError)]
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    stopped = [r for r in results if not isinstance(r, ReadError) and gate_stops(r, gates)]
    for result in stopped:
        click.echo(f"Gate: {result.file.source}: {gate_reason(result, gates)}.", err=True)
    status = GATE_SAID_NO if stopped else SOME_FAILED if failures else DONE
    raise click.exceptions.Exit(status)


def parse_thresholds(settings: tuple[str, ...]) -> Thresholds:
    """``NAME=VALUE`` pairs as :class:`Thresholds`."""
    from filterdb.stats.verdict import Thresholds

    known = asdict(Thresholds())
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in known:
            lines = "\n".join(f"  {key}={default}" for key, default in known.items())
            msg = f"There is no threshold {name!r}. These are, with their defaults:\n{lines}"
            raise click.BadParameter(msg, param_hint="--threshold")
        try:
            values[name] = type(known[name])(text)
        except ValueError as error:
            msg = f"{text!r} is not a number, in {setting!r}."
            raise click.BadParameter(msg, param_hint="--threshold") from error
    try:
        return Thresholds(**values)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--threshold") from error


def gate_stops(result: Check, gates: tuple[str, ...]) -> bool:
    """Whether a network, or a layer of it, has one of the verdicts that stop."""
    found = {result.verdict, *(row.verdict for row in result.layers)}
    return not found.isdisjoint(gates)


def gate_reason(result: Check, gates: tuple[str, ...]) -> str:
    """What made the gate say no: ``"degenerate; 15 layers are sparse"``."""
    reasons = [result.verdict] if result.verdict in gates else []
    for gate in gates:
        count = sum(row.verdict == gate for row in result.layers)
        if count:
            reasons.append(f"{count} layer{' is' if count == 1 else 's are'} {gate}")
    return "; ".join(reasons)


def as_dict(result: Check | ReadError) -> dict[str, Any]:
    """One element of the JSON; a file that failed is one too, with its reason."""
    from filterdb.errors import ReadError

    if not isinstance(result, ReadError):
        return result.to_dict()
    return {
        "file": result.file,
        "format": None,
        "verdict": None,
        "reasons": [result.reason],
        "coverage": {"conv_layers": 0, "analysed": 0, "filters": 0},
        "error": str(result),
        "skipped": [],
        "layers": [],
    }


def present(results: list[Check | ReadError], *, show_all: bool) -> None:
    """Print one network in full, or several as one table."""
    from filterdb.cli.networks import show_network, show_summary
    from filterdb.errors import ReadError

    if len(results) == 1:
        if not isinstance(results[0], ReadError):
            show_network(results[0], limit=None if show_all else REASONS_SHOWN)
        return
    show_summary(results)
