"""``filterdb keys label``: which key every filter is a copy of."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.keys.choice import chosen_set, resize_option, set_option
from filterdb.cli.options import (
    KernelSize,
    equivalence_options,
    json_option,
    kind_option,
    plot_option,
)
from filterdb.keys.key_set import THRESHOLD

if TYPE_CHECKING:
    from filterdb.keys.key_set import KeySet
    from filterdb.keys.labels.chance import Chance
    from filterdb.keys.labels.labels import Labels, Tally

MODELS_SHOWN = 20
BAR, WIDE_BAR = 24, 60
MARKS = "123456789abcdefghijklmnopqrstuvwxyz"
REST = (("other", "·"), ("constant", "="), ("nearly zero", "0"))


@click.command()
@click.argument("sources", metavar="DB|FILE", type=click.Path(), nargs=-1, required=True)
@set_option
@click.option("--where", metavar="SQL", help="Of a database only the layers that meet this.")
@click.option("--kernel", type=KernelSize(),
              help="Kernel size; the set's, or 3x3 if there, or the most frequent.")  # fmt: skip
@kind_option
@click.option("--threshold", type=click.FloatRange(0, 1), default=THRESHOLD, show_default=True,
              help="R² below which a filter is other.")  # fmt: skip
@resize_option
@equivalence_options
@click.option("--no-store", is_flag=True, help="Do not keep the labels in the database.")
@click.option("--force", is_flag=True, help="Label also what has labels by this set.")
@click.option("--forget", metavar="SET",
              help="Remove this set (id or name) and its labels from the database.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.")
@click.option("--scheduler", metavar="tcp://...", help="Dask scheduler.")
@click.option("--all", "show_all", is_flag=True, help="Show every model.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="CSV: a row for each layer.")
@click.option("--filters", "each", is_flag=True,
              help="CSV: a row for each filter (key, a, b, R²); stores nothing.")  # fmt: skip
@plot_option
def label(
    sources: tuple[str, ...],
    key_set: str | None,
    where: str | None,
    kernel: tuple[int, int] | None,
    kind: str,
    threshold: float,
    resize: str | None,
    no_store: bool,  # noqa: FBT001
    force: bool,  # noqa: FBT001
    forget: str | None,
    jobs: int | None,
    scheduler: str | None,
    show_all: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    each: bool,  # noqa: FBT001
    plot: str | None,
    **same: bool,
) -> None:
    """Say of every filter which key it is a copy of, or that it is of none.

    In a database the labels are kept, and only new layers are gone through; of a file they are
    shown.
    """
    from filterdb.cli.output import print_csv, print_json, progress_bar
    from filterdb.cli.plots import check_plot, write_plot
    from filterdb.keys.labels.chance import chance_of
    from filterdb.keys.labels.labelling import label as label_layers
    from filterdb.population.preset import Scanning

    check_plot(plot)
    source = only_one(sources)
    if forget is not None:
        if key_set is not None:
            msg = "--forget names the set itself; --set is to label with."
            raise click.UsageError(msg)
        forget_set(source, forget, as_json=as_json)
        return
    keys = alike(
        chosen_set(source, key_set, kernel=kernel, resize=resize, where=where, kind=kind), same
    )
    if each:
        print_filters(source, keys, where=where, kind=kind, threshold=threshold)
        return
    with progress_bar("labelling") as report:
        found = label_layers(
            source, keys, where=where, kind=kind, threshold=threshold, store=not no_store,
            force=force, scanning=Scanning(jobs=jobs, scheduler=scheduler, progress=report),
        )  # fmt: skip
    if as_csv:
        print_csv(found.rows())
    else:
        with progress_bar("chance") as report:
            chance = chance_of(
                found, source, where=where, kind=kind,
                scanning=Scanning(jobs=jobs, scheduler=scheduler, progress=report),
            )  # fmt: skip
        if as_json:
            print_json(found.to_dict() | {"chance": None if chance is None else chance.to_dict()})
        else:
            present(found, chance, show_all=show_all)
    if plot:
        write_plot(figure_of(found), plot)


def only_one(sources: Sequence[str]) -> str:
    """The database or the file, of which there is one at a time."""
    if len(sources) > 1:
        files = shlex.join(sources)
        msg = (
            "Label one file at a time; or put them into a database and label that: "
            f"`filterdb ingest mydb {files}`, then `filterdb keys label mydb`."
        )
        raise click.UsageError(msg)
    return sources[0]


def forget_set(source: str, key_set: str, *, as_json: bool) -> None:
    """Remove a key set from a database, and say how many layers had labels by it."""
    from filterdb.cli.output import plain, print_json, show
    from filterdb.store.key_sets import forget_labels
    from filterdb.words import counted

    layers = forget_labels(Path(source), key_set)
    if as_json:
        print_json({"key_set": key_set, "layers": layers})
    else:
        show(f"Removed the key set {plain(key_set)} and its labels of {counted(layers, 'layer')}.")


def print_filters(
    source: str, keys: KeySet, *, where: str | None, kind: str, threshold: float
) -> None:
    """Print the label of every filter, a layer at a time."""
    import csv
    import sys

    from filterdb.keys.labels.labelling import label_filters

    writer = None
    for layer in label_filters(source, keys, where=where, kind=kind):
        for row in layer.rows(threshold=threshold):
            if writer is None:
                writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)


def alike(keys: KeySet, same: Mapping[str, bool]) -> KeySet:
    """A set that takes more for the same key, where options say so."""
    from dataclasses import replace

    asked = {name: True for name, value in same.items() if value}
    return keys.alike(replace(keys.equivalence, **asked))


def figure_of(found: Labels) -> Any:
    """Bars of the layers of one model, or shares by depth of several."""
    import numpy as np

    from filterdb import figures

    counts = np.array([layer.columns for layer in found.counted])
    names = found.key_set.texts
    if len(found.models) == 1:
        layers = [layer.layer for layer in found.counted]
        return figures.layer_bars(layers, counts, names, title=found.models[0])
    depths = np.array([layer.depth for layer in found.counted])
    return figures.key_shares_by_depth(depths, counts, names)


def present(found: Labels, chance: Chance | None, *, show_all: bool) -> None:
    """Print what the labels say: a sentence, the keys, the layers or the models, the bytes."""
    from filterdb.cli.keys.pictures import show_keys
    from filterdb.cli.output import plain, show
    from filterdb.keys import sentences
    from filterdb.words import counted

    click.echo()
    show(f"[bold]{plain(sentences.labelled(found))}[/]")
    if chance is not None:
        show(plain(sentences.labelled_by_chance(chance)))
        if known := sentences.in_sample(chance):
            show(plain(known))
    click.echo()
    show_keys(found.key_set)
    show_keys_table(found)
    if len(found.models) == 1:
        show_rows("layer", [(layer.layer, layer) for layer in found.counted], None)
    else:
        rows = list(found.by_model().items())
        show_rows("model", rows, None if show_all else MODELS_SHOWN)
    show_bytes(found)
    show("[bold]Covered[/]")
    covered = found.coverage
    left = ", ".join(f"{counted(n, 'layer')}: {why}" for why, n in covered["left_out"].items())
    show(
        f"{counted(covered['models'], 'model')}, {counted(covered['layers'], 'layer')}, "
        f"{counted(covered['filters'], 'filter')}."
        + (f" Left out: {plain(left)}." if left else ""),
        indent=2,
    )
    for note in found.notes:
        show(f"[dim]{plain(note)}[/]", indent=2)


def show_keys_table(found: Labels) -> None:
    """Print how many filters are copies of each key, and how many of none."""
    from filterdb.cli.keys.pictures import show_sigmas, sigmas
    from filterdb.cli.output import new_table, plain, show
    from filterdb.keys.sentences import percent

    keys, total = found.key_set, found.total
    numbers = ("sigma", "copies", "share")
    table = new_table("", "key", *numbers, right=numbers, fold=("key",))
    names = [*keys.texts, *(name for name, _ in REST)]
    scales = [*(sigmas(name) for name in keys.names), "", "", ""]
    looks = zip(marks_of(len(keys)), styles_of(len(keys)), strict=True)
    cells = zip(looks, names, scales, total.columns, strict=True)
    for place, ((mark, style), name, scale, count) in enumerate(cells):
        if place == len(keys):
            table.add_section()
        share = percent(count / total.n) if total.n else "–"
        table.add_row(f"[{style}]{mark}[/]", plain(name), scale, f"{count:,}", share)
    show(table)
    show_sigmas()


def show_rows(what: str, rows: Sequence[tuple[str, Tally]], limit: int | None) -> None:
    """Print a stacked bar a row: which keys its filters are copies of."""
    from filterdb.cli.keys.pictures import bar
    from filterdb.cli.output import is_narrow, new_table, number, percent, plain, show
    from filterdb.words import counted

    numbers = ("filters", "mean R²", "copies")
    table = new_table(what, "filters", "keys", *numbers[1:], right=numbers, fold=(what,))
    width = BAR if is_narrow() else WIDE_BAR
    for name, tally in rows[:limit]:
        keys = len(tally.counts)
        table.add_row(
            plain(name), f"{tally.n:,}",
            bar(tally.columns, marks_of(keys), styles_of(keys), width),
            number(tally.mean_r2, 2), percent(tally.coverage),
        )  # fmt: skip
    show(table)
    listed = ", ".join(f"{mark} {name}" for name, mark in REST)
    show(
        f"[dim]keys: each mark is about {100 / width:.1f}% of the {what}'s filters; digits and "
        f"letters are keys, {listed}.[/]"
    )
    if limit is not None and len(rows) > limit:
        show(f"... and {counted(len(rows) - limit, f'more {what}')}: --all shows them.", indent=2)


def marks_of(keys: int) -> list[str]:
    """What stands for each key, and for what is none, in a bar."""
    return [*(MARKS[place] if place < len(MARKS) else "+" for place in range(keys)),
            *(mark for _, mark in REST)]  # fmt: skip


def styles_of(keys: int) -> list[str]:
    """How each looks where there are colours."""
    from filterdb.figures.style import PALETTE

    return [*(f"black on {PALETTE[place % len(PALETTE)]}" for place in range(keys)),
            "dim", "dim", "dim"]  # fmt: skip


def show_bytes(found: Labels) -> None:
    """Print what the filters take when they are stored by keys."""
    from filterdb.cli.output import show
    from filterdb.report.words import size

    bytes_ = found.storage
    if bytes_.raw:
        word = "less" if bytes_.saved >= 0 else "more"
        show(
            f"Stored as (key, a, b), what is other as it is: {size(bytes_.keyed + bytes_.table)} "
            f"instead of {size(bytes_.raw)}, {abs(bytes_.saved) / bytes_.raw:.0%} {word}."
        )
