"""Names that stand for networks elsewhere, among the paths of a command."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click


class PathOrName(click.Path):
    """A path, or a name that stands for a network elsewhere: that one need not exist here."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """The path, checked; a name as it is."""
        from filterdb.remote.address import is_address

        return str(value) if is_address(value) else super().convert(value, param, ctx)


def fetch_first(sources: Iterable[str]) -> None:
    """Download what is named, so that it is there before a progress bar is drawn.

    What fails does so again, and is said, where it is read.
    """
    from filterdb.errors import ReadError
    from filterdb.remote.address import is_address

    for source in sources:
        if is_address(source):
            from filterdb.remote.fetching import fetch

            try:
                fetch(source)
            except ReadError:
                continue
