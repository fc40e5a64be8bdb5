"""Which key set a command takes where none is named, and at which kernel size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from filterdb.keys.equivalence import Kernel
    from filterdb.keys.key_set import KeySet

set_option = click.option(
    "--set", "key_set", metavar="SET",
    help="A set that comes with filterdb (`filterdb keys show`), or a file; else the id or name "
    "of a set in the database (`filterdb info`). If not given, the one for the kernel size.",
)  # fmt: skip
resize_option = click.option(
    "--resize", type=click.Choice(["padding", "analytic"]),
    help="Bring keys of another size to the kernel. padding: in the middle of zeros; from a "
    "larger size to a smaller one their rim is cropped. analytic: the members of the analytic "
    "family that they are named after, of the other size.",
)  # fmt: skip


def chosen_set(
    source: str,
    name: str | None,
    *,
    kernel: Kernel | None = None,
    resize: str | None = None,
    where: str | None = None,
    kind: str = "depthwise",
) -> KeySet:
    """The key set for a file or a database.

    Raises
    ------
    KeySetError
        There is no such set, or it cannot be brought to the size.
    click.UsageError
        The set is of another size and nobody said how to resize it, or none comes with the
        package for this size.
    """
    from filterdb.keys.sets.set_file import shipped
    from filterdb.keys.sets.usual import USUAL

    wanted = kernel
    if wanted is None and (name is None or resize is not None):
        wanted = usual_kernel(source, where=where, kind=kind)
    if name is None:
        own = USUAL.get(wanted) if wanted else None
        if own not in shipped() and resize is None and wanted is not None:
            msg = (
                "No key set for {}x{} filters comes with filterdb. Name one with --set, find one "
                "with `filterdb keys find`, or let one be brought to that size with --resize."
            ).format(*wanted)
            raise click.UsageError(msg)
        name = own if own in shipped() else USUAL[7, 7]
    keys = named_set(source, name)
    if wanted is None or keys.kernel == wanted:
        return keys
    if resize is None:
        msg = (
            "The keys of {!r} are {}x{}, not {}x{}: --resize says how to bring them there.".format(
                keys.name, *keys.kernel, *wanted
            )
        )
        raise click.UsageError(msg)
    return resized(keys, wanted, resize)


def named_set(source: str, name: str) -> KeySet:
    """The set that a name, a file or, of a database, an id stands for.

    Raises
    ------
    KeySetError
        There is no such set.
    """
    if Path(source).is_dir():
        from filterdb.keys.labels.stored_labels import keys_for

        return keys_for(Path(source), name)
    from filterdb.keys.sets.set_file import load_keys

    return load_keys(name)


def resized(keys: KeySet, kernel: Kernel, resize: str) -> KeySet:
    """Keys at another size, by ``"padding"`` or ``"analytic"``.

    Raises
    ------
    KeySetError
        They cannot be brought there.
    """
    if keys.kernel == kernel:
        return keys
    if resize == "padding":
        return keys.padded(kernel)
    from filterdb.keys.naming.naming import analytic

    return analytic(keys, kernel)


def usual_kernel(source: str, *, where: str | None, kind: str) -> Kernel | None:
    """3x3 where layers are of it, else the size with the most filters; None where there is none.

    Raises
    ------
    ReadError, StoreError, QueryError
        The source cannot be read, or the condition is not valid.
    """
    filters: Counter[Kernel] = Counter()
    for own, size, count in layers_of(source, where):
        if kind in ("any", own) and size != (1, 1):
            filters[size] += count
    if (3, 3) in filters:
        return 3, 3
    return max(filters, key=filters.__getitem__, default=None)


def layers_of(source: str, where: str | None) -> list[tuple[str, Kernel, int]]:
    """Kind, kernel size and number of filters of each layer."""
    if Path(source).is_dir():
        from filterdb.keys.labels.database_layers import database_layers

        return [
            (layer.kind, layer.kernel, layer.scan.n_filters)
            for layer in database_layers(Path(source), where)
        ]
    from filterdb.reading import read

    return [(layer.kind, layer.kernel, layer.n_filters) for layer in read(source).layers]
