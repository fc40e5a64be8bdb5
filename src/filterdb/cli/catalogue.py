"""``filterdb models``, ``layers`` and ``info``: what a database holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[Mapping[str, Any]]

MODEL_COLUMNS = ("name", "format", "task", "architecture", "n_layers", "n_filters",
                 "degenerate_share", "verdict")  # fmt: skip
LAYER_COLUMNS = ("model", "layer_index", "name", "kernel", "kind", "weight_state", "n_filters",
                 "sparsity", "entropy_ratio", "orthogonality", "verdict")  # fmt: skip
NARROW_MODELS = ("name", "format", "n_layers", "degenerate_share", "verdict")
NARROW_LAYERS = ("model", "name", "kernel", "sparsity", "entropy_ratio", "verdict")
HEADS = {"degenerate_share": "degenerate", "layer_index": "#", "sparsity": "sparse",
         "entropy_ratio": "H/T_H", "orthogonality": "orth.", "n_layers": "layers",
         "n_filters": "filters", "weight_state": "weights"}  # fmt: skip
NUMBERS = {"n_layers", "n_filters", "degenerate_share", "layer_index", "sparsity",
           "entropy_ratio", "orthogonality"}  # fmt: skip
PARTICULARS = re.compile(r"'[^']*'|\([\d, ]+\)")
"""Names and shapes in a reason, which keep like reasons apart."""
INFERRED = "*"
"""Stands behind a value that the file itself said."""
SHARES = {"degenerate_share", "sparsity"}


def query_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every list has."""
    where = click.option(
        "--where", metavar="SQL", help="An SQL condition on the columns, e.g. \"task = 'ocr'\"."
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="JSON with every column.")
    as_csv = click.option("--csv", "as_csv", is_flag=True, help="CSV with every column.")
    return where(as_json(as_csv(command)))


@click.command()
@click.argument("db", type=click.Path())
@query_options
@click.option(
    "--template",
    type=click.Path(dir_okay=False),
    help="Write a CSV of what is known, to fill in for `filterdb set DB --metadata`.",
)
@click.option("--force", is_flag=True, help="Let --template replace a file.")
def models(
    db: str,
    where: str | None,
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    template: str | None,
    force: bool,  # noqa: FBT001
) -> None:
    """List the models of a database, with what is known of each."""
    from filterdb.database import open_database

    with open_database(db) as database:
        if template is not None:
            told_of(db, template, database.template(template, where=where, force=force))
            return
        rows = database.models(where=where)
    present_models(rows, as_json=as_json, as_csv=as_csv)


def told_of(db: str, template: str, rows: int) -> None:
    """Say where a template is and what to do with it."""
    from filterdb.cli.output import plain, show
    from filterdb.words import counted

    show(f"{plain(template)}: {counted(rows, 'model')}. Fill it in, then:")
    show(f"filterdb set {plain(db)} --metadata {plain(template)}", indent=2)


@click.command()
@click.argument("db", type=click.Path())
@click.argument("model", required=False)
@query_options
def layers(
    db: str,
    model: str | None,
    where: str | None,
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> None:
    """List the layers of a database, or of one MODEL, with every measure."""
    from filterdb.cli.output import is_narrow
    from filterdb.database import open_database

    with open_database(db) as database:
        rows = database.layers(where=where, model=model)
    columns: Sequence[str] = NARROW_LAYERS if is_narrow() else LAYER_COLUMNS
    if model is not None:
        columns = columns[1:]
    present(rows, columns, "layers", as_json=as_json, as_csv=as_csv)


def present_models(rows: Rows, *, as_json: bool = False, as_csv: bool = False) -> None:
    """Print models, in a narrow terminal with the essential columns."""
    from filterdb.cli.output import is_narrow, show

    columns = NARROW_MODELS if is_narrow() else MODEL_COLUMNS
    present(rows, columns, "models", as_json=as_json, as_csv=as_csv)
    if not (as_json or as_csv) and any(is_inferred(row, name) for row in rows for name in columns):
        show(f"{INFERRED} as the file itself says; `filterdb set` says otherwise.")


def present(rows: Rows, columns: Sequence[str], what: str, *, as_json: bool, as_csv: bool) -> None:
    """Print rows as JSON, CSV or a table of the chosen columns."""
    from filterdb.cli.output import new_table, print_csv, print_json, show
    from filterdb.words import counted

    if as_json:
        print_json([dict(row) for row in rows])
        return
    if as_csv:
        print_csv(rows)
        return
    table = new_table(
        *(HEADS.get(name, name) for name in columns),
        right=[HEADS.get(name, name) for name in NUMBERS],
        fold=("name", "model", "architecture", "task"),
    )
    for row in rows:
        table.add_row(*(cell(row, name) for name in columns))
    if not rows:
        show(f"No {what.removesuffix('s')} matches.")
        return
    show(table)
    show(f"{counted(len(rows), what.removesuffix('s'))}. --json and --csv have every column.")


def cell(row: Mapping[str, Any], name: str) -> str:
    """One value of a row as people read it."""
    from filterdb.cli.output import number, percent, plain, verdict_text

    if name == "kernel":
        return f"{row['kh']}x{row['kw']}"
    value = row[name]
    if name == "verdict":
        return verdict_text(value)
    if name in SHARES:
        return percent(value)
    if isinstance(value, float):
        return number(value)
    if name in NUMBERS and value is not None:
        return f"{value:,}"
    return plain(value) + f" {INFERRED}" * is_inferred(row, name)


def is_inferred(row: Mapping[str, Any], name: str) -> bool:
    """True for a value of a model that the file itself said, not the user."""
    return name in row.get("inferred", ())


@click.command()
@click.argument("db", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def info(db: str, as_json: bool) -> None:  # noqa: FBT001
    """Show totals and coverage: what is in, what is not, and why."""
    from filterdb.cli.output import by_reason, plain, print_json, show
    from filterdb.database import open_database

    with open_database(db) as database:
        facts = database.info()
    if as_json:
        print_json(facts)
        return
    single = {name: value for name, value in facts.items() if not isinstance(value, dict | list)}
    show(counts(plain(db), single))
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            general: Counter[str] = Counter()
            for key, count in value.items():
                general[PARTICULARS.sub("...", key)] += count
            show(counts(name.replace("_", " "), general))
    if facts["bases"]:
        show("[bold]bases of the histograms[/]")
        by_reason([(row["kernel"], row["origin"]) for row in facts["bases"]], limit=8)
    if facts["key_sets"]:
        show(key_sets_table(facts["key_sets"]))
    if facts["failed_files"]:
        show("[bold]failed files[/]")
        by_reason([(Path(row["path"]).name, row["reason"]) for row in facts["failed_files"]])


def key_sets_table(rows: Rows) -> Table:
    """The key sets of a database: name, version, size, and layers labelled."""
    from filterdb.cli.output import new_table, plain

    right = ("keys", "layers labelled")
    table = new_table("key set", "version", "kernel", *right, right=right, fold=("key set",))
    for row in rows:
        table.add_row(
            plain(row["name"]), plain(row["key_set"]), row["kernel"], f"{row['keys']:,}",
            f"{row['layers']:,}",
        )  # fmt: skip
    return table


def counts(title: str, numbers: Mapping[str, int]) -> Table:
    """A table of names and numbers."""
    from filterdb.cli.output import new_table, plain

    table = new_table(title, "", right=[""], fold=[title])
    for name, value in numbers.items():
        table.add_row(plain(name.replace("_", " ")), f"{value:,}")
    return table
