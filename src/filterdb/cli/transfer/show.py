"""``filterdb transfer show``: a result that is already there, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.options import json_option, plot_option

if TYPE_CHECKING:
    from filterdb.transfer.results import Result


@click.command()
@click.argument("what", metavar="FOLDER|FILE|NAME")
@click.option("--all", "everything", is_flag=True, help="Every sentence, comparison and arm.")
@plot_option
@json_option
def show(what: str, *, everything: bool, plot: str | None, as_json: bool) -> None:
    """Print the result of an experiment again: of its folder, or of a result.json.

    A folder whose runs are not all done shows what there is so far. `layers`, `matrix` and `keys`
    name the results that come with the package, where there is no such file or folder. Needs no
    torch, unless runs are still to be done of a network that is not built in: its layers are not
    known before it is built.
    """
    from filterdb.cli.output import print_json
    from filterdb.cli.plots import check_plot
    from filterdb.cli.transfer.showing import draw, present

    check_plot(plot)
    result, folder = found(what)
    if as_json:
        print_json(result.to_dict())
    else:
        present(result, folder=folder, everything=everything)
        if folder is None and not everything:
            click.echo(f"Every sentence, comparison and arm: filterdb transfer show {what} --all")
    draw(result, plot)


def found(what: str) -> tuple[Result, str | None]:
    """The result that is meant, and the folder of its runs; None where there is none.

    A file or folder goes before a name: what one has made oneself is nearer.

    Raises
    ------
    click.BadParameter
        It is neither there nor the name of a result that comes with the package.
    TransferError
        It cannot be read, or holds no result.
    """
    from difflib import get_close_matches

    from filterdb.demo import results
    from filterdb.transfer.results import read_result

    path = Path(what)
    if path.is_dir():
        return of_folder(path), what
    if path.exists():
        return read_result(path), None
    with results() as shipped:
        names = sorted(one.stem for one in shipped.glob("*.json"))
        if what in names:
            return read_result(shipped / f"{what}.json"), None
    close = get_close_matches(what, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    msg = (
        f"There is no file or folder {what!r}, and no such result comes with the package "
        f"({', '.join(names)}).{hint}"
    )
    raise click.BadParameter(msg, param_hint="FOLDER|FILE|NAME")


def of_folder(folder: Path) -> Result:
    """The result in an experiment's folder, or what its book comes to so far.

    Raises
    ------
    TransferError
        It holds neither, or they cannot be read.
    """
    from filterdb.cli.transfer.doing import result_from
    from filterdb.errors import TransferError
    from filterdb.transfer.book import FILE, PLAN, RESULT, Book
    from filterdb.transfer.plan import read_plan
    from filterdb.transfer.results import read_result

    stored, plan = folder / RESULT, folder / PLAN
    runs = plan.exists() and (folder / FILE).exists()
    if stored.exists():
        result = read_result(stored)
        whole = not result.coverage.missing and runs and result.settings == table_of(plan)
        if whole or not runs:
            return result
    if not runs:
        msg = (
            f"{folder} holds no experiment: there is neither {RESULT} nor {PLAN} with {FILE}. "
            "Name the folder that filterdb transfer was given, or a result.json."
        )
        raise TransferError(msg)
    return result_from(read_plan(plan), Book(folder).rows())


def table_of(plan: Path) -> dict[str, Any]:
    """What a plan's file says; empty where it is none, which is told when it is read."""
    import tomllib

    try:
        return tomllib.loads(plan.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
