"""``filterdb demo``: all of it on networks that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from filterdb.database import Database

HEALTHY, DEGENERATE = "cnn-shapes.safetensors", "overwide-few.safetensors"
SMALL, LARGE = (3, 3), (7, 7)
"""Kernel sizes of its depthwise networks, a MobileNet and a ConvMixer."""
EPOCHS = ("run-textures-epoch01", "run-textures-epoch30")


@click.command()
@click.argument("folder", default="filterdb-demo", type=click.Path(file_okay=False))
def demo(folder: str) -> None:
    """Build a small database in FOLDER and look around in it. Works offline, in seconds."""
    from filterdb.checking import check
    from filterdb.cli.catalogue import present_models
    from filterdb.cli.networks import show_network
    from filterdb.cli.output import plain, progress_bar, show
    from filterdb.cli.shift import present as present_shift
    from filterdb.database import open_database
    from filterdb.demo import zoo

    refuse_foreign(Path(folder))
    database = open_database(folder)
    with zoo() as networks:
        with progress_bar("ingesting") as report:
            result = database.ingest([networks], metadata=networks / "models.csv", progress=report)
        rows = database.models()
        show(
            f"[bold]1. A database[/] of {len(rows)} small networks that come with the package, "
            f"in {plain(folder)}: {result.added} added, {result.unchanged} unchanged.\n"
            f"   $ filterdb ingest {plain(folder)} NETWORKS --metadata models.csv"
        )
        show(f"\n[bold]2. What is in it[/]\n   $ filterdb models {plain(folder)}")
        present_models(rows)
        show("\n[bold]3. A healthy network and a degenerate one[/]\n   $ filterdb check FILE")
        for name in (HEALTHY, DEGENERATE):
            show_network(check(networks / name), limit=4)
    show(
        "\n[bold]4. How far the kinds of image lie apart[/]\n"
        f"   $ filterdb shift {plain(folder)} --by visual_category"
    )
    present_shift(database.shift("visual_category"), limit=4)
    show(
        "\n[bold]5. One training, two of its epochs[/]\n"
        f"   $ filterdb diff --db {plain(folder)} {EPOCHS[0]} {EPOCHS[1]}"
    )
    for sentence in database.diff(*EPOCHS).summary:
        show(plain(sentence), indent=2)
    present_keys(database)
    present_transfer(Path(folder) / "transfer-layers.png")
    write_page(database, Path(folder) / "report.html")
    show("\n[bold]Next[/]")
    for command, purpose in (
        ("check YOUR_CHECKPOINT", "a verdict on any network, of any format"),
        ("formats", "what can be read"),
        ("report YOUR_CHECKPOINT -o page.html", "one page that everybody can read"),
        (f"info {folder}", "what the database covers"),
        (f"layers {folder} --where \"verdict = 'sparse'\"", "layers by any condition"),
        (f"ingest {folder} YOUR_FOLDER", "add your own networks"),
        ("transfer demo", "train such an experiment, in less than a minute (extra transfer)"),
    ):
        show(f"filterdb {plain(command)}\n   [dim]{purpose}[/]", indent=2)


def present_keys(database: Database) -> None:
    """Which filters of the depthwise networks are copies of master keys, beside chance."""
    from filterdb.cli.keys.pictures import show_keys
    from filterdb.cli.output import plain, show
    from filterdb.keys import sentences
    from filterdb.keys.labels.chance import chance_of
    from filterdb.keys.labels.labelling import label
    from filterdb.keys.search.finding import find
    from filterdb.keys.sets.usual import USUAL

    folder = plain(database.path)
    labels = label(database, USUAL[LARGE])
    chance = chance_of(labels, database)
    show(
        "\n[bold]6. Master keys: few filters that all depthwise ones are copies of?[/]\n"
        f"   $ filterdb keys label {folder} --kernel {LARGE[0]}x{LARGE[1]}"
    )
    show(plain(sentences.labelled(labels)), indent=2)
    if chance is not None:
        show(plain(sentences.labelled_by_chance(chance)), indent=2)
    found = find(database.select(kernel=SMALL))
    show(f"   $ filterdb keys find {folder} --kernel {SMALL[0]}x{SMALL[1]}")
    show(plain(sentences.headline(found)), indent=2)
    show_keys(found.keys)


def present_transfer(picture: Path) -> None:
    """What frozen filters from elsewhere are worth: results that come with the package."""
    from filterdb.cli.output import plain, show
    from filterdb.cli.transfer.showing import present_briefly
    from filterdb.demo import results
    from filterdb.errors import MissingExtraError
    from filterdb.transfer.results import read_result

    show(
        "\n[bold]7. Do frozen filters from elsewhere serve as well as one's own?[/] A result that "
        "was trained before\n   $ filterdb transfer show layers"
    )
    with results() as shipped:
        result = read_result(shipped / "layers.json")
    present_briefly(result)
    show("Others: filterdb transfer show matrix, filterdb transfer show keys", indent=2)
    try:
        from filterdb.figures import save
        from filterdb.transfer.picture import picture_of

        save(picture_of(result), picture)
    except MissingExtraError as error:
        show(f"[yellow]{plain(error)}[/]", indent=2)
        return
    show(f"Picture: {plain(picture)}", indent=2)


def write_page(database: Database, path: Path) -> None:
    """End with the report's page, where its libraries are installed."""
    from filterdb.cli.output import plain, progress_bar, show
    from filterdb.errors import MissingExtraError

    command = f"filterdb report {plain(database.path)} -o {plain(path)}"
    show(f"\n[bold]8. All of it on one page, offline[/]\n   $ {command}")
    try:
        from filterdb.report import database_report, write_report

        with progress_bar("reporting") as report:
            write_report(database_report(database, progress=report), path)
    except MissingExtraError as error:
        show(f"[yellow]{plain(error)}[/]", indent=2)
        return
    show(f"Open [bold]{plain(path)}[/] in a browser.", indent=2)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something else.

    Raises
    ------
    click.UsageError
        It has files, and is no database.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "catalogue.sqlite").exists():
        msg = f"{folder} holds other files. Name a new or empty folder: filterdb demo FOLDER"
        raise click.UsageError(msg)
