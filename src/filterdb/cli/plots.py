"""Figures as files: a wrong name is told before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_plot(path: str | None) -> None:
    """Make sure that a picture can be written under that name.

    Raises
    ------
    click.BadParameter
        Its suffix is none that a figure can have, or its folder is not there.
    MissingExtraError
        matplotlib is not installed.
    """
    if path is None:
        return
    from filterdb.errors import ExportError
    from filterdb.extras import require
    from filterdb.figures.saving import format_of

    require("matplotlib", extra="plot")
    try:
        format_of(path)
    except ExportError as error:
        raise click.BadParameter(str(error), param_hint="--plot") from error
    if not Path(path).absolute().parent.is_dir():
        msg = f"There is no folder {Path(path).absolute().parent}."
        raise click.BadParameter(msg, param_hint="--plot")


def write_plot(figure: Figure, path: str) -> None:
    """Write a figure, and say on stderr where."""
    from filterdb.figures.saving import save

    try:
        save(figure, path)
    except OSError as error:
        msg = f"The picture cannot be written ({error.strerror or error})."
        raise click.ClickException(msg) from error
    click.echo(f"Picture: {path}", err=True)
