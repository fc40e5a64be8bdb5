"""A result of an experiment on the terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from filterdb.transfer.results import Comparison, Coverage, Result, TableRow

STYLES = {"better": "green", "worse": "red", "not told apart": "dim"}
ALONE = "Single comparisons"
STATUSES = ("diverged", "failed", "not run")


def present(result: Result, *, folder: str | None) -> None:
    """Print arms, comparisons, sentences, coverage and the budget.

    Parameters
    ----------
    result
        What to print.
    folder
        Where its runs are kept; None if they are not.
    """
    from filterdb.cli.output import plain, show

    show(f"[bold]Accuracy by arm[/], mean over seeds and its 95 % interval ({result.experiment})")
    show_arms(result.table)
    for question, comparisons in by_question(result.comparisons).items():
        show(f"[bold]{plain(question)}[/]")
        show_comparisons(comparisons)
    show("[bold]In words[/]")
    for sentence in result.sentences:
        show(plain(sentence), indent=2)
    click.echo()
    show(coverage_line(result.coverage))
    show(plain(result.budget))
    if folder is not None:
        show(f"[dim]Runs, plan and result are kept in {plain(folder)}.[/]")


def by_question(comparisons: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """Comparisons that answer a question together; those that do so alone share a table."""
    together = Counter(one.question for one in comparisons)
    found: dict[str, list[Comparison]] = {}
    for one in comparisons:
        title = one.question if together[one.question] > 1 else ALONE
        found.setdefault(title, []).append(one)
    return found


def show_arms(rows: Sequence[TableRow]) -> None:
    """Print a line an arm: percent of the test images."""
    from filterdb.cli.output import new_table, plain, show

    columns = ("accuracy", "95 % interval", "seeds")
    table = new_table("arm", *columns, right=columns, fold=("arm",))
    for row in rows:
        found = row.accuracy
        table.add_row(
            plain(row.arm),
            percentage(found.mean),
            between(found.low, found.high, "{:.1f}"),
            str(found.n),
        )
    show(table)


def show_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Print a line a comparison, in points: hundredths of accuracy."""
    from filterdb.cli.output import is_narrow, new_table, plain, show

    columns = ["points", "95 % interval", "pairs"]
    if is_narrow() and len({one.n for one in comparisons}) == 1:
        columns.remove("pairs")  # the sentences have them
    table = new_table("arm", "against", *columns, "verdict", right=columns,
                      fold=("arm", "against"))  # fmt: skip
    for one in comparisons:
        points = "–" if one.difference is None else f"{100 * one.difference:+.1f}"
        numbers = (points, between(one.low, one.high, "{:+.1f}"), str(one.n))
        verdict = f"[{STYLES[one.verdict]}]{one.verdict}[/]"
        names = plain(one.arm), plain(one.control)
        table.add_row(*names, *numbers[: len(columns)], verdict)
    show(table)


def percentage(share: float | None) -> str:
    """A share with one decimal place; a dash where there is none."""
    return "–" if share is None else f"{share:.1%}"


def between(low: float | None, high: float | None, form: str) -> str:
    """An interval in hundredths; a dash where there is none."""
    if low is None or high is None:
        return "–"
    return f"{form.format(100 * low)} to {form.format(100 * high)}"


def coverage_line(coverage: Coverage) -> str:
    """How many of the planned runs are done; those that are not are named in the sentences."""
    told = [f"{coverage.done:,} of {coverage.planned:,} runs done"]
    told += [
        f"[red]{count} {status}[/]" for status in STATUSES if (count := coverage.count(status))
    ]
    return ", ".join(told) + "."
