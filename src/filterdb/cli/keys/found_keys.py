"""How found keys look in a terminal: what is above chance first, then the keys, then the rest."""

from __future__ import annotations

from collections.abc import Sequence

import click

from filterdb.cli.keys.pictures import show_keys, show_sigmas, sigmas
from filterdb.cli.output import is_narrow, new_table, number, plain, show
from filterdb.keys import sentences
from filterdb.keys.search.found import THRESHOLDS, Claim, CurvePoint, FoundKeys, NetworkCoverage

SHORT_CURVE = (1, 2, 4, 8, 16, 32)
EXTREMES = 3
SHORT = {True: "above", False: "not above", None: "no claim"}
"""Verdicts where there is little room."""


def present(found: FoundKeys, *, threshold: float, show_all: bool, axes: int = 0) -> None:
    """Print a result, with the groups along its first axes, or along all."""
    click.echo()
    show(f"[bold]{plain(sentences.headline(found))}[/]")
    show(plain(sentences.shares(found, threshold)))
    click.echo()
    show_keys(found.keys)
    show_names(found)
    show_claims(found.claims)
    show_curve(found, threshold, show_all=show_all)
    show_agreement(found, show_all=show_all)
    show_networks(found, threshold, show_all=show_all)
    taken = list(dict.fromkeys(row.axis for row in found.groups))
    show_groups(found, threshold, taken if show_all else taken[:axes])
    show("[bold]Covered[/]")
    show(plain(sentences.coverage(found)), indent=2)
    for note in found.notes:
        show(f"[dim]{plain(note)}[/]", indent=2)


def show_names(found: FoundKeys) -> None:
    """Print the keys: what the analytic family calls each, and of how many it is the nearest."""
    numbers = ("#", "sigma", "R² of name", "nearest")
    table = new_table("#", "key", *numbers[1:], right=numbers, fold=("key",))
    named = zip(found.keys.texts, found.keys.names, found.shares, strict=True)
    for place, (text, name, share) in enumerate(named, 1):
        table.add_row(
            str(place), plain(text), sigmas(name), number(name.r2, 2), sentences.percent(share)
        )
    show(table)
    show("[dim]nearest: share of the filters whose nearest key it is, copies or not.[/]")
    show_sigmas()


def show_claims(claims: Sequence[Claim]) -> None:
    """Print what is above chance, measure by measure."""
    numbers = ("held out", "95% interval", "chance", "above by")
    table = new_table("measure", *numbers, "control", "verdict", right=numbers)
    for claim in claims:
        interval = "–"
        if claim.low is not None and claim.high is not None:
            interval = f"{percent(claim.low)} .. {percent(claim.high)}"
        excess = "–"
        if claim.excess_low is not None and claim.excess_high is not None:
            excess = f"{100 * claim.excess_low:.1f} .. {100 * claim.excess_high:.1f}"
        above = SHORT[claim.above]
        table.add_row(
            plain(claim.measure), percent(claim.value), interval, percent(claim.chance),
            excess, plain(claim.control),
            f"[green]{above}[/]" if claim.above else f"[yellow]{above}[/]",
        )  # fmt: skip
    show(table)
    used = dict.fromkeys(claim.control for claim in claims)
    listed = "; ".join(f"{plain(name)}: {sentences.CONTROLS[name]}"
                       for name in used if name in sentences.CONTROLS)  # fmt: skip
    show(
        "[dim]chance: the most that as many keys reach on a control; above by: points, 95% "
        f"interval. {listed}.[/]"
    )


def show_curve(found: FoundKeys, threshold: float, *, show_all: bool) -> None:
    """Print what other numbers of keys explain, each with its chance."""
    thresholds = [threshold] if is_narrow() else list(THRESHOLDS)
    names = ["mean R²", *(f"R² >= {value:g}" for value in thresholds)]
    columns = [column for name in names for column in (name, "chance")]
    table = new_table("keys", *columns, right=("keys", *columns))
    for point in found.curve:
        if show_all or point.k in SHORT_CURVE or point.k == len(found.keys):
            cells = [percent(point.networks.mean_r2), percent(chance(point, None))]
            for value in thresholds:
                cells += [percent(point.networks.at(value)), percent(chance(point, value))]
            own = point.k == len(found.keys)
            table.add_row(*(f"[bold]{cell}[/]" if own else cell for cell in (str(point.k), *cells)))
    show(table)


def chance(point: CurvePoint, threshold: float | None) -> float | None:
    """The most that so many keys reach on a control; None where there is none."""
    found = [control.by_own for control in point.controls.values()]
    values = [one.mean_r2 if threshold is None else one.at(threshold) for one in found]
    return max(values, default=None)


def show_agreement(found: FoundKeys, *, show_all: bool) -> None:
    """Print whether other starts and methods find the same."""
    sentence = sentences.agreement(found)
    if sentence is None:
        return
    show("[bold]Agreement[/]")
    show(plain(sentence), indent=2)
    if show_all:
        numbers = ("same keys", "mean cosine", "least", "chance", "Rand index")
        table = new_table("other search", *numbers, right=numbers)
        for one in found.agreement:
            table.add_row(
                plain(one.other), f"{one.same} of {len(found.keys)}", number(one.matched),
                number(one.least), number(one.chance_matched), number(one.rand_index),
            )  # fmt: skip
        show(table)
        show("[dim]chance: mean cosine of random keys. Rand index of labels: 1 same, 0 chance.[/]")


def show_networks(found: FoundKeys, threshold: float, *, show_all: bool) -> None:
    """Print the networks that are explained best and worst, by keys of others."""
    rows: Sequence[NetworkCoverage | None] = found.networks
    if not show_all and len(rows) > 2 * EXTREMES + 1:
        rows = (*rows[:EXTREMES], None, *rows[-EXTREMES:])
    share = f"R² >= {threshold:g}"
    numbers = ("layers", "filters", "mean R²", share)
    table = new_table("network", *numbers, right=numbers, fold=("network",))
    for row in rows:
        if row is None:
            table.add_row(f"[dim]... {len(found.networks) - 2 * EXTREMES} more: --all[/]")
            continue
        table.add_row(
            plain(row.model), f"{row.layers:,}", f"{row.filters:,}",
            percent(row.explained.mean_r2), percent(row.explained.at(threshold)),
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "[dim]chance[/]", "", "", percent(chance(found.point, None)),
        percent(chance(found.point, threshold)),
    )  # fmt: skip
    show(table)


def show_groups(found: FoundKeys, threshold: float, axes: Sequence[str]) -> None:
    """Print what is explained of each group along an axis, by keys of other networks."""
    share = f"R² >= {threshold:g}"
    numbers = ("networks", "layers", "filters", "mean R²", share)
    for axis in axes:
        table = new_table(axis, *numbers, right=numbers, fold=(axis,))
        for row in found.groups:
            if row.axis == axis:
                table.add_row(
                    plain(row.name), f"{row.models:,}", f"{row.layers:,}", f"{row.filters:,}",
                    percent(row.explained.mean_r2), percent(row.explained.at(threshold)),
                )  # fmt: skip
        table.add_section()
        table.add_row(
            "[dim]chance[/]", "", "", "", percent(chance(found.point, None)),
            percent(chance(found.point, threshold)),
        )  # fmt: skip
        show(table)


def percent(share: float | None) -> str:
    """A share in a table; a dash where it is undefined."""
    return "–" if share is None else f"{share:.1%}"
