"""``filterdb transfer run``: an experiment from a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from filterdb.cli.transfer.doing import carry_out, run_options


@click.command()
@click.argument("plan", metavar="PLAN.toml", type=click.Path(exists=True, dir_okay=False))
@run_options
def run(plan: str, out: str | None, **how: Any) -> None:
    """Do the runs of a plan and say what they come to.

    `filterdb transfer keys --plan-only > my.toml` writes a plan to begin with. Its runs are kept
    in FOLDER, with the plan as it was understood and the result as JSON.
    """
    from filterdb.transfer.plan import read_plan

    carry_out(read_plan(plan), out or f"transfer-{Path(plan).stem}", **how)
