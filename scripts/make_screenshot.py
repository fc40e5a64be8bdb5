"""Draw the README's picture: what `filterdb check` prints of a demo network, as SVG.

python scripts/make_screenshot.py docs/check.svg
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from filterdb import check
from filterdb.cli import networks, output
from filterdb.demo import zoo


def main(target: Path) -> None:
    console = Console(
        record=True, width=92, file=io.StringIO(), force_terminal=True, highlight=False
    )
    output.console_for = lambda _: console
    networks.click.echo = lambda: None
    networks.is_narrow = lambda: False
    console.print("[green]$[/] filterdb check overwide-few.safetensors\n")
    with zoo() as folder:
        networks.show_network(check(folder / "overwide-few.safetensors"), limit=4)
    target.write_text(console.export_svg(title="filterdb check", font_aspect_ratio=0.61))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
