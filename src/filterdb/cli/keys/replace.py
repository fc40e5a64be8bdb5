"""``filterdb keys replace``: a copy of a checkpoint with filters from keys alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from filterdb.cli.keys.choice import chosen_set, resize_option, set_option
from filterdb.cli.options import KernelSize, json_option

if TYPE_CHECKING:
    from filterdb.keys.replacing.replacement import Replacement


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(dir_okay=False))
@click.argument("out", metavar="OUT", type=click.Path(dir_okay=False))
@set_option
@click.option("--kernel", type=KernelSize(),
              help="Kernel size; the set's, or 3x3 if there, or the most frequent.")  # fmt: skip
@resize_option
@click.option("--min-r2", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Filters of which less is explained stay as they are.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
@json_option
def replace(
    source: str,
    out: str,
    key_set: str | None,
    kernel: tuple[int, int] | None,
    resize: str | None,
    min_r2: float,
    force: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Copy FILE to OUT with each depthwise filter replaced by its best fit a x + b.

    Safetensors, npz or ONNX, in the same format; all else stays as it is, bit for bit.
    """
    from filterdb.cli.output import print_json
    from filterdb.keys.replacing.replacing import replace as replace_filters

    keys = chosen_set(source, key_set, kernel=kernel, resize=resize)
    done = replace_filters(source, keys, out, min_r2=min_r2, force=force)
    if as_json:
        print_json(done.to_dict())
    else:
        present(done)


def present(done: Replacement) -> None:
    """Print the residuals layer by layer, what was left alone and why, and the bytes."""
    from filterdb.cli.output import by_reason, is_narrow, new_table, number, plain, show
    from filterdb.report.words import size
    from filterdb.words import counted

    click.echo()
    show(
        f"[bold]{done.replaced:,} of {counted(done.filters, 'filter')}[/] in "
        f"{counted(len(done.layers), 'depthwise layer')} replaced by a x + b of their nearest key "
        f"of {plain(done.keys)}: {plain(done.out)}"
    )
    rest = ("other", "constant", "zero") if not is_narrow() else ("other",)
    numbers = ("filters", "replaced", *rest, "mean R²", "least R²", "residual")
    table = new_table("layer", *numbers, right=numbers, fold=("layer",))
    for layer in done.layers:
        table.add_row(
            plain(layer.name), f"{layer.filters:,}", f"{layer.replaced:,}",
            *(f"{getattr(layer, name):,}" for name in rest),
            number(layer.mean_r2), number(layer.worst_r2), number(layer.residual),
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "all", f"{done.filters:,}", f"{done.replaced:,}",
        *(f"{sum(getattr(layer, name) for layer in done.layers):,}" for name in rest),
        number(done.mean_r2), number(done.worst_r2), number(done.residual),
    )  # fmt: skip
    show(table)
    show("[dim]residual: ||w - w'|| / ||w|| over the layer, with w' as it was written.[/]")
    show("Whether the copy is as accurate as the original is not checked.")
    bytes_ = done.storage
    keyed = bytes_.keyed + bytes_.table
    show(f"The copy is as large. As (key, a, b): {size(keyed)} instead of {size(bytes_.raw)}.")
    if done.left:
        show("[bold]Left as they were[/]")
        by_reason([(left.name, left.reason) for left in done.left])
