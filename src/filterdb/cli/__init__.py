"""The command line: presentation only, over the public API. Commands are imported when called."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from keyword import iskeyword

import click

from filterdb._version import __version__
from filterdb.errors import FilterDBError, ReadError, StoreError

# Command -> module and one line for `filterdb --help`, which thus imports none of them.
COMMANDS = {
    "check": ("filterdb.cli.check", "Quality and verdict per layer of files, no database."),
    "ingest": ("filterdb.cli.ingest", "Files and folders into a database, created if new."),
    "models": ("filterdb.cli.catalogue", "The models of a database."),
    "layers": ("filterdb.cli.catalogue", "The layers of a database, or of one model."),
    "info": ("filterdb.cli.catalogue", "Totals and coverage of a database."),
    "basis": ("filterdb.cli.basis", "Principal components of a population; the database's basis."),
    "shift": ("filterdb.cli.shift", "How far groups lie apart, each pair with its null."),
    "phenotypes": (
        "filterdb.cli.phenotypes",
        "Sun, spikes, symbols or point: the shape of layers.",
    ),
    "nearest": ("filterdb.cli.nearest", "The models closest to one, and shared layers."),
    "diff": ("filterdb.cli.diff", "Two networks side by side, layer by layer."),
    "report": ("filterdb.cli.report", "One offline HTML page on a network or a database."),
    "import": ("filterdb.cli.published", "The published data set into a database."),
    "export": ("filterdb.cli.published", "A database as HDF5, Parquet or safetensors."),
    "reproduce": ("filterdb.cli.published", "The published tables beside the published figures."),
    "verify": ("filterdb.cli.maintain", "Check every hash; find and remove leftovers."),
    "remove": ("filterdb.cli.maintain", "Take models out of a database."),
    "formats": ("filterdb.cli.formats", "What can be read, and what is only recognised."),
    "demo": ("filterdb.cli.demo", "All of it on networks that come with the package."),
}

DONE, GATE_SAID_NO, WRONG_USAGE, SOME_FAILED = 0, 1, 2, 3
"""Exit statuses, the same for every command."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All command names, in the order of a first use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name][0])
        command = getattr(module, cmd_name + "_" * iskeyword(cmd_name))
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done; 1 a gate said no; 2 wrong usage; 3 some inputs failed.",
)
@click.version_option(__version__, prog_name="filterdb")
def cli() -> None:
    """Turn trained convolutional networks into a database of their filters.

    Any checkpoint in, safely; a verdict with reasons on every layer out. Begin with
    `filterdb demo`, or `filterdb check FILE`.
    """


def main() -> None:
    """Entry point: errors of ours become one line on stderr and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a letter shows its code; that is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        # Outside its standalone mode click hands the status of `Exit` back.
        status = cli.main(standalone_mode=False) or DONE
    except SystemExit:
        # There click exits only when the reader of a pipe has gone (`filterdb models DB | head`),
        # which is no error.
        status = DONE
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        click.echo("Interrupted. What was finished is kept.", err=True)
        status = 130
    except FilterDBError as error:
        click.echo(f"Error: {error}", err=True)
        failed = isinstance(error, ReadError) or type(error) is StoreError
        status = SOME_FAILED if failed else WRONG_USAGE
    sys.exit(status)
