"""What training scripts write beside the state dict: the epoch, the architecture, arguments."""

from __future__ import annotations

from filterdb.layer import Statement
from filterdb.readers.pytorch.inert_objects import Opaque, attributes
from filterdb.readers.statements import statements_in_any

ARGUMENTS = ("train_args", "args")
"""Keys under which scripts keep what they were started with: a dict, or a namespace."""


def statements_of(root: object) -> tuple[Statement, ...]:
    """The statements at the top level of a checkpoint, and among its arguments."""
    stated = statements_in_any(root, "the checkpoint")
    arguments = [root.get(key) for key in ARGUMENTS] if isinstance(root, dict) else []
    for given in arguments:
        named = attributes(given) if isinstance(given, Opaque) else given
        found = statements_in_any(named, "the checkpoint's arguments")
        # The epoch among the arguments is how many there were to be.
        stated += tuple(item for item in found if item.column != "epoch")
    return stated
