"""The command line: presentation only, over the public API. Commands are imported when called."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from filterdb._version import __version__

# Command -> module and one line for `filterdb --help`, which thus imports none of them.
COMMANDS = {
    "check": ("filterdb.cli.check", "Quality and verdict per layer of files, no database."),
    "ingest": ("filterdb.cli.ingest", "Files and folders into a database, created if new."),
    "models": ("filterdb.cli.catalogue", "The models of a database."),
    "layers": ("filterdb.cli.catalogue", "The layers of a database, or of one model."),
    "info": ("filterdb.cli.catalogue", "Totals and coverage of a database."),
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
        command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
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
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Interrupted. What was finished is kept.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # `filterdb models DB | head`: the reader has gone, which is no error.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        from filterdb.errors import FilterDBError, ReadError, StoreError

        if not isinstance(error, FilterDBError):
            raise
        click.echo(f"Error: {error}", err=True)
        failed = isinstance(error, ReadError) or type(error) is StoreError
        sys.exit(SOME_FAILED if failed else WRONG_USAGE)
