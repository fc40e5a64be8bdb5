"""``filterdb keys``: the few filters that depthwise layers are affine copies of."""

from __future__ import annotations

import click

from filterdb.cli import LazyGroup

COMMANDS = {
    "find": ("filterdb.cli.keys.find", "Find keys, and say what is above chance."),
    "label": ("filterdb.cli.keys.label", "Which key every filter is a copy of, or of none."),
    "show": ("filterdb.cli.keys.show", "The key sets there are; one of them; two compared."),
    "replace": ("filterdb.cli.keys.replace", "A copy of a file with filters from keys alone."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def keys() -> None:
    """Master key filters: find them, label with them, look at them, replace filters by them.

    Two filters are the same key where one is a x + b of the other. A filter is a copy of a key
    from an R² of 0.8 on, unless another threshold is asked for; else it is "other".
    """
