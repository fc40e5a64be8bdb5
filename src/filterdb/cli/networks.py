"""How checked networks look in a terminal: one in full, or several in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.output import is_narrow, new_table, number, percent, plain, show, verdict_text
from filterdb.words import counted

if TYPE_CHECKING:
    from rich.table import Table

    from filterdb.checking import Check
    from filterdb.errors import ReadError

UNJUDGED = ("undefined", "invalid")
SCREEN = 20
"""Layers from which on the verdict is repeated below the table."""
QUIET = ("healthy", "undefined")
"""Layer verdicts that need no explanation below the table."""


def show_network(result: Check, *, limit: int | None) -> None:
    """Print a network: verdict and reasons first, then its layers, then what was left out."""
    file, covered = result.file, result.coverage
    click.echo()
    source = file.format
    if file.producer and file.producer != file.format:
        source += f", {file.producer}"
    name = plain(Path(file.source).name)
    share = result.degenerate_share
    mixed = f"  ({share:.0%} degenerate)" if share and result.verdict == "healthy" else ""
    show(f"[bold]{name}[/]  ({plain(source)})  {verdict_text(result.verdict)}{mixed}")
    for reason in result.reasons:
        show(plain(reason), indent=2)
    for note in file.notes:
        show(f"[dim]{plain(note)}[/]", indent=2)
    show(layer_table(result))
    explained = [row for row in result.layers if row.verdict not in QUIET]
    if explained:
        show("[bold]Why[/]")
    for row in explained[:limit]:
        reason = f"{verdict_text(row.verdict)}. {plain(row.reason)}"
        show(f"{plain(row.layer.name)}: {reason}", indent=2)
    if limit is not None and len(explained) > limit:
        show(
            f"... and {counted(len(explained) - limit, 'more layer')}: --all shows them.", indent=2
        )
    judged = sum(row.layer.n_filters for row in result.layers if row.verdict not in UNJUDGED)
    show("[bold]Covered[/]")
    show(
        f"{covered['analysed']} of {counted(covered['conv_layers'], 'convolution layer')} with "
        f"{judged:,} of {counted(covered['filters'], 'filter')} have shape statistics; "
        "1x1 kernels have none.",
        indent=2,
    )
    show(plain(weights_line(result)), indent=2)
    if zeros := zeros_line(result):
        show(zeros, indent=2)
    show_skipped(result, limit)
    if len(result.layers) > SCREEN:
        show(f"[bold]{name}[/] is {verdict_text(result.verdict)}. {plain(result.reasons[0])}")


def weights_line(result: Check) -> str:
    """Which weights were measured, and what is known of batch normalisations behind them."""
    return counts_line(result.weights)


def counts_line(counts: Mapping[str, Any]) -> str:
    """What was asked for, and how many layers there are of each state, as a sentence or two."""
    asked = counts["asked"]
    told = {
        "raw": "raw (a batch normalisation follows)",
        "folded": "folded into theirs",
        "no_norm": "without one",
        "unknown": "unknown" if asked == "stored" else "unknown, measured as stored",
    }
    parts = [f"{counts[state]} {words}" for state, words in told.items() if counts[state]]
    return f"Weights measured: {asked}. Layers: {', '.join(parts)}."


def zeros_line(result: Check) -> str:
    """How many weights are exactly 0 and how they lie; empty where none is."""
    found = [row for row in result.layers if row.zeros.weights]
    if not found:
        return ""
    weights = sum(row.zeros.weights for row in found)
    filters = sum(row.zeros.filters for row in found if row.layer.kernel != (1, 1))
    channels = sum(row.zeros.channels for row in found)
    return (
        f"{counted(weights, 'weight')} exactly 0, in {counted(len(found), 'layer')}: "
        f"{counted(filters, 'whole filter')}, {counted(channels, 'whole output channel')}."
    )


def layer_table(result: Check) -> Table:
    """One row a layer; in a narrow terminal without the index, H and orthogonality."""
    numbers = ("#", "filters", "sparse", "H", "H/T_H", "orth.")
    columns = ["#", "layer", "kernel", "kind", *numbers[1:], "verdict"]
    if is_narrow():
        columns = [name for name in columns if name not in ("#", "H", "orth.")]
    table = new_table(*columns, right=numbers, fold=("layer",))
    for row in result.layers:
        quality = row.quality
        cells = {
            "#": str(row.layer.index),
            "layer": plain(row.layer.name),
            "kernel": "x".join(map(str, row.layer.kernel)),
            "kind": row.layer.kind,
            "filters": f"{row.layer.n_filters:,}",
            "sparse": percent(quality.sparsity),
            "H": number(quality.variance_entropy),
            "H/T_H": number(quality.entropy_ratio),
            "orth.": number(quality.orthogonality),
            "verdict": verdict_text(row.verdict),
        }
        table.add_row(*(cells[name] for name in columns))
    return table


def show_skipped(result: Check, limit: int | None) -> None:
    """Print what was not analysed, by reason, with a few names each."""
    skipped = result.file.skipped
    if not skipped:
        return
    show("[bold]Not analysed[/]")
    names: dict[str, list[str]] = {}
    for item in skipped:
        names.setdefault(item.reason, []).append(item.name)
    few = None if limit is None else 3
    for reason, members in names.items():
        more = f" and {len(members) - 3} more" if few and len(members) > 3 else ""
        listed = plain(", ".join(members[:few]) + more)
        show(f"{counted(len(members), 'tensor')}, {plain(reason)}: {listed}", indent=2)


def show_summary(results: Sequence[Check | ReadError]) -> None:
    """Print several networks side by side, then what stands behind each verdict."""
    from filterdb.errors import ReadError

    numbers = ("layers", "analysed", "filters", "degenerate")
    table = new_table("file", "format", *numbers, "verdict", right=numbers, fold=("file",))
    for result in results:
        if isinstance(result, ReadError):
            name = plain(Path(result.file or "").name)
            table.add_row(name, "–", "–", "–", "–", "–", "[bold red]unreadable[/]")
            continue
        covered = result.coverage
        table.add_row(
            plain(Path(result.file.source).name),
            plain(result.file.format),
            str(covered["conv_layers"]),
            str(covered["analysed"]),
            f"{covered['filters']:,}",
            percent(result.degenerate_share),
            verdict_text(result.verdict),
        )
    show(table)
    verdicts = Counter("unreadable" if isinstance(r, ReadError) else r.verdict for r in results)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    show(
        f"[bold]{counted(len(results), 'file')}[/]: {summary}. Degenerate: share of the filters "
        "above 1x1 that sit in degenerate layers."
    )
    for result in results:
        if not isinstance(result, ReadError) and (
            result.verdict != "healthy" or result.degenerate_share
        ):
            name = plain(Path(result.file.source).name)
            show(f"{name}: {plain(result.reasons[0])}", indent=2)
