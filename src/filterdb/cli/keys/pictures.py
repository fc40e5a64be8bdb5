"""Keys as small pictures in a terminal: red is positive, blue negative; shades without colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from filterdb.keys.key_set import KeySet

SHADES = " ░▒▓█"
POSITIVE, NEGATIVE, ZERO = (178, 24, 43), (33, 102, 172), (247, 247, 247)
GAP = 2
WIDE = 4
"""Columns of a key from which on two rows of it share a line, where there are colours."""
MOST_SIDE = 15
MOST_KEYS = 32
NO_TERMINAL = 80


def show_keys(keys: KeySet) -> None:
    """Print keys beside one another, with their numbers; not where there is no room for one."""
    from rich.console import Console

    from filterdb.cli.output import show

    console = Console(highlight=False)
    if max(keys.kernel) > MOST_SIDE:
        return
    for line in strips(keys, console):
        show(line, indent=2)
    if len(keys) > MOST_KEYS:
        show(f"[dim]... and {len(keys) - MOST_KEYS} more.[/]", indent=2)


def strips(keys: KeySet, console: Console) -> list[Text]:
    """The lines of the pictures of keys, as many beside one another as there is room for."""
    from rich.text import Text

    coloured = console.color_system in ("256", "truecolor")
    pictures = [picture(key, coloured=coloured) for key in keys.filters[:MOST_KEYS]]
    width = len(pictures[0][0]) + GAP
    room = (console.width if console.is_terminal else NO_TERMINAL) - 2
    count = max(room // width, 1)
    lines = []
    for start in range(0, len(pictures), count):
        row = pictures[start : start + count]
        numbers = (f"{number:<{width}}" for number in range(start + 1, start + len(row) + 1))
        lines.append(Text("".join(numbers).rstrip(), "bold"))
        for parts in zip(*row, strict=True):
            lines.append(Text(" " * GAP).join(parts))
        lines.append(Text())
    return lines[:-1]


def picture(key: Any, *, coloured: bool) -> list[Text]:
    """A key as lines of equal length, each to its own peak.

    With colours, a weight is a cell two columns wide, or half of one column where the key is
    large; without them, the darkest shade is the most negative weight.
    """
    from rich.text import Text

    values = key / (float(abs(key).max()) or 1.0)
    if not coloured:
        top = len(SHADES) - 1
        return [Text("".join(SHADES[round((value + 1) * top / 2)] * 2 for value in row))
                for row in values]  # fmt: skip
    if values.shape[1] <= WIDE:
        return [Text.assemble(*(("  ", f"on {colour(value)}") for value in row)) for row in values]
    return [
        Text.assemble(*(
            half(upper, values[place + 1][column] if place + 1 < len(values) else None)
            for column, upper in enumerate(values[place])
        ))
        for place in range(0, len(values), 2)
    ]  # fmt: skip


def half(upper: float, lower: float | None) -> tuple[str, str]:
    """A character that shows two weights, one above the other."""
    below = "" if lower is None else f" on {colour(lower)}"
    return "▀", f"{colour(upper)}{below}"


def colour(value: float) -> str:
    """The colour of a weight between -1 and 1, as rich takes it."""
    end = POSITIVE if value > 0 else NEGATIVE
    mixed = (round(z + abs(value) * (e - z)) for z, e in zip(ZERO, end, strict=True))
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def sigmas(name: Any) -> str:
    """The scales of a key: ``"0.52"``, ``"0.52 x 0.31"``, or a dash."""
    known = [f"{value:.2f}" for value in (name.sigma_x, name.sigma_y) if value is not None]
    if not known:
        return "–"
    return known[0] if len(set(known)) == 1 else " x ".join(known)


def show_sigmas() -> None:
    """Print what the names and the scales of a table mean."""
    from filterdb.cli.output import show

    show(
        "[dim]Names are of convolution kernels, with y pointing up: d/dx forward is heavy on the "
        "left as drawn. sigma: x × y in pixels; – no scale, 0.00 one that makes no difference.[/]"
    )


def bar(shares: Sequence[float], marks: Sequence[str], styles: Sequence[str], width: int) -> str:
    """Shares as a bar of so many marks, as rich markup; together they fill it.

    The largest remainders get the columns that rounding leaves.
    """
    total = sum(shares)
    if total <= 0:
        return " " * width
    exact = [share / total * width for share in shares]
    columns = [int(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda place: columns[place] - exact[place])
    for place in order[: width - sum(columns)]:
        columns[place] += 1
    return "".join(
        f"[{style}]{mark * count}[/]" if style else mark * count
        for mark, style, count in zip(marks, styles, columns, strict=True)
        if count
    )
