"""``filterdb keys show``: the key sets there are, one of them, or two beside one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.keys.choice import resize_option, resized
from filterdb.cli.options import json_option, plot_option

if TYPE_CHECKING:
    from rich.table import Table

    from filterdb.keys.key_set import KeySet

MOST_COSINES = 16
NARROW_COSINES = 9
JSON_COSINES = 64
"""Keys up to which JSON has their cosines: their number grows with the square."""
MOST_COMPARED = 512
"""Keys of a set up to which it is matched with another: the time grows with the cube."""
LEFT_TO_TABLES = ("chance", "fitted", "held_out", "coverage", "thresholds", "claims", "verdict",
                  "networks_found_on")  # fmt: skip
WORDS = {
    "seeds": "starts",
    "mean_r2": "mean R²",
    "mean_cosine": "mean cosine",
    "p95_cosine": "95th percentile of the cosine",
    "sigmas": "sigma",
}
"""Names in metadata, as people say them."""


@click.command()
@click.argument("sets", metavar="[SET]...", nargs=-1)
@resize_option
@json_option
@plot_option
def show(
    sets: tuple[str, ...],
    resize: str | None,
    as_json: bool,  # noqa: FBT001
    plot: str | None,
) -> None:
    """List the key sets that come with filterdb, show one, or match the keys of two.

    A SET is the name of one that comes with filterdb, or a file. Two of different sizes are
    compared once --resize says how to bring the second to the size of the first.
    """
    from filterdb import figures
    from filterdb.cli.output import print_json
    from filterdb.cli.plots import check_plot, write_plot
    from filterdb.keys.sets.set_file import load_keys, shipped

    check_plot(plot)
    if len(sets) > 2:
        msg = f"{len(sets)} key sets were named; one is shown, or two are compared."
        raise click.UsageError(msg)
    if plot and not sets:
        msg = "Name the SET to draw, or two to draw their cosines."
        raise click.BadParameter(msg, param_hint="--plot")
    if resize and len(sets) != 2:
        msg = "Name two SETs: the second is brought to the size of the first."
        raise click.BadParameter(msg, param_hint="--resize")
    found = [load_keys(name) for name in sets or shipped()]
    if not sets:
        print_json([row_of(keys) for keys in found]) if as_json else present_list(found)
    elif len(sets) == 1:
        print_json(as_dict(found[0])) if as_json else present(found[0])
        if plot:
            write_plot(figures.key_mosaic(found[0], title=found[0].name), plot)
    else:
        first, second = found
        check_sizes(first, second)
        second = resized(second, first.kernel, resize) if resize else second
        print_json(comparison(first, second)) if as_json else compare(first, second)
        if plot:
            cosines = first.cosines(second)
            names = (first.name, second.name)
            drawn = figures.key_agreement(cosines, first.texts, second.texts, sets=names)
            write_plot(drawn, plot)


def check_sizes(*sets: KeySet) -> None:
    """Require sets that are small enough to be matched."""
    for keys in sets:
        if len(keys) > MOST_COMPARED:
            msg = (
                f"Sets of at most {MOST_COMPARED} keys are compared; {keys.name!r} has "
                f"{len(keys):,}. `KeySet.take` makes a set of some of them, in Python."
            )
            raise click.UsageError(msg)


def row_of(keys: KeySet) -> dict[str, Any]:
    """What the list says of a set."""
    told = keys.metadata
    return {
        "name": keys.name,
        "kernel": list(keys.kernel),
        "keys": len(keys),
        "id": keys.id,
        "source": told.get("source"),
        "licence": told.get("licence"),
    }


def as_dict(keys: KeySet) -> dict[str, Any]:
    """A set as JSON has it, complete."""
    from dataclasses import asdict

    from filterdb.keys.sets.spectrum import effective_rank, singular_values

    named = zip(keys.names, keys.texts, keys.filters, strict=True)
    return {
        **row_of(keys),
        "equivalence": keys.equivalence.to_dict(),
        "filters": [
            {**asdict(name), "text": text, "filter": key.tolist()} for name, text, key in named
        ],
        **cosines_of(keys, keys),
        "singular_values": singular_values(keys).tolist(),
        "effective_rank": effective_rank(keys),
        "metadata": dict(keys.metadata),
    }


def comparison(first: KeySet, second: KeySet) -> dict[str, Any]:
    """Two sets beside one another, as JSON has it."""
    from dataclasses import asdict

    from filterdb.keys.search.matching import match_sets

    found = match_sets(first, second)
    return {
        "sets": [row_of(first), row_of(second)],
        **cosines_of(first, second),
        "pairs": [asdict(pair) for pair in found.pairs],
        "mean_cosine": found.mean,
        "chance": found.chance,
    }


def cosines_of(first: KeySet, second: KeySet) -> dict[str, Any]:
    """Cosines between the keys of two sets as JSON has them; why not, where they are too many."""
    if max(len(first), len(second)) <= JSON_COSINES:
        return {"cosines": first.cosines(second).tolist()}
    why = f"{len(first):,} x {len(second):,} are too many; `KeySet.cosines` computes them in Python"
    return {"cosines_left_out": why}


def present_list(found: list[KeySet]) -> None:
    """Print the sets that come with filterdb."""
    from filterdb.cli.output import new_table, plain, show

    columns = ("kernel", "keys", "source", "licence")
    table = new_table("set", *columns, right=("keys",), fold=("source",))
    for keys in found:
        told = keys.metadata
        table.add_row(
            plain(keys.name), "{}x{}".format(*keys.kernel), f"{len(keys):,}",
            plain(told.get("source")), plain(told.get("licence")),
        )  # fmt: skip
    show(table)
    show("[dim]`filterdb keys show SET` shows one, or a file of `filterdb keys find -o`.[/]")


def present(keys: KeySet) -> None:
    """Print a set: pictures, names, how alike its keys are, and what is known of it."""
    from filterdb.cli.keys.pictures import show_keys, show_sigmas, sigmas
    from filterdb.cli.output import is_narrow, new_table, number, plain, show
    from filterdb.keys.sets.spectrum import effective_rank, singular_values
    from filterdb.words import counted

    size = "{}x{}".format(*keys.kernel)
    same = [name for name, value in keys.equivalence.to_dict().items() if value]
    click.echo()
    count = counted(len(keys), "key")
    show(f"[bold]{plain(keys.name)}[/]: {count}, {size}, version {keys.id}")
    if same:
        show(f"Labelling with it: {', '.join(same)}.", indent=2)
    click.echo()
    show_keys(keys)
    most = NARROW_COSINES if is_narrow() else MOST_COSINES
    numbers = ("#", "sigma", "R² of name")
    table = new_table("#", "key", *numbers[1:], right=numbers, fold=("key",))
    for place, (text, name) in enumerate(zip(keys.texts, keys.names, strict=True), 1):
        table.add_row(str(place), plain(text), sigmas(name), number(name.r2, 2))
    show(table)
    show_sigmas()
    if 1 < len(keys) <= most:
        show(cosine_table(keys))
    elif len(keys) > most:
        where = "--json has them" if len(keys) <= JSON_COSINES else "`KeySet.cosines` has them"
        show(f"[dim]The cosines do not fit here: {where}.[/]")
    values = ", ".join(f"{value:.2f}" for value in singular_values(keys)[:most])
    more = ", ..." if len(keys) > most else ""
    show(f"Singular values: {values}{more}.")
    show(f"Effective rank: {effective_rank(keys):.1f}.")
    show_metadata(keys)


def cosine_table(keys: KeySet) -> Table:
    """How alike the keys of a set are, each pair once."""
    from filterdb.cli.output import new_table

    places = [str(place) for place in range(1, len(keys) + 1)]
    table = new_table("cosine", *places, right=("cosine", *places))
    for place, row in enumerate(keys.cosines(keys)):
        table.add_row(places[place], *(f"{value:.2f}" for value in row[:place]))
    return table


def show_metadata(keys: KeySet) -> None:
    """Print what the file tells of the set; no coverage without its chance."""
    from filterdb.cli.output import plain, show
    from filterdb.words import counted

    told = keys.metadata
    if told:
        show("[bold]What its file tells[/]")
    for name, value in told.items():
        if name not in LEFT_TO_TABLES:
            show(f"{plain(in_words(name))}: {plain(' '.join(str(value).split()))}", indent=2)
    known = told.get("networks_found_on")
    if isinstance(known, list) and known:
        show(f"found on: {counted(len(known), 'network')} (by their weights: --json)", indent=2)
    chance = told.get("chance")
    if isinstance(chance, Mapping):
        show_held_out(keys)
        show_chance(keys, chance)
    else:
        show(
            "[dim]It has no chance line, so that no coverage is shown. --json has all.[/]", indent=2
        )


def show_held_out(keys: KeySet) -> None:
    """Print what is claimed of networks that the keys were not found on, if anything is."""
    from filterdb.cli.keys.found_keys import show_claims
    from filterdb.cli.output import plain, show
    from filterdb.keys.sentences import told_headline
    from filterdb.keys.sets.told_claims import told_claims

    claims = told_claims(keys)
    if not claims:
        return
    sentence = told_headline(keys)
    if sentence is not None:
        show(f"[bold]{plain(sentence)}[/]")
    show_claims(claims)


def show_chance(keys: KeySet, chance: Mapping[str, Any]) -> None:
    """Print what as many keys explain of controls, and these of the filters they were found on."""
    from filterdb.cli.output import new_table, plain, show
    from filterdb.keys.search.found import THRESHOLDS
    from filterdb.keys.sets.told_claims import told_claims

    if all(shares_of(value) is None for value in chance.values()):
        numbers = [f"{plain(in_words(name))} {plain(value)}" for name, value in chance.items()
                   if name != "kernels"]  # fmt: skip
        of = f" of {plain(chance['kernels'])}" if "kernels" in chance else ""
        show(f"chance{of}: {', '.join(numbers)}", indent=2)
        return
    rows = {"found on": keys.metadata.get("fitted")}
    if not told_claims(keys):
        rows["held out"] = keys.metadata.get("held_out")
    rows |= {f"chance: {name}": value for name, value in chance.items()}
    columns = [*(f"R² >= {value:g}" for value in THRESHOLDS), "mean R²"]
    table = new_table("", *columns, right=columns)
    for name, value in rows.items():
        shares = shares_of(value)
        if shares is not None:
            table.add_row(plain(name), *(f"{share:.1%}" for share in shares))
    show(table)


def in_words(name: str) -> str:
    """A name in metadata as people say it."""
    return WORDS.get(name, name.replace("_", " "))


def shares_of(told: Any) -> list[float] | None:
    """Shares by threshold and the mean of R², if a file tells them and they are shares."""
    from filterdb.keys.search.found import THRESHOLDS

    if not isinstance(told, Mapping):
        return None
    shares, mean = told.get("shares"), told.get("mean_r2")
    values = [*shares, mean] if isinstance(shares, list | tuple) else []
    good = len(values) == len(THRESHOLDS) + 1 and all(map(is_share, values))
    return values if good else None


def is_share(value: Any) -> bool:
    """A number from 0 to 1, which no other than a finite one is."""
    return type(value) in (int, float) and 0 <= value <= 1


def compare(first: KeySet, second: KeySet) -> None:
    """Print which keys of two sets match."""
    from filterdb.cli.keys.pictures import show_keys
    from filterdb.cli.output import new_table, number, plain, show
    from filterdb.keys.search.agreement import ALIKE
    from filterdb.keys.search.matching import match_sets
    from filterdb.words import counted

    found = match_sets(first, second)
    for keys in (first, second):
        click.echo()
        origin = keys.metadata.get("resized_from")
        resized_from = f", from {plain(origin)}" if origin else ""
        size = "{}x{}".format(*keys.kernel)
        show(f"[bold]{plain(keys.name)}[/]: {counted(len(keys), 'key')}, {size}{resized_from}")
        show_keys(keys)
    names = [f"{plain(keys.name)} {place}" for place, keys in ((1, first), (2, second))]
    if first.name != second.name:
        names = [plain(keys.name) for keys in (first, second)]
    table = new_table(*names, "cosine", right=("cosine",), fold=names)
    texts = first.texts, second.texts
    for pair in found.pairs:
        table.add_row(
            f"{pair.first + 1}  {plain(texts[0][pair.first])}",
            f"{pair.second + 1}  {plain(texts[1][pair.second])}",
            number(pair.cosine),
        )
    show(table)
    same = sum(pair.cosine >= ALIKE for pair in found.pairs)
    show(
        f"{same} of {len(found.pairs)} pairs are the same key (cosine of {ALIKE:g} or more). Mean "
        f"cosine {found.mean:.2f}; of as many random keys {found.chance:.2f}."
    )
