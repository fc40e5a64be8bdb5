"""A result of an experiment on the terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from filterdb.cli.transfer.grid import alone, grids, leading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from filterdb.cli.transfer.grid import Grid
    from filterdb.transfer.results import Comparison, Coverage, Result, TableRow

STYLES = {"better": "green", "worse": "red", "not told apart": "dim"}
ALONE = "Single comparisons"
STATUSES = ("diverged", "failed", "not run")
ALONG = {"cut", "k", "share"}
"""Labels of arms that a grid has."""
NAME, BETWEEN = 18, 2
"""Columns of the terminal for the name of a row of a grid at least, and between its cells."""
NARROWEST = 14
"""Columns of a cell: its verdict."""


def present(result: Result, *, folder: str | None, everything: bool = False) -> None:
    """Print what a researcher asks first: what is supported, how sure that is, and at what budget.

    Parameters
    ----------
    result
        What to print.
    folder
        Where its runs are kept; None if they are not.
    everything
        Every sentence, comparison and arm, a line each, instead of grids.
    """
    from filterdb.cli.output import plain, show
    from filterdb.transfer.picture import about

    show(f"[bold]{plain(result.experiment.capitalize())}[/]: {plain(about(result))}; "
         f"{coverage_line(result.coverage)}")  # fmt: skip
    show(plain(result.budget))
    for line in legend(result):
        show(f"[dim]{plain(line)}[/]")
    show("\n[bold]In words[/]")
    for sentence in result.sentences if everything else sentences_first(result):
        show_sentence(sentence, result)
    if everything:
        show_everything(result)
    else:
        show_grids(result)
    if any(row.accuracy.cut for row in result.table):
        show("[dim]* cut at 0 or 100 %, beyond which no accuracy lies.[/]")
    if folder is not None:
        show(f"[dim]Runs, plan and result are kept in {plain(folder)}.[/]")
        if not everything:
            show(f"[dim]Every sentence, comparison and arm: filterdb transfer show "
                 f"{plain(folder)} --all[/]")  # fmt: skip


def present_briefly(result: Result) -> None:
    """Print the budget, the main comparisons at the end of their axis, and what they say."""
    from filterdb.cli.output import plain, show
    from filterdb.transfer.picture import about

    show(f"{plain(about(result))}. {plain(result.budget)}", indent=2)
    main = leading(result.comparisons)
    last = {one.question: one for one in result.comparisons if one.question in main}
    show_comparisons(list(last.values()))
    for sentence in sentences_first(result):
        if sentence.startswith(tuple(f"{question}: " for question in main)):
            show_sentence(sentence, result)


def legend(result: Result) -> list[str]:
    """What the names of arms mean, of an experiment whose arms are called by letters."""
    if result.experiment != "layers":
        return []
    options = result.settings.get("layers", {})
    split, contrast = options.get("split", ""), options.get("contrast", "")
    groups = "drawn at random" if split == "halves" else str(split)
    told = [f"A and B learn two groups of classes ({groups}): A the first, B the other."]
    told.append("A2B: a network for B, of which the first 2 layers of a part are A's, frozen. B2B "
                "has them from B itself, R2B random ones; with + they learn on. B alone is trained "
                "in full.")  # fmt: skip
    if "regular" in options.get("parts", ()):
        told.append(f"The regular filters are those of a {contrast}.")
    return told


def draw(result: Result, plot: str | None) -> None:
    """Write the picture of a result, if there is to be one."""
    from filterdb.cli.plots import write_plot
    from filterdb.transfer.picture import picture_of

    if plot is not None:
        write_plot(picture_of(result), plot)


def show_sentence(sentence: str, result: Result) -> None:
    """Print a sentence, with its question in bold."""
    from filterdb.cli.output import plain, show

    questions = {one.question for one in result.comparisons}
    question, colon, rest = sentence.partition(": ")
    if question in questions:
        sentence = f"[bold]{plain(question)}[/]{colon}{plain(rest)}"
    else:
        sentence = plain(sentence)
    show(sentence, indent=2)


def sentences_first(result: Result) -> list[str]:
    """The sentences on the main questions, and those that are on no question at all."""
    first = tuple(f"{question}: " for question in leading(result.comparisons))
    asked = tuple(f"{one.question}: " for one in result.comparisons)
    return [
        told for told in result.sentences if told.startswith(first) or not told.startswith(asked)
    ]


def show_grids(result: Result) -> None:
    """Print the comparisons along their axis, then those without one, then the references."""
    from filterdb.cli.output import show

    found = grids(result.comparisons)
    single = alone(result.comparisons)
    if found or single:
        show("\n[bold]Differences[/], in points of accuracy, with 95 % intervals")
    first = single[:1] == list(result.comparisons[:1])  # what the experiment is about
    if first:
        show_questions(single)
    for grid in found:
        show_grid(grid)
    if not first:
        show_questions(single)
    controls = {one.control for one in result.comparisons}
    references = [
        row for row in result.table if row.arm in controls and not row.labels.keys() & ALONG
    ]
    if references:
        show("[bold]Accuracy of what is compared with[/], mean over seeds")
        show_arms(references)


def show_grid(grid: Grid) -> None:
    """Print a grid in as many tables as the terminal is wide for."""
    from filterdb.cli.output import new_table, plain, show, terminal_width

    every = [one for _, row in grid.rows for one in row if one is not None]
    widest = max(len(between(one.low, one.high, "{:+.1f}")) for one in every) + BETWEEN
    longest = min(max(len(name) for name, _ in grid.rows), NAME)
    fit = max(1, (terminal_width() - longest - BETWEEN) // max(widest, NARROWEST))
    several = -(-len(grid.columns) // -(-len(grid.columns) // fit))  # as many in each table
    for start in range(0, len(grid.columns), several):
        names = [plain(one) for one in grid.columns[start : start + several]]
        subject = plain(grid.subject)
        table = new_table(subject, *names, right=names, fold=(subject,))
        for name, cells in grid.rows:
            shown = cells[start : start + several]
            if any(shown):
                table.add_row(plain(name), *map(cell_of, shown))
        show(table)
    if grid.left_out:
        show(f"[dim]Not shown, but with --all: {plain('; '.join(grid.left_out))}.[/]")


def cell_of(found: Comparison | None) -> str:
    """A difference, its verdict, and below it the interval."""
    if found is None:
        return ""
    if found.difference is None:
        return "–"
    points = f"{100 * found.difference:+.1f}"
    if found.verdict != "not told apart":
        points = f"[bold {STYLES[found.verdict]}]{found.verdict} {points}[/]"
    return f"{points}\n[dim]{between(found.low, found.high, '{:+.1f}')}[/]"


def show_everything(result: Result) -> None:
    """Print a line an arm and a line a comparison."""
    from filterdb.cli.output import plain, show

    show("\n[bold]Accuracy by arm[/], mean over seeds and its 95 % interval")
    show_arms(result.table)
    for question, comparisons in by_question(result.comparisons).items():
        show(f"[bold]{plain(question)}[/]")
        show_comparisons(comparisons)


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
            between(found.low, found.high, "{:.1f}") + ("*" if found.cut else ""),
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


def show_questions(comparisons: Sequence[Comparison]) -> None:
    """Print a line a comparison, by its question; by its arms where a question has several."""
    from filterdb.cli.output import new_table, plain, show

    many = Counter(one.question for one in comparisons)
    table = new_table("", "points", "95 % interval", right=("points", "95 % interval"), fold=("",))
    for one in comparisons:
        name = one.question
        if many[name] > 1:
            name = f"{name}: {one.arm} against {one.control}"
        points = "–" if one.difference is None else f"{100 * one.difference:+.1f}"
        if one.verdict != "not told apart":
            points = f"[bold {STYLES[one.verdict]}]{one.verdict} {points}[/]"
        table.add_row(plain(name), points, between(one.low, one.high, "{:+.1f}"))
    if comparisons:
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
