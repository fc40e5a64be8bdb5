"""``filterdb set``: say what is known of models that are in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from filterdb.cli import DONE, SOME_FAILED

if TYPE_CHECKING:
    from filterdb.ingest.setting import SetResult


@click.command()
@click.argument("db", type=click.Path())
@click.argument("model_and_values", nargs=-1, metavar="[MODEL] [KEY=VALUE]...")
@click.option("--where", metavar="SQL", help="All models that meet this condition, for MODEL.")
@click.option(
    "--metadata",
    type=click.Path(exists=True, dir_okay=False),
    help="CSV as `filterdb models DB --template` writes it, filled in; no MODEL then.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def set(  # noqa: A001
    db: str,
    model_and_values: tuple[str, ...],
    where: str | None,
    metadata: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Say what is known of MODEL: task=segmentation, license=MIT, a column of your own.

    MODEL is a name, a number, the beginning of the file's hash, or a wildcard ('resnet*'). KEY=
    without a value empties the column. Words of the vocabulary take its spelling: task=seg.
    """
    from filterdb.cli.output import print_json
    from filterdb.database import open_database

    with open_database(db) as database:
        if metadata is not None:
            if model_and_values or where:
                msg = "--metadata names the models itself: leave out MODEL, KEY=VALUE and --where."
                raise click.UsageError(msg)
            result = database.set(metadata)
        else:
            model, values = parsed(model_and_values, has_condition=where is not None)
            result = database.set(values, model=model, where=where)
    if as_json:
        print_json(result.to_dict())
    else:
        present(db, result)
    raise click.exceptions.Exit(SOME_FAILED if result.unmatched_rows else DONE)


def parsed(words: tuple[str, ...], *, has_condition: bool) -> tuple[str | None, dict[str, str]]:
    """The model, unless a condition stands for it, and the values by their keys."""
    model = None
    if not has_condition:
        if not words:
            msg = "Name a model (or --where) and what is known of it: KEY=VALUE. See --help."
            raise click.UsageError(msg)
        model, *words_left = words
    else:
        words_left = list(words)
    values: dict[str, str] = {}
    for word in words_left:
        key, equals, value = word.partition("=")
        if not equals:
            msg = f"{word!r} is no KEY=VALUE. Models beyond one: a wildcard, or --where."
            raise click.UsageError(msg)
        values[key] = value
    if not values:
        msg = f"What is to be known of {model or 'them'}? Give KEY=VALUE, e.g. task=segmentation."
        raise click.UsageError(msg)
    return model, values


def present(db: str, result: SetResult) -> None:
    """Print what was new, and what is worth a second look."""
    from filterdb.cli.ingest import listed
    from filterdb.cli.output import plain, show
    from filterdb.ingest.setting import alike
    from filterdb.words import counted

    listed("CSV rows that were not used", list(result.unmatched_rows))
    renamed = [f"{old} -> {new}" for old, new in (result.renamed_columns or {}).items()]
    listed("CSV columns renamed, as the catalogue has their name", renamed)
    hints = {name: alike(name) for name in result.new_columns}
    new = [f"{name} (did you mean {hint}?)" if hint else name for name, hint in hints.items()]
    listed("New columns", new)
    listed("Words outside the vocabulary, kept as they are", list(result.outside_vocabulary))
    listed(
        "Words as the vocabulary has them (yours stay as own_words)",
        list(result.respelt),
    )
    said = counted(len(result.models), "model")
    show(f"[bold]{plain(db)}[/]: {len(result.changed):,} of {said} changed.")
