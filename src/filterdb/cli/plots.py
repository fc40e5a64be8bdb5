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
        Its suffix is none that a figure can have, its folder is not there, or it is no place
        for a file: a part of a database, or something else than a file.
    MissingExtraError
        matplotlib is not installed.
    """
    if path is None:
        return
    from filterdb.errors import ExportError
    from filterdb.extras import require
    from filterdb.figures.saving import format_of
    from filterdb.store.output import output_file

    require("matplotlib", extra="plot")
    try:
        format_of(path)
        output_file(path)
    except ExportError as error:
        raise click.BadParameter(str(error), param_hint=option_of(path)) from error
    if not Path(path).absolute().parent.is_dir():
        msg = f"There is no folder {Path(path).absolute().parent}."
        raise click.BadParameter(msg, param_hint=option_of(path))


def option_of(path: str) -> str:
    """The option of the running command that was given this path."""
    context = click.get_current_context(silent=True)
    for parameter in context.command.params if context else ():
        if context and parameter.name and context.params.get(parameter.name) == path:
            return parameter.opts[-1]
    return "--plot"


def write_plot(figure: Figure, path: str) -> None:
    """Write a figure, and say on stderr where.

    Raises
    ------
    ExportError
        It cannot be written.
    """
    from filterdb.errors import ExportError
    from filterdb.figures.saving import save

    try:
        save(figure, path)
    except OSError as error:
        msg = f"The picture {path!r} cannot be written ({error.strerror or error})."
        raise ExportError(msg) from error
    click.echo(f"Picture: {path}", err=True)
