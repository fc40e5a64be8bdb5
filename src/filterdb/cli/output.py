"""Tables, JSON, CSV and progress: the only place that prints.

Data goes to stdout, everything else to stderr, so that a pipe gets nothing but data.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Progress = Callable[[int, int, str], None]
"""Called with: items done, items in all, the item at work."""

VERDICT_STYLE = {
    "healthy": "green",
    "degenerate": "bold red",
    "sparse": "red",
    "low diversity": "red",
    "random": "red",
    "invalid": "bold red",
    "undecided": "yellow",
    "undefined": "dim",
}


NARROW = 100
"""Below so many columns a terminal gets the essential columns of a table."""


def is_narrow() -> bool:
    """Whether stdout is a terminal with little room."""
    from rich.console import Console

    console = Console()
    return console.is_terminal and console.width < NARROW


def terminal_width() -> int:
    """Columns of the terminal; very many where stdout is none."""
    from rich.console import Console

    console = Console()
    return console.width if console.is_terminal else 10_000


def console_for(renderable: RenderableType, *, widest: int | None = None) -> Console:
    """A console on stdout: as wide as the terminal, or as the content where there is none.

    Parameters
    ----------
    renderable
        What will be printed.
    widest
        Columns of a pipe at most; all that the content needs, if not given.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=10_000)
        console.width = max(console.measure(renderable).maximum, 80)
        console.width = min(console.width, widest or console.width)
    return console


def beyond_the_pipe() -> int | None:
    """Columns of the terminal in which a piped command was typed; None where there is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (AttributeError, OSError, ValueError):  # no stderr, or it is no terminal
        return None


def show(renderable: RenderableType, *, indent: int = 0) -> None:
    """Print a table or a text to stdout, without trailing blanks.

    In a pipe tables are complete; texts end their lines where the terminal would break a word.
    """
    widest = beyond_the_pipe() if isinstance(renderable, str) else None
    if indent:
        from rich.padding import Padding

        renderable = Padding(renderable, (0, 0, 0, indent))
    console = console_for(renderable, widest=widest)
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as capture:
        console.print(renderable)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def new_table(
    *columns: str, right: Sequence[str] = (), fold: Sequence[str] = (), title: str | None = None
) -> Table:
    """An empty table in the house's style.

    The columns named in ``right`` hold numbers; those in ``fold`` may be broken over lines, and
    no other is.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in columns:
        table.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold" if name in fold else "ellipsis",
            no_wrap=name not in fold,
        )
    return table


def verdict_text(verdict: str | None) -> str:
    """A verdict in its colour, as rich markup."""
    style = VERDICT_STYLE.get(verdict or "", "bold red")
    return f"[{style}]{verdict or 'unreadable'}[/]"


def number(value: float | None, digits: int = 3) -> str:
    """A measure for people; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share for people; a dash where it is undefined."""
    return "–" if value is None else f"{value:.0%}"


def plain(text: object) -> str:
    """A value from a file as rich text: never read as markup, control characters shown."""
    from rich.markup import escape

    if text is None:
        return "–"
    return escape("".join(c if c.isprintable() else "�" for c in str(text)))


def print_json(data: object) -> None:
    """Print JSON to stdout, in ASCII, which every pipe can carry.

    Undefined numbers are None by now: a NaN is a fault of ours.
    """
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as CSV to stdout, the header from the first one."""
    if rows:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: in_a_cell(value) for name, value in row.items()})


def in_a_cell(value: object) -> object:
    """A value as CSV holds it: lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """A progress bar with an estimate on stderr, or None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    columns = (
        TextColumn(label),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[item]}", table_column=Column(ratio=1, no_wrap=True)),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True, expand=True) as bar:
        task = bar.add_task(label, total=None, item="")

        def report(done: int, total: int, item: str) -> None:
            bar.update(task, completed=done, total=total, item=plain(Path(item).name))

        yield report


def by_reason(items: Sequence[tuple[str, str]], *, limit: int | None = 3) -> None:
    """Print names by what befell them: each reason once, with its count and the first names.

    Parameters
    ----------
    items
        Pairs of name and reason.
    limit
        How many names to show of each reason; all if None.
    """
    groups: dict[str, list[str]] = {}
    for name, reason in items:
        groups.setdefault(reason, []).append(name)
    for reason, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        listed = ", ".join(names[:limit])
        if limit is not None and len(names) > limit:
            listed += f" and {len(names) - limit} more"
        show(f"[bold]{len(names)}[/]  {plain(listed)}", indent=2)
        show(f"[dim]{plain(reason)}[/]", indent=5)
