"""The command line: presentation only, over the public API. Commands are imported when called."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from keyword import iskeyword
from types import FrameType
from typing import Any, TextIO

import click

from filterdb._version import __version__
from filterdb.errors import (
    DamagedStoreError,
    ExportError,
    FilterDBError,
    KeySetError,
    ReadError,
    StoreError,
    TransferError,
)

# Command -> module and one line for `filterdb --help`, which thus imports none of them.
COMMANDS = {
    "check": ("filterdb.cli.check", "Quality and verdict per layer of files, no database."),
    "ingest": ("filterdb.cli.ingest", "Files and folders into a database, created if new."),
    "models": ("filterdb.cli.catalogue", "The models of a database."),
    "layers": ("filterdb.cli.catalogue", "The layers of a database, or of one model."),
    "info": ("filterdb.cli.catalogue", "Totals and coverage of a database."),
    "set": ("filterdb.cli.set", "Say what is known of models: task, license, any column."),
    "basis": ("filterdb.cli.basis", "Principal components of a population; the database's basis."),
    "shift": ("filterdb.cli.shift", "How far groups lie apart, each pair with its null."),
    "phenotypes": (
        "filterdb.cli.phenotypes",
        "Sun, spikes, symbols or point: the shape of layers.",
    ),
    "nearest": ("filterdb.cli.nearest", "The models closest to one, and shared layers."),
    "diff": ("filterdb.cli.diff", "Two networks side by side, layer by layer."),
    "keys": ("filterdb.cli.keys", "Master key filters: find, label, show, replace."),
    "transfer": ("filterdb.cli.transfer", "Experiments: filters of one network in another."),
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
INTERRUPTED, TERMINATED = 128 + 2, 128 + 15
"""Exit statuses after Ctrl-C and after SIGTERM, as shells have them."""


class Terminated(BaseException):
    """SIGTERM came: an exception, so that temporary files are removed on the way out."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they run.

    Parameters
    ----------
    table
        Command -> module, and one line for the help.
    """

    def __init__(
        self, *arguments: Any, table: Mapping[str, tuple[str, str]], **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All command names, in the order of a first use."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in self.table:
            return None
        module = import_module(self.table[cmd_name][0])
        command = getattr(module, cmd_name + "_" * iskeyword(cmd_name))
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done; 1 a gate said no; 2 wrong usage; 3 inputs or outputs failed.",
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
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)
    try:
        # Outside its standalone mode click hands the status of `Exit` back.
        status = cli.main(standalone_mode=False) or DONE
        if sys.stdout is not None:  # closed, as by `>&-`
            sys.stdout.flush()
    except (SystemExit, BrokenPipeError):
        # There click exits only when the reader of a pipe has gone (`filterdb models DB | head`),
        # which is no error.
        status = DONE
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        status = error.exit_code
    except click.Abort:
        say("Interrupted. What was stored before is kept.")
        status = INTERRUPTED
    except Terminated:
        say("Terminated. What was stored before is kept.")
        status = TERMINATED
    except FilterDBError as error:
        say(f"Error: {error}")
        status = SOME_FAILED if is_failure(error) else WRONG_USAGE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        say(f"Error: The system refused to read or write ({place}{error.strerror or error}).")
        status = SOME_FAILED
    if sys.stdout is not None:
        drain(sys.stdout)
    sys.exit(status)


def is_failure(error: FilterDBError) -> bool:
    """Whether an input or an output failed; if not, the command was called wrongly."""
    if isinstance(error, ExportError | KeySetError | TransferError):
        # Refused by us, or by the system or a file.
        return isinstance(error.__cause__, OSError | ReadError)
    return isinstance(error, ReadError | DamagedStoreError) or type(error) is StoreError


def terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Turn SIGTERM into an exception; a second one, as `timeout` sends, is the same wish."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def say(text: str) -> None:
    """Print to stderr, if there is still any."""
    with suppress(OSError):
        click.echo(text, err=True)


def drain(stream: TextIO) -> None:
    """Write out what a stream holds; if that fails, Python need not try again on its way out."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
