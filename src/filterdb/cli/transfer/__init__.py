"""``filterdb transfer``: what filters are worth in a network that has not learnt them."""

from __future__ import annotations

import click

from filterdb.cli import LazyGroup

SHORT = "filterdb.cli.transfer.short"
COMMANDS = {
    "run": ("filterdb.cli.transfer.run", "An experiment from a plan, a TOML file."),
    "layers": (SHORT, "How many layers can be taken from elsewhere, part by part."),
    "matrix": (SHORT, "The filters of every data set in a network for every other."),
    "architectures": (SHORT, "The filters of other architectures in a network."),
    "donors": (SHORT, "The filters of any checkpoint or database in a network."),
    "keys": (SHORT, "A few key filters instead of learnt ones."),
    "removal": (SHORT, "Keys taken out one by one, by what their absence costs."),
    "size": (SHORT, "Filters of a source that has seen more or less data."),
    "ingest": ("filterdb.cli.transfer.ingest", "The trained networks into a database."),
    "show": ("filterdb.cli.transfer.show", "A result that is already there, without torch."),
    "demo": ("filterdb.cli.transfer.demo", "A small experiment on scikit-learn's digits."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    epilog="Exit status: 0 done; 2 wrong usage; 3 some runs failed.",
)
def transfer() -> None:
    """Train small networks with filters from elsewhere, frozen, beside their controls.

    Every arm has the same budget and several seeds; what is told apart is told with its interval.
    The same command goes on in the same folder: no finished run is repeated. Needs
    `pip install 'filterdb[transfer]'`.
    """
