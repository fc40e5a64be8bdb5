"""``filterdb transfer demo``: a small experiment on data that come with scikit-learn."""

from __future__ import annotations

from contextlib import nullcontext
from tempfile import TemporaryDirectory
from typing import Any

import click

SETTINGS = ("network.width=16", "network.depth=2", "budget.epochs=15", "keys.sets=['published8']",
            "keys.counts=[1, 8]")  # fmt: skip
"""Seconds for each of its runs on one core."""


@click.command()
@click.option("-o", "--out", type=click.Path(file_okay=False), metavar="FOLDER",
              help="Keep the runs here; else they are thrown away.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time; the cores, unless told.")
def demo(out: str | None, **how: Any) -> None:
    """Do eight key filters, frozen, as well as learnt ones? On digits, in less than a minute.

    Each run is small, so that little is told apart: it shows how a result reads, not what holds.
    """
    from pathlib import Path

    from filterdb.cli import SOME_FAILED
    from filterdb.cli.output import plain, show
    from filterdb.cli.transfer.doing import executed
    from filterdb.cli.transfer.short import plan_from
    from filterdb.cli.transfer.showing import present

    told = " ".join(f'--set "{setting}"' for setting in SETTINGS)
    show(f"[dim]$ filterdb transfer keys {plain(told)}[/]")
    with nullcontext(out) if out else TemporaryDirectory() as folder:
        result = executed(plan_from("keys", SETTINGS), Path(folder), device="cpu", **how)
    present(result, folder=out)
    show("A network so small shows how a result reads, and not what keys can do: that is what "
         "`filterdb transfer show keys` has.")  # fmt: skip
    if result.coverage.count("failed"):
        raise click.exceptions.Exit(SOME_FAILED)
