"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable

import click

KERNEL = re.compile(r"(\d{1,4})\s*[x×]\s*(\d{1,4})")


class KernelSize(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A kernel size, ``3x3``."""

    name = "HxW"

    def convert(
        self,
        value: str | tuple[int, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, int]:
        """Height and width in taps."""
        if isinstance(value, tuple):
            return value
        found = KERNEL.fullmatch(value.strip())
        if not found:
            self.fail(f"{value!r} is no kernel size: write height and width as in 3x3.", param, ctx)
        return int(found[1]), int(found[2])


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose a population."""
    where = click.option(
        "--where", metavar="SQL", help="An SQL condition on the columns, e.g. \"task = 'ocr'\"."
    )
    kernel = click.option(
        "--kernel",
        type=KernelSize(),
        help="Kernel size; 3x3 if not given and there, else the one with the most filters.",
    )
    drop = click.option(
        "--drop",
        type=click.Choice(["sparse"]),
        help="Leave out the filters that are sparse within their layer.",
    )
    return where(kernel(drop(command)))


plot_option = click.option(
    "--plot", type=click.Path(dir_okay=False), metavar="FILE", help="Draw it: .png, .svg or .pdf."
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


def equivalence_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what does not matter when two filters are compared."""
    signed = click.option(
        "--signed", is_flag=True, help="A filter and its negative are different keys."
    )
    rotations = click.option(
        "--rotations", is_flag=True, help="Rotations and reflections of a filter are the same key."
    )
    shifts = click.option(
        "--shifts", is_flag=True, help="A filter moved by one pixel is the same key."
    )
    return signed(rotations(shifts(command)))


kind_option = click.option(
    "--kind", type=click.Choice(["depthwise", "any"]), default="depthwise", show_default=True,
    help="Layers to take; any: the slices of dense layers, too.",
)  # fmt: skip

weights_option = click.option(
    "--weights", type=click.Choice(["stored", "raw", "folded"]), default="stored",
    show_default=True,
    help="Filters as they are stored; raw: without layers that a batch normalisation is folded "
    "into; folded: times the batch normalisation that follows.",
)  # fmt: skip
